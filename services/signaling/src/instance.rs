//! Everything that the sessions and routes of one instance share.

use std::sync::Arc;

use p2p_registry::{Counts, Registry};
use p2p_stats::{Learned, Recorder, Store};
use p2p_telemetry::Shutdown;
use p2p_telemetry::metrics::{
    ATTEMPTS_OPEN, DRAINING, REDIS_UP, REGISTRY_AWAY, REGISTRY_PEERS, REGISTRY_QUEUED,
    REGISTRY_ROOMS, SIGNALING_EXPIRED, SIGNALING_LAGGING, SIGNALING_PEERJS_WAITING,
    SIGNALING_REPLACED, SIGNALING_SESSIONS,
};
use p2p_telemetry::prometheus::{self, Exporter};
use p2p_wire::Limits;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::Attempts;
use crate::config::SignalingConfig;
use crate::error::SignalingError;
use crate::http::Tickets;
use crate::keys::Keys;
use crate::meters::Meters;
use crate::pacer::Pacer;
use crate::peerjs::Places;
use crate::recent::{Recent, RecentLook};
use crate::relays::Relays;

/// Slots for the rates of apps, and of pairs of peers: 128 KiB together.
const APP_PACES: usize = 1024;
const OFFER_PACES: usize = 15 * 1024;

/// One instance.
pub(crate) struct Instance {
    pub(crate) config: SignalingConfig,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) recorder: Recorder,
    pub(crate) attempts: Attempts,
    pub(crate) tickets: Tickets,
    pub(crate) keys: Keys,
    pub(crate) relays: Relays,
    pub(crate) app_pace: Pacer,
    pub(crate) offer_pace: Pacer,
    /// What waits for peers who are not there yet.
    pub(crate) absent: Arc<Places>,
    pub(crate) meters: Meters,
    pub(crate) exporter: Exporter,
    pub(crate) stop: Shutdown,
    /// Somebody on this host wants it to drain.
    pub(crate) drain_asked: CancellationToken,
    counted: Recent<Counts>,
    /// What `/readyz` says of what is behind this instance.
    pub(crate) behind: Arc<RecentLook>,
    /// The WebSockets, so that a drain can wait for them.
    pub(crate) sessions: TaskTracker,
    /// Places for WebSockets.
    pub(crate) places: Arc<Semaphore>,
    started: Instant,
}

/// What an instance is doing.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Snapshot {
    /// Seconds since it began.
    pub uptime_secs: u64,
    /// Whether it takes no new connections.
    pub draining: bool,
    /// Open WebSockets.
    pub connections: usize,
    /// Peers that are connected.
    pub peers_on: usize,
    /// Peers whose resume window is open.
    pub peers_away: usize,
    /// Rooms with at least one member.
    pub rooms: usize,
    /// Messages that wait for an acknowledgement.
    pub queued_messages: usize,
    /// Attempts that are not decided.
    pub open_attempts: usize,
    /// Statistics that were not kept, ever.
    pub records_dropped: u64,
}

impl Instance {
    pub(crate) fn new(
        config: SignalingConfig,
        registry: Arc<dyn Registry>,
        store: Arc<dyn Store>,
    ) -> Result<Self, SignalingError> {
        let exporter = prometheus::install(env!("CARGO_PKG_VERSION"))?;
        let recorder = match &config.recorder {
            Some(recorder) => recorder.clone(),
            None => Recorder::new(store.clone(), config.limits.records),
        };
        Ok(Self {
            attempts: Attempts::new(
                &config,
                registry.clone(),
                recorder.clone(),
                Learned::follow(store.clone()),
                store.clone(),
            ),
            tickets: Tickets::new(&config),
            keys: Keys::new(config.verifier.clone(), config.jwks.clone()),
            relays: Relays::new(&config)?,
            absent: Arc::default(),
            meters: Meters::new(),
            app_pace: Pacer::new(
                config.limits.app_messages_per_second,
                config.limits.app_message_burst,
                APP_PACES,
            ),
            offer_pace: Pacer::new(
                config.limits.offers_per_second,
                config.limits.offer_burst,
                OFFER_PACES,
            ),
            places: Arc::new(Semaphore::new(config.limits.connections)),
            sessions: TaskTracker::new(),
            drain_asked: CancellationToken::new(),
            stop: Shutdown::new(),
            counted: Recent::new(config.timing.look),
            behind: RecentLook::new(config.timing.look),
            started: Instant::now(),
            exporter,
            recorder,
            registry,
            store,
            config,
        })
    }

    /// What clients are told to keep to.
    pub(crate) fn client_limits(&self) -> Limits {
        Limits {
            messages_per_second: self.config.limits.messages_per_second,
            message_burst: self.config.limits.message_burst,
            ..Limits::default()
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot_of(&self.registry.counts())
    }

    /// The same, with what the registry counted within the last second: it looks at every peer for
    /// that, under its lock, and whoever asks here has shown no token.
    pub(crate) fn recent_snapshot(&self) -> Snapshot {
        self.snapshot_of(&self.recent_counts())
    }

    fn recent_counts(&self) -> Counts {
        self.counted.get(|| self.registry.counts())
    }

    fn snapshot_of(&self, counts: &Counts) -> Snapshot {
        let Counts { peers_on, peers_away, rooms, queued_messages, .. } = *counts;
        Snapshot {
            uptime_secs: self.started.elapsed().as_secs(),
            draining: self.stop.is_draining(),
            connections: self.sessions.len(),
            peers_on,
            peers_away,
            rooms,
            queued_messages,
            open_attempts: self.attempts.open(),
            records_dropped: self.recorder.dropped(),
        }
    }

    /// The metrics, with the gauges set to what there is at this moment.
    pub(crate) fn render_metrics(&self) -> String {
        let ever = self.recent_counts();
        let now = self.snapshot_of(&ever);
        SIGNALING_SESSIONS.get().set((now.peers_on + now.peers_away) as f64);
        REGISTRY_PEERS.get().set((now.peers_on + now.peers_away) as f64);
        REGISTRY_AWAY.get().set(now.peers_away as f64);
        REGISTRY_ROOMS.get().set(now.rooms as f64);
        REGISTRY_QUEUED.get().set(now.queued_messages as f64);
        SIGNALING_EXPIRED.get().absolute(ever.expired);
        SIGNALING_LAGGING.get().absolute(ever.lagging);
        SIGNALING_REPLACED.get().absolute(ever.replaced);
        if self.registry.instance().is_some() {
            REDIS_UP.get().set(f64::from(u8::from(self.registry.trouble().is_none())));
        }
        SIGNALING_PEERJS_WAITING.get().set(self.absent.count() as f64);
        ATTEMPTS_OPEN.get().set(now.open_attempts as f64);
        DRAINING.with(["signaling"]).set(f64::from(u8::from(now.draining)));
        self.exporter.render()
    }
}
