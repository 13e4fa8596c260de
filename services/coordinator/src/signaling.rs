//! `coordinator signaling`: WebSocket sessions, HTTP API, statistics.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, FromArgMatches as _};
use p2p_auth::Verifier;
use p2p_auth::turn_rest::TurnSecrets;
use p2p_registry::Settings;
use p2p_signaling::{Origins, PeerJs, RelayOffer, Signaling, SignalingConfig, SignalingError};
use p2p_stats::AddressDetail;
use p2p_telemetry::{Shutdown, prometheus};
use p2p_wire::{AppId, Cidr};
use secrecy::SecretString;

use crate::database::{self, DatabaseArgs};
use crate::failure::Failure;
use crate::jwt_key;
use crate::output::say;
use crate::redis::{self, RedisArgs};
use crate::settings::address::{stun_uri, turn_uri};
use crate::settings::{conflict, duration, origin, secret};
use crate::statistics::Statistics;
use crate::token::{any_signing_secrets, signing_secrets};
use crate::version::VERSION;
use crate::{admin, listening};

/// How long a drain may take in all; the service spreads the reconnects over a part of it.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// Serve signaling: WebSocket, HTTP API, statistics
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where this instance is, in your own words: clients get relays of the same region first
    #[arg(long, value_name = "NAME", env = "P2P_REGION")]
    region: Option<String>,
    /// Where clients connect
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "P2P_SIGNALING_LISTEN",
        default_value = "0.0.0.0:8080"
    )]
    listen: SocketAddr,
    /// Where to serve /livez, /readyz and /metrics; together with the rest if not given
    #[arg(long, value_name = "IP:PORT", env = "P2P_SIGNALING_ADMIN_LISTEN")]
    admin_listen: Option<SocketAddr>,
    /// Secret that tokens are signed with (HS256), 32 bytes or more
    #[arg(long, value_name = "SECRET", env = "P2P_JWT_SECRET")]
    jwt_secret: Option<SecretString>,
    /// File with that secret; several lines for a rotation, newest first
    #[arg(long, value_name = "FILE", env = "P2P_JWT_SECRET_FILE")]
    jwt_secret_file: Option<PathBuf>,
    /// File with public keys in PEM that tokens are verified with: Ed25519, P-256 or RSA; several
    /// for a rotation
    #[arg(long, value_name = "FILE", env = "P2P_JWT_KEY_FILE")]
    jwt_key_file: Option<PathBuf>,
    /// URL of the token issuer's key set (JWKS), fetched every 5 min and when a new key appears
    #[arg(long, value_name = "URL", env = "P2P_JWT_JWKS_URL")]
    jwt_jwks_url: Option<String>,
    /// Accept only tokens of this issuer
    #[arg(long, value_name = "ISS", env = "P2P_JWT_ISSUER")]
    jwt_issuer: Option<String>,
    /// Accept only tokens for this audience
    #[arg(long, value_name = "AUD", env = "P2P_JWT_AUDIENCE")]
    jwt_audience: Option<String>,
    /// Secret shared with the relays; without it clients get no relay
    #[arg(long, value_name = "SECRET", env = "P2P_TURN_SECRET")]
    turn_secret: Option<SecretString>,
    /// File with that secret; several lines for a rotation, newest first
    #[arg(long, value_name = "FILE", env = "P2P_TURN_SECRET_FILE")]
    turn_secret_file: Option<PathBuf>,
    /// A relay that clients are told: turn:HOST:PORT over UDP, with ?transport=tcp over TCP,
    /// turns:HOST:PORT over TLS; may be repeated
    #[arg(
        long = "relay",
        value_name = "turn:HOST:PORT",
        env = "P2P_RELAYS",
        value_delimiter = ',',
        value_parser = turn_uri
    )]
    relays: Vec<String>,
    /// A STUN server that clients are told, beside the relays; may be repeated
    #[arg(
        long = "stun",
        value_name = "HOST:PORT",
        env = "P2P_STUN",
        value_delimiter = ',',
        value_parser = stun_uri
    )]
    stun: Vec<String>,
    /// Messages a second that one connection may send, sustained; four times as many at once
    #[arg(
        long,
        value_name = "NUMBER",
        env = "P2P_MESSAGES_PER_SECOND",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    messages_per_second: u32,
    /// Messages a second that all connections of one app may send to this instance, sustained; twice as
    /// many at once
    #[arg(
        long,
        value_name = "NUMBER",
        env = "P2P_APP_MESSAGES_PER_SECOND",
        default_value_t = 50_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    app_messages_per_second: u32,
    /// WebSockets at once; more are turned away
    #[arg(
        long,
        value_name = "NUMBER",
        env = "P2P_CONNECTIONS",
        default_value_t = 50_000,
        value_parser = clap::value_parser!(u32).range(1..=10_000_000)
    )]
    connections: u32,
    /// Between two pings of a client, up to 5m; one that is silent for two and a half is gone
    #[arg(
        long,
        value_name = "TIME",
        env = "P2P_HEARTBEAT",
        default_value = "25s",
        value_parser = duration::at_most::<300>
    )]
    heartbeat: Duration,
    /// How long a session without a connection can be taken up again, up to 1h
    #[arg(
        long,
        value_name = "TIME",
        env = "P2P_RESUME_WINDOW",
        default_value = "30s",
        value_parser = duration::at_most::<3600>
    )]
    resume_window: Duration,
    /// A web page whose scripts may connect, as its origin; may be repeated. Any page if not given
    #[arg(
        long = "allow-origin",
        value_name = "https://HOST",
        env = "P2P_ALLOW_ORIGIN",
        value_delimiter = ',',
        value_parser = origin::parse
    )]
    allow_origin: Vec<String>,
    /// Who gets an id that another connection holds: the newer one (takeover), the older one while
    /// it is connected (reject), or while its session can be resumed (resume). With APP= for one app
    /// alone; may be repeated
    #[arg(
        long = "conflict",
        value_name = "[APP=]POLICY",
        env = "P2P_CONFLICT",
        value_delimiter = ',',
        value_parser = conflict::parse
    )]
    conflict: Vec<conflict::Rule>,
    /// A proxy whose X-Forwarded-For says where clients are; may be repeated
    #[arg(
        long = "trusted-proxy",
        value_name = "CIDR",
        env = "P2P_TRUSTED_PROXY",
        value_delimiter = ','
    )]
    trusted_proxy: Vec<Cidr>,
    /// How long the relay credentials of clients are valid
    #[arg(
        long,
        value_name = "TIME",
        env = "P2P_TURN_TTL",
        default_value = "1h",
        value_parser = duration::parse
    )]
    turn_ttl: Duration,
    /// Let PeerJS clients in without a JWT, as whoever they say they are: only for development
    #[arg(long, env = "P2P_PEERJS_OPEN")]
    peerjs_open: bool,
    /// An app whose peers' ids any PeerJS client may list, without a token; may be repeated
    #[arg(
        long = "peerjs-discovery",
        value_name = "APP",
        env = "P2P_PEERJS_DISCOVERY",
        value_delimiter = ','
    )]
    peerjs_discovery: Vec<AppId>,
    /// Let clients offer loopback addresses: only for programs on one machine
    #[arg(long, env = "P2P_ALLOW_LOOPBACK")]
    allow_loopback: bool,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    redis: RedisArgs,
    /// Folder for statistics where there is no database
    #[arg(long, value_name = "DIR", env = "P2P_DATA", default_value = "data")]
    data: PathBuf,
    /// What statistics keep of addresses: network (/24 of IPv4, /48 of IPv6) or none
    #[arg(
        long,
        value_name = "network|none",
        env = "P2P_STATS_ADDRESSES",
        default_value = "network"
    )]
    stats_addresses: AddressDetail,
}

