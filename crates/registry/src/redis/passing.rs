//! What passes between the sessions of this instance while Redis is away.

use p2p_telemetry::metrics::SIGNALING_RECEIPTS;
use p2p_wire::limits::MAX_INBOX_MESSAGES;
use p2p_wire::server::{Receipt, ReceiptStatus};
use p2p_wire::{AppId, PeerId, RequestId, ServerMessage, SessionId};
use tokio::time::Instant;

use super::event::Mail;
use super::local::{Held, Local, ROUND, Table, status_name};
use crate::claim::Ownership;
use crate::link::NotPushed;

impl Table {
    /// Passes a message between two sessions of this instance, while Redis is away.
    pub(super) fn send_here(
        &mut self,
        owner: &Ownership,
        to: &PeerId,
        mail: Mail,
    ) -> Option<Result<(), ReceiptStatus>> {
        let sender = self.owned(owner)?;
        let may_repeat = sender.repeats_until.is_some_and(|until| until > Instant::now());
        if may_repeat || sender.awaiting.is_behind_another(&mail.id, to) {
            return None;
        }
        if let Some((_, status)) = sender.sent.iter().find(|(id, _)| *id == mail.id) {
            return Some(Err(*status));
        }
        let key = (owner.app.clone(), to.clone());
        let receiver = self.sessions.get_mut(&key)?;
        // What waits for it in Redis may be of the same sender, who was told that it was refused.
        if receiver.fetching.is_some() {
            return None;
        }
        // It may have arrived before Redis fell silent, and only the answer not.
        let arrived = |held: &Held| held.mail.session == mail.session && held.mail.id == mail.id;
        if receiver.inbox.iter().any(arrived) {
            return Some(Err(ReceiptStatus::Queued));
        }
        if receiver.inbox.len() >= MAX_INBOX_MESSAGES {
            return Some(Err(ReceiptStatus::Rejected));
        }
        let id = mail.id.clone();
        let seq = receiver.last + ROUND;
        let pushed = receiver.link.push(Held::frame(seq, &mail));
        receiver.last = seq;
        if receiver.here.len() >= MAX_INBOX_MESSAGES {
            receiver.here.pop_front();
        }
        receiver.here.push_back((mail.session.clone(), id.clone()));
        receiver.inbox.push_back(Held { seq, mail, here_only: true });
        if pushed == Err(NotPushed::Overflow) {
            self.counts.lagging += 1;
        }
        let sender = self.owned(owner)?;
        if sender.sent.len() >= MAX_INBOX_MESSAGES {
            sender.sent.pop_front();
        }
        sender.sent.push_back((id, ReceiptStatus::Queued));
        Some(Ok(()))
    }

    /// Acknowledges while Redis is away: senders of this instance hear of what was passed here.
    pub(super) fn ack_here(&mut self, owner: &Ownership, seq: u64) -> bool {
        let Some(local) = self.owned(owner) else { return false };
        local.acked = local.acked.max(seq.min(local.last));
        let acked = local.acked;
        let (done, kept): (Vec<Held>, _) =
            local.inbox.drain(..).partition(|held| held.here_only && held.seq <= acked);
        local.inbox = kept.into();
        for held in done {
            self.settle_here(&owner.app, held.mail, ReceiptStatus::Delivered);
        }
        true
    }

    /// Ends to serve a session. Messages that Redis never had are gone with it.
    pub(super) fn end_here(&mut self, owner: &Ownership) -> bool {
        let Some(local) = self.forget(owner) else { return false };
        self.lose_here(local);
        true
    }

    /// What passed Redis by and is not acknowledged is gone with the session here.
    pub(super) fn lose_here(&mut self, local: Local) {
        for held in local.inbox.into_iter().filter(|held| held.here_only) {
            self.settle_here(&local.owner.app, held.mail, ReceiptStatus::Gone);
        }
    }

    fn settle_here(&mut self, app: &AppId, mail: Mail, status: ReceiptStatus) {
        let key = (app.clone(), mail.from);
        let Some(sender) = self.sessions.get_mut(&key) else { return };
        if sender.owner.session != mail.session {
            return;
        }
        for (_, told) in sender.sent.iter_mut().filter(|(id, _)| *id == mail.id) {
            *told = status;
        }
        let receipt = Receipt { id: mail.id, status, reason: None };
        SIGNALING_RECEIPTS.with([status_name(status)]).increment(1);
        let epoch = sender.owner.epoch;
        self.push(&key, epoch, ServerMessage::Receipt(receipt).to_text().into());
    }
}

/// Who waits for a receipt of what.
pub(super) fn mail_of(owner: &Ownership, id: RequestId, rest: std::sync::Arc<str>) -> Mail {
    let session: SessionId = owner.session.clone();
    Mail { from: owner.peer.clone(), session, id, to_room: false, rest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Feed, Link};
    use crate::secret::SecretHash;

    fn served(table: &mut Table, peer: &str) -> (Ownership, Feed) {
        let owner = Ownership {
            app: "app".parse().unwrap(),
            peer: peer.parse().unwrap(),
            epoch: 1,
            session: format!("session-of-{peer}").parse().unwrap(),
        };
        let (link, feed) = Link::pair(8);
        let local = Local::new(owner.clone(), link, SecretHash::fresh().1);
        table.register(&(owner.app.clone(), owner.peer.clone()), local);
        (owner, feed)
    }

    #[test]
    fn i2_nothing_passes_redis_by_to_a_peer_whose_messages_are_still_fetched() {
        let mut table = Table::default();
        let (alice, _hers) = served(&mut table, "alice");
        let (bob, mut his) = served(&mut table, "bob");
        let mail = |id: &str| mail_of(&alice, id.parse().unwrap(), "}".into());
        let key = (bob.app.clone(), bob.peer.clone());
        assert!(table.deliver(&key, bob.epoch, 2, mail("m2")), "number 1 is missing");
        assert!(table.send_here(&alice, &bob.peer, mail("m3")).is_none());
        table.fetched(&bob, vec![(1, mail("m1")), (2, mail("m2"))]);
        assert_eq!(table.send_here(&alice, &bob.peer, mail("m3")), Some(Ok(())));
        assert_eq!(std::iter::from_fn(|| his.ready()).count(), 3);
    }
}
