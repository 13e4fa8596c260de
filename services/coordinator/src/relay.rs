//! `coordinator relay`: STUN and TURN over UDP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, FromArgMatches as _};
use p2p_relay::{Cidr, ExternalIp, Relay, RelayConfig, RelayError, StaticUser, TurnSecrets};
use p2p_telemetry::{Shutdown, prometheus};
use secrecy::{ExposeSecret as _, SecretString};

use crate::admin::{self, Admin};
use crate::failure::{Failure, exit};
use crate::listening;
use crate::output::say;
use crate::settings::address::{PortRange, port_range, udp_listener};
use crate::settings::{duration, secret};
use crate::version::VERSION;

/// Serve STUN and TURN over UDP
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen: udp://IP:PORT; may be repeated
    #[arg(
        long,
        value_name = "udp://IP:PORT",
        env = "P2P_RELAY_LISTEN",
        value_delimiter = ',',
        value_parser = udp_listener,
        default_value = "udp://0.0.0.0:3478"
    )]
    listen: Vec<SocketAddr>,
    /// Where to serve /livez, /readyz and /metrics [default: nowhere]
    #[arg(long, value_name = "IP:PORT", env = "P2P_RELAY_ADMIN_LISTEN")]
    admin_listen: Option<SocketAddr>,
    /// The realm of the credentials
    #[arg(long, env = "P2P_REALM", default_value = "p2p")]
    realm: String,
    /// The address that clients are told, if it is not the socket's own; may be repeated
    #[arg(long, value_name = "IP[/LOCAL]", env = "P2P_EXTERNAL_IP", value_delimiter = ',')]
    external_ip: Vec<ExternalIp>,
    /// A second address of this host: clients then learn how their NAT filters (RFC 5780); answers
    /// on --listen's port and the next, on both addresses
    #[arg(long, value_name = "IP[/LOCAL]", env = "P2P_ALTERNATE_IP")]
    alternate_ip: Option<ExternalIp>,
    /// Ports of relayed addresses
    #[arg(
        long,
        value_name = "FIRST-LAST",
        env = "P2P_PORT_RANGE",
        default_value = "49152-65535",
        value_parser = port_range
    )]
    port_range: PortRange,
    /// Secret shared with signaling, for time-limited credentials
    #[arg(long, value_name = "SECRET", env = "P2P_TURN_SECRET")]
    turn_secret: Option<SecretString>,
    /// File with that secret; several lines for a rotation, newest first
    #[arg(long, value_name = "FILE", env = "P2P_TURN_SECRET_FILE")]
    turn_secret_file: Option<PathBuf>,
    /// A user with a password that does not expire; may be repeated
    #[arg(long, value_name = "NAME:PASSWORD", env = "P2P_TURN_USER", value_delimiter = ',')]
    user: Vec<SecretString>,
    /// File with such users, one a line
    #[arg(long, value_name = "FILE", env = "P2P_TURN_USER_FILE")]
    user_file: Option<PathBuf>,
    /// Peers that clients may reach although the default forbids them; may be repeated
    #[arg(long, value_name = "CIDR", env = "P2P_ALLOW_PEER", value_delimiter = ',')]
    allow_peer: Vec<Cidr>,
    /// Peers that clients may not reach; wins over --allow-peer; may be repeated
    #[arg(long, value_name = "CIDR", env = "P2P_DENY_PEER", value_delimiter = ',')]
    deny_peer: Vec<Cidr>,
    /// How long a drain waits for allocations to end
    #[arg(
        long,
        value_name = "TIME",
        env = "P2P_RELAY_DRAIN",
        default_value = "10m",
        value_parser = duration::parse
    )]
    drain_timeout: Duration,
}

/// Checks the settings without binding anything.
pub fn check(matches: &ArgMatches) -> Result<(), Failure> {
    let args = Args::from_arg_matches(matches).map_err(|error| Failure::bug(error.to_string()))?;
    config(&args, matches).map(drop)
}

