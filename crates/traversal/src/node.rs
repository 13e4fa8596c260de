//! Everything that one client's socket takes part in.

mod candidates;
mod peer_streams;
mod servers;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_nat::classify::Behaviour;
use p2p_wire::{AttemptId, Candidate, CandidateKind, NatProfile, Report, Transport};
use rand::RngCore;

use crate::attempt::{Attempt, AttemptConfig, Change};
use crate::behaviour::Task;
use crate::demux::{Kind, kind};
use crate::detect::Detector;
use crate::path::{Path, Via};
use crate::relay::{Allocation, FromPeer, RelayConfig, RelayTransport};
use crate::relays::{Relays, StreamCommand, StreamId};
use crate::stun::{self, Class, TransactionId};
use crate::traffic::Traffic;
use crate::transmit::Transmit;
use peer_streams::Tcp;

pub use peer_streams::PeerStreamCommand;

/// Attempts that may be open at once, their connections included.
pub const MAX_ATTEMPTS: usize = 256;
/// How long an answer to a check is waited for.
const CHECK_LIFETIME: Duration = Duration::from_secs(5);
/// Checks that may wait for an answer at once.
const MAX_CHECKS: usize = 16 * 1024;

/// What the node is told at its start.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The socket's port.
    pub local_port: u16,
    /// The host's addresses that peers may reach.
    pub local_ips: Vec<IpAddr>,
    /// STUN servers.
    pub stun_servers: Vec<SocketAddr>,
    /// The ways to a relay, the preferred one first; at most 8 are tried.
    pub relays: Vec<RelayConfig>,
    /// How often mappings and idle paths are kept alive.
    pub keep_alive: Duration,
}

/// What became of a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// It was the node's.
    Consumed,
    /// It is data that came straight to the socket.
    Data,
    /// It carried data of this peer's through the relay.
    Relayed {
        /// The peer, as the relay saw it.
        peer: SocketAddr,
        /// The data.
        payload: Bytes,
    },
    /// It carried data of this attempt's peer over a TCP connection.
    Streamed {
        /// The attempt.
        attempt: AttemptId,
        /// The data.
        payload: Bytes,
    },
}

/// What the node has to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A round of NAT detection has ended, or [`Node::learn`] has completed it.
    Detected(NatProfile),
    /// Fresh sockets could find out more: run a [`Probe`](crate::behaviour::Probe) over them and hand
    /// its outcome to [`Node::learn`].
    Unmeasured(Task),
    /// Peers can reach this client at these addresses; replaces what was said before.
    Candidates(Vec<Candidate>),
    /// The allocation at the relay came or went.
    Relay(Allocation),
    /// A connection should use this path from here on, or has none.
    Path(AttemptId, Option<Path>),
    /// A connection's path has answered a check after a silence: what was sent last may be lost.
    Answered(AttemptId),
    /// A connection's packets may come from these addresses, through socket or relay.
    Sources(AttemptId, Vec<SocketAddr>),
    /// A connection without a path may send the first datagrams of its handshake these ways.
    Early(AttemptId, Vec<(Via, SocketAddr)>),
    /// An attempt has ended, or ended better than reported before.
    Verdict(Report),
}

/// See the crate's documentation for how to drive it.
pub struct Node {
    config: NodeConfig,
    rng: Box<dyn RngCore + Send>,
    detector: Detector,
    relays: Relays,
    profile: NatProfile,
    tcp: Tcp,
    attempts: HashMap<AttemptId, Attempt>,
    checks: HashMap<TransactionId, (AttemptId, Instant)>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    refused: u64,
}

impl Node {
    /// Starts detection and, where there is a relay, an allocation.
    pub fn new(config: NodeConfig, mut rng: Box<dyn RngCore + Send>, now: Instant) -> Self {
        let detector = Detector::new(
            &config.stun_servers,
            config.local_port,
            config.local_ips.clone(),
            config.keep_alive,
            now,
            &mut *rng,
        );
        let relays = Relays::new(config.relays.clone(), now);
        let mut node = Self {
            config,
            rng,
            detector,
            relays,
            profile: NatProfile { udp: true, ..NatProfile::default() },
            tcp: Tcp::default(),
            attempts: HashMap::new(),
            checks: HashMap::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            refused: 0,
        };
        node.handle_timeout(now);
        node
    }

