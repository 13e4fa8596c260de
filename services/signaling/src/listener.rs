//! Accepts TCP connections and speaks HTTP/1.1 on them.
//!
//! Written on hyper because `axum::serve` has no bound on connections and no deadline for a
//! request's headers, and an open port without those is a place to sit for free.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use p2p_telemetry::Shutdown;
use p2p_wire::Redacted;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::config::{SignalingConfig, Timing};
use crate::half_open::{HalfOpen, Unproven};
use crate::meters;
use crate::write_deadline::WriteDeadline;

/// Bytes of a request's head, and of hyper's buffer for it.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long accepting pauses where the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections of one port. Each port has its own: however full the one for clients is, whoever
/// watches the instance gets in.
pub(crate) struct Port {
    places: Arc<Semaphore>,
    half_open: Arc<HalfOpen>,
    timing: Timing,
}

impl Port {
    /// A port for `sockets` HTTP connections at once.
    pub(crate) fn new(sockets: usize, config: &SignalingConfig) -> Self {
        Self {
            places: Arc::new(Semaphore::new(sockets)),
            half_open: HalfOpen::new(
                config.limits.half_open,
                config.limits.half_open_private,
                config.trusted_proxies.clone(),
            ),
            timing: config.timing.clone(),
        }
    }
}

/// Serves until the process is to stop now; while it drains, health checks still get answers.
pub(crate) async fn serve(listener: TcpListener, router: Router, port: Port, stop: Shutdown) {
    let Port { places, half_open, timing } = port;
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.forced() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // At the bound a newcomer is turned away at once: waiting would fill the system's queue.
        let Ok(place) = places.clone().try_acquire_owned() else {
            meters::limited("connections");
            continue;
        };
        let Some(unproven) = half_open.enter(from.ip()) else {
            meters::limited("half_open");
            debug!(from = %Redacted::from(from), "too many connections without a token");
            continue;
        };
        let connection =
            serve_connection(stream, from, unproven, router.clone(), timing.clone(), stop.clone());
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn serve_connection(
    stream: TcpStream,
    from: SocketAddr,
    unproven: Unproven,
    router: Router,
    timing: Timing,
    stop: Shutdown,
) {
    // Frames are small and each is awaited by somebody.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY refused");
    }
    let unproven = Arc::new(unproven);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(from));
        request.extensions_mut().insert(unproven.clone());
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, request).await) }
    });
    let stream = WriteDeadline::new(stream, timing.answer);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timing.headers)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.forced() => {
            connection.as_mut().graceful_shutdown();
            match timeout(timing.linger, connection).await {
                Ok(ended) => ended,
                Err(_) => return debug!("HTTP connection cut: its client takes no answer"),
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "HTTP connection ended");
    }
}

async fn answer(router: Router, request: hyper::Request<Incoming>) -> axum::response::Response {
    match router.oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
