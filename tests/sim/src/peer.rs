//! One peer: a real node, and around it the little that the client library adds. Data leaves by the
//! path the node has chosen and is taken only from the sources the node has named.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_traversal::behaviour::Task;
use p2p_traversal::relay::Allocation;
pub use p2p_traversal::traffic::Leg;
use p2p_traversal::traffic::Traffic;
use p2p_traversal::{AttemptConfig, Event, Input, Node, Path, PathKind, PeerStreamId, Via};
use p2p_wire::{AttemptId, Candidate, NatProfile, Outcome, Report};

use crate::network::PEER_PORT;

/// How data leaves that the node does not send itself.
pub(crate) enum Leaving {
    Datagram { from: SocketAddr, to: SocketAddr },
    Stream(PeerStreamId),
}

/// Data that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Time since the world began.
    pub at: Duration,
    /// How it came.
    pub leg: Leg,
    /// Whether that was over a TCP connection with the peer.
    pub streamed: bool,
    /// What was sent.
    pub payload: Bytes,
}

/// What one side of a call has lived through. Times are since the world began.
#[derive(Debug, Default)]
pub struct Connection {
    /// When the attempt began here.
    pub started: Duration,
    /// Every path the node has chosen, and when.
    pub paths: Vec<(Duration, Option<Path>)>,
    /// Every report, in order.
    pub reports: Vec<Report>,
    /// Ways that were named before there was a path, and when.
    pub early: Vec<(Duration, Vec<(Via, SocketAddr)>)>,
    /// Data of the other side's.
    pub received: Vec<Received>,
    sources: Vec<SocketAddr>,
    traffic: Traffic,
    /// What left last, where that is to be said again.
    kept: Option<Bytes>,
}

impl Connection {
    /// The path of the moment.
    pub fn path(&self) -> Option<Path> {
        self.paths.last().and_then(|(_, path)| *path)
    }

    /// When the first path of this kind was there.
    pub fn first(&self, kind: PathKind) -> Option<Duration> {
        let of_kind = |path: &Option<Path>| path.is_some_and(|path| path.kind == kind);
        self.paths.iter().find(|(_, path)| of_kind(path)).map(|(at, _)| *at)
    }

    /// When there first was any path.
    pub fn connected(&self) -> Option<Duration> {
        self.paths.iter().find(|(_, path)| path.is_some()).map(|(at, _)| *at)
    }

    /// How many of the numbered packets before the last one that came have not come.
    pub(crate) fn missing(&self) -> Option<u64> {
        let last = self.received.last()?;
        let text = std::str::from_utf8(&last.payload[1..]).ok()?;
        let number: u64 = text.rsplit(' ').next()?.parse().ok()?;
        Some(number.saturating_sub(self.received.len() as u64))
    }

    /// Whether there was one verdict, or a relayed path that turned direct (I11).
    pub fn has_ended_once(&self) -> bool {
        let outcomes: Vec<_> = self.reports.iter().map(|report| report.outcome).collect();
        matches!(
            outcomes[..],
            [Outcome::Failed | Outcome::Relay | Outcome::Direct]
                | [Outcome::Relay, Outcome::Direct]
        )
    }

    /// The latest verdict.
    pub fn outcome(&self) -> Option<Outcome> {
        self.reports.last().map(|report| report.outcome)
    }
}

/// See the module.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) node: Node,
    local: IpAddr,
    pub(crate) connections: BTreeMap<String, Connection>,
    pub(crate) profile: Option<NatProfile>,
    /// Every set of candidates the node has told of.
    pub(crate) candidates: Vec<Vec<Candidate>>,
    /// Every state of the allocation the node has told of.
    pub(crate) allocations: Vec<Allocation>,
    /// Data from nobody that the node has named.
    pub(crate) unexpected: u64,
}

/// What a peer wants the rest of the world to know.
pub(crate) enum News {
    Profile(NatProfile),
    Candidates(Vec<Candidate>),
    /// Only for the world itself: the peer wants fresh sockets.
    Unmeasured(Task),
    /// Only for the world itself: this may have been lost, and there is a way that answers.
    Again(AttemptId, Bytes),
}

impl Peer {
    pub(crate) fn new(name: &str, node: Node, local: IpAddr) -> Self {
        Self {
            name: name.to_owned(),
            node,
            local,
            connections: BTreeMap::new(),
            profile: None,
            candidates: Vec::new(),
            allocations: Vec::new(),
            unexpected: 0,
        }
    }