/// Checks the settings without binding anything.
pub fn check(matches: &ArgMatches) -> Result<(), Failure> {
    let args = Args::from_arg_matches(matches).map_err(|error| Failure::bug(error.to_string()))?;
    database::url(matches)?;
    redis::url(matches)?;
    config(&args, matches).map(drop)
}

/// Serves until a signal ends it.
pub async fn run(args: &Args, matches: &ArgMatches) -> Result<(), Failure> {
    let mut config = config(args, matches)?;
    // Whatever is wrong is said before a file is made.
    let (database, redis) = (database::url(matches)?, redis::url(matches)?);
    let shutdown = Shutdown::new();
    shutdown.listen().map_err(|error| Failure::bug(format!("no signal handler: {error}")))?;

    let metrics = prometheus::install(VERSION).map_err(|error| Failure::bug(error.to_string()))?;
    admin::keep_up(metrics);

    let statistics = Statistics::open(database.as_ref(), &args.data).await?;
    let way = statistics.way(redis.as_ref(), args.stats_addresses)?;
    config.recorder = Some(way.recorder.clone());
    let behaviour = Settings {
        resume_window: args.resume_window,
        conflict: conflict::by_app(&args.conflict),
        ..Settings::default()
    };
    let registry = redis::registry(matches, behaviour).await?;
    if config.turn_secrets.is_empty() {
        tracing::debug!("no TURN secret: relays that register themselves are not handed out");
    }
    config.relay_directory = redis::relay_directory(matches)?;
    config.tickets = redis::tickets(matches)?;
    let signaling = Signaling::bind(config, registry, statistics.store())
        .await
        .map_err(|error| failure(&error, args.listen, "--listen"))?
        .start();
    say(format_args!("signaling ready on http://{}", signaling.local_addr()));
    if let Some(admin) = signaling.admin_addr() {
        say(format_args!("signaling admin ready on http://{admin}"));
    }

    tokio::select! {
        () = shutdown.draining() => {}
        () = signaling.drain_asked() => shutdown.drain(),
    }
    shutdown.finish(signaling.drain(), DRAIN_DEADLINE).await;
    signaling.shutdown().await;
    way.close().await;
    statistics.close().await;
    Ok(())
}

