//! The caller's first datagram goes out with the first checks and does not wait for their answers.
//!
//! A handshake takes a round trip of its own, and a hole that a check opens lets the datagram behind
//! it through as well. So the ways that are likely to work are named before any has answered: the
//! other side's public address, and its relay a moment later, when that has heard of this side. It is
//! a datagram or two for each of few addresses (I9), and never data: without the other side's
//! answer there are no keys for any.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_wire::{Candidate, CandidateKind, Transport};

use super::{Attempt, Change, allowed};
use crate::path::Via;

/// When after the attempt's start, in milliseconds. The sides hear of it within moments of each
/// other where they are equally far from the coordinator, and else later.
const AT_MS: [u64; 4] = [0, 4, 20, 60];
/// Addresses that are named at once: a public one of each family, and the relay.
const MAX_WAYS: usize = 3;

/// How often ways have been named.
#[derive(Debug, Default)]
pub(super) struct Early {
    rounds: usize,
}

impl Attempt {
    /// When ways are to be named next, if ever.
    pub(super) fn early_due(&self) -> Option<Instant> {
        let wanted = self.config.controlling && self.active.is_none() && self.connected.is_none();
        let at = AT_MS.get(self.early.rounds).filter(|_| wanted)?;
        Some(self.started + Duration::from_millis(*at))
    }

    /// Names the ways for the first datagram, when it is time.
    pub(super) fn name_early(&mut self, now: Instant) -> Option<Change> {
        self.early_due().filter(|due| *due <= now)?;
        self.early.rounds += 1;
        let mut ways: Vec<(Via, _)> = Vec::new();
        for remote in self.agent.remotes().filter(|c| c.transport == Transport::Udp) {
            let relay = remote.kind == CandidateKind::Relay;
            let worth = if relay { self.early.rounds > 1 } else { is_public(&remote) };
            if !worth || self.is_superseded(&remote) || !allowed(self.config.policy, relay) {
                continue;
            }
            let like = |known: &IpAddr| known.is_ipv4() == remote.address.is_ipv4();
            let Some(base) = self.local_hosts.iter().map(|host| host.ip()).find(like) else {
                continue;
            };
            ways.push((Via::Socket(base), remote.address));
        }
        ways.truncate(MAX_WAYS);
        ways.retain(|(_, remote)| self.budget.take(*remote, now));
        (!ways.is_empty()).then_some(Change::Early(ways))
    }
}

/// Whether others than its neighbours can reach an address.
fn is_public(candidate: &Candidate) -> bool {
    match candidate.address.ip().to_canonical() {
        IpAddr::V4(ip) => !(ip.is_private() || ip.is_loopback() || ip.is_link_local()),
        IpAddr::V6(ip) => !(ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local()),
    }
}