    /// Reads a datagram that came from `remote` to the socket's address `local`.
    pub fn handle_datagram(
        &mut self,
        local: IpAddr,
        remote: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Input {
        let from_relay = self.relays.is_relay(remote);
        let input = match kind(datagram, from_relay) {
            Kind::Quic => return Input::Data,
            Kind::Other => Input::Consumed,
            Kind::Stun if self.detector.handle_response(remote, datagram, now, &mut *self.rng) => {
                self.detect(now);
                Input::Consumed
            }
            Kind::Stun | Kind::ChannelData if from_relay => {
                let from_peer = self.relays.handle_datagram(remote, datagram, now);
                from_peer.map_or(Input::Consumed, |from| self.handle_relayed(from, now))
            }
            Kind::Stun => {
                let local = SocketAddr::new(local, self.config.local_port);
                self.handle_check(local, remote, datagram, now);
                Input::Consumed
            }
            Kind::ChannelData => Input::Consumed,
        };
        self.flush_relay(now);
        input
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.detect(now);
        self.relays.handle_timeout(now);
        let ids: Vec<_> = self.attempts.keys().cloned().collect();
        for id in ids {
            if let Some(attempt) = self.attempts.get_mut(&id) {
                attempt.handle_timeout(now, &mut *self.rng);
                self.after(&id, now);
            }
        }
        self.checks.retain(|_, (_, sent)| now.saturating_duration_since(*sent) < CHECK_LIFETIME);
        self.expire_strangers(now);
        self.flush_relay(now);
    }

    /// When [`Node::handle_timeout`] is due.
    pub fn poll_timeout(&mut self) -> Instant {
        let detector = self.detector.poll_timeout();
        let relay = self.relays.poll_timeout();
        let attempts = self.attempts.values().filter_map(Attempt::poll_timeout);
        attempts.chain(relay).chain(self.tcp.poll_timeout()).fold(detector, Instant::min)
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing to act on.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next bytes to write to a stream to a relay. Where the stream takes no more they may be
    /// dropped, all of them or none.
    pub fn poll_stream_write(&mut self) -> Option<(StreamId, Bytes)> {
        self.relays.poll_write()
    }

    /// The next stream to open or close.
    pub fn poll_stream_command(&mut self) -> Option<StreamCommand> {
        self.relays.poll_command()
    }

    /// A stream is connected, and its TLS is up where it was to have any.
    pub fn stream_opened(&mut self, id: StreamId, now: Instant) {
        self.relays.stream_opened(id, now);
        self.flush_relay(now);
    }

    /// Reads what came over a stream, cut as it may be. Returns the data in it.
    pub fn stream_received(&mut self, id: StreamId, bytes: &[u8], now: Instant) -> Vec<Input> {
        let mut from_peers = Vec::new();
        self.relays.stream_received(id, bytes, &mut from_peers, now);
        // An allocation that has just come is to be there for what came behind it.
        self.flush_relay(now);
        let mut inputs: Vec<_> =
            from_peers.into_iter().map(|from| self.handle_relayed(from, now)).collect();
        inputs.retain(|input| *input != Input::Consumed);
        self.flush_relay(now);
        inputs
    }

    /// A stream could not be opened or has ended; the reason is a phrase.
    pub fn stream_closed(&mut self, id: StreamId, reason: &str, now: Instant) {
        self.relays.stream_closed(id, reason, now);
        self.flush_relay(now);
    }

    /// The host has these addresses from here on. What left from others is gone: everything is
    /// gathered, measured and searched for anew. `false` where they are the ones it had.
    pub fn set_local_ips(&mut self, ips: Vec<IpAddr>, now: Instant) -> bool {
        if self.config.local_ips == ips {
            return false;
        }
        self.config.local_ips = ips;
        let servers = std::mem::take(&mut self.config.stun_servers);
        self.measure_with(&servers, now);
        let port = self.config.local_port;
        let hosts: Vec<_> =
            self.config.local_ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        let ids: Vec<_> = self.attempts.keys().cloned().collect();
        for id in ids {
            if let Some(attempt) = self.attempts.get_mut(&id) {
                attempt.set_hosts(&hosts, now);
                self.after(&id, now);
            }
        }
        if let Some(relay) = self.relays.leg() {
            relay.verify(now);
        }
        self.flush_relay(now);
        self.events.push_back(Event::Candidates(self.candidates()));
        true
    }

    /// Takes in what fresh sockets have found out about the network ([`Event::Unmeasured`]).
    pub fn learn(&mut self, behaviour: Behaviour, now: Instant) {
        let profile = self.detector.learn(behaviour);
        self.set_profile(profile, now);
    }

    /// Begins an attempt. Its paths and verdict come as events. `false` when as many are open as
    /// may be.
    pub fn start_attempt(&mut self, config: AttemptConfig, now: Instant) -> bool {
        if self.attempts.len() >= MAX_ATTEMPTS {
            self.refused += 1;
            return false;
        }
        let id = config.id.clone();
        let locals = self.candidates();
        let remotes: Vec<_> = config.remote.clone();
        let keep_alive = self.config.keep_alive;
        let Ok(mut attempt) = Attempt::new(config, self.profile.clone(), &locals, keep_alive, now)
        else {
            self.refused += 1;
            return false;
        };
        self.permit(&attempt, &remotes, now);
        attempt.set_relay_transport(self.relays.transport());
        self.attempts.insert(id.clone(), attempt);
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.handle_timeout(now, &mut *self.rng);
        }
        self.after(&id, now);
        self.claim_strangers(now);
        self.flush_relay(now);
        true
    }

    /// Takes a further candidate of the other side's.
    pub fn add_remote_candidate(&mut self, id: &AttemptId, candidate: &Candidate, now: Instant) {
        let Some(attempt) = self.attempts.get_mut(id) else { return };
        if !attempt.add_remote(candidate, now) {
            self.refused += 1;
            return;
        }
        if attempt.uses_relay()
            && candidate.transport == Transport::Udp
            && let Some(relay) = self.relays.leg()
        {
            relay.permit(candidate.address, now);
        }
        self.flush_relay(now);
    }

    /// The connection of an attempt is there: its handshake has proven the path in use.
    pub fn confirm(&mut self, id: &AttemptId, now: Instant) {
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.confirm(now);
            self.after(id, now);
        }
    }

