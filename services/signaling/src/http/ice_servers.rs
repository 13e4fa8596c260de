//! `GET /v1/ice-servers`: STUN and TURN servers, usable as an `RTCPeerConnection` configuration.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header;
use p2p_auth::{Pattern, Scope};
use p2p_wire::{IceServer, PeerId};
use schemars::JsonSchema;
use serde::Serialize;

use super::bearer::Bearer;
use super::problem::ProblemResponse;
use crate::clock;
use crate::instance::Instance;

#[derive(Serialize, JsonSchema)]
pub(super) struct IceServers {
    #[serde(rename = "iceServers")]
    ice_servers: Vec<IceServer>,
    /// Seconds for which the credentials are good.
    ttl: u64,
}

pub(super) async fn ice_servers(
    State(instance): State<Arc<Instance>>,
    Bearer(grant): Bearer,
) -> Result<Response, ProblemResponse> {
    let peer = user_of(grant.subject());
    let answer = IceServers {
        ice_servers: instance.relays.for_peer(
            grant.app(),
            &peer,
            grant.may(Scope::Relay),
            clock::unix_seconds(),
        ),
        ttl: instance.relays.ttl_secs(),
    };
    // Credentials are for one client: no proxy may keep them.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// In whose name the credentials are. A token for many ids has one name at the relay: its prefix.
fn user_of(subject: &Pattern) -> PeerId {
    let name = match subject {
        Pattern::Exact(name) | Pattern::Prefix(name) => name.trim_end(),
    };
    PeerId::new(name).unwrap_or_else(|_| PeerId::new("anyone").expect("a word of letters is an id"))
}