    /// The address of the socket, as the host's own network sees it.
    pub(crate) fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.local, PEER_PORT)
    }

    /// The host has another address from here on.
    pub(crate) fn move_to(&mut self, local: IpAddr, now: Instant) {
        self.local = local;
        self.node.set_local_ips(vec![local], now);
    }

    pub(crate) fn set_lost(&mut self, call: &str, lost: u64) {
        if let Some(connection) = self.connections.get_mut(call) {
            let counted = &mut connection.traffic.counted;
            counted.lost = counted.lost.max(lost);
        }
    }

    pub(crate) fn begin(&mut self, config: AttemptConfig, elapsed: Duration, now: Instant) {
        let connection = Connection { started: elapsed, ..Connection::default() };
        self.connections.insert(config.id.as_str().to_owned(), connection);
        assert!(self.node.start_attempt(config, now), "a world has few attempts");
    }

    pub(crate) fn receive(
        &mut self,
        local: IpAddr,
        from: SocketAddr,
        payload: &Bytes,
        at: Duration,
        now: Instant,
    ) {
        let (leg, from, payload) = match self.node.handle_datagram(local, from, payload, now) {
            Input::Consumed | Input::Streamed { .. } => return,
            Input::Data => (Leg::Socket, from, payload.clone()),
            Input::Relayed { peer, payload } => (Leg::Relay, peer, payload),
        };
        let connection = self.connections.values_mut().find(|c| c.sources.contains(&from));
        let Some(connection) = connection else {
            self.unexpected += 1;
            return;
        };
        let traffic = &mut connection.traffic;
        let last = match leg {
            Leg::Socket => &mut traffic.by_socket,
            Leg::Relay => &mut traffic.by_relay,
        };
        *last = Some(now);
        traffic.latest = Some((leg, from));
        connection.received.push(Received { at, leg, streamed: false, payload });
    }

    /// Takes data that came over a TCP connection of this attempt's.
    pub(crate) fn receive_streamed(
        &mut self,
        attempt: &AttemptId,
        payload: Bytes,
        at: Duration,
        now: Instant,
    ) {
        let connection = self.connection(attempt);
        connection.traffic.by_socket = Some(now);
        connection.traffic.latest = None;
        let leg = Leg::Socket;
        connection.received.push(Received { at, leg, streamed: true, payload });
    }

    /// Sends data by the path of the moment. What the node does not send itself is returned.
    pub(crate) fn send(
        &mut self,
        call: &AttemptId,
        payload: &Bytes,
        now: Instant,
    ) -> Option<Leaving> {
        let connection = self.connections.get_mut(call.as_str())?;
        let path = connection.path()?;
        connection.traffic.sent = Some(now);
        connection.traffic.counted.sent += 1;
        match path.via {
            Via::Socket(local) => {
                let from = SocketAddr::new(local, PEER_PORT);
                Some(Leaving::Datagram { from, to: path.remote })
            }
            Via::Stream(id) => Some(Leaving::Stream(id)),
            Via::Relay => {
                self.node.send_relayed(path.remote, payload, now);
                None
            }
        }
    }

    /// Tells the node of the traffic, as the client's driver does.
    pub(crate) fn tell_traffic(&mut self, now: Instant) {
        for (id, connection) in &self.connections {
            let id = AttemptId::new(id.as_str()).expect("it was an id before");
            self.node.traffic(&id, connection.traffic, now);
        }
    }

    /// Takes the node's events in, and returns what others should hear of.
    pub(crate) fn take_events(&mut self, at: Duration) -> Vec<News> {
        let mut news = Vec::new();
        while let Some(event) = self.node.poll_event() {
            match event {
                Event::Detected(profile) => {
                    self.profile = Some(profile.clone());
                    news.push(News::Profile(profile));
                }
                Event::Candidates(candidates) => {
                    self.candidates.push(candidates.clone());
                    news.push(News::Candidates(candidates));
                }
                Event::Unmeasured(task) => news.push(News::Unmeasured(task)),
                Event::Relay(allocation) => self.allocations.push(allocation),
                Event::Path(id, path) => {
                    self.connection(&id).paths.push((at, path));
                    news.extend(self.again(id));
                }
                Event::Answered(id) => news.extend(self.again(id)),
                Event::Early(id, ways) => self.connection(&id).early.push((at, ways)),
                Event::Sources(id, sources) => self.connection(&id).sources = sources,
                Event::Verdict(report) => {
                    self.connection(&report.attempt.clone()).reports.push(report);
                }
            }
        }
        news
    }

    /// Keeps what leaves now for another path.
    pub(crate) fn keep(&mut self, call: &AttemptId, payload: &Bytes) {
        self.connection(call).kept = Some(payload.clone());
    }

    fn again(&mut self, id: AttemptId) -> Option<News> {
        let kept = self.connection(&id).kept.clone()?;
        Some(News::Again(id, kept))
    }

    fn connection(&mut self, id: &AttemptId) -> &mut Connection {
        self.connections.get_mut(id.as_str()).expect("the node tells of its own attempts only")
    }
}
