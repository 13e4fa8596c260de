//! `POST /v1/tickets`: a one-time ticket that stands for a token in a WebSocket's URL.
//!
//! A URL ends up in logs and histories; a ticket that is good once and for a minute is worth
//! nothing there.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use p2p_auth::{Grant, TokenError};
use p2p_registry::tickets::{Kept, MAX_TICKETS_OF_ONE};
use p2p_registry::{MemoryTickets, RegistryError, TicketBox};
use p2p_wire::Code;
use schemars::JsonSchema;
use serde::Serialize;
use tracing::debug;

use super::bearer::Bearer;
use super::problem::ProblemResponse;
use crate::clock;
use crate::config::SignalingConfig;
use crate::instance::Instance;
use crate::meters;
use crate::random;

/// Bytes of randomness in a ticket.
const BYTES: usize = 24;
/// Its letters.
const LETTERS: usize = BYTES / 3 * 4;

/// The tickets that are not used yet.
pub(crate) struct Tickets {
    /// Where instances share them.
    shared: Option<Arc<dyn TicketBox>>,
    /// Where there is no such place, and while it is away: good at this instance.
    here: MemoryTickets,
    ttl: Duration,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Ticket {
    ticket: String,
    /// Seconds for which it is good.
    expires_in: u64,
}

impl Tickets {
    pub(crate) fn new(config: &SignalingConfig) -> Self {
        Self {
            shared: config.tickets.clone(),
            here: MemoryTickets::new(config.limits.tickets),
            ttl: config.timing.ticket,
        }
    }

    /// A ticket for what the grant allows, if it may have another one.
    async fn issue(&self, grant: &Grant) -> Result<String, Kept> {
        let (holder, what) = (format!("{}\n{}", grant.app(), grant.subject()), grant.to_text());
        if let Some(shared) = &self.shared {
            match self.keep(&**shared, &holder, what.clone()).await {
                Ok(answer) => return answer,
                Err(error) => debug!(%error, "a ticket is good at this instance alone"),
            }
        }
        // Another ticket than the one that may have come to Redis all the same: it would be good twice.
        let here = self.keep(&self.here, &holder, what).await;
        here.unwrap_or_else(|error| {
            debug!(%error, "a ticket is not kept");
            Err(Kept::Full)
        })
    }

    async fn keep(
        &self,
        tickets: &dyn TicketBox,
        holder: &str,
        what: String,
    ) -> Result<Result<String, Kept>, RegistryError> {
        let ticket = random::url_text::<BYTES>();
        Ok(match tickets.keep(&ticket, holder, what, self.ttl).await? {
            Kept::Yes => Ok(ticket),
            full => Err(full),
        })
    }

    /// Takes a ticket. It is good once, and no longer than the token it came from.
    pub(crate) async fn redeem(&self, ticket: &str) -> Result<Arc<Grant>, TokenError> {
        // Whatever cannot be one is asked of nobody.
        let what = if ticket.len() == LETTERS { self.take(ticket).await? } else { None };
        what.and_then(|what| Grant::verified_elsewhere(&what))
            .filter(|grant| clock::unix_seconds() <= grant.expires_unix())
            .map(Arc::new)
            .ok_or_else(|| {
                TokenError::Malformed("the ticket is unknown, used or expired".to_owned())
            })
    }

    async fn take(&self, ticket: &str) -> Result<Option<String>, TokenError> {
        if let Ok(Some(what)) = self.here.take(ticket).await {
            return Ok(Some(what));
        }
        let Some(shared) = &self.shared else { return Ok(None) };
        shared.take(ticket).await.map_err(|error| TokenError::TicketsUnavailable(error.to_string()))
    }
}

pub(super) async fn create(
    State(instance): State<Arc<Instance>>,
    Bearer(grant): Bearer,
) -> Result<Response, ProblemResponse> {
    let ticket = instance.tickets.issue(&grant).await.map_err(|full| {
        meters::limited("tickets");
        match full {
            Kept::HolderFull => ProblemResponse::new(
                Code::LimitReached,
                "Too many tickets",
                format!("this token's subject has {MAX_TICKETS_OF_ONE} tickets that nobody used"),
                "use them, or wait until they end: a minute at most",
            ),
            Kept::Yes | Kept::Full => ProblemResponse::new(
                Code::Overloaded,
                "Too many tickets",
                "this instance has given all the tickets that it can have open",
                "try again in a minute, or connect with the token itself",
            ),
        }
    })?;
    let answer = Ticket { ticket, expires_in: instance.tickets.ttl.as_secs() };
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, Json(answer)).into_response())
}
