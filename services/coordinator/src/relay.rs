//! `coordinator relay`: STUN and TURN over UDP, TCP and TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgMatches, FromArgMatches as _};
use p2p_relay::{
    Cidr, ExternalIp, Listening, Relay, RelayConfig, RelayError, RelayHandle, StaticUser, TlsFiles,
    Transport, TurnSecrets,
};
use p2p_telemetry::{Shutdown, prometheus};
use secrecy::{ExposeSecret as _, SecretString};

use crate::admin::{self, Admin};
use crate::certificate::Renewal;
use crate::failure::{Failure, exit};
use crate::listening;
use crate::output::say;
use crate::redis::{self, RedisArgs};
use crate::registration;
use crate::settings::address::{PortRange, port_range, relay_listener};
use crate::settings::{duration, secret};
use crate::statistics;
use crate::version::VERSION;

/// How long the end of a relay may take to be said to Redis.
const WITHDRAWAL: Duration = Duration::from_secs(3);

/// Serve STUN and TURN over UDP, TCP and TLS
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen: udp://IP:PORT, tcp://IP:PORT, tls://IP:PORT; may be repeated
    #[arg(
        long,
        value_name = "udp://IP:PORT",
        env = "P2P_RELAY_LISTEN",
        value_delimiter = ',',
        value_parser = relay_listener,
        default_values = ["udp://0.0.0.0:3478", "tcp://0.0.0.0:3478"]
    )]
    listen: Vec<Listening>,
    /// Certificate of the tls:// listeners, with its intermediates (PEM); taken anew on SIGHUP and
    /// when it changes
    #[arg(long, value_name = "FILE", env = "P2P_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// Private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", env = "P2P_TLS_KEY")]
    tls_key: Option<PathBuf>,
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
    #[command(flatten)]
    redis: RedisArgs,
    /// Where this relay is, in your own words: it is handed out to peers of the same region first
    #[arg(long, value_name = "NAME", env = "P2P_REGION", default_value = "")]
    region: String,
}

/// Checks the settings without binding anything.
pub fn check(matches: &ArgMatches) -> Result<(), Failure> {
    let args = Args::from_arg_matches(matches).map_err(|error| Failure::bug(error.to_string()))?;
    redis::relay_lease(matches)?;
    let config = config(&args, matches)?;
    match config.tls {
        Some(files) => files.check().map_err(|error| failure(&error, "--tls-cert")),
        None => Ok(()),
    }
}

/// Serves until a signal ends it.
pub async fn run(args: &Args, matches: &ArgMatches) -> Result<(), Failure> {
    let mut config = config(args, matches)?;
    let renewal = config.tls.is_some().then(Renewal::new);
    let (capacity, external_ips) = (config.port_range.len(), config.external_ips.clone());
    let (configured, configured_tcp) = (config.listen.len(), config.listen_tcp.len());
    let shutdown = Shutdown::new();
    shutdown.listen().map_err(|error| Failure::bug(format!("no signal handler: {error}")))?;
    let metrics = prometheus::install(VERSION).map_err(|error| Failure::bug(error.to_string()))?;

    let lease = redis::relay_lease(matches)?;
    let recorder = redis::url(matches)?.as_ref().map(statistics::of_redis).transpose()?;
    let recorded = recorder.clone().map(|recorder| {
        let region = Some(args.region.clone()).filter(|region| !region.is_empty());
        let (reports, recorded) = statistics::of_relay(recorder, region);
        config.usage = Some(reports);
        recorded
    });
    admin::keep_up(metrics.clone());
    let relay = Relay::bind(config).map_err(|error| failure(&error, "--listen"))?;
    let admin = match args.admin_listen {
        Some(address) => Some(Admin::bind(address, shutdown.clone(), metrics).await?),
        None => None,
    };
    let relay = Arc::new(relay.start().map_err(|error| failure(&error, "--listen"))?);
    for listening in relay.listening() {
        say(format_args!("relay ready on {listening}"));
    }
    if let Some(admin) = admin {
        say(format_args!("relay admin ready on http://{}", admin.address()));
        admin.start();
    }

    let registration = lease.map(|lease| {
        // What the alternate address adds is for discovery.
        let udp = &relay.local_addrs()[..configured];
        let tcp: Vec<SocketAddr> = relay
            .listening()
            .iter()
            .filter(|listening| listening.transport == Transport::Tcp)
            .take(configured_tcp)
            .map(|listening| listening.addr)
            .collect();
        let told = |listeners: &[SocketAddr]| registration::reachable_at(listeners, &external_ips);
        let record = registration::record(&args.region, told(udp), told(&tcp));
        tokio::spawn(registration::keep(lease, record, relay.clone(), capacity, shutdown.clone()))
    });

    tokio::select! {
        () = shutdown.draining() => {}
        ended = relay.stopped() => {
            ended.map_err(|error| failure(&error, "--listen"))?;
            return Err(Failure::bug("the relay stopped by itself"));
        }
        never = keep_current(renewal, &relay) => match never {},
    }
    relay.drain(args.drain_timeout);
    let stopped = async { drop(relay.stopped().await) };
    // The relay keeps its own deadline; this one only catches a relay that does not.
    shutdown.finish(stopped, args.drain_timeout + Duration::from_secs(1)).await;
    relay.shutdown();
    let withdrawn = async {
        if let Some(registration) = registration {
            // It withdraws as soon as the relay has stopped.
            let _ = tokio::time::timeout(WITHDRAWAL, registration).await;
        }
    };
    let told = async {
        if let (Some(recorded), Some(recorder)) = (recorded, recorder) {
            // The last allocations end with the relay.
            let _ = recorded.await;
            recorder.shutdown().await;
        }
    };
    tokio::join!(withdrawn, told);
    Ok(())
}

async fn keep_current(renewal: Option<Renewal>, relay: &RelayHandle) -> Infallible {
    match renewal {
        Some(renewal) => renewal.run(relay).await,
        None => std::future::pending().await,
    }
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
    let on = |transport: Transport| -> Vec<SocketAddr> {
        let of = args.listen.iter().filter(|listening| listening.transport == transport);
        of.map(|listening| listening.addr).collect()
    };
    let listen_tls = on(Transport::Tls);
    let tls = if listen_tls.is_empty() { None } else { Some(tls_files(args)?) };
    Ok(RelayConfig {
        listen: on(Transport::Udp),
        listen_tcp: on(Transport::Tcp),
        listen_tls,
        tls,
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

fn tls_files(args: &Args) -> Result<TlsFiles, Failure> {
    match (&args.tls_cert, &args.tls_key) {
        (Some(cert), Some(key)) => Ok(TlsFiles { cert: cert.clone(), key: key.clone() }),
        _ => Err(failure(&RelayError::NoCertificate, "--tls-cert")),
    }
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
        RelayError::Listen { transport, addr, source } => {
            listening::failed(transport.name(), *addr, flag, source)
        }
        RelayError::NothingToListenOn
        | RelayError::NoCertificate
        | RelayError::Certificate { .. }
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
