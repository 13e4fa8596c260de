//! What an operator decides about an instance. Every field's default is in its documentation.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p_auth::Verifier;
use p2p_auth::turn_rest::TurnSecrets;
use p2p_registry::{RelayDirectory, TicketBox};
use p2p_stats::Recorder;
use p2p_wire::limits::{ATTEMPT_TIMEOUT_MS, HEARTBEAT_MS, HELLO_DEADLINE_MS};
use p2p_wire::{AppId, Cidr};

use crate::keys::JwksUrl;

/// The configuration of one signaling instance.
#[derive(Debug, Clone)]
pub struct SignalingConfig {
    /// Where HTTP and WebSocket are served. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where `/metrics` is served, with `/livez` and `/readyz`; `None` serves it on `listen`.
    pub admin_listen: Option<SocketAddr>,
    /// Who may come in.
    pub verifier: Arc<Verifier>,
    /// Where the token issuer publishes its keys. Nowhere.
    pub jwks: Option<Jwks>,
    /// `stun:host:port` URIs for every client. None.
    pub stun: Vec<String>,
    /// The relays, in the order of preference. None.
    pub relays: Vec<RelayOffer>,
    /// The relays that come and go by themselves. None.
    pub relay_directory: Option<Arc<RelayDirectory>>,
    /// Where tickets are kept that are good at other instances, too. Nowhere: they are good here.
    pub tickets: Option<Arc<dyn TicketBox>>,
    /// Where this instance is, in the operator's words: relays of the same region are preferred.
    /// Nowhere.
    pub region: Option<String>,
    /// The secrets shared with the relays; needed when there are any.
    pub turn_secrets: TurnSecrets,
    /// How long relay credentials are good for. 1 h.
    pub turn_ttl: Duration,
    /// From which web pages browsers may connect. Any.
    pub origins: Origins,
    /// Proxies whose `X-Forwarded-For` says where a client is. None.
    pub trusted_proxies: Vec<Cidr>,
    /// Whether candidates may name loopback addresses. No; a demo on one machine needs it.
    pub allow_loopback_candidates: bool,
    /// What PeerJS clients may do.
    pub peerjs: PeerJs,
    /// Where statistics go, if not straight into the store.
    pub recorder: Option<Recorder>,
    /// Bounds.
    pub limits: InstanceLimits,
    /// Deadlines.
    pub timing: Timing,
}

impl SignalingConfig {
    /// Defaults: no relays, no STUN servers, one port for everything.
    pub fn new(listen: SocketAddr, verifier: Verifier) -> Self {
        Self {
            listen,
            admin_listen: None,
            verifier: Arc::new(verifier),
            jwks: None,
            stun: Vec::new(),
            relays: Vec::new(),
            relay_directory: None,
            tickets: None,
            region: None,
            turn_secrets: TurnSecrets::default(),
            turn_ttl: Duration::from_secs(3600),
            origins: Origins::Any,
            trusted_proxies: Vec::new(),
            allow_loopback_candidates: false,
            peerjs: PeerJs::default(),
            recorder: None,
            limits: InstanceLimits::default(),
            timing: Timing::default(),
        }
    }
}

/// What PeerJS clients may do beyond what their tokens say.
#[derive(Debug, Clone, Default)]
pub struct PeerJs {
    /// Whether they are let in without a JWT, as whoever they say they are. No: that is for
    /// development.
    pub open: bool,
    /// Apps whose peers' ids everybody may list: PeerJS sends no token with that request. None.
    pub discovery: Vec<AppId>,
}

/// Where and how often the keys of a token issuer are fetched.
#[derive(Debug, Clone)]
pub struct Jwks {
    /// The key set's URL.
    pub url: JwksUrl,
    /// How old the keys may get before they are fetched again. 5 min.
    pub refresh: Duration,
    /// Between two fetches, whatever tokens come: a token with an unknown key asks for one. 10 s.
    pub floor: Duration,
    /// How long one fetch may take. 5 s.
    pub deadline: Duration,
    /// How long keys are used that cannot be fetched again. 24 h.
    pub stale: Duration,
}

impl Jwks {
    /// Defaults for a URL.
    pub fn new(url: JwksUrl) -> Self {
        Self {
            url,
            refresh: Duration::from_secs(300),
            floor: Duration::from_secs(10),
            deadline: Duration::from_secs(5),
            stale: Duration::from_secs(24 * 3600),
        }
    }
}

/// One relay, as clients are told about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayOffer {
    /// `turn:host:port?transport=udp` URIs of the same relay.
    pub urls: Vec<String>,
}

/// From which web pages browsers may open a WebSocket.
///
/// Tokens are not cookies, so a foreign page cannot ride on a user's session; the list keeps it
/// from using a token that it came by. A page of the instance itself is always welcome, and so are
/// clients that send no `Origin`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origins {
    /// Any page.
    #[default]
    Any,
    /// Pages of these origins, such as `https://app.example.org`.
    Only(Vec<String>),
}

