//! NAT boxes by the two axes of RFC 4787: how they map (§4.1) and what they let in (§5).
//!
//! Mappings live as long as something leaves through them (REQ-6 asks for no more). What is sent to
//! the box's own address from inside is lost, unless the box hairpins (§6).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use p2p_wire::{Filtering, Mapping};
use rand::Rng;
use rand::rngs::StdRng;

/// How external ports are chosen (RFC 4787 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// The internal port where it is free.
    Preserved,
    /// One after the other.
    Sequential,
    /// Any.
    Random,
}

/// What kind of NAT it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nat {
    /// How a flow gets its external port.
    pub mapping: Mapping,
    /// What is let in.
    pub filtering: Filtering,
    /// Which external ports are chosen.
    pub ports: Ports,
    /// How long a mapping, and a hole in the filter, outlives the last packet out.
    pub lifetime: Duration,
    /// Whether packets to the box's own address come back in, from their external source (REQ-9).
    pub hairpin: bool,
    /// Whether no UDP passes at all.
    pub blocked: bool,
}

/// Where sequences begin: far from the ports of the peers' sockets.
const FIRST_IN_SEQUENCE: u16 = 20_000;
/// RFC 4787 REQ-5 wants two minutes or more; many boxes give one.
const LIFETIME: Duration = Duration::from_secs(60);

impl Nat {
    /// A NAT of these axes that preserves ports.
    pub fn new(mapping: Mapping, filtering: Filtering) -> Self {
        let ports = Ports::Preserved;
        Self { mapping, filtering, ports, lifetime: LIFETIME, hairpin: false, blocked: false }
    }

    /// Endpoint-independent mapping and filtering.
    pub fn full_cone() -> Self {
        Self::new(Mapping::EndpointIndependent, Filtering::EndpointIndependent)
    }

    /// Endpoint-independent mapping, address-dependent filtering.
    pub fn address_restricted() -> Self {
        Self::new(Mapping::EndpointIndependent, Filtering::AddressDependent)
    }

    /// Endpoint-independent mapping, address-and-port-dependent filtering: the home router.
    pub fn port_restricted() -> Self {
        Self::new(Mapping::EndpointIndependent, Filtering::AddressAndPortDependent)
    }

    /// Another random port for every destination, and only that destination is let in.
    pub fn symmetric() -> Self {
        Self::new(Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent)
            .with_random_ports()
    }

    /// A box that lets no UDP through.
    pub fn udp_blocked() -> Self {
        Self { blocked: true, ..Self::port_restricted() }
    }

    /// The same, with external ports that nobody can guess.
    pub fn with_random_ports(self) -> Self {
        Self { ports: Ports::Random, ..self }
    }

    /// The same, with external ports that are handed out one after the other.
    pub fn with_sequential_ports(self) -> Self {
        Self { ports: Ports::Sequential, ..self }
    }

    /// The same, sending back in what goes to its own address.
    pub fn with_hairpin(self) -> Self {
        Self { hairpin: true, ..self }
    }

    /// The same, with mappings that live this long.
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }
}

/// One box at work.
#[derive(Debug)]
pub(crate) struct NatBox {
    nat: Nat,
    public: IpAddr,
    mappings: Vec<Binding>,
}

#[derive(Debug)]
struct Binding {
    inside: SocketAddr,
    /// What the mapping depends on.
    towards: Towards,
    port: u16,
    /// When something last left for each destination.
    sent: HashMap<SocketAddr, Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Towards {
    Anywhere,
    Address(IpAddr),
    Endpoint(SocketAddr),
}

impl NatBox {
    pub(crate) fn new(nat: Nat, public: IpAddr) -> Self {
        Self { nat, public, mappings: Vec::new() }
    }

    pub(crate) fn public(&self) -> IpAddr {
        self.public
    }

    /// Forgets every mapping.
    pub(crate) fn restart(&mut self) {
        self.mappings.clear();
    }

    /// A packet out: the address it leaves from, or nothing where it does not leave.
    pub(crate) fn outbound(
        &mut self,
        inside: SocketAddr,
        to: SocketAddr,
        now: Instant,
        rng: &mut StdRng,
    ) -> Option<SocketAddr> {
        if self.nat.blocked || (to.ip() == self.public && !self.nat.hairpin) {
            return None;
        }
        self.expire(now);
        let towards = match self.nat.mapping {
            Mapping::EndpointIndependent | Mapping::Unknown => Towards::Anywhere,
            Mapping::AddressDependent => Towards::Address(to.ip()),
            Mapping::AddressAndPortDependent => Towards::Endpoint(to),
        };
        let known = self.mappings.iter().position(|m| m.inside == inside && m.towards == towards);
        let index = known.unwrap_or_else(|| {
            let port = self.free_port(inside.port(), rng);
            self.mappings.push(Binding { inside, towards, port, sent: HashMap::new() });
            self.mappings.len() - 1
        });
        let mapping = &mut self.mappings[index];
        mapping.sent.insert(to, now);
        Some(SocketAddr::new(self.public, mapping.port))
    }

