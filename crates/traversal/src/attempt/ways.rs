//! The ways that an attempt could use: the pairs that are there, and which of them are worth it at the
//! moment.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use p2p_wire::{Candidate, CandidateKind, Method, NatType};

use super::Attempt;
use crate::ice::Pair;
use crate::liveness::SILENCE;
use crate::path::{Path, PathKind, Through, Usable, Via};

impl Attempt {
    /// The pairs that can still be used: those of an allocation that is gone cannot.
    pub(super) fn pairs(&self, now: Instant) -> Vec<Pair> {
        let mut pairs = self.agent.pairs(now);
        self.search.merge(&mut pairs);
        pairs.retain(|pair| {
            let local = match pair.local.kind {
                CandidateKind::Relay => Some(pair.local.address) == self.local_relay,
                _ => self.local_hosts.contains(&pair.local.address),
            };
            local && !self.is_superseded(&pair.remote)
        });
        pairs
    }

    pub(super) fn usable(&self, pairs: &[Pair], now: Instant) -> Vec<Usable> {
        let ways = |answered: bool| -> Vec<Usable> {
            let pairs = pairs.iter().filter(|p| p.answered == answered);
            pairs.map(|p| self.usable_pair(p)).collect()
        };
        let trusted = |usable: &Usable| !self.abandoned.holds(&usable.path);
        let mut answered = ways(true);
        answered.extend(self.streams.usable());
        // While a relayed way is silent, one that has answered meanwhile is better, whatever its rank:
        // the relay of a peer that has moved is another now.
        let silent_since = self.unanswered.filter(|_| self.active.is_some_and(|a| a.is_relayed()));
        if let Some(since) = silent_since {
            let answered_since = |pair: &&Pair| {
                let heard = self.search.heard(pair.local.address, pair.remote.address);
                heard.is_some_and(|heard| heard > since + self.active.map_or(SILENCE, |a| a.rtt))
            };
            let alive = pairs.iter().filter(|p| p.answered).filter(answered_since);
            let alive: Vec<_> = alive.map(|p| self.usable_pair(p)).filter(trusted).collect();
            if !alive.is_empty() {
                return alive;
            }
        }
        // A way that loses too much is for when there is no other.
        let fast = |usable: &Usable| trusted(usable) && !self.quality.is_slow(&usable.path, now);
        let fast: Vec<_> = answered.iter().copied().filter(fast).collect();
        if !fast.is_empty() {
            return fast;
        }
        // A pair that only the other side has checked still carries an answer to it: its first
        // packets must not wait for our own check's round trip.
        for ways in [&answered, &ways(false), &self.untried(pairs)] {
            let ways: Vec<_> = ways.iter().copied().filter(trusted).collect();
            if !ways.is_empty() {
                return ways;
            }
        }
        // Nothing is trusted any more. The way in use is as good as any other.
        answered.into_iter().filter(|u| self.active.is_some_and(|a| a.same_way(&u.path))).collect()
    }

    /// Once everything that was checked has fallen silent, the other side's relay is worth a packet:
    /// it may be one that the other side has turned to since checks ended.
    fn untried(&self, pairs: &[Pair]) -> Vec<Usable> {
        if self.abandoned.is_empty() {
            return Vec::new();
        }
        let relays = self.agent.remotes().filter(|c| c.kind == CandidateKind::Relay);
        let relays = relays.filter(|c| !self.is_superseded(c));
        let unknown = relays.filter(|c| pairs.iter().all(|p| p.remote.address != c.address));
        let way = |remote: Candidate| {
            let same_family = |host: &&SocketAddr| host.is_ipv4() == remote.address.is_ipv4();
            // By our relay where there is one: the other side knows that address, while a NAT may
            // give what leaves the socket one that nobody has heard of.
            let (via, through) = match self.local_relay {
                Some(_) => (Via::Relay, Through::Both),
                None => {
                    let base = self.local_hosts.iter().find(same_family)?;
                    (Via::Socket(base.ip()), Through::Theirs)
                }
            };
            let (kind, method, rtt) = (PathKind::Relay, Method::Relay, Duration::ZERO);
            Some(Usable { path: Path { kind, method, via, remote: remote.address, rtt }, through })
        };
        unknown.filter_map(way).collect()
    }

    pub(super) fn usable_pair(&self, pair: &Pair) -> Usable {
        let ours = pair.local.kind == CandidateKind::Relay;
        let theirs = pair.remote.kind == CandidateKind::Relay;
        let through = match (ours, theirs) {
            (false, false) => Through::Nothing,
            (false, true) => Through::Theirs,
            (true, true) => Through::Both,
            (true, false) => Through::Ours,
        };
        Usable { path: self.path(pair), through }
    }

    pub(super) fn path(&self, pair: &Pair) -> Path {
        let via = if pair.local.kind == CandidateKind::Relay {
            Via::Relay
        } else {
            Via::Socket(pair.local.address.ip())
        };
        let relayed = via == Via::Relay || pair.remote.kind == CandidateKind::Relay;
        let method = if relayed {
            Method::Relay
        } else if pair.remote.kind == CandidateKind::Host || self.near.nat_type == NatType::Open {
            Method::Direct
        } else {
            Method::UdpHolePunch
        };
        let kind = if relayed { PathKind::Relay } else { PathKind::Direct };
        Path { kind, method, via, remote: pair.remote.address, rtt: pair.rtt }
    }

    pub(super) fn pair_of<'a>(&self, way: &Path, pairs: &'a [Pair]) -> Option<&'a Pair> {
        pairs.iter().find(|pair| self.path(pair).same_way(way))
    }
}
