//! From QUIC's view of the world to the network's: QUIC knows every peer by one address that never
//! changes, and this table says where packets to it go at the moment, and whose a packet is.
//!
//! One peer has one virtual address for each policy, whatever number of connections there are to it: two
//! attempts with the same peer and policy use the same path, so their packets could not be told apart.
//!
//! Whose a packet is, its source does not prove: a peer may name any address as its own. So a packet is
//! everybody's who has named where it comes from, until one has that for its path. QUIC takes it where
//! it can read it and discards the rest (RFC 9000 §5.2), and nobody takes another one's packets away by
//! naming its address.

mod route;

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use p2p_traversal::quality::Counters;
use p2p_traversal::traffic::{Leg, Traffic};
use p2p_traversal::{Path, Via};
use p2p_wire::{AttemptId, PeerKey, Policy};

pub(crate) use self::route::Route;

/// The prefix of virtual addresses: unique local (RFC 4193), never on a wire.
const PREFIX: [u16; 4] = [0xfd70, 0x3270, 0x636f, 0x6f72];
/// Addresses that packets of one peer may come from.
const MAX_SOURCES_PER_PEER: usize = 128;
/// Peers that may name the same address.
const MAX_CLAIMS: usize = 8;

/// The table. Cheap to read from the packet path.
#[derive(Debug)]
pub(crate) struct Routes {
    table: RwLock<Table>,
    epoch: Instant,
}

#[derive(Debug, Default)]
struct Table {
    peers: HashMap<Way, Peer>,
    routes: HashMap<SocketAddr, Arc<Route>>,
    sources: HashMap<(Leg, SocketAddr), Vec<Arc<Route>>>,
    attempts: HashMap<AttemptId, Way>,
    next: u64,
}

/// Whom one virtual address stands for, and how it may be reached.
type Way = (PeerKey, Policy);

#[derive(Debug)]
struct Peer {
    virtual_addr: SocketAddr,
    attempts: HashMap<AttemptId, Option<Path>>,
}

impl Peer {
    /// The best path of its attempts, the latest of equals. An attempt that has none, or that has just
    /// begun, must not take a better one away from the others.
    fn best(&self, latest: Option<Path>) -> Option<Path> {
        let all = latest.into_iter().chain(self.attempts.values().flatten().copied());
        all.min_by_key(|path| path.method)
    }
}

impl Routes {
    pub(crate) fn new(now: Instant) -> Self {
        Self { table: RwLock::default(), epoch: now }
    }

    /// Makes room for an attempt and returns the peer's virtual address.
    pub(crate) fn add_attempt(
        &self,
        attempt: &AttemptId,
        peer: &PeerKey,
        policy: Policy,
    ) -> SocketAddr {
        let table = &mut *self.table.write().unwrap_or_else(PoisonError::into_inner);
        let next = &mut table.next;
        let way = (peer.clone(), policy);
        let entry = table.peers.entry(way.clone()).or_insert_with(|| {
            *next += 1;
            Peer { virtual_addr: virtual_addr(*next), attempts: HashMap::new() }
        });
        entry.attempts.insert(attempt.clone(), None);
        table.attempts.insert(attempt.clone(), way);
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
    pub(crate) fn adopt(
        &self,
        attempt: &AttemptId,
        peer: &PeerKey,
        policy: Policy,
        reserved: SocketAddr,
    ) -> bool {
        let table = &mut *self.table.write().unwrap_or_else(PoisonError::into_inner);
        let way = (peer.clone(), policy);
        if table.peers.contains_key(&way) || !table.routes.contains_key(&reserved) {
            return false;
        }
        let attempts = HashMap::from([(attempt.clone(), None)]);
        table.peers.insert(way.clone(), Peer { virtual_addr: reserved, attempts });
        table.attempts.insert(attempt.clone(), way);
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
        let Some(way) = table.attempts.remove(attempt) else { return };
        let Some(peer) = table.peers.get_mut(&way) else { return };
        peer.attempts.remove(attempt);
        let addr = peer.virtual_addr;
        if peer.attempts.is_empty() {
            table.peers.remove(&way);
            table.routes.remove(&addr);
            table.sources.retain(|_, claims| {
                claims.retain(|route| route.virtual_addr != addr);
                !claims.is_empty()
            });
        } else if let Some(route) = table.routes.get(&addr) {
            route.set_path(peer.best(None));
        }
    }

    /// Sends an attempt's peer's packets this way from here on, unless another attempt with it has a
    /// better one. Returns the route where that is another way than before.
    pub(crate) fn set_path(&self, attempt: &AttemptId, path: Option<Path>) -> Option<Arc<Route>> {
        let table = &mut *self.table.write().unwrap_or_else(PoisonError::into_inner);
        let peer = table.attempts.get(attempt).and_then(|key| table.peers.get_mut(key))?;
        peer.attempts.insert(attempt.clone(), path);
        let route = table.routes.get(&peer.virtual_addr)?;
        let before = route.hop();
        route.set_path(peer.best(path));
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
        route.set_early(ways);
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
            for leg in [Leg::Socket, Leg::Relay] {
                let claims = table.sources.entry((leg, *source)).or_default();
                if claims.iter().all(|claim| claim.virtual_addr != route.virtual_addr) {
                    make_room(claims, leg, *source);
                    claims.push(Arc::clone(&route));
                }
            }
        }
    }

