//! The client: started once, connects as often as asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p2p_traversal::relay::Allocation;
use p2p_traversal::{Event, Node, NodeConfig, RelayConfig, RelayTransport};
use p2p_wire::server::Welcome;
use p2p_wire::{ClientMessage, Method, NatProfile, NatType, PeerId, Policy, Secret};
use quinn::{Endpoint, EndpointConfig, Runtime, ServerConfig, TokioRuntime, TransportConfig};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{Mutex, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::accept;
use crate::attempts::{Attempts, Command, Counters, Inputs, MAX_ACCEPTED, udp_blocked};
use crate::backoff;
use crate::behaviour;
use crate::config::Config;
use crate::connection::Connection;
use crate::driver;
use crate::error::{Error, ErrorCode};
use crate::events::{ClientEvent, ClientStats};
use crate::gather::{self, Bound};
use crate::identity::Identity;
use crate::incoming::MAX_STREAMS;
use crate::offers::Offers;
use crate::peer_streams::{self, PeerStreams};
use crate::relay_stream::{self, RelayStreams};
use crate::resolve;
use crate::signaling::{self, Renewal, SignalEvent, SignalingConfig};
use crate::socket::{PathSocket, default_ip};
use crate::tcp_port::{self, TcpPort};
use crate::tls;
use crate::trickle;

/// How long the start waits for detection and for the relay.
const READY_DEADLINE: Duration = Duration::from_secs(3);
/// How much longer it waits for detection once a relay is there: without UDP that takes a while.
const DETECTION_GRACE: Duration = Duration::from_millis(500);
/// How much longer it waits for what is to be known of TCP, which takes a round trip or two more.
const TCP_GRACE: Duration = Duration::from_millis(300);
/// Messages for the coordinator that wait while it is away.
const OUTGOING: usize = 256;
/// Events that a slow listener may fall behind.
const NEWS: usize = 256;
const CHANNEL: usize = 256;
/// How long a keep-alive may go unanswered before the peer counts as gone.
const UNANSWERED: Duration = Duration::from_secs(15);

/// A client. Clones are the same client. It ends with the last of them, or by [`Client::shutdown`],
/// which waits until everybody has been told: connections close, the allocation is given back, and the
/// coordinator hears a goodbye.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    peer: PeerId,
    config: Config,
    commands: mpsc::Sender<Command>,
    renewals: mpsc::Sender<Renewal>,
    accepted: Mutex<mpsc::Receiver<Connection>>,
    news: broadcast::Sender<ClientEvent>,
    socket: Arc<PathSocket>,
    endpoint: Endpoint,
    counters: Arc<Counters>,
    signaling: Mutex<Option<JoinHandle<()>>>,
    started: Instant,
    signaling_ended: watch::Receiver<Option<Error>>,
    cancel: CancellationToken,
}

