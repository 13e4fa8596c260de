//! The upgrade request of `p2p.v1`: subprotocol, token, a place.
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
use p2p_wire::{CloseCode, Code, SUBPROTOCOL};
use serde::Deserialize;

use super::admission::{self, Admission, refuse};
use super::closing::Closing;
use super::connection::Connection;
use super::serve;
use super::socket::Socket;
use super::token::{Presented, protocols};
use super::upgrade::{NoUpgrade, Upgrade};
use crate::forwarded;
use crate::half_open::Unproven;
use crate::http::ProblemResponse;
use crate::instance::Instance;
use crate::meters;

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
        Ok(prepared) => {
            let from = forwarded::client(from, &headers, &instance.config.trusted_proxies);
            prepared.accept(instance, from, unproven.map(|Extension(it)| it))
        }
        Err(problem) => problem.into_response(),
    }
}

/// A request that will be upgraded.
struct Prepared {
    admission: Admission,
    protocol: Option<HeaderValue>,
    grant: Result<Arc<Grant>, TokenError>,
}

async fn prepare(
    instance: &Instance,
    ticket: Option<String>,
    headers: &HeaderMap,
    upgrade: Result<Upgrade, NoUpgrade>,
) -> Result<Prepared, ProblemResponse> {
    admission::check(instance, headers)?;
    let protocol = check_protocol(headers)?;
    let upgrade = admission::opened(upgrade)?;
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
    Ok(Prepared { admission: Admission::take(instance, upgrade)?, protocol, grant })
}

impl Prepared {
    fn accept(
        self,
        instance: Arc<Instance>,
        from: SocketAddr,
        unproven: Option<Arc<Unproven>>,
    ) -> Response {
        let Self { admission, protocol, grant } = self;
        // Who has no valid token stays counted until told so.
        let unproven = unproven.filter(|unproven| match &grant {
            Ok(_) => {
                unproven.release();
                false
            }
            Err(_) => true,
        });
        let shared = instance.clone();
        let serve = move |socket: Box<Socket>| async move {
            match grant {
                Ok(grant) => serve::run::<Connection>(instance, socket, grant, from).await,
                Err(error) => turn_away(socket, &error).await,
            }
        };
        admission.accept(&shared, protocol, unproven, serve)
    }
}

/// Tells a browser why it may not come in.
async fn turn_away(socket: Box<Socket>, error: &TokenError) {
    let problem = error.problem();
    meters::rejected(problem.code);
    let closing = match error {
        TokenError::KeysUnavailable(_) => Closing::TryLater("the keys of tokens are not available"),
        TokenError::TicketsUnavailable(_) => Closing::TryLater("tickets are not available"),
        _ => Closing::explained(CloseCode::Auth, problem),
    };
    serve::turn_away::<Connection>(socket, closing).await;
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
