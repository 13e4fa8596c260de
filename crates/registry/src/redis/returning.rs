//! What Redis says when it is back and each session was said again.

use std::time::Duration;

use p2p_telemetry::metrics::SIGNALING_RECEIPTS;
use p2p_wire::server::{Receipt, ReceiptStatus};
use p2p_wire::{RequestId, ServerMessage};

use super::event::Mail;
use super::local::{Local, Table, status_name};
use crate::claim::Ownership;

impl Table {
    /// Takes in what Redis answered to a peer that was said again as far as `last`. Says whether
    /// that was all.
    pub(super) fn reasserted(
        &mut self,
        owner: &Ownership,
        last: u64,
        mail: Vec<(u64, Mail)>,
    ) -> bool {
        let Some(local) = self.owned(owner) else { return true };
        local.synced = local.synced.max(last);
        for held in &mut local.inbox {
            held.here_only &= held.seq > last;
        }
        if local.is_ahead() {
            return false;
        }
        local.sent.clear();
        local.here.clear();
        local.fetching = Some(false);
        self.fetched(owner, mail);
        true
    }

    /// Redis is back, and what it has for anybody here was asked for.
    pub(super) fn all_is_said(&mut self) {
        for local in self.sessions.values_mut() {
            local.awaiting.forget_refused();
        }
    }

    /// Hands out receipts that were asked for again.
    pub(super) fn told(&mut self, owner: &Ownership, receipts: Vec<Receipt>) {
        let key = (owner.app.clone(), owner.peer.clone());
        for receipt in receipts {
            let Some(local) = self.owned(owner) else { return };
            // Its event may have come after all.
            if local.awaiting.end(&receipt.id) {
                SIGNALING_RECEIPTS.with([status_name(receipt.status)]).increment(1);
                self.push(&key, owner.epoch, ServerMessage::Receipt(receipt).to_text().into());
            }
        }
    }

    /// Sessions of which Redis does not know everything.
    pub(super) fn unsaid(&self) -> Vec<Ownership> {
        let unsaid = |local: &&Local| local.stale || local.is_ahead();
        self.sessions.values().filter(unsaid).map(|local| local.owner.clone()).collect()
    }

    /// Receipts for what a session waits for and Redis has not known for this long: a master that
    /// died before its replica had them took them with it.
    pub(super) fn forgotten(
        &mut self,
        owner: &Ownership,
        ids: &[RequestId],
        long: Duration,
    ) -> Vec<Receipt> {
        let Some(local) = self.owned(owner) else { return Vec::new() };
        let lost = local.awaiting.are_forgotten(ids, long).into_iter();
        let reason = "Redis lost it when another node took over";
        lost.map(|id| Receipt { id, status: ReceiptStatus::Gone, reason: Some(reason.to_owned()) })
            .collect()
    }

    /// Sessions that have to hear that Redis lost what they sent, unless it knows better by now.
    pub(super) fn losers(&self, long: Duration) -> Vec<Ownership> {
        let losers = self.sessions.values().filter(|local| local.awaiting.has_lost(long));
        losers.map(|local| local.owner.clone()).collect()
    }
}
