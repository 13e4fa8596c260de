//! Addresses of the other side's that only its checks have shown (peer-reflexive, RFC 8445 §7.3.1.3).
//!
//! Two NATs that map by destination and let anybody in show each other a new address with every
//! check that goes to the last one, so few are learnt at once. A NAT that begins anew shows another
//! address too, now and then for as long as a connection lives, so a few more are learnt later.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use p2p_wire::{Candidate, CandidateKind};

use super::Attempt;

/// Addresses that are learnt at once.
pub(super) const MAX_LEARNT: usize = 6;
/// One more is learnt when none was for so long.
const AGAIN: Duration = Duration::from_secs(2);
/// Addresses that are ever learnt.
const MAX_EVER: usize = 64;

impl Attempt {
    /// Whether a check from this address may be heard: it is known, or one more may be learnt (I9).
    pub(super) fn may_learn(&self, remote: SocketAddr, now: Instant) -> bool {
        if self.agent.remotes().any(|known| known.address == remote) {
            return true;
        }
        let learnt = self.agent.remotes().filter(is_learnt).count();
        let lately = now.saturating_duration_since(self.learnt_at) < AGAIN;
        learnt < MAX_EVER && !(learnt >= MAX_LEARNT && lately)
    }

    /// Every address of the other side's that is worth a check: of the learnt ones, the latest.
    pub(super) fn worth_checking(&self) -> impl Iterator<Item = Candidate> {
        let old = self.agent.remotes().filter(is_learnt).count().saturating_sub(MAX_LEARNT);
        let mut learnt = 0;
        self.agent.remotes().filter(move |remote| {
            learnt += usize::from(is_learnt(remote));
            !is_learnt(remote) || learnt > old
        })
    }
}

fn is_learnt(candidate: &Candidate) -> bool {
    candidate.kind == CandidateKind::PeerReflexive
}
