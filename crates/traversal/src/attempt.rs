//! One connection attempt, and the paths of the connection that comes of it.
//!
//! An attempt begins with both sides' candidates and credentials. It ends in a path or in a verdict,
//! never in silence (I11). After that it lives on as the keeper of the connection's paths: it keeps
//! the nominated pair's consent, leaves a path that has fallen silent, and returns to it when it
//! answers again.

mod verdict;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use p2p_wire::{AttemptId, Candidate, CandidateKind, IcePair, Method, NatProfile, NatType};
use p2p_wire::{Outcome, PeerId, Policy, Report, limits};
use rtc_shared::error::Error;

use crate::budget::Budget;
use crate::ice::{Check, IceAgent, Pair};
use crate::liveness::{Abandoned, Consent, Finding, SILENCE};
use crate::path::{Path, PathKind, Through, Usable, Via, choose};
use crate::schedule;
use crate::stun::{self, Class};

/// Addresses that are learnt from the other side's checks. Two NATs that map by destination and let
/// anybody in show each other a new address with every check that goes to the last one.
const MAX_LEARNT: usize = 6;
/// The least time between rounds while a pair is being settled: long round trips would else fill with
/// nominations.
const SETTLING: Duration = Duration::from_millis(25);
/// How often a settled pair is checked while there is a doubt about it.
const DOUBT: Duration = Duration::from_millis(500);
/// Checks of the other side's that follow each other this fast show that it has a doubt.
const THEIR_DOUBT: Duration = Duration::from_secs(2);

/// What the coordinator said about the attempt.
#[derive(Debug, Clone)]
pub struct AttemptConfig {
    /// The attempt.
    pub id: AttemptId,
    /// The other peer.
    pub peer: PeerId,
    /// Whether this side nominates.
    pub controlling: bool,
    /// Which paths are allowed.
    pub policy: Policy,
    /// Both sides' credentials.
    pub ice: IcePair,
    /// The other side's candidates, as far as known.
    pub remote: Vec<Candidate>,
    /// The other side's network.
    pub remote_nat: Option<NatProfile>,
    /// How long the attempt may take.
    pub timeout: Duration,
}

/// Traffic on the path in use, as the shell counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// When the last packet left.
    pub sent: Option<Instant>,
    /// When the last packet came.
    pub received: Option<Instant>,
}

/// What an attempt has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The path in use is another, or there is none.
    Path(Option<Path>),
    /// Packets may come from further addresses.
    Sources(Vec<SocketAddr>),
    /// The verdict is known or has become better.
    Verdict(Report),
}

/// See the module.
pub(crate) struct Attempt {
    config: AttemptConfig,
    agent: IceAgent,
    near: NatProfile,
    local_hosts: Vec<SocketAddr>,
    local_relay: Option<SocketAddr>,
    remotes: usize,
    started: Instant,
    last_round: Instant,
    next_round: Instant,
    keep_alive: Duration,
    next_opening: Instant,
    active: Option<Path>,
    consent: Consent,
    abandoned: Abandoned,
    /// When the other side last checked the settled pair.
    asked: Option<Instant>,
    /// When it last answered a check of ours.
    answered: Option<Instant>,
    doubts_relay: bool,
    /// When data came last, as far as told.
    heard: Option<Instant>,
    /// Since when what this side sends on the path in use has gone unanswered.
    unanswered: Option<Instant>,
    /// Whether any path has answered.
    verified: bool,
    known_sources: usize,
    budget: Budget,
    connected: Option<Duration>,
    direct: Option<(Duration, Method)>,
    reported: Option<Outcome>,
    given_up: bool,
}

