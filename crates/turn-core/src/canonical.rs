//! One address, one spelling: what an address reaches, however it is written.
//!
//! IPv6 has many ways to wrap an IPv4 address. A policy that looks at the spelling only can be
//! walked around (CVE-2020-26262, CVE-2026-27624), so the policy looks at [`canonical`] addresses
//! and at every IPv4 address [`embedded`] in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Replaces IPv4-mapped (`::ffff:a.b.c.d`) and IPv4-compatible (`::a.b.c.d`) spellings by the IPv4
/// address they mean. `::` and `::1` are IPv6 addresses of their own.
#[must_use]
pub fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => match v4_spelling(v6) {
            Some(v4) => v4.into(),
            None => ip,
        },
    }
}

/// [`canonical`] for a transport address. Scope and flow label are dropped: they mean nothing on
/// the wire.
#[must_use]
pub fn canonical_socket_addr(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(canonical(addr.ip()), addr.port())
}

/// The IPv4 addresses that a packet to `ip` may end up at, by way of a translator or tunnel.
/// Empty for an IPv4 address and for plain IPv6.
pub fn embedded(ip: IpAddr) -> impl Iterator<Item = Ipv4Addr> {
    let found = match ip {
        IpAddr::V4(_) => [None, None],
        IpAddr::V6(ip) => embedded_v6(ip),
    };
    found.into_iter().flatten()
}

fn v4_spelling(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        // RFC 4291 §2.5.5.2, IPv4-mapped.
        [0, 0, 0, 0, 0, 0xffff, ..] => Some(low_32(ip)),
        // `::` and `::1` share the prefix of the IPv4-compatible range but are not in it.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // RFC 4291 §2.5.5.1, IPv4-compatible, deprecated but still routed by some stacks.
        [0, 0, 0, 0, 0, 0, ..] => Some(low_32(ip)),
        _ => None,
    }
}

fn embedded_v6(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    match ip.segments() {
        // RFC 6052 §2.1, the well-known NAT64 prefix.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => [Some(low_32(ip)), None],
        // RFC 8215, NAT64 for local use. Networks choose how long their prefix is; RFC 6052 §2.2
        // puts the address last for /96 and after bit 48 for /48. A shorter layout leaves zeros
        // at the end, which read as 0.0.0.x and are denied with 0.0.0.0/8.
        [0x64, 0xff9b, 1, ..] => [Some(low_32(ip)), Some(nat64_slash_48(ip))],
        // RFC 3056 §2, 6to4: 2002:AABB:CCDD::/48.
        [0x2002, high, low, ..] => [Some(from_segments(high, low)), None],
        // RFC 4380 §4, Teredo: the server in the clear, the client's public address inverted.
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            [Some(from_segments(!high, !low)), Some(from_segments(server_high, server_low))]
        }
        // RFC 5214 §6.1, ISATAP interface identifier, with and without the universal bit.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => [Some(low_32(ip)), None],
        _ => [None, None],
    }
}

fn low_32(ip: Ipv6Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(ip.to_bits() as u32)
}

fn from_segments(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

/// RFC 6052 §2.2: bits 64–71 are a reserved zero byte in the middle of the address.
fn nat64_slash_48(ip: Ipv6Addr) -> Ipv4Addr {
    let bytes = ip.octets();
    Ipv4Addr::new(bytes[6], bytes[7], bytes[9], bytes[10])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mapped_and_compatible_spellings_are_the_ipv4_address() {
        assert_eq!(canonical(ip("::ffff:127.0.0.1")), ip("127.0.0.1"));
        assert_eq!(canonical(ip("::10.0.0.1")), ip("10.0.0.1"));
        assert_eq!(canonical(ip("::ffff:0:0")), ip("0.0.0.0"));
    }

    #[test]
    fn unspecified_and_loopback_stay_ipv6() {
        assert_eq!(canonical(ip("::")), ip("::"));
        assert_eq!(canonical(ip("::1")), ip("::1"));
    }

    #[test]
    fn tunnels_and_translators_show_what_they_reach() {
        for (outer, inner) in [
            ("64:ff9b::10.1.2.3", "10.1.2.3"),
            ("64:ff9b:1::10.1.2.3", "10.1.2.3"),
            ("64:ff9b:1:a01:2:300::", "10.1.2.3"),
            ("2002:a01:203::1", "10.1.2.3"),
            ("2001:0:808:808:0:0:f5fe:fdfc", "10.1.2.3"),
            ("2001:0:a01:203:0:0:f7f7:f7f7", "10.1.2.3"),
            ("fe80::5efe:10.1.2.3", "10.1.2.3"),
            ("2001:db8::200:5efe:10.1.2.3", "10.1.2.3"),
        ] {
            let inner: Ipv4Addr = inner.parse().unwrap();
            assert!(embedded(ip(outer)).any(|found| found == inner), "{outer}");
        }
    }

    #[test]
    fn plain_addresses_hold_nothing_else() {
        assert_eq!(embedded(ip("2606:4700::1111")).count(), 0);
        assert_eq!(embedded(ip("8.8.8.8")).count(), 0);
        // Shares 16 bits with Teredo, is not Teredo.
        assert_eq!(embedded(ip("2001:db8::1")).count(), 0);
    }

    proptest! {
        #[test]
        fn canonical_form_is_stable(bits: u128) {
            let once = canonical(Ipv6Addr::from_bits(bits).into());
            prop_assert_eq!(canonical(once), once);
        }

        #[test]
        fn every_wrapping_of_an_ipv4_address_is_seen_through(v4: u32, noise: u64) {
            let v4 = Ipv4Addr::from_bits(v4);
            let low = u128::from(v4.to_bits());
            let mapped = Ipv6Addr::from_bits(0xffff << 32 | low);
            prop_assert_eq!(canonical(mapped.into()), IpAddr::V4(v4));
            if low > 1 {
                prop_assert_eq!(canonical(Ipv6Addr::from_bits(low).into()), IpAddr::V4(v4));
            }
            let noise = u128::from(noise);
            for wrapped in [
                0x0064_ff9b_u128 << 96 | low,
                0x0064_ff9b_0001_u128 << 80 | (noise & 0xffff_ffff) << 32 | low,
                0x2002_u128 << 112 | low << 80 | noise,
                0x2001_u128 << 112 | noise << 32 | (!low & 0xffff_ffff),
                noise << 64 | 0x5efe << 32 | low,
            ] {
                // An IPv6 prefix of zeros makes the ISATAP form something else.
                prop_assume!(noise > 0xffff_ffff);
                let ip = Ipv6Addr::from_bits(wrapped).into();
                prop_assert!(embedded(ip).any(|inner| inner == v4), "{}", ip);
            }
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
}
