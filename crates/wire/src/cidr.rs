//! A block of addresses, written `192.0.2.0/24` or `2001:db8::/32`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address prefix. A bare address is a block of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    first: IpAddr,
    prefix: u8,
}

/// Why a text is not a block of addresses. The text names the value and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// No address at all.
    #[error("`{0}` is not an IP address or block; write it like 192.0.2.0/24 or 2001:db8::/32")]
    NotAnAddress(String),
    /// A prefix that is longer than the address.
    #[error(
        "`{text}` has a prefix length over {max}; write a number from 0 to {max} after the slash"
    )]
    PrefixTooLong {
        /// What was written.
        text: String,
        /// The bits of such an address.
        max: u8,
    },
    /// An address inside of a block, and not its first.
    #[error("`{text}` has bits set after the prefix; did you mean `{meant}`?")]
    HostBitsSet {
        /// What was written.
        text: String,
        /// The block that this address is in.
        meant: Cidr,
    },
}

impl Cidr {
    /// The block of exactly this address.
    #[must_use]
    pub fn host(ip: IpAddr) -> Self {
        Self { first: ip, prefix: width(ip) }
    }

    /// Whether `ip` lies in the block. An IPv4 block holds no IPv6 address, however it is written:
    /// canonicalise first.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.first.is_ipv4() == ip.is_ipv4() && bits(ip) & self.mask() == bits(self.first)
    }

    /// Whole-address arithmetic: comparing byte by byte is how range checks go wrong (coturn
    /// 6c13608c).
    fn mask(&self) -> u128 {
        let host_bits = u32::from(width(self.first) - self.prefix);
        u128::MAX.checked_shl(host_bits).unwrap_or(0)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let not_an_address = || CidrError::NotAnAddress(text.to_owned());
        let Some((ip, prefix)) = text.trim().split_once('/') else {
            return text.trim().parse().map(Self::host).map_err(|_| not_an_address());
        };
        let ip: IpAddr = ip.parse().map_err(|_| not_an_address())?;
        let max = width(ip);
        let prefix: u8 = match prefix.parse::<u32>() {
            Ok(prefix) if prefix <= u32::from(max) => prefix as u8,
            Ok(_) => return Err(CidrError::PrefixTooLong { text: text.to_owned(), max }),
            Err(_) => return Err(not_an_address()),
        };
        let block = Self { first: ip, prefix };
        let first = from_bits(bits(ip) & block.mask(), ip);
        if first != ip {
            let meant = Self { first, prefix };
            return Err(CidrError::HostBitsSet { text: text.to_owned(), meant });
        }
        Ok(block)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn from_bits(bits: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::from((bits as u32).to_be_bytes()),
        IpAddr::V6(_) => IpAddr::from(bits.to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn a_block_holds_its_first_and_last_address_and_not_their_neighbours() {
        let block = cidr("172.16.0.0/12");
        assert!(block.contains(ip("172.16.0.0")) && block.contains(ip("172.31.255.255")));
        assert!(!block.contains(ip("172.15.255.255")) && !block.contains(ip("172.32.0.0")));
    }

    #[test]
    fn zero_length_and_full_length_prefixes_work_in_both_families() {
        assert!(cidr("0.0.0.0/0").contains(ip("255.255.255.255")));
        assert!(cidr("::/0").contains(ip("ffff::1")));
        assert!(cidr("192.0.2.1").contains(ip("192.0.2.1")));
        assert!(!cidr("2001:db8::1/128").contains(ip("2001:db8::2")));
    }

    #[test]
    fn a_block_of_one_family_holds_nothing_of_the_other() {
        assert!(!cidr("0.0.0.0/0").contains(ip("::1")));
        assert!(!cidr("::/0").contains(ip("127.0.0.1")));
    }

    #[test]
    fn a_bad_block_says_what_was_meant() {
        assert_eq!(
            "10.0.0.7/8".parse::<Cidr>().unwrap_err().to_string(),
            "`10.0.0.7/8` has bits set after the prefix; did you mean `10.0.0.0/8`?"
        );
        assert!(matches!("10.0.0.0/33".parse::<Cidr>(), Err(CidrError::PrefixTooLong { .. })));
        for text in ["", "ten", "10.0.0.0/", "10.0.0.0/-1", "10.0.0/8", "fe80::%eth0/10"] {
            assert!(matches!(text.parse::<Cidr>(), Err(CidrError::NotAnAddress(_))), "{text:?}");
        }
    }

    proptest! {
        /// The class of coturn 6c13608c: an IPv6 range compared byte by byte let addresses through.
        #[test]
        fn an_ipv6_block_is_exactly_the_range_from_its_first_to_its_last_address(
            start: u128, prefix in 0u8..=128, probe: u128, near in 0u128..4
        ) {
            let size_minus_one = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let first = start & !size_minus_one;
            let last = first | size_minus_one;
            let block: Cidr = format!("{}/{prefix}", Ipv6Addr::from_bits(first)).parse().unwrap();
            for probe in [probe, first.wrapping_sub(near), last.wrapping_add(near), first, last] {
                let expected = (first..=last).contains(&probe);
                prop_assert_eq!(block.contains(Ipv6Addr::from_bits(probe).into()), expected);
            }
        }

        #[test]
        fn an_ipv4_block_is_exactly_the_range_from_its_first_to_its_last_address(
            start: u32, prefix in 0u8..=32, probe: u32, near in 0u32..4
        ) {
            let size_minus_one = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let first = start & !size_minus_one;
            let last = first | size_minus_one;
            let block: Cidr = format!("{}/{prefix}", Ipv4Addr::from_bits(first)).parse().unwrap();
            for probe in [probe, first.wrapping_sub(near), last.wrapping_add(near), first, last] {
                let expected = (first..=last).contains(&probe);
                prop_assert_eq!(block.contains(Ipv4Addr::from_bits(probe).into()), expected);
            }
        }

        #[test]
        fn what_is_printed_parses_back(start: u128, prefix in 0u8..=128) {
            let size_minus_one = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let first = Ipv6Addr::from_bits(start & !size_minus_one).into();
            let block = Cidr { first, prefix };
            prop_assert_eq!(block.to_string().parse::<Cidr>().unwrap(), block);
        }
    }

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
}