    /// Ends an attempt that has no path yet: the other side is gone.
    pub fn give_up(&mut self, id: &AttemptId, now: Instant) {
        if let Some(report) = self.attempts.get_mut(id).and_then(|a| a.give_up(now)) {
            self.events.push_back(Event::Verdict(report));
        }
    }

    /// Forgets an attempt: its connection is closed.
    pub fn end_attempt(&mut self, id: &AttemptId, now: Instant) {
        self.attempts.remove(id);
        self.close_streams(Some(id));
        self.checks.retain(|_, (owner, _)| owner != id);
        if let Some(relay) = self.relays.leg() {
            let wanted: HashSet<_> =
                self.attempts.values().flat_map(Attempt::remote_addresses).collect();
            relay.retain(|peer| wanted.contains(peer), now);
        }
        self.flush_relay(now);
    }

    /// The traffic on an attempt's path, for noticing that it has fallen silent.
    pub fn traffic(&mut self, id: &AttemptId, traffic: Traffic, now: Instant) {
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.traffic(traffic, now);
            self.after(id, now);
            self.flush_relay(now);
        }
    }

    /// Sends data to a peer through the relay.
    pub fn send_relayed(&mut self, peer: SocketAddr, payload: &[u8], now: Instant) {
        if let Some(relay) = self.relays.leg() {
            relay.send(peer, payload, now);
        }
        self.flush_relay(now);
    }

    /// A Binding indication to this address: keeps a mapping open, asks for nothing.
    pub fn keep_open(&mut self, path: &Path, now: Instant) {
        let mut id = [0; 12];
        self.rng.fill_bytes(&mut id);
        let payload = Bytes::copy_from_slice(&stun::binding_indication(id));
        self.transmit(path.via, path.remote, payload, now);
        self.flush_relay(now);
    }

    /// What the last round of detection found.
    pub fn profile(&self) -> &NatProfile {
        &self.profile
    }

    /// The allocation at the relay, if there is a relay.
    pub fn allocation(&self) -> Option<Allocation> {
        self.relays.allocation()
    }

    /// How the relay is reached, once it has given an allocation.
    pub fn relay_transport(&self) -> Option<RelayTransport> {
        self.relays.transport()
    }

    /// The path that an attempt's connection uses.
    pub fn path(&self, id: &AttemptId) -> Option<Path> {
        self.attempts.get(id).and_then(Attempt::active)
    }

    /// Attempts and candidates that a bound or the policy kept out.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Checks that were not sent because a method had spent what its plan gives it (I9).
    pub fn over_budget(&self) -> u64 {
        self.attempts.values().map(Attempt::over_budget).sum()
    }

    /// Gives the allocation back.
    pub fn close(&mut self, now: Instant) {
        self.attempts.clear();
        self.close_streams(None);
        self.relays.close(now);
        self.flush_transmits();
    }

    fn detect(&mut self, now: Instant) {
        let found = self.detector.handle_timeout(now, &mut *self.rng, &mut self.transmits);
        let Some(profile) = found else { return };
        self.set_profile(profile, now);
        self.events.extend(self.detector.take_task().map(Event::Unmeasured));
    }

    fn set_profile(&mut self, mut profile: NatProfile, now: Instant) {
        profile.tcp = self.tcp.profile();
        let moved = profile.public_address != self.profile.public_address;
        self.profile = profile.clone();
        self.events.push_back(Event::Detected(profile));
        if moved {
            self.events.push_back(Event::Candidates(self.candidates()));
            for attempt in self.attempts.values_mut() {
                attempt.search_anew(now);
            }
            // To the relay, whoever comes from another address is somebody else.
            if let Some(relay) = self.relays.leg() {
                relay.verify(now);
            }
        }
    }

    fn handle_relayed(&mut self, from: FromPeer, now: Instant) -> Input {
        let Some(relayed) = self.relays.relayed() else { return Input::Consumed };
        match kind(&from.payload, false) {
            Kind::Stun => {
                self.handle_check(relayed, from.peer, &from.payload, now);
                Input::Consumed
            }
            Kind::Quic => Input::Relayed { peer: from.peer, payload: from.payload },
            Kind::ChannelData | Kind::Other => Input::Consumed,
        }
    }

    /// A check names its attempt by the username, an answer by the transaction.
    fn handle_check(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) {
        let id = match stun::peek(datagram) {
            Some((Class::Request, _)) => stun::target_ufrag(datagram).and_then(|ufrag| {
                self.attempts.values().find(|a| a.ufrag() == ufrag).map(|a| a.id().clone())
            }),
            Some((Class::Response, id)) => self.checks.remove(&id).map(|(owner, _)| owner),
            Some((Class::Indication, _)) | None => None,
        };
        let Some(id) = id else { return };
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.handle(local, remote, datagram, now);
        }
        self.after(&id, now);
    }

    /// Sends an attempt's checks and tells its changes.
    fn after(&mut self, id: &AttemptId, now: Instant) {
        let Some(attempt) = self.attempts.get_mut(id) else { return };
        let mut checks = Vec::new();
        while let Some(check) = attempt.poll_check(now) {
            checks.push(check);
        }
        let changes = attempt.review(now);
        let openings = attempt.take_openings(now);
        let doubts = attempt.take_doubt();
        let work: Vec<_> = std::iter::from_fn(|| attempt.poll_stream()).collect();
        for (via, check) in checks {
            if let Some((Class::Request, transaction)) = stun::peek(&check.payload)
                && self.checks.len() < MAX_CHECKS
            {
                self.checks.insert(transaction, (id.clone(), now));
            }
            self.transmit(via, check.remote, check.payload, now);
        }
        self.do_stream_work(id, work, now);
        for path in openings {
            self.keep_open(&path, now);
        }
        if doubts {
            self.detector.measure_again(now);
            if let Some(relay) = self.relays.leg() {
                relay.verify(now);
            }
        }
        for change in changes {
            self.events.push_back(match change {
                Change::Path(path) => Event::Path(id.clone(), path),
                Change::Answered => Event::Answered(id.clone()),
                Change::Sources(sources) => Event::Sources(id.clone(), sources),
                Change::Early(ways) => Event::Early(id.clone(), ways),
                Change::Verdict(report) => Event::Verdict(report),
            });
        }
    }

    fn transmit(&mut self, via: Via, remote: SocketAddr, payload: Bytes, now: Instant) {
        match via {
            Via::Socket(local) => {
                self.transmits.push_back(Transmit { from: Some(local), to: remote, payload });
            }
            Via::Relay => {
                if let Some(relay) = self.relays.leg() {
                    relay.send(remote, &payload, now);
                }
            }
            // Checks go over connections as frames, and no mapping of theirs has to be kept open.
            Via::Stream(_) => {}
        }
    }

    fn permit(&mut self, attempt: &Attempt, remotes: &[Candidate], now: Instant) {
        if !attempt.uses_relay() {
            return;
        }
        if let Some(relay) = self.relays.leg() {
            for candidate in remotes.iter().filter(|c| c.transport == Transport::Udp) {
                relay.permit(candidate.address, now);
            }
        }
    }

    /// Moves the relay's datagrams out and tells when the allocation has changed.
    fn flush_relay(&mut self, now: Instant) {
        self.relays.review(self.attempts.is_empty(), now);
        if self.relays.take_changed()
            && let Some(allocation) = self.relays.allocation()
        {
            let transport = self.relays.transport();
            if let (Allocation::Ready(addr), Some(relay)) = (&allocation, self.relays.leg()) {
                let candidate = Candidate::udp(CandidateKind::Relay, *addr);
                for attempt in self.attempts.values_mut() {
                    attempt.set_local_relay(&candidate, now);
                    attempt.set_relay_transport(transport);
                    if attempt.uses_relay() {
                        for peer in attempt.remote_addresses() {
                            relay.permit(peer, now);
                        }
                    }
                }
            }
            self.events.push_back(Event::Relay(allocation));
            self.events.push_back(Event::Candidates(self.candidates()));
            // What was permitted just now.
            self.relays.review(self.attempts.is_empty(), now);
        }
        self.flush_transmits();
    }

    fn flush_transmits(&mut self) {
        self.transmits.extend(std::iter::from_fn(|| self.relays.poll_transmit()));
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("attempts", &self.attempts.len())
            .field("relays", &self.relays)
            .finish_non_exhaustive()
    }
}
