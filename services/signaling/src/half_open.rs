//! Connections that have not shown a valid token yet, counted by where they come from.
//!
//! An address is an IPv4 address or an IPv6 network of 64 bits, which is what one subscriber has.
//! The table has an entry for each address with such a connection, so the bound on connections
//! bounds it, too (invariant I5).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use p2p_wire::Cidr;

/// The counts of one instance.
pub(crate) struct HalfOpen {
    counts: Mutex<HashMap<IpAddr, usize>>,
    public: usize,
    private: usize,
    proxies: Vec<Cidr>,
}

/// One such connection, counted until it is released or dropped.
pub(crate) struct Unproven {
    half_open: Arc<HalfOpen>,
    counted_as: Mutex<Option<IpAddr>>,
}

impl HalfOpen {
    /// Bounds for one address: `public`, or `private` for proxies that are known as such, and for
    /// loopback and private addresses, behind which is a proxy more often than a person.
    pub(crate) fn new(public: usize, private: usize, proxies: Vec<Cidr>) -> Arc<Self> {
        Arc::new(Self { counts: Mutex::default(), public, private, proxies })
    }

    /// Counts a connection, or says that its address has all that it may have.
    pub(crate) fn enter(self: &Arc<Self>, from: IpAddr) -> Option<Unproven> {
        let from = from.to_canonical();
        let is_proxy = is_private(from) || self.proxies.iter().any(|proxy| proxy.contains(from));
        let bound = if is_proxy { self.private } else { self.public };
        let network = network(from);
        let mut counts = self.lock();
        let count = counts.entry(network).or_default();
        if *count >= bound {
            if *count == 0 {
                counts.remove(&network);
            }
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Unproven { half_open: self.clone(), counted_as: Mutex::new(Some(network)) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().expect("no code panics while it holds the counts' lock")
    }
}

impl Unproven {
    /// The connection has shown a valid token, or ends.
    pub(crate) fn release(&self) {
        let counted = self.counted_as.lock().expect("an address is taken without panic").take();
        let Some(network) = counted else { return };
        if let Entry::Occupied(mut count) = self.half_open.lock().entry(network) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Drop for Unproven {
    fn drop(&mut self) {
        self.release();
    }
}

fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn i5_an_address_has_so_many_connections_without_a_token_and_no_more() {
        let half_open = HalfOpen::new(2, 3, Vec::new());
        let first = half_open.enter(ip("203.0.113.7")).unwrap();
        let second = half_open.enter(ip("::ffff:203.0.113.7")).unwrap();
        assert!(half_open.enter(ip("203.0.113.7")).is_none(), "however it is written");
        assert!(half_open.enter(ip("203.0.113.8")).is_some(), "another one has its own");
        first.release();
        first.release();
        assert!(half_open.enter(ip("203.0.113.7")).is_some(), "a token makes room, once");
        let third = half_open.enter(ip("203.0.113.7")).unwrap();
        assert!(half_open.enter(ip("203.0.113.7")).is_none());
        drop((second, third, first));
        assert!(half_open.lock().is_empty(), "nothing is left of those that are gone");
    }

    #[test]
    fn an_ipv6_subscriber_is_one_network_and_a_proxy_may_have_more() {
        let half_open = HalfOpen::new(1, 2, vec!["198.51.100.0/24".parse().unwrap()]);
        let _one = half_open.enter(ip("2001:db8:1:2::1")).unwrap();
        assert!(half_open.enter(ip("2001:db8:1:2:ffff::9")).is_none());
        assert!(half_open.enter(ip("2001:db8:1:3::1")).is_some());
        let _two =
            [half_open.enter(ip("10.0.0.1")).unwrap(), half_open.enter(ip("10.0.0.1")).unwrap()];
        assert!(half_open.enter(ip("10.0.0.1")).is_none());
        let _three = [1, 2].map(|_| half_open.enter(ip("198.51.100.9")).unwrap());
        assert!(half_open.enter(ip("198.51.100.9")).is_none(), "a named proxy is one, too");
    }
}
