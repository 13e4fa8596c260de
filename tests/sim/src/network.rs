//! Carries packets between hosts: through NATs, with latency, with loss, and keeps account.
//!
//! Every host has one line to the middle of the network. A packet takes the sender's latency plus
//! the receiver's and may be lost on either line.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::host::Host;
use crate::nat::NatBox;

/// The port every peer's socket is bound to. Fresh sockets have ports above it.
pub const PEER_PORT: u16 = 5000;
/// Where the relay answers STUN and TURN, where its allocations are, and its second address.
pub const RELAY_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
/// The STUN server's second address.
pub const SECOND_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));
/// The relay's line to the middle of the network.
pub const RELAY_LATENCY: Duration = Duration::from_millis(5);

/// A peer, by its place in the order of their making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerIndex(pub(crate) usize);

/// Who puts a packet on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sender {
    /// A peer's host.
    Peer(PeerIndex),
    /// The relay, from one of its own or of its allocations' addresses.
    Relay(SocketAddr),
    /// Somebody who takes part in nothing.
    Stranger,
}

/// A packet that has arrived.
#[derive(Debug)]
pub(crate) enum Arrival {
    Peer { at: PeerIndex, local: SocketAddr, from: SocketAddr, payload: Bytes },
    Relay { to: SocketAddr, from: SocketAddr, payload: Bytes },
}

/// See the module.
pub(crate) struct Network {
    sites: Vec<Site>,
    rng: StdRng,
    in_flight: BinaryHeap<Reverse<Flight>>,
    next: u64,
    cut: BTreeSet<(PeerIndex, PeerIndex)>,
    relay_down: bool,
    /// One of the relay's addresses that nothing comes to or from.
    server_down: Option<SocketAddr>,
    /// The share of packets that a pair's direct way loses besides.
    lossy: BTreeMap<(PeerIndex, PeerIndex), f64>,
    /// Packets by who sent them and where to, lost ones included.
    sent: BTreeMap<(Sender, SocketAddr), u64>,
    /// Packets that reached a peer's host, by who they came from.
    heard: BTreeMap<(PeerIndex, SocketAddr), u64>,
    /// Packets that claimed to leave from an address that the host does not have.
    impossible: Vec<(PeerIndex, SocketAddr)>,
}