impl Attempt {
    pub(crate) fn new(
        config: AttemptConfig,
        near: NatProfile,
        locals: &[Candidate],
        keep_alive: Duration,
        now: Instant,
    ) -> Result<Self, Error> {
        let agent = IceAgent::new(&config.ice, config.controlling, now)?;
        let mut attempt = Self {
            agent,
            near,
            local_hosts: Vec::new(),
            local_relay: None,
            remotes: 0,
            started: now,
            last_round: now,
            next_round: now,
            keep_alive,
            next_opening: now + keep_alive,
            active: None,
            consent: Consent::default(),
            abandoned: Abandoned::default(),
            asked: None,
            answered: None,
            doubts_relay: false,
            heard: None,
            unanswered: None,
            verified: false,
            known_sources: 0,
            budget: Budget::default(),
            connected: None,
            direct: None,
            reported: None,
            given_up: false,
            config,
        };
        for candidate in locals {
            attempt.add_local(candidate);
        }
        for candidate in std::mem::take(&mut attempt.config.remote) {
            attempt.add_remote(&candidate, now);
        }
        Ok(attempt)
    }

    pub(crate) fn id(&self) -> &AttemptId {
        &self.config.id
    }

    pub(crate) fn ufrag(&self) -> &str {
        &self.config.ice.local.ufrag
    }

    /// Whether the policy lets this side use its allocation.
    pub(crate) fn uses_relay(&self) -> bool {
        self.config.policy != Policy::Direct
    }

    pub(crate) fn add_local(&mut self, candidate: &Candidate) {
        let relay = candidate.kind == CandidateKind::Relay;
        if !allowed(self.config.policy, relay) {
            return;
        }
        if relay {
            self.local_relay = Some(candidate.address);
        }
        if candidate.kind == CandidateKind::Host {
            self.local_hosts.push(candidate.address);
        }
        // A reflexive candidate is checked from its base, which is among the host candidates.
        if matches!(candidate.kind, CandidateKind::Host | CandidateKind::Relay) {
            let _ = self.agent.add_local(candidate);
        }
    }

    /// Takes a candidate of the other side's, within the attempt's budget (I9).
    pub(crate) fn add_remote(&mut self, candidate: &Candidate, now: Instant) -> bool {
        let relay = candidate.kind == CandidateKind::Relay;
        if self.remotes >= limits::MAX_CANDIDATES
            || !allowed(self.config.policy, relay)
            || !probeable(candidate.address.ip())
        {
            return false;
        }
        self.remotes += 1;
        self.next_round = self.next_round.min(now);
        self.agent.add_remote(candidate).is_ok()
    }

    /// Reads a check or an answer. `local` is where it came to: an address of the socket's, or this
    /// side's relayed address.
    pub(crate) fn handle(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) {
        if self.too_many_addresses(remote) {
            return;
        }
        self.agent.handle(local, remote, datagram, now);
        match stun::peek(datagram) {
            Some((Class::Response, _)) if self.agent.settled() => self.answered = Some(now),
            Some((Class::Request, _)) if self.agent.settled() => self.hear_doubt(now),
            // Settling takes one more check, which must not wait for the next round.
            Some((Class::Response, _)) if self.config.controlling => {
                self.next_round = self.next_round.min(self.last_round + SETTLING).max(now);
            }
            Some(_) | None => {}
        }
    }

    /// Whether a check from this address would add one too many to those of the other side's (I9).
    fn too_many_addresses(&self, remote: SocketAddr) -> bool {
        let mut learnt = 0;
        for known in self.agent.remotes() {
            if known.address == remote {
                return false;
            }
            learnt += usize::from(known.kind == CandidateKind::PeerReflexive);
        }
        learnt >= MAX_LEARNT
    }

    /// What the other side has a doubt about may be dead in this side's direction only. A check of
    /// our own tells, unless one has just told.
    fn hear_doubt(&mut self, now: Instant) {
        let lately = |at: Instant| now.saturating_duration_since(at) < THEIR_DOUBT;
        let doubts = self.asked.replace(now).is_some_and(lately);
        if doubts && !self.answered.is_some_and(lately) {
            self.next_round = self.next_round.min(now);
        }
    }

