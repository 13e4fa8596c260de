//! From QUIC's view of the world to the network's: QUIC knows every peer by one address that never
//! changes, and this table says where packets to it go at the moment, and whose a packet is.
//!
//! One peer has one virtual address, whatever number of connections there are to it: two attempts
//! with the same peer use the same pair of sockets, so their packets could not be told apart.

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::slice::Chunks;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use p2p_traversal::quality::Counters;
use p2p_traversal::traffic::{Leg, Traffic};
use p2p_traversal::{Path, Via};
use p2p_wire::{AttemptId, PeerKey};
use tokio::sync::Notify;

use crate::kept::Kept;

/// The prefix of virtual addresses: unique local (RFC 4193), never on a wire.
const PREFIX: [u16; 4] = [0xfd70, 0x3270, 0x636f, 0x6f72];
/// Datagrams that may go out at once without a path: a flight and what is said again of it.
const MAX_EARLY: u32 = 8;
/// Addresses that packets of one peer may come from.
const MAX_SOURCES_PER_PEER: usize = 128;

/// The table. Cheap to read from the packet path.
#[derive(Debug)]
pub(crate) struct Routes {
    table: RwLock<Table>,
    epoch: Instant,
}

#[derive(Debug, Default)]
struct Table {
    peers: HashMap<PeerKey, Peer>,
    routes: HashMap<SocketAddr, Arc<Route>>,
    sources: HashMap<(Leg, SocketAddr), Arc<Route>>,
    attempts: HashMap<AttemptId, PeerKey>,
    next: u64,
}

#[derive(Debug)]
struct Peer {
    virtual_addr: SocketAddr,
    attempts: HashMap<AttemptId, Option<Path>>,
}

/// When the last packet came, the same way as [`Route::sent`].
#[derive(Debug, Default)]
struct ByLeg {
    socket: AtomicU64,
    relay: AtomicU64,
}

impl ByLeg {
    fn of(&self, leg: Leg) -> &AtomicU64 {
        match leg {
            Leg::Socket => &self.socket,
            Leg::Relay => &self.relay,
        }
    }
}

/// Where one peer's packets go.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) virtual_addr: SocketAddr,
    path: Mutex<Option<Path>>,
    /// Milliseconds since the table's epoch, plus one; zero is never.
    sent: AtomicU64,
    received: ByLeg,
    latest: Mutex<Option<(Leg, SocketAddr)>>,
    /// Packets that the connection has sent and found lost.
    counted: Mutex<Counters>,
    /// What is to be said when there is another way: the datagram that left last, which the way it
    /// took may have lost, or the first ones, which wait for a way.
    kept: Mutex<Kept>,
    /// Ways that may become paths, until there is one.
    early: Mutex<Vec<(Via, SocketAddr)>>,
    /// Datagrams that have gone these ways when they were made.
    early_sent: AtomicU32,
    /// Rung when a datagram is kept for a way.
    waits: Notify,
}

impl Routes {
    pub(crate) fn new(now: Instant) -> Self {
        Self { table: RwLock::default(), epoch: now }
    }

    /// Makes room for an attempt and returns the peer's virtual address.
    pub(crate) fn add_attempt(&self, attempt: &AttemptId, peer: &PeerKey) -> SocketAddr {
        let table = &mut *self.table.write().unwrap_or_else(PoisonError::into_inner);
        let next = &mut table.next;
        let entry = table.peers.entry(peer.clone()).or_insert_with(|| {
            *next += 1;
            Peer { virtual_addr: virtual_addr(*next), attempts: HashMap::new() }
        });
        entry.attempts.insert(attempt.clone(), None);
        table.attempts.insert(attempt.clone(), peer.clone());
        let addr = entry.virtual_addr;
        table.routes.entry(addr).or_insert_with(|| Arc::new(Route::new(addr)));
        addr
    }

    /// Makes an address for a peer whose key is not known yet. What is sent to it is kept.
    pub(crate) fn reserve(&self) -> Arc<Route> {
        let table = &mut *self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.next += 1;
        let route = Arc::new(Route::new(virtual_addr(table.next)));
        table.routes.insert(route.virtual_addr, Arc::clone(&route));
        route
    }

    /// Makes room for an attempt whose peer has such an address. `false` where the peer has another
    /// one already.
    pub(crate) fn adopt(&self, attempt: &AttemptId, peer: &PeerKey, reserved: SocketAddr) -> bool {
        let table = &mut *self.table.write().unwrap_or_else(PoisonError::into_inner);
        if table.peers.contains_key(peer) || !table.routes.contains_key(&reserved) {
            return false;
        }
        let attempts = HashMap::from([(attempt.clone(), None)]);
        table.peers.insert(peer.clone(), Peer { virtual_addr: reserved, attempts });
        table.attempts.insert(attempt.clone(), peer.clone());
        true
    }

