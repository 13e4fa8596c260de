//! What a network allows, measured once: the coordinator, UDP, the NAT, the relays, and a verdict.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use p2p_traversal::relay::{Allocation, RelayLeg};
use p2p_traversal::{Event, Node, NodeConfig, RelayConfig, RelayTransport, StreamCommand};
use p2p_wire::{IceServer, NatProfile, NatType, Secret, TcpProfile};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;

use crate::behaviour;
use crate::error::{Error, ErrorCode};
use crate::gather;
use crate::relay_stream;
use crate::resolve;
use crate::signaling;
use crate::tcp_port::{self, TcpPort};
use crate::tls;

/// How long a relay has to give an allocation.
const RELAY_DEADLINE: Duration = Duration::from_secs(3);
/// How much longer than for UDP an answer over TCP is waited for where UDP works.
const TCP_GRACE: Duration = Duration::from_millis(500);
const SCHEMA_VERSION: u32 = 1;

/// What to check.
#[derive(Debug, Clone, Default)]
pub struct NetcheckConfig {
    /// The coordinator and a token for it; its STUN servers and relays are checked too.
    pub server: Option<(String, Secret)>,
    /// STUN servers besides: `host:port`.
    pub stun: Vec<String>,
    /// Certificates to trust besides those of the public authorities.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

/// The result, in the form of `p2p netcheck --json`.
#[derive(Debug, Clone, Serialize)]
pub struct NetcheckReport {
    /// The version of this form.
    pub schema_version: u32,
    /// The coordinator, if one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signaling: Option<SignalingCheck>,
    /// Whether UDP reached a STUN server.
    pub udp: bool,
    /// IPv6.
    pub ipv6: Ipv6Check,
    /// The NAT.
    pub nat: NatProfile,
    /// Milliseconds until all of that was known.
    pub detect_ms: u64,
    /// Every relay that was offered.
    pub relays: Vec<RelayCheck>,
    /// What this network can expect.
    pub verdict: String,
    /// What would help.
    pub advice: Vec<String>,
}

/// The coordinator.
#[derive(Debug, Clone, Serialize)]
pub struct SignalingCheck {
    /// Whether it takes the token and opens a WebSocket.
    pub ok: bool,
    /// Its address as given.
    pub server: String,
    /// Milliseconds until both were known.
    pub ms: u64,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same with its code.
    #[serde(skip)]
    pub failure: Option<Error>,
}

/// IPv6.
#[derive(Debug, Clone, Serialize)]
pub struct Ipv6Check {
    /// Whether the host has a global IPv6 address.
    pub address: bool,
    /// Whether a STUN server answered over IPv6; absent where none was asked over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reachable: Option<bool>,
}

/// One relay.
#[derive(Debug, Clone, Serialize)]
pub struct RelayCheck {
    /// Its address.
    pub server: SocketAddr,
    /// Its transport: `udp`, `tcp` or `tls`.
    pub transport: &'static str,
    /// Whether it gave an allocation.
    pub ok: bool,
    /// Milliseconds until the allocation was there: two round trips.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocate_ms: Option<u64>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Measures. Fails only where nothing can be measured at all: a token that is refused, or no socket.
/// A coordinator that cannot be reached is part of the result.
pub async fn netcheck(config: NetcheckConfig) -> Result<NetcheckReport, Error> {
    let tls = tls::config(&config.extra_roots)?;
    let (signaling, offered) = match &config.server {
        Some((server, token)) => {
            let (check, servers) = check_signaling(server, token, &tls).await?;
            (Some(check), servers)
        }
        None => (None, Vec::new()),
    };
    let stun = resolve::stun_servers(&config.stun, &offered).await;
    let stun_v6 = resolve::stun_servers_v6(&config.stun, &offered).await;
    let (socket, local_ips) = socket().await?;
    let started = Instant::now();
    let ways = resolve::relays(&offered, &[]).await;
    let tcp = tokio::spawn(measure_tcp(
        socket.local_addr().map_err(Error::internal)?.port(),
        resolve::tcp_stun_servers(&stun, &ways),
    ));
    let stun = stun.into_iter().filter(SocketAddr::is_ipv4).collect();
    let (nat, reachable_v6, without_address) = tokio::join!(
        detect(&socket, &local_ips, stun),
        reach_v6(&local_ips, stun_v6),
        resolve::without_address(&config.stun)
    );
    let mut nat = NatProfile { ipv6: reachable_v6, ..nat? };
    let detect_ms = millis(started.elapsed());
    // Servers without TCP that swallow it are common, and where UDP works they are no finding.
    let patience = if nat.udp { TCP_GRACE } else { RELAY_DEADLINE };
    nat.tcp = match tokio::time::timeout(patience, tcp).await {
        Ok(measured) => measured.map_err(Error::internal)?,
        Err(_) => None,
    };
    let relays = check_relays(&socket, ways, &tls).await;
    let by_stream = relays.iter().find(|relay| relay.ok && relay.transport != "udp");
    let blocked = nat.nat_type == NatType::UdpBlocked;
    let verdict = match by_stream {
        Some(relay) if blocked && nat.tcp.is_none() => {
            format!("no UDP leaves this network: relay over {}", relay.transport.to_uppercase())
        }
        _ => p2p_nat::advice::outlook(&nat).to_owned(),
    };
    let mut advice = p2p_nat::advice::advice(&nat);
    if blocked && by_stream.is_none() && !relays.is_empty() {
        advice.push(
            "no relay is reached: let TCP out to one that listens on it, or on TLS, port 443"
                .to_owned(),
        );
    } else if !blocked && relays.iter().any(|r| !r.ok) {
        advice.push(
            "a relay did not give an allocation: see its error, and the relay's log".to_owned(),
        );
    }
    advice.extend(without_address.into_iter().map(|server| {
        format!(
            "the STUN server {server} was not asked: there is no address for it, correct its name"
        )
    }));
    Ok(NetcheckReport {
        schema_version: SCHEMA_VERSION,
        signaling,
        udp: nat.udp,
        ipv6: Ipv6Check { address: local_ips.iter().any(IpAddr::is_ipv6), reachable: reachable_v6 },
        verdict,
        nat,
        detect_ms,
        relays,
        advice,
    })
}

/// Asks for the servers over HTTP and opens a WebSocket without registering on it: a check must not
/// take the place of a program that runs under the same peer id.
async fn check_signaling(
    server: &str,
    token: &Secret,
    tls: &Arc<ClientConfig>,
) -> Result<(SignalingCheck, Vec<IceServer>), Error> {
    let started = Instant::now();
    let server_name = server.to_owned();
    let mut check =
        SignalingCheck { ok: false, server: server_name, ms: 0, error: None, failure: None };
    let servers = match signaling::ice_servers(server, token, tls).await {
        Ok(servers) => servers,
        Err(error) if error.code == ErrorCode::Auth => return Err(error),
        Err(error) => {
            check.failure = Some(error);
            Vec::new()
        }
    };
    if check.failure.is_none() {
        match signaling::knock(server, token, tls).await {
            Ok(()) => check.ok = true,
            Err(error) if error.code == ErrorCode::Auth => return Err(error),
            Err(error) => check.failure = Some(error),
        }
    }
    check.error = check.failure.as_ref().map(ToString::to_string);
    check.ms = millis(started.elapsed());
    Ok((check, servers))
}

/// How TCP is mapped. `None` where no STUN server answers over it.
async fn measure_tcp(preferred: u16, servers: Vec<SocketAddr>) -> Option<TcpProfile> {
    let port = TcpPort::bind(preferred).ok()?;
    tcp_port::measure(&port, &servers).await.map(|measured| measured.profile)
}

/// Detection is about IPv4's NATs, so the check's socket speaks that.
async fn socket() -> Result<(UdpSocket, Vec<IpAddr>), Error> {
    let socket = UdpSocket::bind("0.0.0.0:0").await.map_err(Error::internal)?;
    Ok((socket, gather::local_ips(false, false)))
}

/// Whether a STUN server answers over IPv6. `None` where there is nobody to ask or nothing to ask
/// from.
async fn reach_v6(local_ips: &[IpAddr], servers: Vec<SocketAddr>) -> Option<bool> {
    if servers.is_empty() || !local_ips.iter().any(IpAddr::is_ipv6) {
        return None;
    }
    let socket = UdpSocket::bind("[::]:0").await.ok()?;
    let local_ips: Vec<_> = local_ips.iter().copied().filter(IpAddr::is_ipv6).collect();
    Some(detect(&socket, &local_ips, servers).await.is_ok_and(|profile| profile.udp))
}

async fn detect(
    socket: &UdpSocket,
    local_ips: &[IpAddr],
    stun_servers: Vec<SocketAddr>,
) -> Result<NatProfile, Error> {
    let local_port = socket.local_addr().map_err(Error::internal)?.port();
    let config = NodeConfig {
        local_port,
        local_ips: local_ips.to_vec(),
        stun_servers,
        relays: Vec::new(),
        keep_alive: Duration::from_secs(3600),
    };
    let mut node = Node::new(config, Box::new(StdRng::from_os_rng()), Instant::now());
    let local = local_ips.first().copied().unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let mut buffer = [0; 2048];
    loop {
        while let Some(transmit) = node.poll_transmit() {
            // A network that is down shows as silence.
            let _ = socket.send_to(&transmit.payload, transmit.to).await;
        }
        let (mut detected, mut unmeasured) = (None, None);
        while let Some(event) = node.poll_event() {
            match event {
                Event::Detected(profile) => detected = Some(profile),
                Event::Unmeasured(task) => unmeasured = Some(task),
                Event::Candidates(_)
                | Event::Relay(_)
                | Event::Path(..)
                | Event::Sources(..)
                | Event::Early(..)
                | Event::Answered(_)
                | Event::Verdict(_) => {}
            }
        }
        match (detected, unmeasured) {
            (_, Some(task)) => {
                let behaviour = behaviour::measure(task).await;
                node.learn(behaviour, Instant::now());
                continue;
            }
            (Some(profile), None) => return Ok(profile),
            (None, None) => {}
        }
        tokio::select! {
            received = socket.recv_from(&mut buffer) => if let Ok((len, from)) = received {
                node.handle_datagram(local, from, &buffer[..len], Instant::now());
            },
            () = tokio::time::sleep_until(node.poll_timeout().into()) => {
                node.handle_timeout(Instant::now());
            }
        }
    }
}

/// Those over UDP share the socket and are asked one after another, the others beside them.
async fn check_relays(
    socket: &UdpSocket,
    ways: Vec<RelayConfig>,
    tls: &Arc<ClientConfig>,
) -> Vec<RelayCheck> {
    let (udp, streams): (Vec<_>, Vec<_>) =
        ways.into_iter().partition(|way| way.transport == RelayTransport::Udp);
    let over_udp = async {
        let mut checks = Vec::new();
        for way in udp {
            checks.push(check_over_udp(socket, way).await);
        }
        checks
    };
    let over_streams = join_all(streams.into_iter().map(|way| check_over_stream(way, tls)));
    let (mut checks, others) = tokio::join!(over_udp, over_streams);
    checks.extend(others);
    checks
}

async fn check_over_stream(way: RelayConfig, tls: &Arc<ClientConfig>) -> RelayCheck {
    let started = Instant::now();
    let (server, transport) = (way.server, way.transport);
    let asked = tokio::time::timeout(RELAY_DEADLINE, allocate_over_stream(way, tls)).await;
    checked(server, transport, started, asked)
}

/// The node's part is the same as in a client; here is the one stream that it asks for.
async fn allocate_over_stream(way: RelayConfig, tls: &Arc<ClientConfig>) -> Result<(), String> {
    let config = NodeConfig {
        local_port: 0,
        local_ips: Vec::new(),
        stun_servers: Vec::new(),
        relays: vec![way],
        keep_alive: Duration::from_secs(3600),
    };
    let mut node = Node::new(config, Box::new(StdRng::from_os_rng()), Instant::now());
    let Some(StreamCommand::Open { id, server, tls: name }) = node.poll_stream_command() else {
        return Err("it is not reached by a stream".to_owned());
    };
    let mut stream = relay_stream::connect(server, name.as_deref(), Arc::clone(tls)).await?;
    node.stream_opened(id, Instant::now());
    let mut buffer = [0; 2048];
    loop {
        let outcome = match node.allocation() {
            Some(Allocation::Ready(_)) => Some(Ok(())),
            Some(Allocation::Failed { reason, .. }) => Some(Err(reason)),
            Some(Allocation::Pending) | None => None,
        };
        if outcome.is_some() {
            node.close(Instant::now());
        }
        while let Some((_, message)) = node.poll_stream_write() {
            stream.write_all(&message).await.map_err(|error| error.to_string())?;
        }
        stream.flush().await.map_err(|error| error.to_string())?;
        if let Some(outcome) = outcome {
            return outcome;
        }
        tokio::select! {
            read = stream.read(&mut buffer) => match read {
                Ok(0) => return Err("the connection was closed".to_owned()),
                Ok(len) => drop(node.stream_received(id, &buffer[..len], Instant::now())),
                Err(error) => return Err(error.to_string()),
            },
            () = tokio::time::sleep_until(node.poll_timeout().into()) => {
                node.handle_timeout(Instant::now());
            }
        }
    }
}

async fn check_over_udp(socket: &UdpSocket, config: RelayConfig) -> RelayCheck {
    let started = Instant::now();
    let (server, transport) = (config.server, config.transport);
    let mut leg = RelayLeg::new(config, started);
    let asked = tokio::time::timeout(RELAY_DEADLINE, allocate(socket, &mut leg)).await;
    leg.close(Instant::now());
    while let Some(transmit) = leg.poll_transmit() {
        let _ = socket.send_to(&transmit.payload, transmit.to).await;
    }
    checked(server, transport, started, asked)
}

fn checked(
    server: SocketAddr,
    transport: RelayTransport,
    started: Instant,
    asked: Result<Result<(), String>, tokio::time::error::Elapsed>,
) -> RelayCheck {
    let error = match asked {
        Ok(Ok(())) => None,
        Ok(Err(reason)) => Some(reason),
        Err(_) => Some(format!("no answer within {} s", RELAY_DEADLINE.as_secs())),
    };
    RelayCheck {
        server,
        transport: transport.name(),
        ok: error.is_none(),
        allocate_ms: error.is_none().then(|| millis(started.elapsed())),
        error,
    }
}

async fn allocate(socket: &UdpSocket, leg: &mut RelayLeg) -> Result<(), String> {
    let mut buffer = [0; 2048];
    loop {
        while let Some(transmit) = leg.poll_transmit() {
            let _ = socket.send_to(&transmit.payload, transmit.to).await;
        }
        match leg.allocation() {
            Allocation::Ready(_) => return Ok(()),
            Allocation::Failed { reason, .. } => return Err(reason.clone()),
            Allocation::Pending => {}
        }
        let due = leg.poll_timeout().unwrap_or_else(|| Instant::now() + RELAY_DEADLINE);
        tokio::select! {
            received = socket.recv_from(&mut buffer) => if let Ok((len, _)) = received {
                leg.handle_datagram(&buffer[..len], Instant::now());
            },
            () = tokio::time::sleep_until(due.into()) => leg.handle_timeout(Instant::now()),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
