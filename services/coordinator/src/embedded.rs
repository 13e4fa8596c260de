//! Every role in one process, on loopback, with keys of this run: what `dev` and `demo` serve.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use p2p_auth::{Claims, RoomGrant, Scope, SigningSecret, Token, Verifier, mint};
use p2p_registry::{MemoryRegistry, Settings};
use p2p_relay::{Cidr, CidrError, Listening, Relay, RelayConfig, RelayHandle, TurnSecrets};
use p2p_signaling::{PeerJs, RelayOffer, Signaling, SignalingConfig, SignalingHandle};
use p2p_stats::{Recorder, SqliteStore};
use p2p_telemetry::{Shutdown, prometheus};
use secrecy::SecretString;
use tokio::task::JoinHandle;

use crate::failure::Failure;
use crate::token::unix_now;
use crate::version::VERSION;
use crate::{relay, secret, signaling, statistics};

/// How long the tokens of a run are valid.
pub const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

/// The room that the tokens of a run allow.
pub const ROOM: &str = "demo";

/// Over which a drain spreads the goodbyes: nobody but this machine's own programs is connected.
const DRAIN: Duration = Duration::from_millis(500);

/// Statistics that wait for the store.
const RECORDS: usize = 8_192;

/// How long a drain may take in all.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Where the roles listen.
#[derive(Debug, Clone, Copy)]
pub struct Listen {
    /// HTTP and WebSocket.
    pub signaling: SocketAddr,
    /// STUN and TURN over UDP, and TURN over TCP.
    pub relay: SocketAddr,
}

impl Listen {
    /// Loopback, on free ports.
    pub fn anywhere() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { signaling: any, relay: any }
    }
}

/// The running roles.
pub struct Embedded {
    signaling: SignalingHandle,
    relay: RelayHandle,
    usage_recorded: JoinHandle<()>,
    /// The statistics.
    pub store: Arc<SqliteStore>,
    secret: SigningSecret,
}

impl Embedded {
    /// Binds and starts everything. Statistics go to a file in `data`, or to memory.
    pub async fn start(listen: Listen, data: Option<&Path>) -> Result<Self, Failure> {
        Self::start_with(listen, data, PeerJs::default()).await
    }

    /// The same, where PeerJS clients may do more than their tokens say.
    pub async fn start_with(
        listen: Listen,
        data: Option<&Path>,
        peerjs: PeerJs,
    ) -> Result<Self, Failure> {
        let signing = SigningSecret::new(&secret::random()?)
            .map_err(|error| Failure::bug(error.to_string()))?;
        let turn = TurnSecrets::from(SecretString::from(secret::random()?));
        let store = Arc::new(statistics::open_embedded(data).await?);
        // The recorder's first values go there.
        prometheus::install(VERSION).map_err(|error| Failure::bug(error.to_string()))?;
        let recorder = Recorder::new(store.clone(), RECORDS);
        let (usage, usage_recorded) = statistics::of_relay(recorder.clone(), None);

        let loopback = ["127.0.0.0/8", "::1/128"].map(|block| block.parse());
        let loopback: Result<Vec<Cidr>, CidrError> = loopback.into_iter().collect();
        let relay = Relay::bind(RelayConfig {
            listen: vec![listen.relay],
            listen_tcp: vec![listen.relay],
            secrets: turn.clone(),
            // The peers are on this machine, which a relay protects by default.
            allow_peers: loopback.map_err(|error| Failure::bug(error.to_string()))?,
            usage: Some(usage),
            ..RelayConfig::default()
        })
        .and_then(Relay::start)
        .map_err(|error| relay::failure(&error, "--relay"))?;
        let relay_address = relay.local_addrs()[0];

        let verifier = Verifier::hs256([signing.clone()]);
        let mut config = SignalingConfig::new(listen.signaling, verifier);
        let url = |it: &Listening| format!("turn:{}?transport={}", it.addr, it.transport);
        config.relays = vec![RelayOffer { urls: relay.listening().iter().map(url).collect() }];
        config.stun = vec![format!("stun:{relay_address}")];
        config.turn_secrets = turn;
        config.turn_ttl = TOKEN_TTL;
        config.allow_loopback_candidates = true;
        config.timing.drain = DRAIN;
        // Programs on this machine, which their developer makes connect as often as they like.
        config.limits.offers_per_second = config.limits.messages_per_second;
        config.limits.offer_burst = config.limits.message_burst;
        config.peerjs = peerjs;
        config.recorder = Some(recorder);
        let registry = MemoryRegistry::start(Settings::default());
        let signaling = Signaling::bind(config, registry, store.clone())
            .await
            .map_err(|error| signaling::failure(&error, listen.signaling, "--signaling"))?
            .start();
        Ok(Self { signaling, relay, usage_recorded, store, secret: signing })
    }

    /// What clients take as their server.
    pub fn signaling_url(&self) -> String {
        format!("ws://{}", self.signaling.local_addr())
    }

    /// The STUN and TURN server.
    pub fn relay_url(&self) -> String {
        format!("turn:{}", self.relay.local_addrs()[0])
    }

    /// A page of signaling's.
    pub fn page(&self, path: &str) -> String {
        format!("http://{}{path}", self.signaling.local_addr())
    }

    /// Bytes that the relay has carried so far, both ways.
    pub fn relayed_bytes(&self) -> Result<u64, Failure> {
        let snapshot = self.relay.snapshot().map_err(|error| relay::failure(&error, "--relay"))?;
        Ok(snapshot.client_to_peer.bytes + snapshot.peer_to_client.bytes)
    }

    /// A token for a peer, with everything that a peer may do and the room of this run.
    pub fn token(&self, peer: &str) -> Result<Token, Failure> {
        self.token_for(peer, TOKEN_TTL)
    }

    /// Such a token for a time of the caller's.
    pub fn token_for(&self, peer: &str, ttl: Duration) -> Result<Token, Failure> {
        self.mint(peer, &[Scope::Connect, Scope::Relay, Scope::Discover], ttl)
    }

    /// A token that may also read statistics.
    pub fn admin_token(&self) -> Result<Token, Failure> {
        self.mint("admin", &Scope::ALL, TOKEN_TTL)
    }

    fn mint(&self, peer: &str, scopes: &[Scope], ttl: Duration) -> Result<Token, Failure> {
        let bug = |error: &dyn std::fmt::Display| Failure::bug(error.to_string());
        let subject = peer.parse().map_err(|error| bug(&error))?;
        let mut claims =
            Claims::new(subject, unix_now() + ttl.as_secs()).with_scopes(scopes.iter().copied());
        claims.rooms = vec![RoomGrant::all(ROOM.parse().map_err(|error| bug(&error))?)];
        mint(&claims, &self.secret).map_err(|error| bug(&error))
    }

    /// What signaling is doing.
    pub fn snapshot(&self) -> p2p_signaling::Snapshot {
        self.signaling.snapshot()
    }

    /// Resolves when every verdict that signaling has is in the store.
    pub async fn flush_stats(&self) {
        self.signaling.flush_stats().await;
    }

    /// Drains both roles (invariant I12), or cuts them short when `shutdown` is forced.
    pub async fn stop(self, shutdown: &Shutdown) {
        let Self { signaling, relay, usage_recorded, store, .. } = self;
        let drained = async {
            relay.drain(DRAIN);
            signaling.drain().await;
            drop(relay.stopped().await);
            // What the relay reported last is recorded before signaling closes the recorder.
            drop(usage_recorded.await);
        };
        shutdown.finish(drained, DRAIN_DEADLINE).await;
        signaling.shutdown().await;
        store.close().await;
    }
}