fn config(args: &Args, matches: &ArgMatches) -> Result<SignalingConfig, Failure> {
    let jwks = args.jwt_jwks_url.as_deref().map(jwt_key::issuer).transpose()?;
    let keys = args.jwt_key_file.as_deref().map(jwt_key::verifying).transpose()?;
    let keys = keys.unwrap_or_default();
    let secrets = if keys.is_empty() && jwks.is_none() {
        signing_secrets(matches)?
    } else {
        any_signing_secrets(matches)?
    };
    let mut verifier = Verifier::hs256(secrets).with_keys(keys);
    if let Some(issuer) = &args.jwt_issuer {
        verifier = verifier.with_issuer(issuer);
    }
    if let Some(audience) = &args.jwt_audience {
        verifier = verifier.with_audience(audience);
    }
    let turn_secrets = TurnSecrets::new(secret::read(matches, "turn-secret")?);
    if !args.relays.is_empty() && turn_secrets.is_empty() {
        return Err(Failure::usage(
            "relays are named, and no secret to make credentials for them",
            "pass --turn-secret-file with the secret that the relays have, or leave --relay out",
        ));
    }
    let mut config = SignalingConfig::new(args.listen, verifier);
    config.admin_listen = args.admin_listen;
    config.jwks = jwks;
    config.limits.connections = args.connections as usize;
    config.timing.heartbeat = args.heartbeat;
    config.limits.messages_per_second = args.messages_per_second;
    config.limits.message_burst = args.messages_per_second.saturating_mul(4);
    config.limits.app_messages_per_second = args.app_messages_per_second;
    config.limits.app_message_burst = args.app_messages_per_second.saturating_mul(2);
    config.region = args.region.clone();
    // A relay is a STUN server too, where it serves UDP.
    let of_relays = args.relays.iter().filter(|uri| !uri.contains('?'));
    let of_relays = of_relays.filter_map(|uri| uri.strip_prefix("turn:"));
    config.stun = of_relays.map(|server| format!("stun:{server}")).collect();
    config.stun.extend(args.stun.iter().cloned());
    config.relays = offers(&args.relays);
    config.turn_secrets = turn_secrets;
    config.turn_ttl = args.turn_ttl;
    config.allow_loopback_candidates = args.allow_loopback;
    if !args.allow_origin.is_empty() {
        config.origins = Origins::Only(args.allow_origin.clone());
    }
    config.trusted_proxies = args.trusted_proxy.clone();
    config.peerjs = PeerJs { open: args.peerjs_open, discovery: args.peerjs_discovery.clone() };
    Ok(config)
}

/// One offer for each host, with all the ways to reach it: a client chooses among them.
pub fn offers(uris: &[String]) -> Vec<RelayOffer> {
    let host = |uri: &str| {
        let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
        let rest = rest.split('?').next().unwrap_or(rest);
        rest.rsplit_once(':').map_or(rest, |(host, _)| host).to_owned()
    };
    let mut offers: Vec<(String, RelayOffer)> = Vec::new();
    for uri in uris {
        let url = if uri.contains('?') { uri.clone() } else { format!("{uri}?transport=udp") };
        match offers.iter_mut().find(|(known, _)| *known == host(uri)) {
            Some((_, offer)) => offer.urls.push(url),
            None => offers.push((host(uri), RelayOffer { urls: vec![url] })),
        }
    }
    offers.into_iter().map(|(_, offer)| offer).collect()
}

/// The service's errors in the words of this program.
pub fn failure(error: &SignalingError, address: SocketAddr, flag: &str) -> Failure {
    match error {
        SignalingError::PortInUse(address) => {
            listening::failed("tcp", *address, flag, &ErrorKind::AddrInUse.into())
        }
        SignalingError::PortDenied(address) => {
            listening::failed("tcp", *address, flag, &ErrorKind::PermissionDenied.into())
        }
        SignalingError::Listen { address, source } => {
            listening::failed("tcp", *address, flag, source)
        }
        SignalingError::NoTurnSecret => Failure::usage(error.to_string(), error.fix()),
        SignalingError::Metrics(_) => Failure::bug(format!("{error} (listening on {address})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_one_relay_are_one_offer() {
        let uris = [
            "turn:a.example:3478",
            "turn:b.example:3478",
            "turn:a.example:3478?transport=tcp",
            "turns:a.example:5349?transport=tcp",
            "turn:[2001:db8::1]:3478",
        ];
        let urls: Vec<_> = offers(&uris.map(str::to_owned)).into_iter().map(|o| o.urls).collect();
        assert_eq!(
            urls,
            [
                &[
                    "turn:a.example:3478?transport=udp",
                    "turn:a.example:3478?transport=tcp",
                    "turns:a.example:5349?transport=tcp"
                ][..],
                &["turn:b.example:3478?transport=udp"],
                &["turn:[2001:db8::1]:3478?transport=udp"],
            ]
        );
    }
}
