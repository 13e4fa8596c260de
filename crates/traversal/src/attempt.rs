//! One connection attempt, and the paths of the connection that comes of it.
//!
//! An attempt begins with both sides' candidates and credentials. It ends in a path or in a verdict,
//! never in silence (I11). After that it lives on as the keeper of the connection's paths: it keeps
//! the nominated pair's consent, leaves a path that has fallen silent, and returns to it when it
//! answers again.

mod config;
mod early;
mod further;
mod keep;
mod learnt;
mod spend;
mod streams;
mod verdict;
mod ways;

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use p2p_wire::{
    AttemptId, Candidate, CandidateKind, Method, NatProfile, Outcome, Policy, Report, Transport,
    limits,
};
use rand::RngCore;
use rtc_shared::error::Error;

use crate::budget::Budget;
use crate::check::Keys;
use crate::ice::{Check, IceAgent, Pair};
use crate::liveness::{Abandoned, Consent};
use crate::path::{Path, PathKind, Through, Via, choose};
use crate::peer_streams::PeerStreams;
use crate::quality::Quality;
use crate::relay::RelayTransport;
use crate::schedule;
use crate::search::Search;
use crate::stun::{self, Class};
use crate::tcp_punch::TcpPunch;

pub use config::AttemptConfig;
use config::{allowed, probeable};
use early::Early;
use keep::Stray;
pub(crate) use streams::StreamWork;
use streams::Undialled;

/// The least time between rounds while a pair is being settled: long round trips would else fill with
/// nominations.
const SETTLING: Duration = Duration::from_millis(25);
/// The least time between a round and one that answers a check.
const TRIGGERED: Duration = Duration::from_millis(5);
/// How often a settled pair is checked while there is a doubt about it.
const DOUBT: Duration = Duration::from_millis(500);
/// The same when it has been left for longer than [`LATELY`].
const LONG_DOUBT: Duration = Duration::from_secs(2);
const LATELY: Duration = Duration::from_secs(10);
/// How often the pair in use is checked until an answer comes.
const ASKING: Duration = Duration::from_millis(120);
/// Checks of the other side's that follow each other this fast show that it has a doubt.
const THEIR_DOUBT: Duration = Duration::from_millis(250);
/// An answer that came within this needs no other. Longer than [`THEIR_DOUBT`], or two sides that ask
/// because they are asked would never stop.
const JUST: Duration = Duration::from_millis(300);

/// What an attempt has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The path in use is another, or there is none.
    Path(Option<Path>),
    /// The path in use has answered after a silence.
    Answered,
    /// Packets may come from further addresses.
    Sources(Vec<SocketAddr>),
    /// There is no path yet, and a first datagram may go these ways meanwhile.
    Early(Vec<(Via, SocketAddr)>),
    /// The verdict is known or has become better.
    Verdict(Report),
}

