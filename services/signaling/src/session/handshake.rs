//! The upgrade request: origin, subprotocol, token, a place.
//!
//! Whoever can read an HTTP answer gets a problem; a browser, which cannot, is let in to be told by
//! an `error` frame and a close code.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, header};
use p2p_auth::{Grant, TokenError};
use p2p_wire::limits::MAX_MESSAGE_BYTES;
use p2p_wire::{CloseCode, Code, Problem, SUBPROTOCOL};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::closing::Closing;
use super::connection;
use super::socket::Socket;
use super::token::{Presented, protocols};
use super::upgrade::{NoUpgrade, Upgrade, WebSocket};
use crate::config::Origins;
use crate::forwarded;
use crate::half_open::Unproven;
use crate::http::ProblemResponse;
use crate::instance::Instance;
use crate::meters;

/// Bytes of the WebSocket's own buffers. The library's defaults take 256 KiB per connection. Most
/// frames have a few hundred bytes; a large one costs some more reads, and only while it arrives.
const BUFFER_BYTES: usize = 2 * 1024;
/// What may wait in the write buffer: one message of the largest size and its neighbours.
const WRITE_BUFFER_BYTES: usize = 2 * MAX_MESSAGE_BYTES;

#[derive(Deserialize)]
pub(crate) struct UpgradeQuery {
    ticket: Option<String>,
}

/// `GET /v1/ws`.
pub(crate) async fn upgrade(
    State(instance): State<Arc<Instance>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    query: Result<Query<UpgradeQuery>, QueryRejection>,
    unproven: Option<Extension<Arc<Unproven>>>,
    headers: HeaderMap,
    upgrade: Result<Upgrade, NoUpgrade>,
) -> Response {
    let ticket = query.ok().and_then(|Query(query)| query.ticket);
    match prepare(&instance, ticket, &headers, upgrade).await {
        Ok(admission) => {
            let from = forwarded::client(from, &headers, &instance.config.trusted_proxies);
            admission.accept(instance, from, unproven.map(|Extension(it)| it))
        }
        Err(problem) => problem.into_response(),
    }
}

/// A request that will be upgraded.
struct Admission {
    upgrade: Upgrade,
    protocol: Option<HeaderValue>,
    grant: Result<Arc<Grant>, TokenError>,
    place: OwnedSemaphorePermit,
}

async fn prepare(
    instance: &Instance,
    ticket: Option<String>,
    headers: &HeaderMap,
    upgrade: Result<Upgrade, NoUpgrade>,
) -> Result<Admission, ProblemResponse> {
    if instance.stop.is_draining() {
        return Err(refuse(
            Code::Draining,
            "this instance is shutting down".to_owned(),
            "connect again: another instance, or this one restarted, will answer",
        ));
    }
    check_origin(&instance.config.origins, headers)?;
    let protocol = check_protocol(headers)?;
    let upgrade = upgrade.map_err(|lack| {
        refuse(
            Code::BadMessage,
            lack.to_string(),
            "open a WebSocket here: GET with `Upgrade: websocket`",
        )
    })?;
    let presented = match Presented::in_headers(headers) {
        Presented::Nothing => ticket.map_or(Presented::Nothing, Presented::Ticket),
        found => found,
    };
    let grant = presented.verify(instance).await;
    if let Err(error) = &grant
        && presented.reads_http(headers)
    {
        return Err(error.problem().into());
    }
    let Ok(place) = instance.places.clone().try_acquire_owned() else {
        meters::limited("connections");
        return Err(refuse(
            Code::Overloaded,
            "this instance has all the connections it can have".to_owned(),
            "try again in a few seconds, or at another instance",
        ));
    };
    Ok(Admission { upgrade, protocol, grant, place })
}

impl Admission {
    fn accept(
        self,
        instance: Arc<Instance>,
        from: SocketAddr,
        unproven: Option<Arc<Unproven>>,
    ) -> Response {
        let Self { upgrade, protocol, grant, place } = self;
        // Who has no valid token stays counted until told so.
        let unproven = unproven.filter(|unproven| match &grant {
            Ok(_) => {
                unproven.release();
                false
            }
            Err(_) => true,
        });
        // Counted from here, so that a drain also waits for those that are being upgraded.
        let counted = instance.sessions.token();
        let task = move |socket: WebSocket| async move {
            let timing = &instance.config.timing;
            // Boxed, because it moves through the futures below, and each keeps room for it.
            let socket = Box::new(Socket::new(socket, timing.write, timing.linger));
            match grant {
                Ok(grant) => connection::run(instance, socket, grant, from).await,
                Err(error) => turn_away(socket, &error).await,
            }
            drop((place, counted, unproven));
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(BUFFER_BYTES)
            .max_write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        upgrade.accept(protocol, config, task)
    }
}

/// Tells a browser why it may not come in.
async fn turn_away(socket: Box<Socket>, error: &TokenError) {
    let problem = error.problem();
    meters::rejected(problem.code);
    let closing = match error {
        TokenError::KeysUnavailable(_) => Closing::TryLater("the keys of tokens are not available"),
        _ => Closing::explained(CloseCode::Auth, problem),
    };
    connection::farewell(socket, closing).await;
}

/// A client that names subprotocols must name ours, and is told so; one that names none is taken to
/// mean it.
fn check_protocol(headers: &HeaderMap) -> Result<Option<HeaderValue>, ProblemResponse> {
    if !headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        return Ok(None);
    }
    if protocols(headers).any(|protocol| protocol == SUBPROTOCOL) {
        return Ok(Some(HeaderValue::from_static(SUBPROTOCOL)));
    }
    Err(refuse(
        Code::BadMessage,
        format!("the subprotocol {SUBPROTOCOL} is not among those offered"),
        "offer it in `Sec-WebSocket-Protocol`, next to any `bearer.<JWT>`",
    ))
}

fn check_origin(origins: &Origins, headers: &HeaderMap) -> Result<(), ProblemResponse> {
    let Origins::Only(allowed) = origins else { return Ok(()) };
    let Some(origin) = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok()) else {
        return Ok(());
    };
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let own = origin.split_once("://").map(|(_, rest)| rest);
    if (own.is_some() && own == host) || allowed.iter().any(|a| a == origin) {
        return Ok(());
    }
    Err(refuse(
        Code::NotAllowed,
        "pages of this origin may not connect here".to_owned(),
        "add the page's origin to the allowed ones of this service",
    ))
}

fn refuse(code: Code, detail: String, fix: &str) -> ProblemResponse {
    Problem::new(code, "Connection refused", detail, fix).into()
}