struct Site {
    host: Host,
    local: IpAddr,
    nat: Option<NatBox>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: Instant,
    order: u64,
    from: SocketAddr,
    to: SocketAddr,
    payload: Bytes,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            sites: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            in_flight: BinaryHeap::new(),
            next: 0,
            cut: BTreeSet::new(),
            relay_down: false,
            server_down: None,
            lossy: BTreeMap::new(),
            sent: BTreeMap::new(),
            heard: BTreeMap::new(),
            impossible: Vec::new(),
        }
    }

    /// Connects a host and returns its local address.
    pub(crate) fn add(&mut self, host: Host) -> IpAddr {
        let number = u8::try_from(self.sites.len() + 1).expect("a world has few peers");
        let public = IpAddr::from([198, 51, 100, number]);
        let local = match host.nat {
            Some(_) => IpAddr::from([192, 168, number, 2]),
            None => public,
        };
        let nat = host.nat.map(|nat| NatBox::new(nat, public));
        self.sites.push(Site { host, local, nat });
        local
    }

    pub(crate) fn host(&self, peer: PeerIndex) -> &Host {
        &self.sites[peer.0].host
    }

    pub(crate) fn host_mut(&mut self, peer: PeerIndex) -> &mut Host {
        &mut self.sites[peer.0].host
    }

    /// The addresses of a host that only its own network knows: the private one behind a NAT.
    pub(crate) fn local(&self, peer: PeerIndex) -> IpAddr {
        self.sites[peer.0].local
    }

    pub(crate) fn public(&self, peer: PeerIndex) -> IpAddr {
        let site = &self.sites[peer.0];
        site.nat.as_ref().map_or(site.local, NatBox::public)
    }

    /// Loses every packet that goes straight from one peer's network to the other's.
    pub(crate) fn cut(&mut self, from: PeerIndex, to: PeerIndex) {
        self.cut.insert((from, to));
    }

    pub(crate) fn heal(&mut self, from: PeerIndex, to: PeerIndex) {
        self.cut.remove(&(from, to));
    }

    /// Loses a share of the packets that go straight from one peer's network to the other's.
    pub(crate) fn set_direct_loss(&mut self, from: PeerIndex, to: PeerIndex, loss: f64) {
        self.lossy.insert((from, to), loss);
    }

    /// Puts a host into another network, behind a NAT of the same kind, and returns its address there.
    pub(crate) fn move_host(&mut self, peer: PeerIndex) -> IpAddr {
        let number = u8::try_from(peer.0 + 101).expect("a world has few peers");
        let public = IpAddr::from([198, 51, 100, number]);
        let site = &mut self.sites[peer.0];
        site.local = match site.host.nat {
            Some(_) => IpAddr::from([192, 168, number, 2]),
            None => public,
        };
        site.nat = site.host.nat.map(|nat| NatBox::new(nat, public));
        site.local
    }

    pub(crate) fn restart_nat(&mut self, peer: PeerIndex) {
        if let Some(nat) = &mut self.sites[peer.0].nat {
            nat.restart();
        }
    }

    pub(crate) fn set_relay_down(&mut self, down: bool) {
        self.relay_down = down;
    }

    pub(crate) fn set_server_down(&mut self, down: Option<SocketAddr>) {
        self.server_down = down;
    }

    pub(crate) fn send(
        &mut self,
        sender: Sender,
        from: SocketAddr,
        to: SocketAddr,
        payload: Bytes,
        now: Instant,
    ) {
        *self.sent.entry((sender, to)).or_default() += 1;
        let Some((from, delay)) = self.leave(sender, from, to, now) else { return };
        let Some((to_peer, far)) = self.far_end(to) else { return };
        if let (Sender::Peer(from), Some(to)) = (sender, to_peer)
            && (self.cut.contains(&(from, to))
                || self.lossy.get(&(from, to)).is_some_and(|loss| self.rng.random_bool(*loss)))
        {
            return;
        }
        let far_loss = to_peer.map_or(0.0, |peer| self.host(peer).loss);
        if self.rng.random_bool(far_loss) {
            return;
        }
        self.next += 1;
        let flight = Flight { at: now + delay + far, order: self.next, from, to, payload };
        self.in_flight.push(Reverse(flight));
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.peek().map(|Reverse(flight)| flight.at)
    }

    /// The next packet that is there by `now`, past the receiver's NAT. `Some(None)` when one came
    /// and was not let in.
    pub(crate) fn arrive(&mut self, now: Instant) -> Option<Option<Arrival>> {
        if self.next_arrival()? > now {
            return None;
        }
        let Reverse(Flight { from, to, payload, .. }) = self.in_flight.pop()?;
        if is_relay(to.ip()) {
            let down = self.relay_down || self.server_down == Some(to);
            return Some((!down).then_some(Arrival::Relay { to, from, payload }));
        }
        let arrival = self.enter(to, from, now).map(|(at, local)| {
            *self.heard.entry((at, from)).or_default() += 1;
            Arrival::Peer { at, local, from, payload }
        });
        Some(arrival)
    }

    /// Packets sent, by destination.
    pub(crate) fn sent_by(&self, sender: Sender) -> impl Iterator<Item = (SocketAddr, u64)> {
        let of_sender = self.sent.iter().filter(move |((from, _), _)| *from == sender);
        of_sender.map(|((_, to), count)| (*to, *count))
    }

    /// Packets that allocations at the relay sent, by destination.
    pub(crate) fn sent_by_allocations(&self) -> impl Iterator<Item = (SocketAddr, SocketAddr)> {
        self.sent.keys().filter_map(|(from, to)| match from {
            Sender::Relay(relayed) if relayed.port() >= 49_152 => Some((*relayed, *to)),
            Sender::Relay(_) | Sender::Peer(_) | Sender::Stranger => None,
        })
    }

    /// Who was heard at a peer's host.
    pub(crate) fn heard_by(&self, peer: PeerIndex) -> impl Iterator<Item = SocketAddr> {
        self.heard.keys().filter(move |(at, _)| *at == peer).map(|(_, from)| *from)
    }

    pub(crate) fn impossible(&self) -> &[(PeerIndex, SocketAddr)] {
        &self.impossible
    }

    /// Past the sender's own line: the address the packet has outside, and how long that takes.
    fn leave(
        &mut self,
        sender: Sender,
        from: SocketAddr,
        to: SocketAddr,
        now: Instant,
    ) -> Option<(SocketAddr, Duration)> {
        let peer = match sender {
            Sender::Relay(_) => {
                let down = self.relay_down || self.server_down == Some(from);
                return (!down).then_some((from, RELAY_LATENCY));
            }
            Sender::Stranger => return Some((from, RELAY_LATENCY)),
            Sender::Peer(peer) => peer,
        };
        let site = &mut self.sites[peer.0];
        if from.ip() != site.local {
            self.impossible.push((peer, from));
            return None;
        }
        // Private addresses lead nowhere from here: every host has a network of its own.
        let private = matches!(to.ip(), IpAddr::V4(ip) if ip.is_private());
        if private || self.rng.random_bool(site.host.loss) {
            return None;
        }
        let outside = match &mut site.nat {
            Some(nat) => nat.outbound(from, to, now, &mut self.rng)?,
            None => from,
        };
        Some((outside, site.host.latency))
    }

    fn far_end(&self, to: SocketAddr) -> Option<(Option<PeerIndex>, Duration)> {
        if is_relay(to.ip()) {
            return Some((None, RELAY_LATENCY));
        }
        let peer = self.owner(to.ip())?;
        Some((Some(peer), self.host(peer).latency))
    }

    fn owner(&self, public: IpAddr) -> Option<PeerIndex> {
        (0..self.sites.len()).map(PeerIndex).find(|peer| self.public(*peer) == public)
    }

    fn enter(
        &mut self,
        to: SocketAddr,
        from: SocketAddr,
        now: Instant,
    ) -> Option<(PeerIndex, SocketAddr)> {
        let at = self.owner(to.ip())?;
        let site = &mut self.sites[at.0];
        let inside = match &mut site.nat {
            Some(nat) => nat.inbound(to.port(), from, now)?,
            None => to,
        };
        (inside.port() >= PEER_PORT).then_some((at, inside))
    }
}

fn is_relay(ip: IpAddr) -> bool {
    ip == RELAY_IP || ip == SECOND_IP
}

/// Where STUN and TURN are answered: two addresses with two ports each (RFC 5780 §4.1). Clients are
/// told of the first and find out about the others.
pub fn servers() -> [SocketAddr; 4] {
    [(RELAY_IP, 3478), (RELAY_IP, 3479), (SECOND_IP, 3478), (SECOND_IP, 3479)].map(SocketAddr::from)
}
