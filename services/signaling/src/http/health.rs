//! `GET /livez`, `/readyz` and `/metrics`, for whatever keeps the instance running.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header;
use p2p_stats::StreamState;
use p2p_wire::Code;
use tokio::time::timeout;

use super::problem::ProblemResponse;
use crate::instance::Instance;

/// How long the answer waits for a dependency's.
const ASK: Duration = Duration::from_secs(1);

/// A writer takes what comes within a second; one that has died is replaced within ten.
const BEHIND: Duration = Duration::from_secs(30);

/// Alive. Touches nothing: an instance is not restarted because something behind it is slow
/// (invariant I6).
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// Accepts connections, and how what is behind it does: a database that is away takes statistics
/// away for a while, not the instance (invariant I7).
pub(super) async fn ready(
    State(instance): State<Arc<Instance>>,
) -> Result<String, ProblemResponse> {
    if instance.stop.is_draining() {
        return Err(ProblemResponse::new(
            Code::Draining,
            "Not ready",
            "this instance is shutting down",
            "send clients to another instance",
        ));
    }
    let looking = look(instance.clone());
    let behind = instance.behind.get(looking).await;
    let behind = behind.as_deref().unwrap_or_default();
    // The registry is not asked: it knows.
    let registry = if instance.registry.trouble().is_none() { "ok" } else { "degraded" };
    let redis = instance.registry.backend().map(|redis| format!("redis: {redis}\n"));
    let redis = redis.unwrap_or_default();
    Ok(format!("ready\n{behind}registry: {registry}\n{redis}"))
}

/// How the database and the way to it do. Takes [`ASK`] at most.
async fn look(instance: Arc<Instance>) -> String {
    let (database, statistics) = tokio::join!(
        async {
            match timeout(ASK, instance.store.check()).await {
                Ok(Ok(())) => "ok",
                Ok(Err(_)) | Err(_) => "degraded",
            }
        },
        statistics(&instance),
    );
    format!("database: {database}\nstatistics: {statistics}\n")
}

/// How records get on: what waits, for how long, and what is lost.
async fn statistics(instance: &Instance) -> String {
    let (queued, dropped) = (instance.recorder.queued(), instance.recorder.dropped());
    let here = format!("{queued} wait here, {dropped} dropped here");
    let Some(stream) = instance.recorder.stream() else { return format!("ok ({here})") };
    let Ok(Ok(state)) = timeout(ASK, stream.state()).await else {
        return format!("degraded (the stream does not answer; {here})");
    };
    let StreamState { waiting, behind, refused, buried } = state;
    let word = if behind > BEHIND { "degraded" } else { "ok" };
    let behind = behind.as_secs();
    format!(
        "{word} ({waiting} wait in the stream, {behind} s behind, {refused} refused, \
         {buried} dead letters; {here})"
    )
}

/// The metrics in the Prometheus text format.
pub(super) async fn metrics(State(instance): State<Arc<Instance>>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, instance.render_metrics()).into_response()
}