    /// Forgets an address that no peer has got.
    pub(crate) fn release(&self, reserved: SocketAddr) {
        let table = &mut *self.table.write().unwrap_or_else(PoisonError::into_inner);
        if table.peers.values().all(|peer| peer.virtual_addr != reserved) {
            table.routes.remove(&reserved);
        }
    }

    /// Forgets an attempt, and the peer with its last one.
    pub(crate) fn remove_attempt(&self, attempt: &AttemptId) {
        let table = &mut *self.table.write().unwrap_or_else(PoisonError::into_inner);
        let Some(key) = table.attempts.remove(attempt) else { return };
        let Some(peer) = table.peers.get_mut(&key) else { return };
        peer.attempts.remove(attempt);
        let addr = peer.virtual_addr;
        if peer.attempts.is_empty() {
            table.peers.remove(&key);
            table.routes.remove(&addr);
            table.sources.retain(|_, route| route.virtual_addr != addr);
        } else {
            let path = peer.attempts.values().flatten().min_by_key(|p| p.method).copied();
            if let Some(route) = table.routes.get(&addr) {
                route.set_path(path);
            }
        }
    }

    /// Sends an attempt's peer's packets this way from here on. Returns the route where that is
    /// another way than before.
    pub(crate) fn set_path(&self, attempt: &AttemptId, path: Option<Path>) -> Option<Arc<Route>> {
        let table = &mut *self.table.write().unwrap_or_else(PoisonError::into_inner);
        let peer = table.attempts.get(attempt).and_then(|key| table.peers.get_mut(key))?;
        peer.attempts.insert(attempt.clone(), path);
        // An attempt without a path must not take another one's away.
        let path = path.or_else(|| peer.attempts.values().flatten().next().copied());
        let route = table.routes.get(&peer.virtual_addr)?;
        let before = route.hop();
        route.set_path(path);
        (route.hop() != before).then(|| Arc::clone(route))
    }

    /// Names the ways for what an attempt has to say before it has a path. Returns the route, unless
    /// there is a path.
    pub(crate) fn set_early(
        &self,
        attempt: &AttemptId,
        ways: &[(Via, SocketAddr)],
    ) -> Option<Arc<Route>> {
        let route = self.of(attempt).filter(|route| route.path().is_none())?;
        *route.early.lock().unwrap_or_else(PoisonError::into_inner) = ways.to_vec();
        Some(route)
    }

    /// Takes packets from these addresses for the attempt's peer.
    pub(crate) fn set_sources(&self, attempt: &AttemptId, sources: &[SocketAddr]) {
        let table = &mut *self.table.write().unwrap_or_else(PoisonError::into_inner);
        let Some(peer) = table.attempts.get(attempt).and_then(|key| table.peers.get(key)) else {
            return;
        };
        let Some(route) = table.routes.get(&peer.virtual_addr).cloned() else { return };
        for source in sources.iter().take(MAX_SOURCES_PER_PEER) {
            table.sources.insert((Leg::Socket, *source), Arc::clone(&route));
            table.sources.insert((Leg::Relay, *source), Arc::clone(&route));
        }
    }

