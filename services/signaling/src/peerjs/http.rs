//! The plain requests of PeerJS clients, answered as PeerServer answers them: any page may read them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use p2p_auth::{Scope, Token};
use p2p_registry::Page;
use p2p_wire::peerjs::DEFAULT_KEY;
use p2p_wire::server::PeerState;
use p2p_wire::{AppId, PeerId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::client::app_of;
use crate::clock;
use crate::http::ProblemResponse;
use crate::instance::Instance;
use crate::session::admission::may_come_from;
use crate::session::token::Presented;

/// Ids in a listing: `GET /v1/peers` goes through more of them.
const MAX_LISTED: usize = 10_000;
/// Ids that the registry is asked for at once.
const PAGE: usize = 1_000;

/// What PeerServer says of itself, and clients expect of one.
#[derive(Serialize, JsonSchema)]
pub(crate) struct About {
    name: &'static str,
    description: &'static str,
    website: &'static str,
}

/// What a request for a listing may say.
#[derive(Deserialize)]
pub(crate) struct ListQuery {
    #[serde(default)]
    token: String,
}

type ListArgument = Result<Query<ListQuery>, QueryRejection>;

/// `GET /peerjs/`.
pub(crate) async fn about(State(instance): State<Arc<Instance>>, headers: HeaderMap) -> Response {
    let about = About {
        name: "PeerJS Server",
        description: "P2P Coordinator, which speaks with PeerJS clients as PeerServer does.",
        website: "https://peerjs.com/",
    };
    readable(&instance, &headers, Json(about))
}

/// `GET /peerjs/{key}/id`: an id that nobody has. Whoever wants it shows a token that allows it when it
/// connects.
pub(crate) async fn id(
    State(instance): State<Arc<Instance>>,
    Path(_): Path<String>,
    headers: HeaderMap,
) -> Response {
    a_new_id(&instance, &headers)
}

/// `GET /peerjs/id`, for clients whose `path` is `/`.
pub(crate) async fn id_of_default(
    State(instance): State<Arc<Instance>>,
    headers: HeaderMap,
) -> Response {
    a_new_id(&instance, &headers)
}

fn a_new_id(instance: &Instance, headers: &HeaderMap) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    readable(instance, headers, (kind, Uuid::new_v4().to_string()))
}

/// `GET /peerjs/{key}/peers`: the ids of who is connected, where the operator lets everybody see those
/// of the app, or the token has the scope. PeerJS sends no token with this.
pub(crate) async fn peers(
    State(instance): State<Arc<Instance>>,
    Path(key): Path<String>,
    query: ListArgument,
    headers: HeaderMap,
) -> Response {
    list(&instance, &key, query, &headers).await
}

/// `GET /peerjs/peers`, for clients whose `path` is `/`.
pub(crate) async fn peers_of_default(
    State(instance): State<Arc<Instance>>,
    query: ListArgument,
    headers: HeaderMap,
) -> Response {
    list(&instance, DEFAULT_KEY, query, &headers).await
}

async fn list(
    instance: &Instance,
    key: &str,
    query: ListArgument,
    headers: &HeaderMap,
) -> Response {
    let app = app_of(key).ok();
    let token = query.map(|Query(query)| query.token).unwrap_or_default();
    let Some(app) = app else { return readable(instance, headers, unauthorized()) };
    if !may_list(instance, &app, &token, headers).await {
        return readable(instance, headers, unauthorized());
    }
    match connected(instance, &app).await {
        Ok(ids) => readable(instance, headers, Json(ids)),
        Err(problem) => readable(instance, headers, problem),
    }
}

async fn may_list(instance: &Instance, app: &AppId, token: &str, headers: &HeaderMap) -> bool {
    if instance.config.peerjs.discovery.contains(app) {
        return true;
    }
    let presented = match Presented::in_headers(headers) {
        Presented::Nothing if !token.is_empty() => {
            let now = clock::unix_seconds();
            instance.keys.verify(&Token::new(token), now).await.map(Arc::new)
        }
        presented => presented.verify(instance).await,
    };
    presented.is_ok_and(|grant| grant.may(Scope::Discover) && grant.app() == app)
}

async fn connected(instance: &Instance, app: &AppId) -> Result<Vec<PeerId>, ProblemResponse> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let listing = instance.registry.peers(app, Page { after, limit: PAGE }).await?;
        let on = listing.items.into_iter().filter(|member| member.state == PeerState::On);
        ids.extend(on.map(|member| member.peer));
        after = listing.next;
        if after.is_none() || ids.len() >= MAX_LISTED {
            ids.truncate(MAX_LISTED);
            return Ok(ids);
        }
    }
}

fn unauthorized() -> (StatusCode, &'static str) {
    (StatusCode::UNAUTHORIZED, "Unauthorized")
}

/// An answer that the page which asked may read, if its origin is welcome.
fn readable(instance: &Instance, headers: &HeaderMap, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    let answered = response.headers_mut();
    answered.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answered.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = headers.get(header::ORIGIN)
        && may_come_from(&instance.config.origins, headers)
    {
        answered.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    response
}
