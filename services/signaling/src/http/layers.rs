//! The layers around the routes.
//!
//! From the outside in: a panic becomes a problem, the request is logged and measured, and for all
//! but WebSockets and health checks there is a bound on how many run, how large they are, and how
//! long they take.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::error_handling::HandleErrorLayer;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::{BoxError, Router};
use http::header;
use p2p_telemetry::metrics::HTTP_REQUEST_SECONDS;
use p2p_wire::Code;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::timeout::error::Elapsed;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tracing::{debug, error};

use super::problem::{self, ProblemResponse};
use crate::config::SignalingConfig;
use crate::instance::Instance;
use crate::meters;

/// Bytes in a request's body. No route reads one.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// Bounds number, size and time of requests.
pub(super) fn bounded(
    router: Router<Arc<Instance>>,
    config: &SignalingConfig,
) -> Router<Arc<Instance>> {
    let layers = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(refuse))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(config.limits.requests))
        .layer(TimeoutLayer::new(config.timing.request));
    router.layer(layers).layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// Answers what no route answers, logs, measures, and catches panics.
pub(super) fn observed(router: Router<Arc<Instance>>) -> Router<Arc<Instance>> {
    let layers = ServiceBuilder::new()
        .layer(SetSensitiveRequestHeadersLayer::new([
            header::AUTHORIZATION,
            header::SEC_WEBSOCKET_PROTOCOL,
        ]))
        .layer(middleware::from_fn(observe))
        .layer(CatchPanicLayer::custom(on_panic));
    router
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(layers)
}

/// The path is logged as its route: what a client put into it is its own affair (invariant I10).
async fn observe(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let begin = Instant::now();
    let response = next.run(request).await;
    let (route, status) = (route.as_ref().map_or("none", MatchedPath::as_str), response.status());
    let took = begin.elapsed();
    let class = ["1xx", "2xx", "3xx", "4xx", "5xx"][usize::from(status.as_u16() / 100 - 1).min(4)];
    HTTP_REQUEST_SECONDS.with([route, class]).record(took.as_secs_f64());
    debug!(%method, route, status = status.as_u16(), took_us = took.as_micros(), "request");
    response
}

async fn refuse(error: BoxError) -> ProblemResponse {
    if error.is::<Elapsed>() {
        return ProblemResponse::new(
            Code::Timeout,
            "Too slow",
            "the request took too long",
            "try again later",
        );
    }
    meters::limited("http");
    ProblemResponse::new(
        Code::Overloaded,
        "Overloaded",
        "this instance has as many requests as it can take",
        "try again in a second, or at another instance",
    )
}

fn on_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast_ref::<&str>().unwrap_or(&"?")).to_owned(),
    };
    error!(panic = text, "a request panicked: this is a bug");
    ProblemResponse::new(
        Code::Internal,
        "Internal error",
        "the request met a fault of the coordinator's own",
        "report it with the server's log of this moment",
    )
    .into_response()
}
