//! TCP between hosts, by connection: dials that cross NATs or do not, simultaneous opens, and bytes in
//! order once both ends have one. A SYN is lost with its line's loss and sent again after a second, as a
//! kernel does; what is sent over a connection is not lost.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_traversal::PeerStreamId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::network::{PEER_PORT, PeerIndex};

/// How a host's network treats TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpNat {
    /// Whether every destination gets a port of its own, that nobody can guess.
    pub symmetric: bool,
    /// Whether a SYN that nobody asked for is answered with a reset; else it is dropped.
    pub resets: bool,
}

/// How long a dial may take.
const CONNECT: Duration = Duration::from_millis(2_500);
/// When a SYN goes out again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a NAT remembers a SYN that went out.
const MEMORY: Duration = Duration::from_secs(120);

/// A host as TCP sees it.
#[derive(Debug, Clone, Copy)]
struct Site {
    /// `None` where there is no NAT.
    nat: Option<TcpNat>,
    public: SocketAddr,
    line: Duration,
    loss: f64,
    listens: bool,
}

/// One end of a connection.
pub(crate) type End = (PeerIndex, PeerStreamId);

#[derive(Debug)]
enum Event {
    Syn {
        from: End,
        source: SocketAddr,
        to: SocketAddr,
        last: bool,
    },
    Refused(End),
    GivenUp(End),
    /// The answer to a SYN is back.
    Opened(End),
    Bytes {
        to: End,
        bytes: Bytes,
    },
    Closed(End),
}

/// What the world is to tell a node.
#[derive(Debug)]
pub(crate) enum Happened {
    Opened(End),
    /// A connection has come in; its id goes to [`Tcp::accepted`].
    Came {
        at: PeerIndex,
        remote: SocketAddr,
        dialler: End,
    },
    Bytes {
        to: End,
        bytes: Bytes,
    },
    Closed(End),
}

/// See the module.
pub(crate) struct Tcp {
    sites: Vec<Option<Site>>,
    rng: StdRng,
    events: BTreeMap<(Instant, u64), Event>,
    order: u64,
    /// Dials under way: where to, and from which address outside.
    dials: BTreeMap<End, (SocketAddr, SocketAddr)>,
    /// What NATs remember of SYNs that went out: the outside address, and where to.
    holes: BTreeMap<(PeerIndex, SocketAddr, SocketAddr), Instant>,
    /// Both ends of each connection, by either.
    connected: BTreeMap<End, End>,
    /// Everything that was dialled.
    pub(crate) dialled: Vec<(PeerIndex, SocketAddr, Instant)>,
    over: BTreeSet<End>,
}

