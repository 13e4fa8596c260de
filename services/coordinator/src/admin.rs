//! Health, metrics and drain of a process that has no HTTP of its own: the relay.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use p2p_telemetry::Shutdown;
use p2p_telemetry::prometheus::Exporter;
use tokio::net::TcpListener;

use crate::failure::Failure;
use crate::listening;

/// The media type of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Between two upkeeps of the metrics.
const UPKEEP: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Shared {
    shutdown: Shutdown,
    metrics: Exporter,
}

/// A bound admin listener.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    shared: Shared,
}

impl Admin {
    /// Binds.
    pub async fn bind(
        address: SocketAddr,
        shutdown: Shutdown,
        metrics: Exporter,
    ) -> Result<Self, Failure> {
        let failed = |error| listening::failed("tcp", address, "--admin-listen", &error);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, shared: Shared { shutdown, metrics } })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the process is forced to stop: a drain has to be visible while it lasts.
    pub fn start(self) {
        let Self { listener, shared, .. } = self;
        let shutdown = shared.shutdown.clone();
        let router = Router::new()
            .route("/livez", get(|| async { "alive\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route("/drain", post(drain))
            .with_state(shared);
        tokio::spawn(async move {
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            let serving = axum::serve(listener, service);
            let serving = serving.with_graceful_shutdown(async move { shutdown.forced().await });
            if let Err(error) = serving.await {
                tracing::warn!(%error, "the admin listener has stopped");
            }
        });
    }
}

/// Keeps the metrics' memory bounded where nobody scrapes them, for the rest of the process's life.
pub fn keep_up(metrics: Exporter) {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            metrics.upkeep();
        }
    });
}

async fn ready(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    if shared.shutdown.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

/// Drains, as SIGTERM does; for whoever is on this host, and could send that, too.
async fn drain(
    State(shared): State<Shared>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
) -> (StatusCode, &'static str) {
    if !from.ip().to_canonical().is_loopback() {
        return (StatusCode::FORBIDDEN, "only from the host that it runs on\n");
    }
    shared.shutdown.drain();
    (StatusCode::ACCEPTED, "draining\n")
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    ([(CONTENT_TYPE, METRICS_TYPE)], shared.metrics.render())
}
