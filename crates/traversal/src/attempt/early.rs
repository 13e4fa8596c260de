//! The first datagrams of a handshake go out with the first checks and do not wait for their answers.
//!
//! A handshake takes a round trip of its own, and a hole that a check opens lets the datagram behind
//! it through as well. So the ways that are likely to work are named before any has answered: the
//! other side's public address, and its relay a moment later, when that has heard of this side. Where
//! no UDP passes, or no address of this side's is to be shown, they lead through its own relay. It is a
//! datagram or two for each of few addresses (I9), of the caller's first flight or of the answer to it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_wire::{Candidate, CandidateKind, Transport};

use super::{Attempt, Change, allowed};
use crate::path::Via;

/// When after the attempt's start, in milliseconds. The sides hear of it within moments of each
/// other where they are equally far from the coordinator, and else later.
const AT_MS: [u64; 5] = [0, 5, 10, 25, 60];
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
        let wanted = self.active.is_none() && self.connected.is_none();
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
            // What the callee answers takes a moment to make.
            let heard_of = self.early.rounds > 1 || !self.config.controlling;
            let worth = if relay { heard_of } else { is_public(&remote) };
            if !worth || self.is_superseded(&remote) || !allowed(self.config.policy, relay) {
                continue;
            }
            ways.extend(self.early_way(&remote).map(|via| (via, remote.address)));
        }
        ways.truncate(MAX_WAYS);
        ways.retain(|(_, remote)| self.budget.take(*remote, now));
        (!ways.is_empty()).then_some(Change::Early(ways))
    }

    /// How the first datagrams leave for this address.
    fn early_way(&self, remote: &Candidate) -> Option<Via> {
        let like = |known: &IpAddr| known.is_ipv4() == remote.address.is_ipv4();
        let base = self.local_hosts.iter().map(|host| host.ip()).find(like);
        let relay = self.local_relay.filter(|_| remote.kind == CandidateKind::Relay);
        // As long as nobody has answered over UDP it may be blocked, and to say so takes a while.
        // Nobody's NAT lets a stranger in; a relay does, once it has been told to.
        let silent = self.near.public_address.is_none();
        match (base, relay) {
            (_, Some(_)) if base.is_none() || silent => Some(Via::Relay),
            (base, _) => base.map(Via::Socket),
        }
    }
}

/// Whether others than its neighbours can reach an address.
fn is_public(candidate: &Candidate) -> bool {
    match candidate.address.ip().to_canonical() {
        IpAddr::V4(ip) => !(ip.is_private() || ip.is_loopback() || ip.is_link_local()),
        IpAddr::V6(ip) => !(ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local()),
    }
}
