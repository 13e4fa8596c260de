//! Which peers a client may reach through the relay (invariant I4).
//!
//! A relay sits inside somebody's network. Whoever holds a credential could use it to reach what
//! only that network can: loopback, private ranges, cloud metadata. So everything that is not
//! plainly public is denied unless the operator allows it.
//!
//! Order, first match wins:
//! 1. the relay's own relayed addresses (its port range, without its listeners): allowed, else two
//!    clients of one relay could not talk;
//! 2. `deny` blocks of the operator;
//! 3. `allow` blocks of the operator;
//! 4. the relay's own addresses on any other port, and [`DENIED_BY_DEFAULT`];
//! 5. everything else is allowed.
//!
//! Rules 2 to 4 look at the canonical address and at every IPv4 address embedded in it; each of
//! them has to pass.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use p2p_wire::Cidr;

use crate::addr::PeerAddr;
use crate::canonical::{canonical_socket_addr, embedded};

/// Special-purpose blocks: IANA registries of RFC 6890, cloud metadata included (169.254.169.254,
/// fd00:ec2::254).
pub const DENIED_BY_DEFAULT: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "100::/64",
    "2001:db8::/32",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// Why a peer may not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerDenial {
    /// The operator's `deny` list.
    DeniedByOperator,
    /// [`DENIED_BY_DEFAULT`], and no `allow` block covers it.
    SpecialPurpose,
    /// An address of this server, outside its relay ports.
    OwnAddress,
}

/// The relay's own addresses, as peers would name them.
#[derive(Debug, Clone)]
pub struct OwnAddresses {
    /// Where relayed addresses live: public and local.
    pub relay: Vec<IpAddr>,
    /// The ports relayed addresses are taken from.
    pub relay_ports: RangeInclusive<u16>,
    /// Where clients reach the server. Never a relayed address, even inside the port range. An
    /// unspecified address stands for all of this host's.
    pub listeners: Vec<SocketAddr>,
    /// Every other address of this host that is worth protecting.
    pub other: Vec<IpAddr>,
}

/// The rules of the module's documentation, ready to be asked.
#[derive(Debug, Clone)]
pub struct PeerPolicy {
    own: OwnAddresses,
    allow: Vec<Cidr>,
    deny: Vec<Cidr>,
    default_deny: Vec<Cidr>,
}

impl PeerPolicy {
    #[must_use]
    pub fn new(own: OwnAddresses, allow: Vec<Cidr>, deny: Vec<Cidr>) -> Self {
        let default_deny = DENIED_BY_DEFAULT
            .iter()
            .map(|block| block.parse().expect("the built-in deny list is well formed"))
            .collect();
        Self { own, allow, deny, default_deny }
    }

    /// May a packet go to this transport address?
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn check(&self, peer: PeerAddr) -> Result<(), PeerDenial> {
        let peer = canonical_socket_addr(peer.0);
        if self.is_own_relayed(peer) {
            return Ok(());
        }
        self.check_ip(peer.ip())
    }

