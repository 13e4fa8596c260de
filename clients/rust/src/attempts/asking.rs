//! Requests for attempts, from the user's call until the coordinator has answered.

use std::time::Instant;

use p2p_wire::client::Connect;
use p2p_wire::{ClientMessage, PeerId, Policy, RequestId};
use tokio::sync::mpsc::error::TrySendError;

use super::first_flight::Begun;
use super::{Asked, Attempts, Reply};
use crate::error::{Error, ErrorCode};

impl Attempts {
    /// Asks the coordinator for an attempt.
    pub(super) fn ask(&mut self, to: PeerId, policy: Policy, reply: Reply) {
        if let Some(error) = self.signaling_ended.borrow().clone() {
            let _ = reply.send(Err(error));
            return;
        }
        // Requests whose asker has stopped waiting are forgotten here.
        self.asked.retain(|_, asked| !asked.reply.is_closed());
        self.next_request += 1;
        let id = RequestId::new(format!("c{}", self.next_request)).expect("a letter and digits");
        // A peer that is known has an address already, and its connections are told apart by name.
        self.lingering.retain(|(_, until)| *until > Instant::now());
        let known = self.asked.values().any(|asked| asked.to == to)
            || self.entries.values().any(|entry| entry.peer == to)
            || self.lingering.iter().any(|(peer, _)| *peer == to);
        let handshake = match known {
            true => None,
            false => self.begin_handshake(id.clone(), to.clone(), policy).ok(),
        };
        let alone = handshake.is_none();
        self.asked.insert(
            id.clone(),
            Asked { to: to.clone(), policy, reply, handshake, flight: Vec::new() },
        );
        if alone {
            self.request(Begun { request: id, to, policy, flight: Vec::new() });
        }
    }

    /// What has begun goes out.
    pub(super) fn request(&mut self, begun: Begun) {
        let Begun { request, to, policy, flight } = begun;
        if let Some(asked) = self.asked.get_mut(&request) {
            asked.flight.clone_from(&flight);
        }
        let connect = ClientMessage::Connect(Connect {
            id: request.clone(),
            to,
            policy,
            traceparent: None,
            first_flight: flight,
        });
        match self.signaling.try_send(connect) {
            // A task that has ended has told why, or is about to.
            Ok(()) | Err(TrySendError::Closed(_)) => return,
            Err(TrySendError::Full(_)) => {}
        }
        if let Some(asked) = self.asked.remove(&request) {
            let fix = "wait for the coordinator to come back";
            let error = Error::new(ErrorCode::Unreachable, "the coordinator is not connected", fix);
            let _ = asked.reply.send(Err(error));
        }
    }

    /// What was asked by a WebSocket that was lost before the answer is asked by the next one. If the
    /// coordinator had begun an attempt for it, that ends as one that nobody waits for.
    pub(super) fn ask_again(&mut self, requests: Vec<RequestId>) {
        for request in requests {
            let Some(asked) = self.asked.get(&request).filter(|a| !a.reply.is_closed()) else {
                continue;
            };
            let (to, policy, flight) = (asked.to.clone(), asked.policy, asked.flight.clone());
            self.request(Begun { request, to, policy, flight });
        }
    }
}