    /// The next check or answer to send, within the budget of its target (I9).
    pub(crate) fn poll_check(&mut self, now: Instant) -> Option<(Via, Check)> {
        loop {
            let check = self.agent.poll_check()?;
            if !self.budget.take(check.remote, now) {
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

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        (!self.given_up).then(|| {
            let unreported = self.reported.is_none();
            let deadline = self.started + self.config.timeout;
            let next = self.next_round.min(self.next_opening);
            if unreported { next.min(deadline) } else { next }
        })
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.given_up || now < self.next_round {
            return;
        }
        self.last_round = now;
        self.agent.round(now);
        self.agent.drop_events();
        self.next_round = if self.agent.settled() && self.abandoned.is_empty() {
            now + self.keep_alive
        } else if self.agent.settled() {
            now + DOUBT
        } else {
            schedule::next_round(self.started, now)
        };
    }

    /// The ways whose mapping is to be kept open at the moment: those to the other side's relay,
    /// because a settled pair is the only one that is still checked, and the relay has to be there
    /// when that one fails.
    pub(crate) fn take_openings(&mut self, now: Instant) -> Vec<Path> {
        if self.given_up || now < self.next_opening {
            return Vec::new();
        }
        self.next_opening = now + self.keep_alive;
        let pairs = self.pairs(now);
        let ways = pairs.iter().filter(|p| p.answered).map(|p| self.usable_pair(p));
        ways.filter(|u| u.through == Through::Theirs).map(|u| u.path).collect()
    }

    /// Whether the relay has fallen silent since this was asked last.
    pub(crate) fn take_relay_doubt(&mut self) -> bool {
        std::mem::take(&mut self.doubts_relay)
    }

    /// Every address of the other side's.
    pub(crate) fn remote_addresses(&self) -> Vec<SocketAddr> {
        self.agent.remotes().map(|candidate| candidate.address).collect()
    }

    /// Leaves the active path if it has fallen silent under traffic.
    pub(crate) fn traffic(&mut self, traffic: Traffic, now: Instant) {
        let Some(active) = self.active else { return };
        // Silence only counts while this side is talking: an idle path is not a dead one. And it
        // counts from the first unanswered packet on, not from the last answer, which may have come
        // before an idle hour.
        let talking = |sent| now.saturating_duration_since(sent) < SILENCE;
        if traffic.received != self.heard || !traffic.sent.is_some_and(talking) {
            self.heard = traffic.received;
            self.unanswered = None;
        } else if traffic.sent > traffic.received {
            let since = *self.unanswered.get_or_insert(now);
            if now.saturating_duration_since(since) >= SILENCE.max(3 * active.rtt) {
                self.leave(active, now);
            }
        }
    }

    /// A handshake has gone both ways over the path in use: that is an answer too.
    pub(crate) fn confirm(&mut self, now: Instant) {
        let Some(path) = self.active else { return };
        self.verified = true;
        if path.kind == PathKind::Direct {
            let age = now.saturating_duration_since(self.started);
            self.direct.get_or_insert((age, path.method));
        }
    }

    /// Decides anew what the pairs' state means, and says what has changed.
    pub(crate) fn review(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.given_up {
            return changes;
        }
        let pairs = self.pairs(now);
        self.readmit(&pairs, now);
        self.doubt(&pairs, now);
        let chosen = choose(self.active.as_ref(), &self.usable(&pairs));
        let path = chosen.map(|usable| usable.path);
        if path.map(way) != self.active.map(way) {
            self.unanswered = None;
            changes.push(Change::Path(path));
        }
        self.active = path;
        self.note(&pairs, now);
        let sources = self.remote_addresses();
        if sources.len() != self.known_sources {
            self.known_sources = sources.len();
            changes.push(Change::Sources(sources));
        }
        let verdict = self.verdict(now);
        if self.given_up && self.active.take().is_some() {
            changes.push(Change::Path(None));
        }
        changes.extend(verdict.map(Change::Verdict));
        changes
    }

    /// Ends the attempt from outside: the other side is gone.
    pub(crate) fn give_up(&mut self, now: Instant) -> Option<Report> {
        if self.given_up || self.active.is_some() {
            return None;
        }
        self.given_up = true;
        self.reported = Some(Outcome::Failed);
        Some(self.report(Outcome::Failed, now))
    }

    pub(crate) fn active(&self) -> Option<Path> {
        self.active
    }

    /// The pairs that can still be used: those of an allocation that is gone cannot.
    fn pairs(&self, now: Instant) -> Vec<Pair> {
        let mut pairs = self.agent.pairs(now);
        pairs.retain(|pair| {
            pair.local.kind != CandidateKind::Relay || Some(pair.local.address) == self.local_relay
        });
        pairs
    }

    fn usable(&self, pairs: &[Pair]) -> Vec<Usable> {
        let ways = |answered: bool| -> Vec<Usable> {
            let pairs = pairs.iter().filter(|p| p.answered == answered);
            pairs.map(|p| self.usable_pair(p)).collect()
        };
        let trusted = |usable: &Usable| !self.abandoned.holds(&usable.path);
        let answered = ways(true);
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

    fn usable_pair(&self, pair: &Pair) -> Usable {
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

    fn path(&self, pair: &Pair) -> Path {
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

    fn pair_of<'a>(&self, way: &Path, pairs: &'a [Pair]) -> Option<&'a Pair> {
        pairs.iter().find(|pair| self.path(pair).same_way(way))
    }

    /// A path that was left is used again once it has answered after its probation.
    fn readmit(&mut self, pairs: &[Pair], now: Instant) {
        let mut abandoned = std::mem::take(&mut self.abandoned);
        abandoned.readmit(|way| self.pair_of(way, pairs).map_or(0, |pair| pair.answers), now);
        self.abandoned = abandoned;
    }

    /// Looks whether the checks of the path in use are answered.
    fn doubt(&mut self, pairs: &[Pair], now: Instant) {
        let Some(active) = self.active.filter(|_| self.agent.settled()) else { return };
        let Some(pair) = self.pair_of(&active, pairs) else { return };
        match self.consent.observe(&active, pair.requests, pair.answers, now) {
            Finding::Good => {}
            Finding::Doubtful => {
                self.next_round = self.next_round.min(now + DOUBT.max(2 * active.rtt));
            }
            Finding::Reassured if self.abandoned.is_empty() => {
                self.next_round = now + self.keep_alive;
            }
            Finding::Reassured => {}
            Finding::Dead => self.leave(active, now),
        }
    }

    fn leave(&mut self, way: Path, now: Instant) {
        if self.abandoned.holds(&way) {
            return;
        }
        self.doubts_relay |= way.kind == PathKind::Relay;
        self.abandoned.leave(way, now);
        self.next_round = now;
    }

    /// What counts for the report is a path that has answered: one that was only heard from may
    /// carry in one direction.
    fn note(&mut self, pairs: &[Pair], now: Instant) {
        let Some(path) = self.active else { return };
        let age = now.saturating_duration_since(self.started);
        self.connected.get_or_insert(age);
        if !self.pair_of(&path, pairs).is_some_and(|pair| pair.answered) {
            return;
        }
        self.verified = true;
        if path.kind == PathKind::Direct {
            self.direct.get_or_insert((age, path.method));
        }
    }
}

fn way(path: Path) -> (Via, SocketAddr) {
    (path.via, path.remote)
}

fn allowed(policy: Policy, relay: bool) -> bool {
    match policy {
        Policy::Auto => true,
        Policy::Direct => !relay,
        Policy::Relay => relay,
    }
}

/// Addresses that no peer can have: probing them would only serve to aim packets.
fn probeable(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    }
}
