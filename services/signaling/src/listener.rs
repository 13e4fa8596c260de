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
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::half_open::{HalfOpen, Unproven};
use crate::meters;

/// Bytes of a request's head, and of hyper's buffer for it.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long accepting pauses where the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until the process is to stop now; while it drains, health checks still get answers.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    places: Arc<Semaphore>,
    half_open: Arc<HalfOpen>,
    header_deadline: Duration,
    stop: Shutdown,
) {
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
            serve_connection(stream, from, unproven, router.clone(), header_deadline, stop.clone());
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
    header_deadline: Duration,
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
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_deadline)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.forced() => {
            connection.as_mut().graceful_shutdown();
            connection.await
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
