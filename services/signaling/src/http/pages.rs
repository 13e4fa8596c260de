//! `GET /` and `GET /test`: two small pages that load nothing from elsewhere.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::header;

use crate::instance::Instance;

const LANDING: &str = include_str!("landing.html");
const TEST: &str = include_str!("test.html");
/// A page may run its own inline script and speak to its own origin, and nothing else.
const POLICY: &str = "default-src 'none'; connect-src 'self' ws: wss:; script-src 'unsafe-inline'; \
                      style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

pub(super) async fn landing(State(instance): State<Arc<Instance>>) -> Response {
    let now = instance.recent_snapshot();
    let page = LANDING
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{state}}", if now.draining { "draining" } else { "ready" })
        .replace("{{uptime}}", &now.uptime_secs.to_string())
        .replace("{{peers}}", &now.peers_on.to_string())
        .replace("{{away}}", &now.peers_away.to_string())
        .replace("{{rooms}}", &now.rooms.to_string())
        .replace("{{attempts}}", &now.open_attempts.to_string());
    served(page)
}

pub(super) async fn test() -> Response {
    served(TEST.to_owned())
}

fn served(page: String) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Html(page)).into_response()
}