    /// May a permission be installed for this address? Permissions name no port (RFC 8656 §9), so
    /// an own relay address passes here and [`Self::check`] looks at the port of each packet.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn check_permission(&self, peer: PeerAddr) -> Result<(), PeerDenial> {
        let ip = canonical_socket_addr(peer.0).ip();
        if self.own.relay.contains(&ip) {
            return Ok(());
        }
        self.check_ip(ip)
    }

    fn is_own_relayed(&self, peer: SocketAddr) -> bool {
        let is_listener = self.own.listeners.iter().any(|listener| {
            listener.port() == peer.port()
                && (listener.ip() == peer.ip() || listener.ip().is_unspecified())
        });
        self.own.relay.contains(&peer.ip())
            && self.own.relay_ports.contains(&peer.port())
            && !is_listener
    }

    fn check_ip(&self, ip: IpAddr) -> Result<(), PeerDenial> {
        self.check_one(ip)?;
        for inner in embedded(ip) {
            self.check_one(inner.into())?;
        }
        Ok(())
    }

    fn check_one(&self, ip: IpAddr) -> Result<(), PeerDenial> {
        let covers = |blocks: &[Cidr]| blocks.iter().any(|block| block.contains(ip));
        if covers(&self.deny) {
            return Err(PeerDenial::DeniedByOperator);
        }
        if covers(&self.allow) {
            return Ok(());
        }
        if self.own.relay.contains(&ip) || self.own.other.contains(&ip) {
            return Err(PeerDenial::OwnAddress);
        }
        if covers(&self.default_deny) {
            return Err(PeerDenial::SpecialPurpose);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use PeerDenial::{DeniedByOperator, OwnAddress, SpecialPurpose};

    #[test]
    fn public_addresses_are_allowed() {
        let policy = policy(&[], &[]);
        for peer in ["8.8.8.8:53", "[2606:4700::1111]:443", "[64:ff9b::8.8.8.8]:53"] {
            assert_eq!(policy.check(addr(peer)), Ok(()), "{peer}");
        }
    }

    #[test]
    fn every_block_of_the_default_list_is_denied_at_both_ends() {
        let policy = policy(&[], &[]);
        for peer in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "100::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            let peer = PeerAddr(SocketAddr::new(peer.parse().unwrap(), 80));
            assert_eq!(policy.check(peer), Err(SpecialPurpose), "{}", peer.0);
            assert_eq!(policy.check_permission(peer), Err(SpecialPurpose), "{}", peer.0);
        }
    }

    /// I4. The classes of CVE-2020-26262 and CVE-2026-27624.
    #[test]
    fn a_denied_address_is_denied_in_every_spelling() {
        let policy = policy(&[], &[]);
        for peer in [
            "[::ffff:127.0.0.1]:80",
            "[::127.0.0.1]:80",
            "[::ffff:0.0.0.0]:80",
            "[64:ff9b::169.254.169.254]:80",
            "[64:ff9b:1::10.0.0.1]:80",
            "[64:ff9b:1:a00:0:100::]:80",
            "[2002:7f00:1::]:80",
            "[2002:a9fe:a9fe::1]:80",
            "[2001:0:808:808::f5ff:fffe]:80",
            "[2001:0:a00:1::f7f7:f7f7]:80",
            "[2606:4700::5efe:10.0.0.1]:80",
            "[2606:4700::200:5efe:192.168.0.1]:80",
        ] {
            assert_eq!(policy.check(addr(peer)), Err(SpecialPurpose), "{peer}");
        }
    }

    #[test]
    fn allow_opens_a_block_and_deny_closes_part_of_it_again() {
        let policy = policy(&["10.0.0.0/8"], &["10.6.0.0/16", "8.8.8.8/32"]);
        assert_eq!(policy.check(addr("10.1.2.3:1")), Ok(()));
        assert_eq!(policy.check(addr("[64:ff9b::10.1.2.3]:1")), Ok(()));
        assert_eq!(policy.check(addr("10.6.2.3:1")), Err(DeniedByOperator));
        assert_eq!(policy.check(addr("[2002:a06:203::]:1")), Err(DeniedByOperator));
        assert_eq!(policy.check(addr("8.8.8.8:1")), Err(DeniedByOperator));
        assert_eq!(policy.check(addr("192.168.0.1:1")), Err(SpecialPurpose));
    }

    /// The class of coturn #584: hardening that forbids one's own relay breaks calls between its
    /// clients.
    #[test]
    fn own_relayed_addresses_are_reachable_on_relay_ports_only() {
        let policy = policy(&[], &[]);
        for own in ["198.51.100.9", "10.9.9.9"] {
            let on_port = |port| PeerAddr(SocketAddr::new(own.parse().unwrap(), port));
            assert_eq!(policy.check(on_port(50_000)), Ok(()));
            assert_eq!(policy.check(on_port(22)), Err(OwnAddress));
            assert_eq!(policy.check_permission(on_port(22)), Ok(()));
        }
        assert_eq!(policy.check(addr("[::ffff:10.9.9.9]:50000")), Ok(()));
        assert_eq!(policy.check(addr("5.5.5.5:50000")), Err(OwnAddress));
        assert_eq!(policy.check(addr("10.9.9.9:55000")), Err(OwnAddress));
        assert_eq!(policy.check(addr("198.51.100.9:56000")), Err(OwnAddress));
        assert_eq!(policy.check(addr("198.51.100.9:55000")), Ok(()));
    }

    proptest! {
        #[test]
        fn wrapping_never_helps(v4: u32, port: u16) {
            let policy = policy(&["10.0.0.0/9"], &["10.1.0.0/16"]);
            let v4 = std::net::Ipv4Addr::from_bits(v4);
            let at = |ip: IpAddr| policy.check(PeerAddr(SocketAddr::new(ip, port)));
            let plain = at(v4.into());
            prop_assert_eq!(at(v4.to_ipv6_mapped().into()), plain);
            if plain.is_err() {
                let low = u128::from(v4.to_bits());
                for wrapped in [
                    0x0064_ff9b_u128 << 96 | low,
                    0x0064_ff9b_0001_u128 << 80 | low,
                    0x2002_u128 << 112 | low << 80,
                ] {
                    let wrapped = std::net::Ipv6Addr::from_bits(wrapped).into();
                    prop_assert!(at(wrapped).is_err());
                }
            }
        }
    }

    fn policy(allow: &[&str], deny: &[&str]) -> PeerPolicy {
        let blocks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let own = OwnAddresses {
            relay: vec!["198.51.100.9".parse().unwrap(), "10.9.9.9".parse().unwrap()],
            relay_ports: 49_152..=65_535,
            listeners: vec!["10.9.9.9:55000".parse().unwrap(), "0.0.0.0:56000".parse().unwrap()],
            other: vec!["5.5.5.5".parse().unwrap()],
        };
        PeerPolicy::new(own, blocks(allow), blocks(deny))
    }

    fn addr(text: &str) -> PeerAddr {
        PeerAddr(text.parse().unwrap())
    }
}
