//! Addresses as flags write them: listeners, port ranges, server names.

use std::net::{Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

/// Of STUN and TURN (RFC 8489 §18.6).
const DEFAULT_PORT: u16 = 3478;

/// Reads `udp://IP:PORT`, or `IP:PORT` for short.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn udp_listener(text: &str) -> Result<SocketAddr, String> {
    let address = match text.split_once("://") {
        None => text,
        Some(("udp", address)) => address,
        Some((scheme @ ("tcp" | "tls"), _)) => {
            return Err(format!(
                "this version relays over UDP only, there is no {scheme}:// yet: use udp://IP:PORT"
            ));
        }
        Some((scheme, _)) => {
            return Err(format!("there is no {scheme}:// listener: use udp://IP:PORT"));
        }
    };
    address.parse().map_err(|_| {
        format!("{address:?} is not an IP address with a port: write udp://0.0.0.0:3478 or udp://[::]:3478")
    })
}

/// The ports of relayed addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRange(pub RangeInclusive<u16>);

/// Reads `FIRST-LAST`.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn port_range(text: &str) -> Result<PortRange, String> {
    let wrong = || format!("{text:?} is not a port range: write for example 49152-65535");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let first: u16 = first.trim().parse().map_err(|_| wrong())?;
    let last: u16 = last.trim().parse().map_err(|_| wrong())?;
    if first == 0 || first > last {
        return Err(format!(
            "{text:?} is empty: the first port must be 1 or more and not over the last"
        ));
    }
    Ok(PortRange(first..=last))
}

/// Reads `HOST:PORT`, `HOST` or a URI of this scheme, and gives `scheme:HOST:PORT` (RFC 7064,
/// RFC 7065).
fn server_uri(scheme: &str, text: &str) -> Result<String, String> {
    let other = if scheme == "turn" { "turns:" } else { "stuns:" };
    if text.starts_with(other) {
        return Err(format!("this version has no {other}, only {scheme}:HOST:PORT over UDP"));
    }
    let rest = text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(':')).unwrap_or(text);
    let rest = rest.trim_start_matches("//");
    let wrong = || format!("{text:?} is not a server: write {scheme}:HOST:PORT");
    // RFC 3986 §3.2.2: an IPv6 address stands in brackets.
    let host_ends = rest.find(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match rest[host_ends..].split_once(':') {
        Some((name, port)) => (&rest[..host_ends + name.len()], port.parse().map_err(|_| wrong())?),
        None => (rest, DEFAULT_PORT),
    };
    let good = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(good),
    };
    if !is_host || port == 0 {
        return Err(wrong());
    }
    Ok(format!("{scheme}:{host}:{port}"))
}

/// A relay as clients are told it: `turn:HOST:PORT`.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn turn_uri(text: &str) -> Result<String, String> {
    server_uri("turn", text)
}

/// A STUN server as clients are told it: `stun:HOST:PORT`.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn stun_uri(text: &str) -> Result<String, String> {
    server_uri("stun", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_udp_with_or_without_its_scheme() {
        let expected: SocketAddr = "0.0.0.0:3478".parse().unwrap();
        assert_eq!(udp_listener("udp://0.0.0.0:3478"), Ok(expected));
        assert_eq!(udp_listener("0.0.0.0:3478"), Ok(expected));
    }

    #[test]
    fn a_listener_of_a_later_version_is_refused_as_such() {
        for text in ["tcp://0.0.0.0:3478", "tls://0.0.0.0:5349"] {
            assert!(udp_listener(text).unwrap_err().contains("UDP only"), "{text}");
        }
        assert!(udp_listener("udp://localhost").unwrap_err().contains("udp://0.0.0.0:3478"));
    }

    #[test]
    fn a_port_range_has_a_first_and_a_last() {
        assert_eq!(port_range("50000-50010"), Ok(PortRange(50_000..=50_010)));
        for text in ["", "5", "10-9", "0-9", "1-70000", "a-b"] {
            assert!(port_range(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_server_gets_the_scheme_and_port_it_lacks() {
        for (text, uri) in [
            ("turn:relay.example.org:3479", "turn:relay.example.org:3479"),
            ("relay.example.org", "turn:relay.example.org:3478"),
            ("127.0.0.1:99", "turn:127.0.0.1:99"),
            ("turn:[2001:db8::1]:3478", "turn:[2001:db8::1]:3478"),
        ] {
            assert_eq!(turn_uri(text).as_deref(), Ok(uri), "{text}");
        }
        for text in [
            "",
            "turn:",
            "turns:a:5349",
            "turn:a:b",
            "turn:a b:1",
            "turn:a:0",
            "2001:db8::1",
            "[::1",
            "[x]:1",
            "a]:1",
        ] {
            assert!(turn_uri(text).is_err(), "{text:?}");
        }
    }
}
