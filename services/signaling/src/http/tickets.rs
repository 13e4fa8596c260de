//! `POST /v1/tickets`: a one-time ticket that stands for a token in a WebSocket's URL.
//!
//! A URL ends up in logs and histories; a ticket that is good once and for a minute is worth
//! nothing there.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use p2p_auth::Grant;
use p2p_wire::Code;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use super::bearer::Bearer;
use super::problem::ProblemResponse;
use crate::clock;
use crate::instance::Instance;
use crate::meters;
use crate::random;

/// The tickets that are not used yet.
pub(crate) struct Tickets {
    issued: Mutex<Issued>,
    capacity: usize,
    ttl: Duration,
}

#[derive(Default)]
struct Issued {
    by_name: HashMap<String, (Arc<Grant>, Instant)>,
    /// In the order in which they end. Used ones stay here until then.
    order: VecDeque<(Instant, String)>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Ticket {
    ticket: String,
    /// Seconds for which it is good.
    expires_in: u64,
}

impl Tickets {
    pub(crate) fn new(capacity: usize, ttl: Duration) -> Self {
        Self { issued: Mutex::default(), capacity, ttl }
    }

    /// A ticket for what the grant allows; `None` where there are as many as there may be.
    fn issue(&self, grant: Arc<Grant>, now: Instant) -> Option<String> {
        let mut issued = self.lock();
        while let Some((ends, _)) = issued.order.front()
            && *ends <= now
        {
            if let Some((_, name)) = issued.order.pop_front() {
                issued.by_name.remove(&name);
            }
        }
        if issued.order.len() >= self.capacity {
            return None;
        }
        let name = random::url_text::<24>();
        let ends = now + self.ttl;
        issued.order.push_back((ends, name.clone()));
        issued.by_name.insert(name.clone(), (grant, ends));
        Some(name)
    }

    /// Takes a ticket. It is good once, and no longer than the token it came from.
    pub(crate) fn redeem(&self, ticket: &str) -> Option<Arc<Grant>> {
        let (grant, ends) = self.lock().by_name.remove(ticket)?;
        (Instant::now() < ends && clock::unix_seconds() <= grant.expires_unix()).then_some(grant)
    }

    fn lock(&self) -> MutexGuard<'_, Issued> {
        self.issued.lock().expect("no code panics while it holds the tickets' lock")
    }
}

pub(super) async fn create(
    State(instance): State<Arc<Instance>>,
    Bearer(grant): Bearer,
) -> Result<Response, ProblemResponse> {
    let Some(ticket) = instance.tickets.issue(grant, Instant::now()) else {
        meters::limited("handshakes");
        return Err(ProblemResponse::new(
            Code::Overloaded,
            "Too many tickets",
            "this instance has given all the tickets that it can have open",
            "try again in a minute, or connect with the token itself",
        ));
    };
    let answer = Ticket { ticket, expires_in: instance.tickets.ttl.as_secs() };
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, Json(answer)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_auth::{Claims, SigningSecret, Verifier, mint};

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_good_once_and_for_a_while() {
        let tickets = Tickets::new(10, Duration::from_secs(60));
        let ticket = tickets.issue(grant(), Instant::now()).unwrap();
        assert!(tickets.redeem(&ticket).is_some());
        assert!(tickets.redeem(&ticket).is_none(), "used");
        let ticket = tickets.issue(grant(), Instant::now()).unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(tickets.redeem(&ticket).is_none(), "expired");
    }

    #[tokio::test(start_paused = true)]
    async fn i5_there_is_a_bound_and_time_makes_room() {
        let tickets = Tickets::new(2, Duration::from_secs(60));
        let used = tickets.issue(grant(), Instant::now()).unwrap();
        tickets.redeem(&used);
        assert!(tickets.issue(grant(), Instant::now()).is_some());
        assert!(tickets.issue(grant(), Instant::now()).is_none());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(tickets.issue(grant(), Instant::now()).is_some());
    }

    fn grant() -> Arc<Grant> {
        let secret = SigningSecret::new(&"s".repeat(32)).unwrap();
        let now = clock::unix_seconds();
        let token = mint(&Claims::new("alice".parse().unwrap(), now + 60), &secret).unwrap();
        Arc::new(Verifier::hs256([secret]).verify(&token, now).unwrap())
    }
}
