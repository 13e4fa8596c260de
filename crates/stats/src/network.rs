//! Addresses as far as statistics may know them: IPv4 by its first 24 bits, IPv6 by its first 48.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The network an address belongs to, as `203.0.113.0/24` or `2001:db8:1::/48`.
///
/// There is no way to build one that holds a full address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpAddr);

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A network: 203.0.113.0/24 or 2001:db8:1::/48" })
    }
}

/// How much of an address statistics keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressDetail {
    /// Its network: 24 bits of IPv4, 48 of IPv6.
    #[default]
    Network,
    /// Nothing.
    Nothing,
}

impl std::str::FromStr for AddressDetail {
    type Err = UnknownAddressDetail;

    fn from_str(text: &str) -> Result<Self, UnknownAddressDetail> {
        match text {
            "network" => Ok(Self::Network),
            "none" => Ok(Self::Nothing),
            _ => Err(UnknownAddressDetail(text.to_owned())),
        }
    }
}

/// A text that does not say how much of an address to keep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither `network` (keep /24 of IPv4 and /48 of IPv6) nor `none`")]
pub struct UnknownAddressDetail(String);

/// A text that is not a network in the form `203.0.113.0/24` or `2001:db8:1::/48`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network such as 203.0.113.0/24 or 2001:db8:1::/48")]
pub struct InvalidNetwork(String);

impl Network {
    /// The network of an address. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                IpAddr::V4(Ipv4Addr::new(a, b, c, 0))
            }
            IpAddr::V6(ip) => {
                let [a, b, c, ..] = ip.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
            }
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.0.is_ipv4() { 24 } else { 48 };
        write!(f, "{}/{bits}", self.0)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;

    fn try_from(text: String) -> Result<Self, InvalidNetwork> {
        let address = text.split_once('/').and_then(|(address, _)| address.parse().ok());
        match address.map(Self::of) {
            Some(network) if network.to_string() == text => Ok(network),
            _ => Err(InvalidNetwork(text)),
        }
    }
}

/// Replaces every address in a text by its network; ports go with the address.
///
/// Peers write the details of their reports in words of their own, so this looks at the text rather
/// than trusting it to hold none.
pub fn truncate_addresses(text: &str) -> String {
    replace_addresses(text, AddressDetail::Network)
}

/// Replaces every address in a text by as much of it as may be kept; ports go with the address.
pub fn replace_addresses(text: &str, detail: AddressDetail) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let run = rest.find(|c| !part_of_address(c)).unwrap_or(rest.len());
        let between = rest[run..].find(part_of_address).map_or(rest.len(), |n| run + n);
        push_run(&mut out, &rest[..run], rest[run..].chars().next(), detail);
        out.push_str(&rest[run..between]);
        rest = &rest[between..];
    }
    out
}

fn part_of_address(c: char) -> bool {
    c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '[' | ']')
}

/// Appends one run of address characters, cut down if it is an address.
fn push_run(out: &mut String, run: &str, next: Option<char>, detail: AddressDetail) {
    // Punctuation of the sentence around it: "(1.2.3.4)." or "to 1.2.3.4:".
    let end = if run.ends_with("::") { run } else { run.trim_end_matches(['.', ':']) };
    let tail = &run[end.len()..];
    let Some(address) = parse(end) else {
        out.push_str(run);
        return;
    };
    // `Path::bad` holds "::bad", which reads as IPv6: a word that goes on is no address.
    let in_a_word = out.ends_with(|c: char| c.is_alphanumeric() || c == '_')
        || (tail.is_empty() && next.is_some_and(|c| c.is_alphanumeric() || c == '_'));
    if address.is_ipv6() && in_a_word {
        out.push_str(run);
        return;
    }
    match detail {
        AddressDetail::Network => out.push_str(&Network::of(address).to_string()),
        AddressDetail::Nothing => out.push_str("(an address)"),
    }
    out.push_str(tail);
}

fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    text.parse::<SocketAddr>().map(|a| a.ip()).or_else(|_| bare.parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_keeps_24_bits_of_ipv4_and_48_of_ipv6() {
        let of = |text: &str| Network::of(text.parse().unwrap()).to_string();
        assert_eq!(of("203.0.113.77"), "203.0.113.0/24");
        assert_eq!(of("::ffff:203.0.113.77"), "203.0.113.0/24");
        assert_eq!(of("2001:db8:77:1::5"), "2001:db8:77::/48");
    }

    #[test]
    fn a_stored_text_that_holds_more_than_a_network_is_refused() {
        for text in ["203.0.113.77/24", "203.0.113.0/32", "2001:db8:1:2::/48", "203.0.113.0", ""] {
            assert!(Network::try_from(text.to_owned()).is_err(), "{text}");
        }
        for text in ["203.0.113.0/24", "2001:db8:1::/48"] {
            assert_eq!(Network::try_from(text.to_owned()).unwrap().to_string(), text);
        }
    }

    #[test]
    fn addresses_in_a_sentence_lose_their_host_part_and_port() {
        for (text, expected) in [
            ("no answer from 203.0.113.7:4000.", "no answer from 203.0.113.0/24."),
            ("203.0.113.7 -> 198.51.100.1", "203.0.113.0/24 -> 198.51.100.0/24"),
            ("host=203.0.113.7", "host=203.0.113.0/24"),
            ("from [2001:db8:1:2::3]:5 to ::1", "from 2001:db8:1::/48 to ::/48"),
            ("(fe80::1%eth0)", "(fe80::/48%eth0)"),
            ("[203.0.113.7]: refused", "203.0.113.0/24: refused"),
        ] {
            assert_eq!(truncate_addresses(text), expected);
        }
    }

    #[test]
    fn addresses_can_be_left_out_altogether() {
        let text = replace_addresses("from 203.0.113.7:1 to [::1]:2", AddressDetail::Nothing);
        assert_eq!(text, "from (an address) to (an address)");
        assert_eq!("none".parse(), Ok(AddressDetail::Nothing));
        assert_eq!("network".parse(), Ok(AddressDetail::Network));
        let unknown = "all".parse::<AddressDetail>().unwrap_err();
        assert!(unknown.to_string().contains("`none`"), "{unknown}");
    }

    #[test]
    fn text_without_addresses_is_left_alone() {
        for text in [
            "",
            "timeout after 30.5 s",
            "std::fmt::bad and Path::add",
            "at 12:30:59, v1.2.3",
            "über 7 Prüfungen: keine Antwort",
        ] {
            assert_eq!(truncate_addresses(text), text);
        }
    }
}