    /// A packet in: the inside address it is for, or nothing where it is not let in.
    pub(crate) fn inbound(
        &mut self,
        port: u16,
        from: SocketAddr,
        now: Instant,
    ) -> Option<SocketAddr> {
        self.expire(now);
        let mapping = self.mappings.iter().find(|m| m.port == port)?;
        let expected = match self.nat.filtering {
            Filtering::EndpointIndependent | Filtering::Unknown => true,
            Filtering::AddressDependent => mapping.sent.keys().any(|to| to.ip() == from.ip()),
            Filtering::AddressAndPortDependent => mapping.sent.contains_key(&from),
        };
        expected.then_some(mapping.inside)
    }

    fn expire(&mut self, now: Instant) {
        let lifetime = self.nat.lifetime;
        for mapping in &mut self.mappings {
            mapping.sent.retain(|_, at| now.saturating_duration_since(*at) < lifetime);
        }
        self.mappings.retain(|mapping| !mapping.sent.is_empty());
    }

    fn free_port(&self, wanted: u16, rng: &mut StdRng) -> u16 {
        let free = |port: u16| self.mappings.iter().all(|m| m.port != port);
        if self.nat.ports == Ports::Preserved && free(wanted) {
            return wanted;
        }
        if self.nat.ports == Ports::Sequential {
            let last = self.mappings.iter().map(|m| m.port).max().unwrap_or(FIRST_IN_SEQUENCE);
            return last + 1;
        }
        loop {
            let port = rng.random_range(1024..=u16::MAX);
            // Never by chance what a preserving box would have chosen.
            if free(port) && port != wanted {
                return port;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    const INSIDE: &str = "192.168.1.2:5000";
    const ONE: &str = "203.0.113.1:1";
    const ONE_OTHER_PORT: &str = "203.0.113.1:2";
    const TWO: &str = "203.0.113.2:1";

    struct Bench {
        nat: NatBox,
        rng: StdRng,
        now: Instant,
    }

    impl Bench {
        fn new(nat: Nat) -> Self {
            let nat = NatBox::new(nat, "198.51.100.1".parse().unwrap());
            Self { nat, rng: StdRng::seed_from_u64(1), now: Instant::now() }
        }

        fn send(&mut self, to: &str) -> u16 {
            let inside = INSIDE.parse().unwrap();
            let outside =
                self.nat.outbound(inside, to.parse().unwrap(), self.now, &mut self.rng).unwrap();
            outside.port()
        }

        fn lets_in(&mut self, port: u16, from: &str) -> bool {
            self.nat.inbound(port, from.parse().unwrap(), self.now).is_some()
        }
    }

    #[test]
    fn the_mapping_depends_on_what_it_says() {
        for (mapping, by_port, by_address) in [
            (Mapping::EndpointIndependent, false, false),
            (Mapping::AddressDependent, false, true),
            (Mapping::AddressAndPortDependent, true, true),
        ] {
            let mut bench = Bench::new(Nat::new(mapping, Filtering::EndpointIndependent));
            let first = bench.send(ONE);
            assert_eq!(first, 5000, "the first mapping preserves the port");
            assert_eq!(bench.send(ONE), first);
            assert_eq!(bench.send(ONE_OTHER_PORT) != first, by_port, "{mapping:?}");
            assert_eq!(bench.send(TWO) != first, by_address, "{mapping:?}");
        }
    }

    #[test]
    fn the_filter_lets_in_what_it_says() {
        for (filtering, other_port, other_address) in [
            (Filtering::EndpointIndependent, true, true),
            (Filtering::AddressDependent, true, false),
            (Filtering::AddressAndPortDependent, false, false),
        ] {
            let mut bench = Bench::new(Nat::new(Mapping::EndpointIndependent, filtering));
            assert!(!bench.lets_in(5000, ONE), "nothing has left yet");
            let port = bench.send(ONE);
            assert!(bench.lets_in(port, ONE));
            assert_eq!(bench.lets_in(port, ONE_OTHER_PORT), other_port, "{filtering:?}");
            assert_eq!(bench.lets_in(port, TWO), other_address, "{filtering:?}");
        }
    }

    #[test]
    fn what_is_not_used_expires_and_only_outbound_packets_are_use() {
        let mut bench = Bench::new(Nat::port_restricted());
        let port = bench.send(ONE);
        bench.now += Duration::from_secs(40);
        assert!(bench.lets_in(port, ONE));
        bench.send(TWO);
        bench.now += Duration::from_secs(40);
        assert!(!bench.lets_in(port, ONE), "the mapping lives, its hole towards ONE does not");
        assert!(bench.lets_in(port, TWO));
        bench.now += Duration::from_secs(40);
        assert!(!bench.lets_in(port, TWO));
    }

    #[test]
    fn there_is_no_hairpin_and_a_blocked_box_lets_nothing_out() {
        let mut bench = Bench::new(Nat::full_cone());
        let (inside, own) = (INSIDE.parse().unwrap(), "198.51.100.1:5000".parse().unwrap());
        assert_eq!(bench.nat.outbound(inside, own, bench.now, &mut bench.rng), None);
        let mut bench = Bench::new(Nat::udp_blocked());
        let one = ONE.parse().unwrap();
        assert_eq!(bench.nat.outbound(inside, one, bench.now, &mut bench.rng), None);
    }
}