/// Serves until a signal ends it.
pub async fn run(args: &Args, matches: &ArgMatches) -> Result<(), Failure> {
    let config = config(args, matches)?;
    let shutdown = Shutdown::new();
    shutdown.listen().map_err(|error| Failure::bug(format!("no signal handler: {error}")))?;
    let metrics = prometheus::install(VERSION).map_err(|error| Failure::bug(error.to_string()))?;

    admin::keep_up(metrics.clone());
    let relay = Relay::bind(config).map_err(|error| failure(&error, "--listen"))?;
    let admin = match args.admin_listen {
        Some(address) => Some(Admin::bind(address, shutdown.clone(), metrics).await?),
        None => None,
    };
    let relay = relay.start().map_err(|error| failure(&error, "--listen"))?;
    for address in relay.local_addrs() {
        say(format_args!("relay ready on udp://{address}"));
    }
    if let Some(admin) = admin {
        say(format_args!("relay admin ready on http://{}", admin.address()));
        admin.start();
    }

    tokio::select! {
        () = shutdown.draining() => {}
        ended = relay.stopped() => {
            ended.map_err(|error| failure(&error, "--listen"))?;
            return Err(Failure::bug("the relay stopped by itself"));
        }
    }
    relay.drain(args.drain_timeout);
    let stopped = async { drop(relay.stopped().await) };
    // The relay keeps its own deadline; this one only catches a relay that does not.
    shutdown.finish(stopped, args.drain_timeout + Duration::from_secs(1)).await;
    relay.shutdown();
    Ok(())
}

fn config(args: &Args, matches: &ArgMatches) -> Result<RelayConfig, Failure> {
    let secrets = secret::read(matches, "turn-secret")?;
    let users = secret::read(matches, "user")?;
    let users = users.iter().map(user).collect::<Result<Vec<_>, _>>()?;
    if secrets.is_empty() && users.is_empty() {
        tracing::warn!(
            "neither --turn-secret-file nor --user is set: this relay answers STUN and relays for nobody"
        );
    }
    if args.realm.trim().is_empty() || args.realm.len() > 127 || args.realm.contains('"') {
        return Err(Failure::usage(
            "--realm is empty, longer than 127 bytes or has a quotation mark",
            "name your domain, for example --realm example.org",
        ));
    }
    Ok(RelayConfig {
        listen: args.listen.clone(),
        realm: args.realm.clone(),
        external_ips: args.external_ip.clone(),
        alternate_ip: args.alternate_ip,
        port_range: args.port_range.0.clone(),
        secrets: TurnSecrets::new(secrets),
        users,
        allow_peers: args.allow_peer.clone(),
        deny_peers: args.deny_peer.clone(),
        ..RelayConfig::default()
    })
}

fn user(text: &SecretString) -> Result<StaticUser, Failure> {
    match text.expose_secret().split_once(':') {
        Some((name, password)) if !name.is_empty() && !password.is_empty() => {
            Ok(StaticUser { name: name.to_owned(), password: password.into() })
        }
        // The text itself may be a password and is not repeated.
        _ => Err(Failure::usage("a --user has no name or no password", "write NAME:PASSWORD")),
    }
}

/// The relay's errors in the words of this program.
pub fn failure(error: &RelayError, flag: &str) -> Failure {
    match error {
        RelayError::Listen { addr, source } => listening::failed("udp", *addr, flag, source),
        RelayError::NothingToListenOn
        | RelayError::NoSuchAddress(_)
        | RelayError::AlternateIp { .. }
        | RelayError::Config(_)
        | RelayError::Os(_) => {
            Failure::new(error.code().to_lowercase(), exit::USAGE, error.to_string(), error.fix())
        }
        RelayError::Died => {
            Failure::new(error.code().to_lowercase(), exit::BUG, error.to_string(), error.fix())
        }
    }
}