/// Bounds of one instance. Reaching one is answered and counted (invariant I5).
#[derive(Debug, Clone)]
pub struct InstanceLimits {
    /// WebSockets at once. 50,000.
    pub connections: usize,
    /// HTTP connections at once, those aside that have become WebSockets. 10,000.
    pub sockets: usize,
    /// HTTP connections at once to the admin port, where there is one. 256.
    pub admin_sockets: usize,
    /// HTTP requests at once, WebSockets aside. 512.
    pub requests: usize,
    /// Messages a second and connection, sustained. 100.
    pub messages_per_second: u32,
    /// Messages that may come at once. 400.
    pub message_burst: u32,
    /// Messages refused as too fast before the connection is closed. 400.
    pub too_fast_strikes: u32,
    /// Messages a second of all connections of an app to this instance, sustained. 50,000.
    pub app_messages_per_second: u32,
    /// Messages of an app that may come at once. 100,000.
    pub app_message_burst: u32,
    /// Offers a second from one peer to another, sustained: `connect`, and messages to a peer whose
    /// kind is `offer`. 20.
    pub offers_per_second: u32,
    /// Offers from one peer to another that may come at once. 200.
    pub offer_burst: u32,
    /// Connections at once that have shown no valid token yet, of one IPv4 address or one IPv6
    /// network of 64 bits. 64.
    pub half_open: usize,
    /// The same for a private or loopback address, which usually is a proxy's. 4,096.
    pub half_open_private: usize,
    /// Frames that wait for one slow client. 512, which holds a full inbox and its events.
    pub outbox: usize,
    /// Attempts that are open or may still turn direct. 20,000.
    pub attempts: usize,
    /// Tickets not yet used that are kept at this instance. 10,000.
    pub tickets: usize,
    /// Statistics that wait for the store. 8,192.
    pub records: usize,
}

impl Default for InstanceLimits {
    fn default() -> Self {
        Self {
            connections: 50_000,
            sockets: 10_000,
            admin_sockets: 256,
            requests: 512,
            messages_per_second: 100,
            message_burst: 400,
            too_fast_strikes: 400,
            app_messages_per_second: 50_000,
            app_message_burst: 100_000,
            offers_per_second: 20,
            offer_burst: 200,
            half_open: 64,
            half_open_private: 4_096,
            outbox: 512,
            attempts: 20_000,
            tickets: 10_000,
            records: 8_192,
        }
    }
}

/// Deadlines of one instance.
#[derive(Debug, Clone)]
pub struct Timing {
    /// How long a request's headers may take. 5 s.
    pub headers: Duration,
    /// How long an HTTP request may take. 10 s.
    pub request: Duration,
    /// How long the client may take to take what it asked for, from when it has to be waited for.
    /// 30 s.
    pub answer: Duration,
    /// How old the counts and the state of what is behind the instance may be where they are told
    /// without a token: on `/`, `/metrics` and `/readyz`. 1 s.
    pub look: Duration,
    /// How long a new WebSocket has to say hello. 5 s.
    pub hello: Duration,
    /// Between a client's pings; two and a half of them without a frame end the connection. 25 s.
    pub heartbeat: Duration,
    /// How long a PeerJS client may be silent; a page in the background may run its timers once a
    /// minute. 90 s.
    pub peerjs_silence: Duration,
    /// How long what a PeerJS client sends waits for a receiver who is not there yet. 5 s.
    pub peerjs_wait: Duration,
    /// How long one frame may take to be written. 5 s.
    pub write: Duration,
    /// How long a closing connection has to answer. 1 s.
    pub linger: Duration,
    /// After which an attempt that nobody reported has failed. 30 s.
    pub attempt: Duration,
    /// How long a peer that lost its connection may be away from an open attempt. 5 s.
    pub attempt_grace: Duration,
    /// How long a relayed attempt may still be reported as direct. 10 min.
    pub upgrade: Duration,
    /// How long a ticket is good for. 60 s.
    pub ticket: Duration,
    /// Over which a drain spreads the reconnects. 10 s.
    pub drain: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            headers: Duration::from_secs(5),
            request: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            look: Duration::from_secs(1),
            hello: Duration::from_millis(HELLO_DEADLINE_MS),
            heartbeat: Duration::from_millis(HEARTBEAT_MS),
            peerjs_silence: Duration::from_secs(90),
            peerjs_wait: Duration::from_secs(5),
            write: Duration::from_secs(5),
            linger: Duration::from_secs(1),
            attempt: Duration::from_millis(ATTEMPT_TIMEOUT_MS),
            attempt_grace: Duration::from_secs(5),
            upgrade: Duration::from_secs(600),
            ticket: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}