impl Tcp {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            sites: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            events: BTreeMap::new(),
            order: 0,
            dials: BTreeMap::new(),
            holes: BTreeMap::new(),
            connected: BTreeMap::new(),
            dialled: Vec::new(),
            over: BTreeSet::new(),
        }
    }

    /// Adds the next host.
    pub(crate) fn add(
        &mut self,
        nat: Option<TcpNat>,
        public: std::net::IpAddr,
        line: Duration,
        loss: f64,
        listens: bool,
    ) -> SocketAddr {
        let public = SocketAddr::new(public, PEER_PORT);
        let site = Site { nat, public, line, loss, listens };
        self.sites.push(Some(site));
        public
    }

    /// Adds a host without TCP.
    pub(crate) fn add_none(&mut self) {
        self.sites.push(None);
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.events.keys().next().map(|(at, _)| *at)
    }

    pub(crate) fn dial(&mut self, end: End, to: SocketAddr, now: Instant) {
        self.dialled.push((end.0, to, now));
        let Some(site) = self.sites[end.0.0] else { return self.at(now, Event::Refused(end)) };
        let symmetric = site.nat.is_some_and(|nat| nat.symmetric);
        let port = if symmetric { self.rng.random_range(20_000..60_000) } else { PEER_PORT };
        let source = SocketAddr::new(site.public.ip(), port);
        self.dials.insert(end, (to, source));
        self.holes.insert((end.0, source, to), now + MEMORY);
        self.send_syn(end, source, to, false, now);
        self.send_syn(end, source, to, true, now + AGAIN);
        self.at(now + CONNECT, Event::GivenUp(end));
    }

    fn send_syn(&mut self, from: End, source: SocketAddr, to: SocketAddr, last: bool, at: Instant) {
        let Some(target) = self.owner(to) else { return };
        let (near, far) = (self.site(from.0), self.site(target));
        let lost = self.rng.random_bool(near.loss) || self.rng.random_bool(far.loss);
        if !lost {
            self.at(at + near.line + far.line, Event::Syn { from, source, to, last });
        }
    }

    /// A datagram's frame, or a part of one.
    pub(crate) fn send(&mut self, from: End, bytes: Bytes, now: Instant) {
        let Some(to) = self.connected.get(&from).copied() else { return };
        let delay = self.site(from.0).line + self.site(to.0).line;
        self.at(now + delay, Event::Bytes { to, bytes });
    }

    pub(crate) fn close(&mut self, end: End, now: Instant) {
        self.dials.remove(&end);
        self.over.insert(end);
        if let Some(other) = self.connected.remove(&end) {
            let delay = self.site(end.0).line + self.site(other.0).line;
            self.at(now + delay, Event::Closed(other));
        }
    }

    /// What has happened by now, one thing at a time.
    pub(crate) fn happen(&mut self, now: Instant) -> Option<Happened> {
        loop {
            if self.next()? > now {
                return None;
            }
            let (_, event) = self.events.pop_first()?;
            let happened = match event {
                Event::Syn { from, source, to, last } => self.syn(from, source, to, last, now),
                Event::Refused(end) | Event::GivenUp(end) => {
                    self.dials.remove(&end).map(|_| Happened::Closed(end))
                }
                Event::Opened(end) => {
                    let dials = self.dials.remove(&end).is_some();
                    dials.then_some(Happened::Opened(end))
                }
                Event::Bytes { to, bytes } => {
                    (!self.over.contains(&to)).then_some(Happened::Bytes { to, bytes })
                }
                Event::Closed(end) => {
                    self.connected.remove(&end);
                    (!self.over.contains(&end)).then_some(Happened::Closed(end))
                }
            };
            if happened.is_some() {
                return happened;
            }
        }
    }

    /// The other end has taken the connection, or not.
    pub(crate) fn accepted(&mut self, dialler: End, by: Option<End>, now: Instant) {
        let there = self.site(dialler.0).line
            + self.sites.iter().flatten().map(|s| s.line).max().unwrap_or_default();
        match by {
            Some(end) => {
                self.connect(dialler, end);
                let back = now + self.site(dialler.0).line + self.site(end.0).line;
                self.at(back, Event::Opened(dialler));
            }
            None => self.at(now + there, Event::Refused(dialler)),
        }
    }

    fn syn(
        &mut self,
        from: End,
        source: SocketAddr,
        to: SocketAddr,
        last: bool,
        now: Instant,
    ) -> Option<Happened> {
        // It was answered or given up meanwhile.
        if !self.dials.contains_key(&from) || self.connected.contains_key(&from) {
            return None;
        }
        let at = self.owner(to)?;
        let site = self.site(at);
        let hole = self.holes.get(&(at, to, source)).is_some_and(|until| *until > now);
        if let Some(nat) = site.nat
            && !hole
        {
            if nat.resets {
                let back = now + site.line + self.site(from.0).line;
                self.at(back, Event::Refused(from));
            }
            return None;
        }
        // RFC 9293 §3.5: two SYNs that cross make one connection.
        let crossing = self.dials.iter().find(|(end, (aim, outside))| {
            end.0 == at && *aim == source && *outside == to && !self.connected.contains_key(end)
        });
        if let Some(end) = crossing.map(|(end, _)| *end) {
            self.connect(from, end);
            let both = now + site.line + self.site(from.0).line;
            self.at(now, Event::Opened(end));
            self.at(both, Event::Opened(from));
            return None;
        }
        if !site.listens || last && self.connected.contains_key(&from) {
            return None;
        }
        Some(Happened::Came { at, remote: source, dialler: from })
    }

    fn connect(&mut self, one: End, other: End) {
        self.connected.insert(one, other);
        self.connected.insert(other, one);
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.events.insert((at, self.order), event);
    }

    fn site(&self, peer: PeerIndex) -> Site {
        self.sites[peer.0].expect("only hosts with TCP have connections")
    }

    /// A host is reached at its public address: behind a symmetric NAT, at any port of it.
    fn owner(&self, to: SocketAddr) -> Option<PeerIndex> {
        let found = self.sites.iter().position(|site| {
            site.is_some_and(|site| {
                let symmetric = site.nat.is_some_and(|nat| nat.symmetric);
                site.public.ip() == to.ip() && (symmetric || site.public.port() == to.port())
            })
        });
        found.map(PeerIndex)
    }
}
