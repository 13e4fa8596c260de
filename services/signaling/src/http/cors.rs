//! Pages of other origins that ask over HTTP (the Fetch standard, CORS).
//!
//! What a page needs before it can open a WebSocket is for pages of the same origins as the
//! WebSocket. A token goes in a header and never in a cookie, so a page gets nothing here that
//! whoever has the token would not get.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::config::Origins;
use crate::instance::Instance;

/// What may be asked for from elsewhere.
const OPEN: [(&str, &str); 2] = [("/v1/tickets", "POST"), ("/v1/ice-servers", "GET")];
/// For how many seconds a browser need not ask again whether it may.
const MAX_AGE: &str = "600";

/// Says to a browser whether its page may have the answer, and answers itself where a browser asks
/// that beforehand.
pub(super) async fn answer(
    State(instance): State<Arc<Instance>>,
    request: Request,
    next: Next,
) -> Response {
    let open = OPEN.iter().find(|(path, _)| *path == request.uri().path());
    let Some((_, method)) = open else { return next.run(request).await };
    let origin = allowed(&instance.config.origins, request.headers());
    let asks_first = request.method() == Method::OPTIONS
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if asks_first {
        let headers = [
            (ACCESS_CONTROL_ALLOW_METHODS, *method),
            (ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
            (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        ];
        (StatusCode::NO_CONTENT, headers).into_response()
    } else {
        next.run(request).await
    };
    if let Some(origin) = origin {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
    response
}

/// The origin as the answer names it, if its pages may have it.
fn allowed(origins: &Origins, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    match origins {
        Origins::Any => Some(HeaderValue::from_static("*")),
        Origins::Only(allowed) => {
            allowed.iter().any(|one| one.as_bytes() == origin.as_bytes()).then(|| origin.clone())
        }
    }
}
