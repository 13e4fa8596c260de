//! What an attempt may send: within the budget of each target, and while it looks for its first path
//! within that of each method (I9).

use std::net::SocketAddr;
use std::time::Instant;

use p2p_wire::{CandidateKind, Method, NatType};

use super::Attempt;
use crate::ice::Check;
use crate::path::Via;
use crate::stun::{self, Class};

impl Attempt {
    /// The next check or answer to send.
    pub(crate) fn poll_check(&mut self, now: Instant) -> Option<(Via, Check)> {
        loop {
            let check = self.outbox.pop_front().or_else(|| self.agent.poll_check())?;
            if !self.budget.take(check.remote, now) || !self.may_spend(&check, now) {
                continue;
            }
            if Some(check.local) == self.local_relay {
                return Some((Via::Relay, check));
            }
            if self.local_hosts.contains(&check.local) {
                return Some((Via::Socket(check.local.ip()), check));
            }
            // From an allocation that is gone.
        }
    }

    /// A method spends on ways that nobody has been heard on. Once there is a pair that was settled on,
    /// few checks go out, and those by the clock.
    fn may_spend(&mut self, check: &Check, now: Instant) -> bool {
        let asks = matches!(stun::peek(&check.payload), Some((Class::Request, _)));
        if !asks || self.agent.settled() || self.alive.contains(&(check.local, check.remote)) {
            return true;
        }
        let method = self.method_of(check.local, check.remote);
        let age = now.saturating_duration_since(self.started);
        let first = self.budget.of(method).exhausted.is_none();
        let spends = self.budget.spend(method, 1, age);
        if !spends && first {
            let packets = self.budget.of(method).allowed;
            tracing::debug!(attempt = %self.config.id, %method, packets, "a method has spent its packets");
        }
        spends
    }

    fn method_of(&self, local: SocketAddr, remote: SocketAddr) -> Method {
        let known = self.agent.remotes().find(|candidate| candidate.address == remote);
        match known.map(|candidate| candidate.kind) {
            _ if Some(local) == self.local_relay => Method::Relay,
            Some(CandidateKind::Relay) => Method::Relay,
            Some(CandidateKind::Host) => Method::Direct,
            _ if self.near.nat_type == NatType::Open => Method::Direct,
            _ => Method::UdpHolePunch,
        }
    }

    /// Packets that were not sent because a method's budget was spent.
    pub(crate) fn over_budget(&self) -> u64 {
        self.budget.refused()
    }
}
