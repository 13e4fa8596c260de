//! `GET /livez`, `/readyz` and `/metrics`, for whatever keeps the instance running.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header;
use p2p_wire::Code;

use super::problem::ProblemResponse;
use crate::instance::Instance;

/// Alive. Touches nothing: an instance is not restarted because something behind it is slow
/// (invariant I6).
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// Accepts connections.
pub(super) async fn ready(
    State(instance): State<Arc<Instance>>,
) -> Result<&'static str, ProblemResponse> {
    if instance.stop.is_draining() {
        return Err(ProblemResponse::new(
            Code::Draining,
            "Not ready",
            "this instance is shutting down",
            "send clients to another instance",
        ));
    }
    Ok("ready\n")
}

/// The metrics in the Prometheus text format.
pub(super) async fn metrics(State(instance): State<Arc<Instance>>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, instance.render_metrics()).into_response()
}
