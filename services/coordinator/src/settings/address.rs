//! Addresses as flags write them: listeners, port ranges, server names.

use std::net::Ipv6Addr;
use std::ops::RangeInclusive;

use p2p_relay::{Listening, Transport};

/// Of STUN and TURN (RFC 8489 §18.6).
const DEFAULT_PORT: u16 = 3478;
/// Of both over TLS.
const DEFAULT_TLS_PORT: u16 = 5349;

/// Reads `udp://IP:PORT`, `tcp://IP:PORT` or `tls://IP:PORT`; `IP:PORT` alone is UDP.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn relay_listener(text: &str) -> Result<Listening, String> {
    let (transport, address) = match text.split_once("://") {
        None => (Transport::Udp, text),
        Some(("udp", address)) => (Transport::Udp, address),
        Some(("tcp", address)) => (Transport::Tcp, address),
        Some(("tls", address)) => (Transport::Tls, address),
        Some((scheme, _)) => {
            return Err(format!("there is no {scheme}:// listener: use udp://, tcp:// or tls://"));
        }
    };
    let addr = address.parse().map_err(|_| {
        format!(
            "{address:?} is not an IP address with a port: write udp://0.0.0.0:3478 or udp://[::]:3478"
        )
    })?;
    Ok(Listening { transport, addr })
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

/// Reads `HOST:PORT` or `HOST`, and gives both. An IPv6 address keeps its brackets.
fn host_port(text: &str, default_port: u16) -> Option<(&str, u16)> {
    // RFC 3986 §3.2.2: an IPv6 address stands in brackets.
    let host_ends = text.find(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match text[host_ends..].split_once(':') {
        Some((name, port)) => (&text[..host_ends + name.len()], port.parse().ok()?),
        None => (text, default_port),
    };
    let good = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(good),
    };
    (is_host && port != 0).then_some((host, port))
}

/// A relay as clients are told it (RFC 7065): `turn:HOST:PORT` over UDP, with `?transport=tcp` over
/// TCP, and `turns:HOST:PORT` over TLS.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn turn_uri(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not a relay: write turn:HOST:PORT or turns:HOST:PORT");
    let (rest, query) = text.split_once('?').unwrap_or((text, ""));
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme @ ("turn" | "turns"), rest)) => (scheme, rest),
        Some(_) | None => ("turn", rest),
    };
    let is_tls = scheme == "turns";
    let port = if is_tls { DEFAULT_TLS_PORT } else { DEFAULT_PORT };
    let (host, port) = host_port(rest.trim_start_matches("//"), port).ok_or_else(wrong)?;
    match (query, is_tls) {
        ("" | "transport=udp", false) => Ok(format!("turn:{host}:{port}")),
        ("transport=tcp", false) => Ok(format!("turn:{host}:{port}?transport=tcp")),
        ("" | "transport=tcp", true) => Ok(format!("turns:{host}:{port}?transport=tcp")),
        ("transport=udp", true) => {
            Err(format!("{text:?} would be DTLS, which there is not: leave the transport out"))
        }
        _ => Err(format!("{text:?}: behind the question mark stands transport=udp or =tcp")),
    }
}

/// A STUN server as clients are told it (RFC 7064): `stun:HOST:PORT`.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn stun_uri(text: &str) -> Result<String, String> {
    if text.starts_with("stuns:") {
        return Err("clients ask STUN servers over UDP: write stun:HOST:PORT".to_owned());
    }
    let rest = text.strip_prefix("stun:").unwrap_or(text).trim_start_matches("//");
    let (host, port) = host_port(rest, DEFAULT_PORT)
        .ok_or_else(|| format!("{text:?} is not a server: write stun:HOST:PORT"))?;
    Ok(format!("stun:{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_udp_unless_it_says_otherwise() {
        let addr = "0.0.0.0:3478".parse().unwrap();
        for (text, transport) in [
            ("0.0.0.0:3478", Transport::Udp),
            ("udp://0.0.0.0:3478", Transport::Udp),
            ("tcp://0.0.0.0:3478", Transport::Tcp),
            ("tls://0.0.0.0:3478", Transport::Tls),
        ] {
            assert_eq!(relay_listener(text), Ok(Listening { transport, addr }), "{text}");
        }
        assert!(relay_listener("dtls://0.0.0.0:1").unwrap_err().contains("no dtls://"));
        assert!(relay_listener("udp://localhost").unwrap_err().contains("udp://0.0.0.0:3478"));
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
            ("turn:a:1?transport=udp", "turn:a:1"),
            ("turn:a?transport=tcp", "turn:a:3478?transport=tcp"),
            ("turns:a", "turns:a:5349?transport=tcp"),
            ("turns:[2001:db8::1]:443", "turns:[2001:db8::1]:443?transport=tcp"),
        ] {
            assert_eq!(turn_uri(text).as_deref(), Ok(uri), "{text}");
        }
        for text in [
            "",
            "turn:",
            "turns:a:1?transport=udp",
            "turn:a:1?transport=sctp",
            "turn:a:1?x",
            "stun:a:1",
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

    #[test]
    fn a_stun_server_is_asked_over_udp() {
        assert_eq!(stun_uri("stun.example.org").as_deref(), Ok("stun:stun.example.org:3478"));
        assert!(stun_uri("stuns:a:5349").is_err());
    }
}
