//! Taking the ports, serving, draining, stopping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p_registry::Registry;
use p2p_stats::Store;
use p2p_telemetry::Shutdown;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::config::SignalingConfig;
use crate::error::SignalingError;
use crate::http;
use crate::instance::{Instance, Snapshot};
use crate::listener::{self, Port};

/// How long after a drain's window sessions may take to close.
const DRAIN_SLACK: Duration = Duration::from_secs(2);
/// How long connections may take to end once they must: more than a frame and the end of one take.
const FORCED_SLACK: Duration = Duration::from_secs(10);

/// An instance that has its ports and serves nobody yet.
pub struct Signaling {
    instance: Arc<Instance>,
    listener: TcpListener,
    admin: Option<TcpListener>,
    local_addr: SocketAddr,
    admin_addr: Option<SocketAddr>,
}

/// A running instance. Clones are handles of the same one.
#[derive(Clone)]
pub struct SignalingHandle {
    instance: Arc<Instance>,
    tasks: TaskTracker,
    local_addr: SocketAddr,
    admin_addr: Option<SocketAddr>,
}

impl Signaling {
    /// Takes the ports. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A port that is taken or denied, or a configuration that cannot work.
    pub async fn bind(
        config: SignalingConfig,
        registry: Arc<dyn Registry>,
        store: Arc<dyn Store>,
    ) -> Result<Self, SignalingError> {
        let (listener, local_addr) = listen(config.listen).await?;
        let (admin, admin_addr) = match config.admin_listen {
            Some(address) => {
                let (listener, address) = listen(address).await?;
                (Some(listener), Some(address))
            }
            None => (None, None),
        };
        let instance = Arc::new(Instance::new(config, registry, store)?);
        Ok(Self { instance, listener, admin, local_addr, admin_addr })
    }

    /// Where HTTP and WebSocket are served.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where metrics are served, if that is another port.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// Begins to serve.
    pub fn start(self) -> SignalingHandle {
        let Self { instance, listener, admin, local_addr, admin_addr } = self;
        let tasks = TaskTracker::new();
        let limits = &instance.config.limits;
        for (listener, router, sockets) in [
            Some((listener, http::routes(instance.clone()), limits.sockets)),
            admin.map(|listener| {
                (listener, http::admin_routes(instance.clone()), limits.admin_sockets)
            }),
        ]
        .into_iter()
        .flatten()
        {
            let port = Port::new(sockets, &instance.config);
            tasks.spawn(listener::serve(listener, router, port, instance.stop.clone()));
        }
        let watched = instance.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = watched.attempts.watch() => {}
                () = watched.stop.forced() => {}
            }
        });
        let fetching = instance.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = fetching.keys.keep_fresh() => {}
                () = fetching.stop.forced() => {}
            }
        });
        tasks.close();
        info!(address = %local_addr, admin = admin_addr.map(display), "signaling serves");
        if instance.config.peerjs.open {
            warn!(
                address = %local_addr,
                "PeerJS clients need no token here: whoever reaches this address may take any id and \
                 read what is sent to it. Only for development; without --peerjs-open they need one"
            );
        }
        SignalingHandle { instance, tasks, local_addr, admin_addr }
    }

    /// Serves until `shutdown` drains or the admin port is asked for that, then drains and stops; stops
    /// at once where it forces.
    pub async fn serve(self, shutdown: Shutdown) {
        let handle = self.start();
        tokio::select! {
            () = shutdown.draining() => {}
            () = handle.drain_asked() => shutdown.drain(),
        }
        tokio::select! {
            () = handle.drain() => {}
            () = shutdown.forced() => {}
        }
        handle.shutdown().await;
    }
}

impl SignalingHandle {
    /// Where HTTP and WebSocket are served.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where metrics are served, if that is another port.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// What the instance is doing.
    pub fn snapshot(&self) -> Snapshot {
        self.instance.snapshot()
    }

    /// Resolves when every verdict given before is in the store, or counted as dropped.
    pub async fn flush_stats(&self) {
        self.instance.recorder.flush().await;
    }

    /// Resolves when the admin port is asked for a drain. It is for the caller to begin it.
    pub async fn drain_asked(&self) {
        self.instance.drain_asked.cancelled().await;
    }

    /// Takes no new connections, sends everybody away over the drain's window, and resolves when
    /// all are gone (invariant I12). Health checks are still answered.
    pub async fn drain(&self) {
        let instance = &self.instance;
        instance.stop.drain();
        instance.sessions.close();
        let connections = instance.sessions.len();
        info!(connections, "draining");
        let patience = instance.config.timing.drain + instance.config.timing.linger + DRAIN_SLACK;
        if timeout(patience, instance.sessions.wait()).await.is_err() {
            warn!(connections = instance.sessions.len(), "connections are left after the drain");
        }
    }

    /// Stops now: closes what is left, writes the statistics that wait, frees the ports.
    pub async fn shutdown(&self) {
        let instance = &self.instance;
        instance.stop.force();
        instance.sessions.close();
        // Whatever a client does or does not do, what waits for the store is written after this.
        if timeout(FORCED_SLACK, instance.sessions.wait()).await.is_err() {
            warn!(connections = instance.sessions.len(), "connections are left at the end");
        }
        if let Err(error) = instance.registry.retire().await {
            info!(%error, "other instances notice by the lease that this one is gone");
        }
        if timeout(FORCED_SLACK, self.tasks.wait()).await.is_err() {
            warn!("HTTP connections are left at the end");
        }
        instance.recorder.shutdown().await;
        info!("signaling stopped");
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SignalingError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| SignalingError::listening(address, error))?;
    let local = listener.local_addr().map_err(|error| SignalingError::listening(address, error))?;
    Ok((listener, local))
}
