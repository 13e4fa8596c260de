//! Sending a message: into the inboxes of its receivers, or past Redis while that is away.

use std::sync::Arc;

use p2p_telemetry::metrics::REGISTRY_INBOX_DROPPED;
use p2p_wire::limits::MAX_INBOX_MESSAGES;
use p2p_wire::server::ReceiptStatus;

use super::awaiting::{Begun, MAX_UNANSWERED};
use super::passing::mail_of;
use super::reply::status;
use super::{Shared, refused};
use crate::claim::Ownership;
use crate::error::RegistryError;
use crate::send::{Outgoing, Sent, Target};

impl Shared {
    pub(super) async fn send(
        self: &Arc<Self>,
        owner: &Ownership,
        message: &Outgoing,
    ) -> Result<Sent, RegistryError> {
        let to = match &message.target {
            Target::Peer(peer) => Some(peer),
            Target::Room(_) => None,
        };
        // Before the script runs: its receipt may overtake its answer.
        let begun = match self.table().owned(owner) {
            Some(local) => local.awaiting.begin(&message.id, to),
            None => Begun::Known,
        };
        if begun == Begun::Refused {
            let why = format!("limit_reached: {MAX_UNANSWERED} messages wait for their receipts");
            let status = ReceiptStatus::Rejected;
            return Ok(Sent::Receipt { receivers: 0, status, reason: Some(why) });
        }
        let new = begun == Begun::New;
        let (sent, waits) = self.put_or_pass(owner, message, new).await;
        if !waits && let Some(local) = self.table().owned(owner) {
            match &sent {
                Err(RegistryError::Unavailable(_)) => local.awaiting.refuse(&message.id),
                _ => _ = local.awaiting.end(&message.id),
            }
        }
        sent
    }

    /// What became of it, and whether Redis will have more to say of it.
    async fn put_or_pass(
        self: &Arc<Self>,
        owner: &Ownership,
        message: &Outgoing,
        new: bool,
    ) -> (Result<Sent, RegistryError>, bool) {
        let rest = frame_behind_number(owner, message);
        let mut put = self.put(owner, message, &rest).await;
        if new && matches!(put, Err(RegistryError::Unavailable(_))) {
            if let Some(passed) = self.send_here(owner, message, rest.clone()) {
                return (passed, false);
            }
            if self.has_returned().await {
                put = self.put(owner, message, &rest).await;
            }
        }
        match put {
            Ok(sent) => {
                let waits = match &sent {
                    Sent::OnItsWay { .. } => true,
                    Sent::Receipt { status, .. } => *status == ReceiptStatus::Queued,
                };
                (Ok(sent), waits)
            }
            // It is in Redis, and what it says of it will come.
            Err(error @ RegistryError::Unavailable(_)) if !new => (Err(error), true),
            Err(error @ RegistryError::Unavailable(_)) => {
                // It may have gone away again instead.
                (self.send_here(owner, message, rest).unwrap_or(Err(error)), false)
            }
            Err(error) => (Err(error), false),
        }
    }

    async fn put(
        self: &Arc<Self>,
        owner: &Ownership,
        message: &Outgoing,
        rest: &str,
    ) -> Result<Sent, RegistryError> {
        let (room, target) = match &message.target {
            Target::Peer(peer) => (false, peer.as_str()),
            Target::Room(room) => (true, room.as_str()),
        };
        let patience = self.behaviour.receipt_patience.as_millis() as u64;
        let put = || {
            self.owned(&self.scripts.send, owner, |call| {
                call.arg(message.id.as_str())
                    .arg(u8::from(room))
                    .arg(target)
                    .arg(rest)
                    .arg(patience)
                    .arg(MAX_INBOX_MESSAGES);
            })
        };
        let mut put_once = put().await;
        if matches!(put_once, Err(RegistryError::Unavailable(_))) && self.returns_soon().await {
            // It may be in the inbox already: then its id is known there.
            put_once = put().await;
        }
        let mut reply = put_once?;
        let (sent, full) = match reply.word.as_str() {
            "ok" => {
                let receivers = reply.number()? as usize;
                (Sent::OnItsWay { receivers }, reply.number()?)
            }
            "receipt" => {
                let status = status(&reply.text()?)?;
                let reason = Some(reply.text()?).filter(|reason| !reason.is_empty());
                let receivers = reply.number()? as usize;
                (Sent::Receipt { receivers, status, reason }, reply.number()?)
            }
            "nobody" => {
                let receivers = reply.number()?;
                (Sent::nobody(&message.target, receivers as usize), reply.number()?)
            }
            "rebuilding" => {
                let why = "instances are still telling a restarted Redis who is where";
                return Err(RegistryError::Unavailable(why.to_owned()));
            }
            word => return Err(refused(word)),
        };
        if full > 0 {
            self.table().counts.inbox_full += full;
            REGISTRY_INBOX_DROPPED.with(["full"]).increment(full);
        }
        Ok(sent)
    }

    /// While Redis is away, peers of this instance still reach each other.
    fn send_here(
        &self,
        owner: &Ownership,
        message: &Outgoing,
        rest: Arc<str>,
    ) -> Option<Result<Sent, RegistryError>> {
        let Target::Peer(peer) = &message.target else { return None };
        let mail = mail_of(owner, message.id.clone(), rest);
        let mut table = self.table();
        // Redis is coming back: what is passed on past it would not be said any more.
        if self.trouble.borrow().is_none() || *self.returning.borrow() {
            return None;
        }
        let sent = match table.send_here(owner, peer, mail)? {
            Ok(()) => Sent::OnItsWay { receivers: 1 },
            Err(status) => {
                let reason = (status == ReceiptStatus::Rejected)
                    .then(|| "the receiver's inbox is full, and Redis is away".to_owned());
                Sent::Receipt { receivers: 0, status, reason }
            }
        };
        Some(Ok(sent))
    }
}

/// The frame of a message behind the number that only its inbox knows.
fn frame_behind_number(owner: &Ownership, message: &Outgoing) -> Arc<str> {
    let text = message.frame(0, &owner.peer).to_text();
    let head = "{\"type\":\"message\",\"seq\":0";
    text.strip_prefix(head).expect("a message begins with its type and number").into()
}