    /// The route of a virtual address.
    pub(crate) fn to(&self, virtual_addr: SocketAddr) -> Option<Arc<Route>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.routes.get(&virtual_addr).cloned()
    }

    /// The route that a packet belongs to.
    pub(crate) fn from(&self, leg: Leg, source: SocketAddr) -> Option<Arc<Route>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.sources.get(&(leg, source)).cloned()
    }

    /// The route of an attempt's peer.
    pub(crate) fn of(&self, attempt: &AttemptId) -> Option<Arc<Route>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let peer = table.attempts.get(attempt).and_then(|key| table.peers.get(key))?;
        table.routes.get(&peer.virtual_addr).cloned()
    }

    /// What an attempt's connection has counted so far.
    pub(crate) fn set_counted(&self, attempt: &AttemptId, counted: Counters) {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let peer = table.attempts.get(attempt).and_then(|key| table.peers.get(key));
        if let Some(route) = peer.and_then(|peer| table.routes.get(&peer.virtual_addr)) {
            *route.counted.lock().unwrap_or_else(PoisonError::into_inner) = counted;
        }
    }

    /// When something last came from an attempt's peer the way that this path goes.
    pub(crate) fn heard(&self, attempt: &AttemptId, path: &Path) -> Option<Instant> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let peer = table.attempts.get(attempt).and_then(|key| table.peers.get(key))?;
        let route = table.routes.get(&peer.virtual_addr)?;
        let leg = if path.via == Via::Relay { Leg::Relay } else { Leg::Socket };
        self.instant(route.received.of(leg).load(Ordering::Relaxed))
    }

    /// Whether there is no peer to have traffic with.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.read().unwrap_or_else(PoisonError::into_inner).peers.is_empty()
    }

    /// Every attempt with the traffic of its peer.
    pub(crate) fn traffic(&self) -> Vec<(AttemptId, Traffic)> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        for peer in table.peers.values() {
            let Some(route) = table.routes.get(&peer.virtual_addr) else { continue };
            let traffic = Traffic {
                sent: self.instant(route.sent.load(Ordering::Relaxed)),
                by_socket: self.instant(route.received.socket.load(Ordering::Relaxed)),
                by_relay: self.instant(route.received.relay.load(Ordering::Relaxed)),
                latest: *route.latest.lock().unwrap_or_else(PoisonError::into_inner),
                counted: *route.counted.lock().unwrap_or_else(PoisonError::into_inner),
            };
            all.extend(peer.attempts.keys().map(|id| (id.clone(), traffic)));
        }
        all
    }

    pub(crate) fn note_sent(&self, route: &Route, now: Instant) {
        route.sent.store(self.stamp(now), Ordering::Relaxed);
    }

    pub(crate) fn note_received(
        &self,
        route: &Route,
        leg: Leg,
        source: Option<SocketAddr>,
        now: Instant,
    ) {
        let latest = source.map(|source| (leg, source));
        *route.latest.lock().unwrap_or_else(PoisonError::into_inner) = latest;
        route.received.of(leg).store(self.stamp(now), Ordering::Relaxed);
    }

    fn stamp(&self, now: Instant) -> u64 {
        let millis = now.saturating_duration_since(self.epoch).as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX - 1) + 1
    }

    fn instant(&self, stamp: u64) -> Option<Instant> {
        stamp.checked_sub(1).map(|millis| self.epoch + Duration::from_millis(millis))
    }
}

impl Route {
    fn new(virtual_addr: SocketAddr) -> Self {
        Self {
            virtual_addr,
            path: Mutex::new(None),
            sent: AtomicU64::new(0),
            received: ByLeg::default(),
            latest: Mutex::default(),
            counted: Mutex::default(),
            kept: Mutex::default(),
            early: Mutex::default(),
            early_sent: AtomicU32::new(0),
            waits: Notify::new(),
        }
    }

    /// The way to the peer at the moment.
    pub(crate) fn path(&self) -> Option<Path> {
        *self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How packets leave at the moment.
    pub(crate) fn hop(&self) -> Option<(Via, SocketAddr)> {
        self.path().map(|path| (path.via, path.remote))
    }

    /// Keeps copies of what leaves now, as far as it is to be said again over another way.
    pub(crate) fn keep_last(&self, datagrams: Chunks<'_, u8>, now: Instant) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).leave(datagrams, now);
    }

    /// Keeps a datagram that has no way to go, beside those before it.
    pub(crate) fn keep_for_path(&self, datagram: &[u8], now: Instant) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).add(datagram, now);
        self.waits.notify_one();
    }

    /// Waits until a datagram is kept for a way.
    pub(crate) async fn waits(&self) {
        self.waits.notified().await;
    }

    /// What is to be said when there is another way, in order.
    pub(crate) fn kept(&self) -> Vec<Vec<u8>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).all()
    }

    /// The ways for a datagram that has no path: none once there were enough of those (I9).
    pub(crate) fn early(&self) -> Vec<(Via, SocketAddr)> {
        let ways = self.early.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !ways.is_empty() && self.early_sent.fetch_add(1, Ordering::Relaxed) >= MAX_EARLY {
            return Vec::new();
        }
        ways
    }

    fn set_path(&self, path: Option<Path>) {
        *self.path.lock().unwrap_or_else(PoisonError::into_inner) = path;
        if path.is_some() {
            self.early.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.early_sent.store(0, Ordering::Relaxed);
        }
    }
}

fn virtual_addr(number: u64) -> SocketAddr {
    let [a, b, c, d] = PREFIX;
    let part = |shift: u32| u16::try_from((number >> shift) & 0xffff).expect("sixteen bits");
    let ip = Ipv6Addr::new(a, b, c, d, part(48), part(32), part(16), part(0));
    SocketAddr::from((ip, 1))
}

