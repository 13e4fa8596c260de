//! Everything together, and the loop that moves time from event to event.

mod seen;
mod talk;
mod tcp;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_traversal::behaviour::{Outgoing, Task};
use p2p_traversal::{Node, NodeConfig, RelayConfig};
use p2p_wire::{AttemptId, Secret};
use rand::SeedableRng;
use rand::rngs::StdRng;
use talk::Talk;

use crate::clock::Clock;
use crate::coordinator::{Call, Coordinator, Order, Signal};
use crate::host::Host;
use crate::network::{Arrival, Network, PEER_PORT, PeerIndex, Sender, servers};
use crate::peer::{Connection, Leaving, News, Peer};
use crate::relay::{self, Relay};
use crate::survey::Survey;
use crate::tcp::Tcp;

/// How often the client's driver looks at the traffic.
const TRAFFIC: Duration = Duration::from_millis(100);
/// The keep-alive of the client library.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// Detection takes 2.5 s when servers are silent, a lossy allocation a little longer.
const SETTLED: Duration = Duration::from_secs(6);
/// The first byte of what stands for QUIC's packets.
pub const QUIC: u8 = 0xc3;

/// See the module and the crate.
pub struct World {
    clock: Clock,
    seed: u64,
    network: Network,
    relay: Relay,
    coordinator: Coordinator,
    peers: Vec<Peer>,
    calls: u32,
    talks: Vec<Talk>,
    next_traffic: Instant,
    tcp: Tcp,
    /// What fresh sockets are measuring.
    surveys: Vec<Survey>,
    survey_rng: StdRng,
    /// The next port of a fresh socket.
    surveyed: u16,
    /// Datagrams that reached peers' sockets, once somebody listens.
    overheard: Option<Vec<(SocketAddr, Bytes)>>,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64) -> Self {
        let clock = Clock::new();
        Self {
            clock,
            seed,
            network: Network::new(seed),
            relay: Relay::new(seed ^ 0x7e1a),
            coordinator: Coordinator::new(seed ^ 0xc00d),
            peers: Vec::new(),
            calls: 0,
            talks: Vec::new(),
            next_traffic: clock.now(),
            tcp: Tcp::new(seed ^ 0x7c9),
            surveys: Vec::new(),
            survey_rng: StdRng::seed_from_u64(seed ^ 0x5780),
            surveyed: PEER_PORT + 1,
            overheard: None,
        }
    }

    /// Makes the relay's nonces go stale after this long instead of an hour.
    pub fn with_nonces_of(mut self, lifetime: Duration) -> Self {
        self.relay.set_nonce_lifetime(lifetime);
        self
    }

    /// Adds a peer: behind a [`Nat`](crate::Nat), or on a [`Host`] with more to say.
    pub fn peer(mut self, name: &str, host: impl Into<Host>) -> Self {
        let host = host.into();
        let local = self.network.add(host);
        self.relay.add_user(name);
        self.coordinator.add(name, host.policy, host.latency);
        let [server, ..] = servers();
        let config = NodeConfig {
            local_port: PEER_PORT,
            local_ips: vec![local],
            stun_servers: vec![server],
            relays: servers()
                .into_iter()
                .take(host.relays)
                .map(|server| RelayConfig::udp(server, name, Secret::new(relay::PASSWORD)))
                .collect(),
            keep_alive: KEEP_ALIVE,
        };
        let seed = self.seed.wrapping_add(self.peers.len() as u64 + 1);
        let rng = Box::new(StdRng::seed_from_u64(seed));
        let node = Node::new(config, rng, self.clock.now());
        self.peers.push(Peer::new(name, node, local));
        self.begin_tcp(host.tcp);
        self.flush_all();
        self
    }

    // ---- What happens -----------------------------------------------------------------------

    /// Lets everybody find out about their network and get their allocation.
    pub fn settle(&mut self) {
        self.run_for(SETTLED);
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// Somebody's deadline stays due however often it is met.
    pub fn run_for(&mut self, duration: Duration) {
        self.run_to(self.clock.now() + duration, |_| false);
    }

    /// Lets time pass until this is so, and says whether it was within `limit`.
    pub fn run_until(&mut self, limit: Duration, so: impl Fn(&Self) -> bool) -> bool {
        self.run_to(self.clock.now() + limit, so)
    }

    /// One peer asks for a connection to another.
    pub fn connect(&mut self, caller: &str, callee: &str) -> Call {
        self.calls += 1;
        let id = AttemptId::new(format!("call-{}", self.calls)).expect("an attempt's name");
        let (from, to) = (self.index(caller), self.index(callee));
        let signal = Signal::Connect { callee: to, id: id.clone() };
        self.coordinator.tell(from, signal, self.clock.now());
        Call { id, caller: caller.to_owned(), callee: callee.to_owned(), made: self.elapsed() }
    }

    /// Sends data from this side of the call by the path its node has chosen. Without a path it is
    /// lost.
    pub fn send(&mut self, from: &str, call: &Call, text: &str) {
        let mut payload = vec![QUIC];
        payload.extend_from_slice(text.as_bytes());
        self.send_bytes(self.index(from), &call.id, &payload.into());
    }

    /// Loses everything that goes straight between two peers' networks.
    pub fn cut(&mut self, one: &str, other: &str) {
        let (one, other) = (self.index(one), self.index(other));
        self.network.cut(one, other);
        self.network.cut(other, one);
    }

    /// Loses what goes straight from one peer's network to the other's, and nothing that comes back.
    pub fn cut_one_way(&mut self, from: &str, to: &str) {
        let (from, to) = (self.index(from), self.index(to));
        self.network.cut(from, to);
    }

    /// Ends what [`World::cut`] began.
    pub fn heal(&mut self, one: &str, other: &str) {
        let (one, other) = (self.index(one), self.index(other));
        self.network.heal(one, other);
        self.network.heal(other, one);
    }

    /// Changes the share of packets that a peer's line loses.
    pub fn set_loss(&mut self, peer: &str, loss: f64) {
        let peer = self.index(peer);
        self.network.host_mut(peer).loss = loss;
    }

    /// Makes the direct way between two peers lose this share of packets, each way; their lines to
    /// everybody else stay as they are.
    pub fn set_direct_loss(&mut self, one: &str, other: &str, loss: f64) {
        let (one, other) = (self.index(one), self.index(other));
        self.network.set_direct_loss(one, other, loss);
        self.network.set_direct_loss(other, one, loss);
    }

    /// The same for what goes from one peer to the other, and not for what comes back.
    pub fn set_loss_one_way(&mut self, from: &str, to: &str, loss: f64) {
        let (from, to) = (self.index(from), self.index(to));
        self.network.set_direct_loss(from, to, loss);
    }

    /// Carries a peer's host into another network, where its NAT is of the same kind. It notices its
    /// new address at once.
    pub fn move_host(&mut self, peer: &str) {
        let (index, now) = (self.index(peer), self.clock.now());
        let local = self.network.move_host(index);
        self.peers[index.0].move_to(local, now);
        self.flush(index);
    }

    /// Kills the coordinator: nobody hears it any more, and it hears nobody.
    pub fn kill_coordinator(&mut self) {
        self.coordinator.down = true;
    }

    /// Starts a peer's NAT again: it has forgotten every mapping.
    pub fn restart_nat(&mut self, peer: &str) {
        let peer = self.index(peer);
        self.network.restart_nat(peer);
    }

    /// Starts the relay's process again: it has forgotten everything.
    pub fn restart_relay(&mut self) {
        self.relay.restart();
    }

    /// Takes the relay off the network, or brings it back.
    pub fn set_relay_down(&mut self, down: bool) {
        self.network.set_relay_down(down);
    }

    /// The same for what clients exchange with the first of two relays.
    pub fn set_first_relay_down(&mut self, down: bool) {
        let [first, ..] = servers();
        self.network.set_server_down(down.then_some(first));
    }

    /// Tells a peer of the second of two relays alone.
    pub fn name_second_relay(&mut self, peer: &str) {
        let (index, now, [_, second, ..]) = (self.index(peer), self.clock.now(), servers());
        let way = RelayConfig::udp(second, peer, Secret::new(relay::PASSWORD));
        self.peers[index.0].node.set_relays(vec![way], now);
        self.flush(index);
    }

    /// A datagram out of nowhere at a peer's socket, with whatever source address, past its NAT.
    pub fn inject(&mut self, at: &str, from: SocketAddr, payload: &[u8]) {
        let (index, now, elapsed) = (self.index(at), self.clock.now(), self.elapsed());
        let peer = &mut self.peers[index.0];
        let local = peer.socket().ip();
        peer.receive(local, from, &Bytes::copy_from_slice(payload), elapsed, now);
        self.flush(index);
    }

    /// A datagram out of nowhere at an address of the relay's.
    pub fn inject_at_relay(&mut self, to: SocketAddr, from: SocketAddr, payload: &[u8]) {
        let payload = Bytes::copy_from_slice(payload);
        self.network.send(Sender::Stranger, from, to, payload, self.clock.now());
    }

    /// From here on remembers every datagram that reaches a peer's socket.
    pub fn eavesdrop(&mut self) {
        self.overheard = Some(Vec::new());
    }

    /// What was heard since [`World::eavesdrop`], with its source address.
    pub fn overheard(&self) -> &[(SocketAddr, Bytes)] {
        self.overheard.as_deref().unwrap_or_default()
    }

    // ---- How time passes ------------------------------------------------------------------------

    fn run_to(&mut self, end: Instant, so: impl Fn(&Self) -> bool) -> bool {
        let mut steps_here = 0;
        loop {
            if so(self) {
                return true;
            }
            let (next, who) = self.next();
            if next > end {
                break;
            }
            steps_here = if next > self.clock.now() { 0 } else { steps_here + 1 };
            assert!(steps_here < 10_000, "time stands still: {who} stays due");
            self.clock.move_to(next);
            self.step();
        }
        self.clock.move_to(end);
        so(self)
    }

    fn next(&mut self) -> (Instant, String) {
        let traffic = self.peers.iter().any(|p| !p.connections.is_empty());
        let mut due: Vec<(Instant, String)> = Vec::new();
        let mut add = |at: Option<Instant>, who: &str| {
            due.extend(at.map(|at| (at, who.to_owned())));
        };
        add(self.network.next_arrival(), "a packet");
        add(self.relay.poll_timeout(), "the relay");
        add(self.coordinator.next_mail(), "the coordinator");
        add(traffic.then_some(self.next_traffic), "the traffic");
        add(self.talks.iter().map(Talk::due).min(), "a talk");
        add(self.tcp.next(), "a TCP connection");
        add(self.surveys.iter().filter_map(Survey::poll_timeout).min(), "a fresh socket");
        for peer in &mut self.peers {
            add(Some(peer.node.poll_timeout()), &peer.name);
        }
        due.into_iter().min().expect("a world has peers")
    }

    fn step(&mut self) {
        let now = self.clock.now();
        for (peer, order) in self.coordinator.deliver(now) {
            self.obey(peer, order);
        }
        while let Some(arrival) = self.network.arrive(now) {
            if let Some(arrival) = arrival {
                self.take(arrival);
            }
        }
        self.run_tcp(now);
        if self.relay.poll_timeout().is_some_and(|due| due <= now) {
            self.relay.handle_timeout(self.clock.relay_now());
            self.flush_relay();
        }
        for index in (0..self.peers.len()).map(PeerIndex) {
            if self.peers[index.0].node.poll_timeout() <= now {
                self.peers[index.0].node.handle_timeout(now);
                self.flush(index);
            }
        }
        self.run_surveys(now);
        self.tell_traffic(now);
        self.keep_talking(now);
    }

    fn obey(&mut self, index: PeerIndex, order: Order) {
        let (now, elapsed) = (self.clock.now(), self.elapsed());
        let peer = &mut self.peers[index.0];
        match order {
            Order::Attempt(config) => peer.begin(*config, elapsed, now),
            Order::Candidate(id, candidate) => {
                peer.node.add_remote_candidate(&id, &candidate, now);
            }
        }
        self.flush(index);
    }

    fn take(&mut self, arrival: Arrival) {
        let (now, elapsed) = (self.clock.now(), self.elapsed());
        match arrival {
            Arrival::Peer { at, local, from, payload } if local.port() != PEER_PORT => {
                for survey in self.surveys.iter_mut().filter(|survey| survey.peer == at) {
                    survey.receive(local, from, &payload, now, &mut self.survey_rng);
                }
            }
            Arrival::Peer { at, local, from, payload } => {
                if let Some(overheard) = &mut self.overheard {
                    overheard.push((from, payload.clone()));
                }
                self.peers[at.0].receive(local.ip(), from, &payload, elapsed, now);
                self.flush(at);
            }
            Arrival::Relay { to, from, payload } => {
                self.relay.handle(to, from, &payload, self.clock.relay_now());
                self.flush_relay();
            }
        }
    }

    fn tell_traffic(&mut self, now: Instant) {
        if now < self.next_traffic {
            return;
        }
        self.next_traffic = now + TRAFFIC;
        for index in (0..self.peers.len()).map(PeerIndex) {
            self.count_losses(index);
            self.peers[index.0].tell_traffic(now);
            self.flush(index);
        }
    }

    /// What QUIC would learn from acknowledgements: how much of what was sent has not arrived. What
    /// [`World::talk`] sends is numbered.
    fn count_losses(&mut self, of: PeerIndex) {
        let peer = &self.peers[of.0];
        let mut losses = Vec::new();
        for call in peer.connections.keys() {
            let others = self.peers.iter().filter(|other| other.name != peer.name);
            let Some(far) = others.filter_map(|other| other.connections.get(call)).next() else {
                continue;
            };
            losses.extend(far.missing().map(|missing| (call.clone(), missing)));
        }
        for (call, missing) in losses {
            self.peers[of.0].set_lost(&call, missing);
        }
    }

    fn send_bytes(&mut self, from: PeerIndex, call: &AttemptId, payload: &Bytes) {
        let now = self.clock.now();
        match self.peers[from.0].send(call, payload, now) {
            Some(Leaving::Datagram { from: source, to }) => {
                self.network.send(Sender::Peer(from), source, to, payload.clone(), now);
            }
            Some(Leaving::Stream(id)) => self.send_tcp(from, id, payload, now),
            None => {}
        }
        self.flush(from);
    }

    fn flush_all(&mut self) {
        for index in (0..self.peers.len()).map(PeerIndex) {
            self.flush(index);
        }
    }

    /// Does what the node's contract asks for after every call: sends its datagrams, acts on events.
    fn flush(&mut self, index: PeerIndex) {
        let (now, elapsed) = (self.clock.now(), self.elapsed());
        let peer = &mut self.peers[index.0];
        while let Some(transmit) = peer.node.poll_transmit() {
            let socket = peer.socket();
            let from = SocketAddr::new(transmit.from.unwrap_or(socket.ip()), socket.port());
            self.network.send(Sender::Peer(index), from, transmit.to, transmit.payload, now);
        }
        self.do_tcp(index, now);
        let peer = &mut self.peers[index.0];
        for news in peer.take_events(elapsed) {
            let signal = match news {
                News::Profile(profile) => Signal::Profile(profile),
                News::Candidates(candidates) => Signal::Candidates(candidates),
                News::Unmeasured(task) => {
                    self.survey(index, task);
                    continue;
                }
                News::Again(call, payload) => {
                    self.send_bytes(index, &call, &payload);
                    continue;
                }
            };
            self.coordinator.tell(index, signal, now);
        }
        let impossible = self.network.impossible();
        assert!(
            impossible.is_empty(),
            "sent from an address that is not the host's: {impossible:?}"
        );
    }

    fn survey(&mut self, peer: PeerIndex, task: Task) {
        let (local, now) = (self.network.local(peer), self.clock.now());
        // Sockets of before have no port in common with these, on no host.
        let first = self.surveyed;
        let survey = Survey::new(peer, task, local, first, now, &mut self.survey_rng);
        self.surveyed = survey.end_of_ports();
        self.surveys.push(survey);
    }

    /// Lets the fresh sockets send, and tells the nodes what they have found out.
    fn run_surveys(&mut self, now: Instant) {
        let mut surveys = std::mem::take(&mut self.surveys);
        for survey in &mut surveys {
            if survey.poll_timeout().is_some_and(|due| due <= now) {
                for (from, Outgoing { to, payload, .. }) in survey.handle_timeout(now) {
                    self.network.send(Sender::Peer(survey.peer), from, to, payload, now);
                }
            }
        }
        surveys.retain(|survey| {
            let Some(behaviour) = survey.outcome() else { return true };
            self.peers[survey.peer.0].node.learn(behaviour, now);
            self.flush(survey.peer);
            false
        });
        self.surveys.append(&mut surveys);
    }

    fn flush_relay(&mut self) {
        let now = self.clock.now();
        for packet in self.relay.take_outgoing() {
            let sender = Sender::Relay(packet.from);
            self.network.send(sender, packet.from, packet.to, packet.payload, now);
        }
    }

    fn side_if_begun(&self, peer: &str, call: &Call) -> Option<&Connection> {
        self.peers[self.index(peer).0].connections.get(call.id.as_str())
    }

    fn index(&self, name: &str) -> PeerIndex {
        let index = self.peers.iter().position(|peer| peer.name == name);
        PeerIndex(index.unwrap_or_else(|| panic!("there is no peer named {name}")))
    }
}
