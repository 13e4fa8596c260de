//! `GET /v1/peers`, `/v1/rooms` and `/v1/rooms/{room}`: who is there, for tokens with `discover`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use p2p_auth::Scope;
use p2p_registry::Page;
use p2p_wire::server::Member;
use p2p_wire::{Code, PeerId, RoomName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bearer::Bearer;
use super::problem::ProblemResponse;
use crate::instance::Instance;

/// Items of a page where the request does not say.
const DEFAULT_LIMIT: usize = 100;
/// Items of a page at most.
const MAX_LIMIT: usize = 1000;

/// Which page.
#[derive(Deserialize, JsonSchema)]
pub(super) struct PageQuery {
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Peers {
    peers: Vec<Member>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<PeerId>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Rooms {
    rooms: Vec<RoomCount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<RoomName>,
}

#[derive(Serialize, JsonSchema)]
struct RoomCount {
    room: RoomName,
    members: usize,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Room {
    room: RoomName,
    members: Vec<Member>,
    version: u64,
}

type Answer<T> = Result<Json<T>, ProblemResponse>;
type PageArgument = Result<Query<PageQuery>, QueryRejection>;

pub(super) async fn peers(
    State(instance): State<Arc<Instance>>,
    bearer: Bearer,
    page: PageArgument,
) -> Answer<Peers> {
    let grant = bearer.with(Scope::Discover)?;
    let listing = instance.registry.peers(grant.app(), read_page(page)?).await?;
    Ok(Json(Peers { peers: listing.items, next: listing.next }))
}

pub(super) async fn rooms(
    State(instance): State<Arc<Instance>>,
    bearer: Bearer,
    page: PageArgument,
) -> Answer<Rooms> {
    let grant = bearer.with(Scope::Discover)?;
    let listing = instance.registry.rooms(grant.app(), read_page(page)?).await?;
    let rooms = listing
        .items
        .into_iter()
        .map(|summary| RoomCount { room: summary.room, members: summary.members });
    Ok(Json(Rooms { rooms: rooms.collect(), next: listing.next }))
}

pub(super) async fn room(
    State(instance): State<Arc<Instance>>,
    bearer: Bearer,
    Path(name): Path<String>,
) -> Answer<Room> {
    let grant = bearer.with(Scope::Discover)?;
    let nobody = || {
        ProblemResponse::new(
            Code::RoomNotFound,
            "No such room",
            "nobody is in a room of this name",
            "GET /v1/rooms lists the rooms that have members",
        )
    };
    let room = RoomName::new(name).map_err(|_| nobody())?;
    let view = instance.registry.room(grant.app(), &room).await?.ok_or_else(nobody)?;
    Ok(Json(Room { room, members: view.members, version: view.version }))
}

fn read_page<Id: TryFrom<String>>(page: PageArgument) -> Result<Page<Id>, ProblemResponse> {
    let wrong = |detail: String| {
        ProblemResponse::new(
            Code::BadMessage,
            "Bad query",
            detail,
            "use `?limit=` with a number and `?after=` with the `next` of the page before",
        )
    };
    let Query(query) = page.map_err(|rejection| wrong(rejection.body_text()))?;
    let after = match query.after {
        Some(text) => {
            let id = Id::try_from(text).map_err(|_| wrong("`after` is not an id".to_owned()))?;
            Some(id)
        }
        None => None,
    };
    Ok(Page { after, limit: query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT) })
}