#[cfg(test)]
mod tests {
    use p2p_traversal::PathKind;
    use p2p_wire::Method;

    use super::*;

    fn key(letter: &str) -> PeerKey {
        PeerKey::new(letter.repeat(43)).unwrap()
    }

    fn path(port: u16) -> Path {
        Path {
            kind: PathKind::Direct,
            method: Method::Direct,
            via: Via::Socket("192.0.2.1".parse().unwrap()),
            remote: SocketAddr::from(([198, 51, 100, 7], port)),
            rtt: Duration::ZERO,
        }
    }

    #[test]
    fn attempts_with_one_peer_share_its_address() {
        let routes = Routes::new(Instant::now());
        let (one, two): (AttemptId, AttemptId) = ("one".parse().unwrap(), "two".parse().unwrap());
        let addr = routes.add_attempt(&one, &key("a"));
        assert_eq!(routes.add_attempt(&two, &key("a")), addr);
        assert_ne!(routes.add_attempt(&"three".parse().unwrap(), &key("b")), addr);
        routes.set_path(&one, Some(path(1)));
        routes.set_path(&two, Some(path(2)));
        routes.remove_attempt(&two);
        assert_eq!(routes.to(addr).unwrap().path().unwrap().remote.port(), 1);
        routes.remove_attempt(&one);
        assert!(routes.to(addr).is_none());
    }

    #[test]
    fn ways_for_what_has_no_path_end_with_the_first_path() {
        let routes = Routes::new(Instant::now());
        let attempt: AttemptId = "one".parse().unwrap();
        let route = routes.to(routes.add_attempt(&attempt, &key("a"))).unwrap();
        let ways = [(path(1).via, path(1).remote)];
        assert!(routes.set_early(&attempt, &ways).is_some());
        assert_eq!(route.early(), ways);
        assert!(routes.set_path(&attempt, Some(path(2))).is_some(), "another way than none");
        assert!(routes.set_path(&attempt, Some(path(2))).is_none(), "the same way");
        assert_eq!(route.early(), []);
        assert!(routes.set_early(&attempt, &ways).is_none());
    }

    #[test]
    fn i9_few_datagrams_go_out_without_a_path() {
        let routes = Routes::new(Instant::now());
        let attempt: AttemptId = "one".parse().unwrap();
        let route = routes.to(routes.add_attempt(&attempt, &key("a"))).unwrap();
        assert_eq!(route.early(), [], "no way is named yet");
        routes.set_early(&attempt, &[(path(1).via, path(1).remote)]);
        let went = (0..100).filter(|_| !route.early().is_empty()).count();
        assert_eq!(went, MAX_EARLY as usize);
    }

    #[test]
    fn a_reserved_address_becomes_its_peer_s_unless_that_has_another() {
        let routes = Routes::new(Instant::now());
        let (one, two): (AttemptId, AttemptId) = ("one".parse().unwrap(), "two".parse().unwrap());
        let first = routes.reserve();
        first.keep_for_path(b"hello", Instant::now());
        assert!(routes.adopt(&one, &key("a"), first.virtual_addr));
        assert_eq!(routes.add_attempt(&two, &key("a")), first.virtual_addr);
        assert_eq!(routes.of(&one).unwrap().kept(), [b"hello"]);
        routes.release(first.virtual_addr);
        assert!(routes.to(first.virtual_addr).is_some(), "it is a peer's now");
        let second = routes.reserve();
        assert_ne!(second.virtual_addr, first.virtual_addr);
        assert!(!routes.adopt(&two, &key("a"), second.virtual_addr), "the peer has an address");
        routes.release(second.virtual_addr);
        assert!(routes.to(second.virtual_addr).is_none());
        assert!(!routes.adopt(&two, &key("b"), second.virtual_addr), "it is forgotten");
    }

    #[test]
    fn a_packet_is_known_by_where_it_comes_from() {
        let routes = Routes::new(Instant::now());
        let attempt: AttemptId = "one".parse().unwrap();
        let addr = routes.add_attempt(&attempt, &key("a"));
        let source = "198.51.100.7:9".parse().unwrap();
        assert!(routes.from(Leg::Socket, source).is_none());
        routes.set_sources(&attempt, &[source]);
        assert_eq!(routes.from(Leg::Socket, source).unwrap().virtual_addr, addr);
        routes.remove_attempt(&attempt);
        assert!(routes.from(Leg::Socket, source).is_none());
    }
}