/// See the module.
pub(crate) struct Attempt {
    config: AttemptConfig,
    agent: IceAgent,
    search: Search,
    keys: Keys,
    punch: Option<TcpPunch>,
    undialled: Undialled,
    streams: PeerStreams,
    stream_work: VecDeque<StreamWork>,
    /// Where this side takes TCP connections.
    tcp_hosts: Vec<SocketAddr>,
    /// Checks of the search's that wait to be sent.
    outbox: VecDeque<Check>,
    quality: Quality,
    near: NatProfile,
    local_hosts: Vec<SocketAddr>,
    local_relay: Option<SocketAddr>,
    /// The other side's latest relayed address.
    remote_relay: Option<SocketAddr>,
    remotes: usize,
    started: Instant,
    last_round: Instant,
    next_round: Instant,
    keep_alive: Duration,
    /// When the pair in use is checked next, where it is not the agent's.
    next_consent: Instant,
    next_opening: Instant,
    /// When a way was left last.
    left_at: Instant,
    active: Option<Path>,
    consent: Consent,
    abandoned: Abandoned,
    /// When the other side last checked the settled pair.
    asked: Option<Instant>,
    /// When it last answered a check of ours.
    answered: Option<Instant>,
    doubts_network: bool,
    /// When data came last, as far as told.
    heard: Option<Instant>,
    early: Early,
    /// When the last address was learnt from a check.
    learnt_at: Instant,
    /// Where data comes from, if not from where it goes.
    stray: Option<Stray>,
    /// The silence that the path in use has been asked about.
    asked_about: Option<Instant>,
    /// The path in use has answered since, and nobody has been told.
    tells_answer: bool,
    /// The last packet by the socket before the other side was followed to its relay.
    followed: Option<Instant>,
    /// Since when what this side sends on the path in use has gone unanswered.
    unanswered: Option<Instant>,
    /// Whether any path has answered.
    verified: bool,
    known_sources: usize,
    budget: Budget,
    /// The ways that the other side has been heard on.
    alive: HashSet<(SocketAddr, SocketAddr)>,
    /// How this side reaches its relay.
    relay_transport: Option<RelayTransport>,
    /// When the first path was there, and which.
    connected: Option<(Duration, Method)>,
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
        let search = Search::new(&config.ice, config.controlling);
        let mut attempt = Self {
            agent,
            search,
            keys: Keys::new(&config.ice, config.controlling),
            punch: streams::punch(&config, now),
            undialled: Undialled::new(&config, &near),
            streams: PeerStreams::default(),
            stream_work: VecDeque::new(),
            tcp_hosts: Vec::new(),
            outbox: VecDeque::new(),
            quality: Quality::new(now),
            near,
            local_hosts: Vec::new(),
            local_relay: None,
            remote_relay: None,
            remotes: 0,
            started: now,
            last_round: now,
            next_round: now,
            keep_alive,
            next_consent: now + keep_alive,
            next_opening: now + keep_alive,
            left_at: now,
            active: None,
            consent: Consent::default(),
            abandoned: Abandoned::default(),
            asked: None,
            answered: None,
            doubts_network: false,
            heard: None,
            early: Early::default(),
            learnt_at: now,
            stray: None,
            asked_about: None,
            tells_answer: false,
            followed: None,
            unanswered: None,
            verified: false,
            known_sources: 0,
            budget: Budget::new(&config.plan),
            alive: HashSet::new(),
            relay_transport: None,
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
        if candidate.transport == Transport::Tcp {
            if !self.tcp_hosts.contains(&candidate.address) {
                self.tcp_hosts.push(candidate.address);
            }
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
        if !allowed(self.config.policy, relay) || !probeable(candidate.address.ip()) {
            return false;
        }
        // The latest few are dialled, within a budget of packets however many there are.
        if candidate.transport == Transport::Tcp {
            self.add_tcp_remote(candidate, now);
            return true;
        }
        if self.remotes >= limits::MAX_CANDIDATES {
            return false;
        }
        if relay {
            self.remote_relay = Some(candidate.address);
        }
        if self.agent.remotes().any(|known| known.address == candidate.address) {
            return true;
        }
        self.remotes += 1;
        self.next_round = self.next_round.min(now);
        self.search.begin(now);
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
        if self.search.answer(local, remote, datagram, now) {
            if self.is_in_use(local, remote) {
                self.hear_answer(now);
            }
            return;
        }
        if !self.may_learn(remote, now) {
            return;
        }
        let known = self.agent.remotes().count();
        self.agent.handle(local, remote, datagram, now);
        if self.agent.remotes().count() > known {
            self.learnt_at = now;
            if self.agent.settled() {
                // The other side has come to another address: the way back is worth a search.
                self.search.begin(now);
            }
        }
        match stun::peek(datagram) {
            Some((Class::Response, _)) if self.agent.settled() => {
                // The agent asks back on every way that it is asked on.
                if self.is_in_use(local, remote) {
                    self.hear_answer(now);
                }
            }
            Some((Class::Request, _)) if self.agent.settled() => self.hear_doubt(now),
            // Settling takes one more check, which must not wait for the next round.
            Some((Class::Response, _)) if self.config.controlling => {
                self.next_round = self.next_round.min(self.last_round + SETTLING).max(now);
            }
            // RFC 8445 §7.3.1.4: what comes in is answered by a check of our own. The agent does that
            // where it is controlled.
            Some((Class::Request, _)) if self.config.controlling => {
                self.next_round = self.next_round.min(self.last_round + TRIGGERED).max(now);
            }
            Some(_) | None => {}
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        (!self.given_up).then(|| {
            let unreported = self.reported.is_none();
            let deadline = self.started + self.config.timeout;
            let next = self.next_round.min(self.next_opening);
            let others = self.search.poll_timeout().into_iter().chain(self.streams_due());
            let others = others.chain(self.early_due());
            let next = others.fold(next, Instant::min);
            if unreported { next.min(deadline) } else { next }
        })
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, rng: &mut dyn RngCore) {
        if self.given_up {
            return;
        }
        if now >= self.next_round {
            self.round(now, rng);
        }
        if self.search.poll_timeout().is_some_and(|due| due <= now) {
            self.look_further(now, rng);
        }
        self.work_on_streams(now, rng);
    }

    /// Checks every pair that has not settled, or the one in use.
    fn round(&mut self, now: Instant, rng: &mut dyn RngCore) {
        self.last_round = now;
        self.agent.round(now);
        self.agent.drop_events();
        self.next_round = if self.agent.settled() && self.abandoned.is_empty() {
            now + self.keep_alive
        } else if self.agent.settled() {
            let lately = now.saturating_duration_since(self.left_at) < LATELY;
            now + if lately { DOUBT } else { LONG_DOUBT }
        } else {
            schedule::next_round(self.started, now)
        };
        // The agent checks the pair it has chosen. The one in use may be another.
        if self.agent.settled()
            && (now >= self.next_consent || self.consent.doubts())
            && let Some(active) = self.active
            && let Some(pair) = self.pair_of(&active, &self.pairs(now)).copied()
            && !self.agent.has_chosen(&pair)
        {
            self.next_consent = now + self.keep_alive;
            self.outbox.extend(self.search.check([(pair.local, pair.remote)], now, rng));
        }
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

    /// Whether a way has fallen silent since this was asked last: the network may have changed, or
    /// the relay may have forgotten.
    pub(crate) fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.doubts_network)
    }

    /// Every address of the other side's.
    pub(crate) fn remote_addresses(&self) -> Vec<SocketAddr> {
        self.agent.remotes().map(|candidate| candidate.address).collect()
    }

    /// The handshake is done: the peer has answered with its key, and has been heard on the path in use.
    /// That is an answer too. What goes back to where something has come from passes every NAT on
    /// the way; a firewall that does not let it pass is found out by the checks.
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
        self.alive.extend(pairs.iter().map(|pair| (pair.local.address, pair.remote.address)));
        self.readmit(&pairs, now);
        self.doubt(&pairs, now);
        let chosen = choose(self.active.as_ref(), &self.usable(&pairs, now));
        let path = chosen.map(|usable| usable.path);
        let answered = std::mem::take(&mut self.tells_answer);
        if path.map(way) != self.active.map(way) {
            self.unanswered = None;
            changes.push(Change::Path(path));
        } else if answered {
            changes.push(Change::Answered);
        }
        let had_direct = self.active.is_some_and(|active| !active.is_relayed());
        self.active = path;
        self.review_punch(had_direct, now);
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
        changes.extend(self.name_early(now));
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

    /// How this side reaches its relay, once it does.
    pub(crate) fn set_relay_transport(&mut self, transport: Option<RelayTransport>) {
        self.relay_transport = transport.or(self.relay_transport);
    }

    pub(crate) fn active(&self) -> Option<Path> {
        self.active
    }

    /// What counts for the report is a path that has answered: one that was only heard from may
    /// carry in one direction.
    fn note(&mut self, pairs: &[Pair], now: Instant) {
        let Some(path) = self.active else { return };
        let age = now.saturating_duration_since(self.started);
        self.connected.get_or_insert((age, path.method));
        // A TCP connection that is used has proven itself.
        let stream = matches!(path.via, Via::Stream(_));
        if !stream && !self.pair_of(&path, pairs).is_some_and(|pair| pair.answered) {
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
