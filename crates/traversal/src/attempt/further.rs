//! Looking further than the agent does: for better ways than the one in use, and after the spare one.

use std::net::SocketAddr;
use std::time::Instant;

use p2p_wire::{Candidate, CandidateKind};
use rand::RngCore;

use super::{Attempt, allowed};
use crate::ice::Pair;
use crate::path::{Path, PathKind, Via};
use crate::search::MAX_WAYS;

impl Attempt {
    /// The host has these addresses from here on: ways from others are gone, and the new ones are
    /// worth a search.
    pub(crate) fn set_hosts(&mut self, hosts: &[SocketAddr], now: Instant) {
        let gone = |way: &Path| match way.via {
            Via::Socket(ip) => hosts.iter().all(|host| host.ip() != ip),
            Via::Relay | Via::Stream(_) => false,
        };
        self.abandoned.forget(gone);
        self.active = self.active.filter(|active| !gone(active));
        self.local_hosts.retain(|known| hosts.contains(known));
        for host in hosts {
            if !self.local_hosts.contains(host) {
                self.add_local(&Candidate::udp(CandidateKind::Host, *host));
            }
        }
        self.search_anew(now);
    }

    /// The network is another, or may be: whatever was found out about ways may be wrong.
    pub(crate) fn search_anew(&mut self, now: Instant) {
        self.next_round = self.next_round.min(now);
        self.search.begin(now);
        // A connection over TCP is bound to the address it was made from.
        self.streams.doubt(true, now);
        let has_direct = self.active.is_some_and(|active| !active.is_relayed());
        if let Some(punch) = self.punch.as_mut().filter(|_| !has_direct) {
            punch.begin(now);
        }
    }

    /// The relay reaches this client there from here on. Where it is another address, the other side
    /// learns it soonest by a check from it.
    pub(crate) fn set_local_relay(&mut self, candidate: &Candidate, now: Instant) {
        let before = self.local_relay;
        self.add_local(candidate);
        if self.local_relay != before {
            self.next_round = self.next_round.min(now);
            self.search.begin(now);
        }
    }

    /// Looks for better ways than the one in use, or after the spare one where there are none.
    pub(super) fn look_further(&mut self, now: Instant, rng: &mut dyn RngCore) {
        // Over TCP, what is lost holds up what is behind it: UDP would be better.
        let over_tcp = |active: &Path| matches!(active.via, Via::Stream(_));
        let settled_well =
            self.active.is_some_and(|active| active.kind == PathKind::Direct && !over_tcp(&active));
        let seeking = !settled_well || !self.abandoned.is_empty();
        self.search.plan(seeking, self.keep_alive, now);
        // Before the agent has settled it checks everything itself.
        if !self.agent.settled() {
            return;
        }
        let wanted = if seeking { self.ways() } else { self.spare(now).into_iter().collect() };
        self.outbox.extend(self.search.check(wanted, now, rng));
    }

    /// Every way but the one in use, the best at the head.
    pub(super) fn ways(&self) -> Vec<(Candidate, Candidate)> {
        let relay = self.local_relay.map(|addr| Candidate::udp(CandidateKind::Relay, addr));
        let hosts = self.local_hosts.iter().map(|addr| Candidate::udp(CandidateKind::Host, *addr));
        let locals: Vec<_> = hosts.chain(relay).collect();
        let mut ways = Vec::new();
        for remote in self.worth_checking().filter(|remote| !self.is_superseded(remote)) {
            for local in &locals {
                let pair = Pair::unknown(*local, remote);
                let relayed = self.path(&pair).kind == PathKind::Relay;
                let family = local.address.is_ipv4() == remote.address.is_ipv4();
                let in_use = self.active.is_some_and(|a| a.same_way(&self.path(&pair)));
                if family && !in_use && allowed(self.config.policy, relayed) {
                    ways.push((self.usable_pair(&pair).rank(), *local, remote));
                }
            }
        }
        ways.sort_by_key(|(rank, ..)| *rank);
        ways.truncate(MAX_WAYS);
        ways.into_iter().map(|(_, local, remote)| (local, remote)).collect()
    }

    /// The relayed way that stands by while a direct one is in use: it is kept warm, so that traffic
    /// can move to it without a question.
    pub(super) fn spare(&self, now: Instant) -> Option<(Candidate, Candidate)> {
        let pairs = self.pairs(now);
        let relayed = pairs.iter().filter(|pair| pair.answered).filter(|pair| {
            let path = self.path(pair);
            path.kind == PathKind::Relay && !self.abandoned.holds(&path)
        });
        let best = relayed.min_by_key(|pair| self.usable_pair(pair).rank())?;
        Some((best.local, best.remote))
    }

    /// A peer has one allocation at a relay: its latest word counts, what it had before is gone.
    pub(super) fn is_superseded(&self, remote: &Candidate) -> bool {
        let at_one_relay =
            |latest: SocketAddr| latest.ip() == remote.address.ip() && latest != remote.address;
        remote.kind == CandidateKind::Relay && self.remote_relay.is_some_and(at_one_relay)
    }
}
