//! Problems as HTTP answers (RFC 9457): `application/problem+json` with `code`, `title`, `detail`
//! and `fix`.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use p2p_auth::TokenError;
use p2p_registry::RegistryError;
use p2p_stats::StatsError;
use p2p_wire::{Code, Problem};
use tracing::warn;

use crate::meters;

/// A problem on its way to a client.
#[derive(Debug)]
pub(crate) struct ProblemResponse(Problem);

impl ProblemResponse {
    pub(crate) fn new(code: Code, title: &str, detail: impl Into<String>, fix: &str) -> Self {
        Self(Problem::new(code, title, detail, fix))
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        meters::rejected(problem.code);
        let status = status(problem.code);
        let body = serde_json::to_string(&problem)
            .expect("a problem has string keys and nothing that JSON lacks");
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, content_type, body).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<Problem> for ProblemResponse {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<TokenError> for ProblemResponse {
    fn from(error: TokenError) -> Self {
        Self(error.problem())
    }
}

impl From<RegistryError> for ProblemResponse {
    fn from(error: RegistryError) -> Self {
        Self(error.problem())
    }
}

impl From<StatsError> for ProblemResponse {
    /// What the store says is for the operator's log; the client learns that it may try again.
    fn from(error: StatsError) -> Self {
        warn!(%error, "the statistics store does not answer");
        Self::new(
            Code::Internal,
            "Statistics unavailable",
            "the statistics store does not answer",
            "try again later; the server's log says more",
        )
    }
}

/// Answers a path that is none.
pub(super) async fn not_found(uri: Uri) -> ProblemResponse {
    let path: String = uri.path().chars().take(80).collect();
    ProblemResponse::new(
        Code::NotFound,
        "Not found",
        format!("there is nothing at {path}"),
        "GET / lists what there is",
    )
}

/// Answers a method that the path does not have.
pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let path: String = uri.path().chars().take(80).collect();
    let problem = ProblemResponse::new(
        Code::NotFound,
        "No such method",
        format!("{path} has no method {method}"),
        "GET / lists what there is",
    );
    (StatusCode::METHOD_NOT_ALLOWED, problem).into_response()
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::BadMessage | Code::UnknownType => StatusCode::BAD_REQUEST,
        Code::TokenMissing | Code::TokenInvalid | Code::TokenExpired | Code::TokenNotYetValid => {
            StatusCode::UNAUTHORIZED
        }
        Code::NotAllowed => StatusCode::FORBIDDEN,
        Code::PeerNotFound | Code::RoomNotFound | Code::AttemptNotFound | Code::NotFound => {
            StatusCode::NOT_FOUND
        }
        Code::RoomFull | Code::PeerTaken => StatusCode::CONFLICT,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::LimitReached | Code::TooFast => StatusCode::TOO_MANY_REQUESTS,
        Code::Draining | Code::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        Code::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