impl Client {
    /// Registers with the coordinator, measures the network, allocates at the relay, and is ready to
    /// connect and to be connected to. Returns after a few round trips, or 3 s where STUN servers or
    /// relay are silent.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let peer = match &config.peer {
            Some(peer) => peer.clone(),
            None => subject(&config.token)?,
        };
        let Bound { socket, port, v4_only } = gather::bind(config.local_port)?;
        let identity = Identity::generate()?;
        let tls = tls::config(&config.extra_roots)?;
        let cancel = CancellationToken::new();
        let end = cancel.clone().drop_guard();

        let (signaling_tx, outgoing) = mpsc::channel(OUTGOING);
        let (signals_tx, mut signals) = mpsc::channel(CHANNEL);
        let signaling = SignalingConfig {
            server: config.server.clone(),
            token: config.token.clone(),
            peer: peer.clone(),
            meta: config.meta.clone(),
            key: Some(identity.public().clone()),
            max_retries: config.max_retries,
            tls: Arc::clone(&tls),
        };
        let (renewals_tx, renewals) = mpsc::channel(1);
        let signaling =
            tokio::spawn(signaling::run(signaling, outgoing, renewals, signals_tx, cancel.clone()));
        let welcome =
            tokio::time::timeout(config.connect_timeout, first_welcome(&mut signals)).await;
        let welcome = welcome.map_err(|_| {
            let seconds = config.connect_timeout.as_secs();
            signaling::unreachable(&config.server, &format!("no welcome within {seconds} s"))
        })??;
        tracing::info!(%peer, "registered");

        let local_ips = gather::local_ips(config.allow_loopback, v4_only);
        let (stun_servers, relays) = servers(&config, &welcome).await;
        let (tcp_servers, tcp_known) =
            watch::channel(resolve::tcp_stun_servers(&stun_servers, &relays));
        let node = NodeConfig {
            local_port: port,
            local_ips: local_ips.clone(),
            stun_servers,
            relays,
            keep_alive: config.keep_alive,
        };
        let now = Instant::now();
        let node = Node::new(node, Box::new(StdRng::from_os_rng()), now);
        let runtime = Arc::new(TokioRuntime);
        let wrapped = runtime.wrap_udp_socket(socket).map_err(Error::internal)?;
        let (streams, opening) = RelayStreams::new();
        let local = default_ip(&local_ips);
        let (peers, dialling) = PeerStreams::new();
        let socket = PathSocket::new(wrapped, v4_only, local, node, streams, peers, now);
        let socket = Arc::new(socket);
        tokio::spawn(relay_stream::run(Arc::clone(&socket), opening, tls, cancel.clone()));
        match TcpPort::bind(port) {
            Ok(port) => {
                let port = Arc::new(port);
                let streams = peer_streams::run(
                    Arc::clone(&socket),
                    Arc::clone(&port),
                    dialling,
                    cancel.clone(),
                );
                tokio::spawn(streams);
                let (known, interval) = (Arc::downgrade(&socket), config.keep_alive);
                let keep = tcp_port::keep(port, tcp_known, known, interval, cancel.clone());
                tokio::spawn(keep);
            }
            Err(error) => {
                tracing::debug!(%error, "no TCP port; going on without");
                socket.with_node(|node, now| node.set_tcp(None, now));
            }
        }
        let transport = Arc::new(transport(&config));
        let endpoint = endpoint(&socket, &identity, &transport, runtime)?;

        let (node_tx, mut node_events) = mpsc::channel(CHANNEL);
        let allow_loopback = config.allow_loopback;
        let mut known = local_ips.clone();
        let addresses = move || {
            known = gather::local_ips_after(&known, allow_loopback, v4_only);
            known.clone()
        };
        tokio::spawn(driver::run(Arc::clone(&socket), node_tx, addresses, cancel.clone()));
        let (arrivals_tx, arrivals) = mpsc::channel(CHANNEL);
        tokio::spawn(accept::run(endpoint.clone(), arrivals_tx, cancel.clone()));

        let (commands_tx, commands) = mpsc::channel(CHANNEL);
        let (accepted_tx, accepted) = mpsc::channel(MAX_ACCEPTED);
        let (begun_tx, begun) = mpsc::channel(CHANNEL);
        let (dialled_tx, dialled) = mpsc::channel(CHANNEL);
        let (ended_tx, ended) = mpsc::channel(CHANNEL);
        let (trickled_tx, trickled) = mpsc::channel(CHANNEL);
        let (signaling_ended_tx, signaling_ended) = watch::channel(None);
        let (news, _) = broadcast::channel(NEWS);
        let counters = Arc::new(Counters::default());
        // The node has begun to measure when it was made; its first packets leave here.
        socket.with_node(|_, _| ());
        ready(&socket, &mut node_events).await;
        publish(&socket, &signaling_tx).await;
        let attempts = Attempts {
            config: config.clone(),
            identity,
            endpoint: endpoint.clone(),
            transport,
            offers: Offers::new(&config, &welcome.ice_servers, Arc::clone(&socket), tcp_servers),
            socket: Arc::clone(&socket),
            signaling: signaling_tx,
            accepted: Some(accepted_tx),
            signaling_ended: signaling_ended_tx,
            news: news.clone(),
            counters: Arc::clone(&counters),
            asked: HashMap::new(),
            entries: HashMap::new(),
            lingering: Vec::new(),
            ahead: Vec::new(),
            begun: begun_tx,
            dialled: dialled_tx,
            ended: ended_tx,
            trickled: trickled_tx,
            next_request: 0,
            published: None,
            end,
        };
        let inputs = Inputs {
            commands,
            signals,
            node: node_events,
            arrivals,
            begun,
            dialled,
            ended,
            trickled,
        };
        tokio::spawn(attempts.run(inputs));
        Ok(Self {
            inner: Arc::new(Inner {
                peer,
                config,
                commands: commands_tx,
                renewals: renewals_tx,
                accepted: Mutex::new(accepted),
                news,
                socket,
                endpoint,
                counters,
                signaling: Mutex::new(Some(signaling)),
                started: Instant::now(),
                signaling_ended,
                cancel,
            }),
        })
    }

    /// The registered peer id.
    pub fn peer_id(&self) -> &PeerId {
        &self.inner.peer
    }

    /// What was measured of this network.
    pub fn nat(&self) -> NatProfile {
        self.inner.socket.with_node(|node, _| node.profile().clone())
    }

    /// Whether an allocation at a relay is there.
    pub fn relay_ready(&self) -> bool {
        relay_ready(&self.inner.socket)
    }

    /// How the relay is reached, once an allocation is there: over UDP where that passes.
    pub fn relay_transport(&self) -> Option<RelayTransport> {
        self.inner.socket.with_node(|node, _| node.relay_transport())
    }

    /// The method that connections of this network usually use, and its chance in percent.
    pub fn recommended_strategy(&self) -> (Method, f64) {
        p2p_nat::plan::recommend(&self.nat())
    }

    /// Connects to a peer. Tries again up to `max_retries` times where a path was not found, and as
    /// often as it takes where too many attempts were open, within `connect_timeout` in all. Fails at
    /// once where the coordinator will not have this client back ([`Client::signaling_ended`]).
    pub async fn connect(&self, peer: &PeerId, policy: Policy) -> Result<Connection, Error> {
        let nat = self.nat();
        if nat.nat_type == NatType::UdpBlocked
            && nat.tcp.is_none()
            && (policy == Policy::Direct || !may_relay(&self.inner.socket))
        {
            return Err(udp_blocked());
        }
        let mut last = None;
        let tries = async {
            let (mut unsuccessful, mut turned_away) = (0, 0);
            loop {
                match self.attempt(peer, policy).await {
                    Err(error) if error.code == ErrorCode::Busy => {
                        let pause = backoff::pause(turned_away, &mut rand::rng());
                        turned_away += 1;
                        last = Some(error);
                        tokio::time::sleep(pause).await;
                    }
                    Err(error) if error.code == ErrorCode::Timeout => {
                        last = Some(error);
                        unsuccessful += 1;
                        if unsuccessful > self.inner.config.max_retries {
                            return None;
                        }
                    }
                    other => return Some(other),
                }
            }
        };
        let found = tokio::time::timeout(self.inner.config.connect_timeout, tries).await;
        match (found, last) {
            (Ok(Some(result)), _) => result,
            (_, Some(error)) => Err(error),
            (_, None) => Err(Error::new(
                ErrorCode::Timeout,
                format!(
                    "Connection timeout: no path to {peer} in {:?}",
                    self.inner.config.connect_timeout
                ),
                "see `p2p netcheck` on both sides for what their networks allow",
            )),
        }
    }

    async fn attempt(&self, peer: &PeerId, policy: Policy) -> Result<Connection, Error> {
        let (reply, result) = oneshot::channel();
        let command = Command::Connect { to: peer.clone(), policy, reply };
        let gone = || Error::closed("the client is shut down");
        self.inner.commands.send(command).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }

    /// Takes a newer token, so that the registration outlives the one it began with. While the
    /// coordinator is away the token is kept for the next connection.
    ///
    /// # Errors
    /// The coordinator refuses the token, and the earlier one stays in force; or the client has
    /// ended.
    pub async fn refresh_token(&self, token: impl Into<String>) -> Result<(), Error> {
        let token = Secret::new(token);
        let subject = subject(&token);
        if let Ok(other) = subject
            && other != self.inner.peer
        {
            return Err(Error::new(
                ErrorCode::Auth,
                format!("the token is for {other}, and this client is {}", self.inner.peer),
                "refresh with a token for the same peer",
            ));
        }
        let (answer, answered) = oneshot::channel();
        let gone = || Error::closed("the client is shut down");
        let renewal = Renewal { token, answer };
        match self.inner.renewals.send(renewal).await {
            Ok(()) => answered.await.map_err(|_| gone())?,
            Err(_) => Err(self.signaling_ended().await),
        }
    }

    /// Waits until the coordinator will not have this client back, and says why: it refuses the token,
    /// or another program has taken the peer id. Connections go on; nobody new can be connected to.
    /// After [`Client::shutdown`] it says that the client is closed.
    pub async fn signaling_ended(&self) -> Error {
        let mut ended = self.inner.signaling_ended.clone();
        let error = ended.wait_for(Option::is_some).await.map(|error| error.clone());
        error.ok().flatten().unwrap_or_else(|| Error::closed("the client is shut down"))
    }

    /// Waits for a peer to connect; `None` after [`Client::shutdown`], and where nobody can come any
    /// more ([`Client::signaling_ended`]).
    pub async fn accept(&self) -> Option<Connection> {
        let mut accepted = self.inner.accepted.lock().await;
        tokio::select! {
            () = self.inner.cancel.cancelled() => None,
            connection = accepted.recv() => connection,
        }
    }

    /// What happens from here on. A listener that falls 256 events behind misses the oldest.
    pub fn events(&self) -> broadcast::Receiver<ClientEvent> {
        self.inner.news.subscribe()
    }

    /// What has been counted.
    pub fn stats(&self) -> ClientStats {
        let counters = &self.inner.counters;
        ClientStats {
            connections: counters.connections.load(Ordering::Relaxed),
            active: counters.active.load(Ordering::Relaxed),
            direct: counters.direct.load(Ordering::Relaxed),
            relayed: counters.relayed.load(Ordering::Relaxed),
            failed: counters.failed.load(Ordering::Relaxed),
            dropped: self.inner.socket.dropped(),
            uptime: self.inner.started.elapsed(),
        }
    }

    /// Closes all connections, gives the allocation back and leaves the coordinator.
    pub async fn shutdown(&self) {
        self.inner.endpoint.close(quinn::VarInt::from_u32(0), b"shut down");
        // The last packets tell the other sides; a peer that is gone does not hold this up.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.inner.endpoint.wait_idle()).await;
        // What they used is told before the goodbye to the coordinator.
        let counters = &self.inner.counters;
        let told = async {
            loop {
                let ended = counters.ended.notified();
                if counters.active.load(Ordering::Relaxed) == 0 {
                    return;
                }
                ended.await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
        self.inner.socket.with_node(|node, now| node.close(now));
        self.inner.cancel.cancel();
        if let Some(signaling) = self.inner.signaling.lock().await.take() {
            // It is saying goodbye; a coordinator that does not read does not hold this up either.
            let _ = tokio::time::timeout(Duration::from_secs(1), signaling).await;
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("peer", &self.inner.peer).finish_non_exhaustive()
    }
}

/// The peer id that a token is for. Only read, not verified: that is the coordinator's part.
pub(crate) fn subject(token: &Secret) -> Result<PeerId, Error> {
    #[derive(serde::Deserialize)]
    struct Claims {
        sub: String,
    }
    let bad = |cause: String| {
        let fix = "pass a token as `coordinator token` mints it, or name the peer id";
        Error::new(ErrorCode::Auth, cause, fix)
    };
    let payload = token.expose().trim().split('.').nth(1);
    let payload = payload.and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Option<Claims> = payload.and_then(|json| serde_json::from_slice(&json).ok());
    let Some(Claims { sub }) = claims else {
        return Err(bad("the token is not a JWT with a `sub`".to_owned()));
    };
    if sub.contains('*') {
        return Err(bad(format!("the token is for any peer of {sub:?}, so it does not say which")));
    }
    PeerId::new(sub).map_err(|error| bad(error.to_string()))
}

pub(crate) async fn first_welcome(
    signals: &mut mpsc::Receiver<SignalEvent>,
) -> Result<Box<Welcome>, Error> {
    loop {
        match signals.recv().await {
            Some(SignalEvent::Welcome(welcome)) => return Ok(welcome),
            Some(SignalEvent::Ended(error)) => return Err(error),
            Some(SignalEvent::Lost { cause, .. }) => tracing::debug!(cause, "not registered yet"),
            Some(
                SignalEvent::Unanswered(_)
                | SignalEvent::Servers(_)
                | SignalEvent::Message(_)
                | SignalEvent::TokenEnding(_),
            ) => {}
            None => return Err(Error::closed("the signaling task has ended")),
        }
    }
}

async fn servers(config: &Config, welcome: &Welcome) -> (Vec<SocketAddr>, Vec<RelayConfig>) {
    let mut offered = welcome.ice_servers.clone();
    offered.extend(config.turn_servers.iter().cloned());
    let stun = resolve::stun_servers(&config.stun_servers, &offered).await;
    (stun, resolve::relays(&offered, &[]).await)
}

fn transport(config: &Config) -> TransportConfig {
    let mut transport = TransportConfig::default();
    // A keep-alive asks for an answer and is sent again until one comes: a peer that has let it go
    // unanswered for this long is not there.
    let idle = config.keep_alive + UNANSWERED;
    transport
        .keep_alive_interval(Some(config.keep_alive))
        .max_idle_timeout(idle.try_into().ok())
        .initial_rtt(Duration::from_millis(100))
        .max_concurrent_bidi_streams(MAX_STREAMS.into())
        .max_concurrent_uni_streams(trickle::MAX_STREAMS.into())
        .stream_receive_window(quinn::VarInt::from_u32(4 * 1024 * 1024))
        .datagram_receive_buffer_size(Some(64 * 1024));
    transport
}

fn endpoint(
    socket: &Arc<PathSocket>,
    identity: &Identity,
    transport: &Arc<TransportConfig>,
    runtime: Arc<TokioRuntime>,
) -> Result<Endpoint, Error> {
    let mut server = ServerConfig::with_crypto(Arc::new(identity.server()?));
    server.transport_config(Arc::clone(transport));
    // Paths change below QUIC, which is to see one address for ever.
    server.migration(false);
    let mut config = EndpointConfig::default();
    // The bit tells QUIC from TURN on this socket (RFC 9443 §3).
    config.grease_quic_bit(false);
    let socket = Arc::clone(socket);
    Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)
        .map_err(Error::internal)
}

/// Waits until detection and relay have said how they stand, so that the first attempt starts with
/// everything there is to offer.
async fn ready(socket: &Arc<PathSocket>, events: &mut mpsc::Receiver<Event>) {
    let settled = |socket: &PathSocket| {
        socket.with_node(|node, _| !matches!(node.allocation(), Some(Allocation::Pending)))
    };
    let mut detected = false;
    let wait = async {
        while !(detected && settled(socket)) {
            let event = if relay_ready(socket) {
                let Ok(event) = tokio::time::timeout(DETECTION_GRACE, events.recv()).await else {
                    return;
                };
                event
            } else {
                events.recv().await
            };
            match event {
                Some(Event::Detected(_)) => detected = true,
                Some(Event::Unmeasured(task)) => behaviour::measure_beside(task, socket),
                Some(_) => {}
                None => return,
            }
        }
    };
    if tokio::time::timeout(READY_DEADLINE, wait).await.is_err() {
        tracing::debug!("detection or relay are silent; going on without");
    }
    let tcp = async {
        while !socket.with_node(|node, _| node.is_tcp_known()) {
            match events.recv().await {
                Some(Event::Unmeasured(task)) => behaviour::measure_beside(task, socket),
                Some(_) => {}
                None => return,
            }
        }
    };
    if tokio::time::timeout(TCP_GRACE, tcp).await.is_err() {
        tracing::debug!("no STUN server has answered over TCP yet; going on without");
    }
}

/// Whether an allocation is there.
pub(crate) fn relay_ready(socket: &PathSocket) -> bool {
    socket.with_node(|node, _| matches!(node.allocation(), Some(Allocation::Ready(_))))
}

/// Whether an allocation is there, or may still come.
fn may_relay(socket: &PathSocket) -> bool {
    let may = |a| matches!(a, Some(Allocation::Ready(_) | Allocation::Pending));
    socket.with_node(|node, _| may(node.allocation()))
}

async fn publish(socket: &PathSocket, signaling: &mpsc::Sender<ClientMessage>) {
    let (profile, candidates) =
        socket.with_node(|node, _| (node.profile().clone(), node.candidates()));
    let nat = p2p_wire::client::Nat { profile, candidates };
    // The receiver is gone only when the client is.
    let _ = signaling.send(ClientMessage::Nat(nat)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> Secret {
        Secret::new(format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims)))
    }

    #[test]
    fn the_peer_id_is_the_tokens_subject() {
        assert_eq!(subject(&token(r#"{"sub":"alice"}"#)).unwrap().as_str(), "alice");
    }

    #[test]
    fn a_token_that_names_no_peer_is_refused_with_a_fix() {
        for bad in [token("{}"), token(r#"{"sub":"a*"}"#), Secret::new("garbage"), Secret::new("")]
        {
            let error = subject(&bad).unwrap_err();
            assert_eq!(error.code, ErrorCode::Auth);
            assert!(!error.fix.is_empty());
        }
    }
}