    /// The route of a virtual address.
    pub(crate) fn to(&self, virtual_addr: SocketAddr) -> Option<Arc<Route>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.routes.get(&virtual_addr).cloned()
    }

    /// The route that a packet belongs to, and those that it may belong to instead. What begins a
    /// connection may be for a peer that has no path yet as well as for one that has it for its path.
    pub(crate) fn from(
        &self,
        leg: Leg,
        source: SocketAddr,
        begins: bool,
    ) -> Option<(Arc<Route>, Vec<Arc<Route>>)> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        match &table.sources.get(&(leg, source))?[..] {
            [] => None,
            [only] => Some((Arc::clone(only), Vec::new())),
            several => {
                let mut claims: Vec<_> = several.to_vec();
                if begins {
                    claims.sort_by_key(|route| route.path().is_some());
                } else if claims.iter().any(|route| route.leaves_for(leg, source)) {
                    claims.retain(|route| route.leaves_for(leg, source));
                }
                let first = claims.remove(0);
                Some((first, claims))
            }
        }
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
        self.instant(route.received.of(leg_of(path)).load(Ordering::Relaxed))
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

fn leg_of(path: &Path) -> Leg {
    if path.via == Via::Relay { Leg::Relay } else { Leg::Socket }
}

/// A claim that is nobody's path makes room for another one.
fn make_room(claims: &mut Vec<Arc<Route>>, leg: Leg, source: SocketAddr) {
    if claims.len() >= MAX_CLAIMS {
        let idle = claims.iter().position(|claim| !claim.leaves_for(leg, source));
        claims.remove(idle.unwrap_or(0));
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

    use super::route::MAX_EARLY;
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
        let addr = routes.add_attempt(&one, &key("a"), Policy::Auto);
        assert_eq!(routes.add_attempt(&two, &key("a"), Policy::Auto), addr);
        assert_ne!(routes.add_attempt(&"three".parse().unwrap(), &key("b"), Policy::Auto), addr);
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
        let route = routes.to(routes.add_attempt(&attempt, &key("a"), Policy::Auto)).unwrap();
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
        let route = routes.to(routes.add_attempt(&attempt, &key("a"), Policy::Auto)).unwrap();
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
        assert!(routes.adopt(&one, &key("a"), Policy::Auto, first.virtual_addr));
        assert_eq!(routes.add_attempt(&two, &key("a"), Policy::Auto), first.virtual_addr);
        assert_eq!(routes.of(&one).unwrap().kept(), [b"hello"]);
        routes.release(first.virtual_addr);
        assert!(routes.to(first.virtual_addr).is_some(), "it is a peer's now");
        let second = routes.reserve();
        assert_ne!(second.virtual_addr, first.virtual_addr);
        assert!(
            !routes.adopt(&two, &key("a"), Policy::Auto, second.virtual_addr),
            "the peer has an address"
        );
        routes.release(second.virtual_addr);
        assert!(routes.to(second.virtual_addr).is_none());
        assert!(
            !routes.adopt(&two, &key("b"), Policy::Auto, second.virtual_addr),
            "it is forgotten"
        );
    }

    #[test]
    fn a_packet_is_known_by_where_it_comes_from() {
        let routes = Routes::new(Instant::now());
        let attempt: AttemptId = "one".parse().unwrap();
        let addr = routes.add_attempt(&attempt, &key("a"), Policy::Auto);
        let source = "198.51.100.7:9".parse().unwrap();
        let from = |source| owners(&routes, source, false);
        assert!(from(source).is_empty());
        routes.set_sources(&attempt, &[source]);
        assert_eq!(from(source), [addr]);
        routes.remove_attempt(&attempt);
        assert!(from(source).is_empty());
    }

    /// Whose a packet from this address is, most likely first.
    fn owners(routes: &Routes, source: SocketAddr, begins: bool) -> Vec<SocketAddr> {
        let owners = routes.from(Leg::Socket, source, begins);
        let all = owners.into_iter().flat_map(|(first, others)| [vec![first], others].concat());
        all.map(|route| route.virtual_addr).collect()
    }

    #[test]
    fn a_peer_that_names_another_one_s_address_takes_nothing_from_it() {
        let routes = Routes::new(Instant::now());
        let (one, two): (AttemptId, AttemptId) = ("one".parse().unwrap(), "two".parse().unwrap());
        let named = [path(1).remote];
        let carol = routes.add_attempt(&one, &key("c"), Policy::Auto);
        routes.set_sources(&one, &named);
        let bob = routes.add_attempt(&two, &key("b"), Policy::Auto);
        routes.set_sources(&two, &named);
        assert_eq!(owners(&routes, named[0], false), [carol, bob], "neither has proven anything");
        routes.set_path(&one, Some(path(1)));
        assert_eq!(owners(&routes, named[0], false), [carol], "it answers her checks there");
        assert_eq!(owners(&routes, named[0], true), [bob, carol], "a handshake may be anybody's");
        routes.remove_attempt(&two);
        assert_eq!(owners(&routes, named[0], true), [carol]);
    }

    #[test]
    fn i5_few_peers_name_the_same_address_and_none_of_them_takes_it_from_whose_path_it_is() {
        let routes = Routes::new(Instant::now());
        let first: AttemptId = "first".parse().unwrap();
        let carol = routes.add_attempt(&first, &key("c"), Policy::Auto);
        routes.set_sources(&first, &[path(1).remote]);
        routes.set_path(&first, Some(path(1)));
        for number in 0..20 {
            let attempt: AttemptId = format!("a{number}").parse().unwrap();
            let letter = char::from(b'a' + number).to_string().to_uppercase();
            routes.add_attempt(&attempt, &key(&letter), Policy::Auto);
            routes.set_sources(&attempt, &[path(1).remote]);
        }
        assert_eq!(owners(&routes, path(1).remote, false), [carol]);
        assert_eq!(owners(&routes, path(1).remote, true).len(), MAX_CLAIMS);
    }

    #[test]
    fn attempts_with_one_peer_use_its_best_path_and_policies_do_not_mix() {
        let routes = Routes::new(Instant::now());
        let [one, two, three] = ["one", "two", "three"].map(|id| id.parse::<AttemptId>().unwrap());
        let relayed = Path { method: Method::Relay, via: Via::Relay, ..path(9) };
        let auto = routes.add_attempt(&one, &key("a"), Policy::Auto);
        routes.add_attempt(&two, &key("a"), Policy::Auto);
        let hidden = routes.add_attempt(&three, &key("a"), Policy::Relay);
        routes.set_path(&one, Some(path(1)));
        assert!(
            routes.set_path(&two, Some(relayed)).is_none(),
            "a younger attempt is not there yet"
        );
        routes.set_path(&three, Some(relayed));
        let port = |addr| routes.to(addr).unwrap().path().unwrap().remote.port();
        assert_eq!((port(auto), port(hidden)), (1, 9));
        assert!(routes.set_path(&two, Some(path(2))).is_some(), "the latest of equals");
        routes.set_path(&one, None);
        routes.set_path(&two, Some(relayed));
        assert_eq!((port(auto), port(hidden)), (9, 9));
    }
}
