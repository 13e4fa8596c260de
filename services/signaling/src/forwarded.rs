//! Where a client behind a proxy is: `X-Forwarded-For`, as far as it can be believed.
//!
//! Anybody may write this header. A proxy appends the address that it was connected from, so it is
//! read from its end, and only while whoever wrote the entry is a proxy that the operator named.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use p2p_wire::Cidr;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address that the first proxy was connected from, or the first one that cannot be believed. Its
/// port is 0 where no proxy says it.
pub(crate) fn client(from: SocketAddr, headers: &HeaderMap, proxies: &[Cidr]) -> SocketAddr {
    let is_proxy = |address: SocketAddr| {
        proxies.iter().any(|proxy| proxy.contains(address.ip().to_canonical()))
    };
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let mut entries = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    let mut client = from;
    while is_proxy(client) {
        match entries.next().and_then(address) {
            Some(before) => client = before,
            None => break,
        }
    }
    client
}

/// An entry: an address, in brackets or not, with a port or without.
fn address(entry: &str) -> Option<SocketAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, 0)),
        Err(_) => entry.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a client is that a connection from `10.0.0.1` is said to be of, with these lines.
    fn said(lines: &[&str]) -> String {
        let proxies =
            ["10.0.0.0/8", "2001:db8:5::/48"].map(|block| block.parse().expect("a block"));
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, line.parse().expect("a header"));
        }
        client("10.0.0.1:4000".parse().expect("an address"), &headers, &proxies).to_string()
    }

    #[test]
    fn the_client_is_whom_the_outermost_trusted_proxy_was_connected_from() {
        assert_eq!(said(&["203.0.113.7"]), "203.0.113.7:0");
        assert_eq!(said(&["203.0.113.7, 10.0.0.9"]), "203.0.113.7:0");
        assert_eq!(said(&["203.0.113.7", "10.0.0.9, 2001:db8:5::1"]), "203.0.113.7:0");
        assert_eq!(said(&["203.0.113.7:40512"]), "203.0.113.7:40512");
        assert_eq!(said(&["[2001:db8::7]:40512"]), "[2001:db8::7]:40512");
        assert_eq!(said(&["2001:db8::7"]), "[2001:db8::7]:0");
        assert_eq!(said(&["[2001:db8::7]"]), "[2001:db8::7]:0");
    }

    #[test]
    fn what_the_client_itself_wrote_is_not_believed() {
        assert_eq!(said(&["1.2.3.4, 203.0.113.7"]), "203.0.113.7:0");
        assert_eq!(said(&["1.2.3.4, nonsense"]), "10.0.0.1:4000");
        assert_eq!(said(&["1.2.3.4", ""]), "10.0.0.1:4000");
        let mut headers = HeaderMap::new();
        headers.append(X_FORWARDED_FOR, "1.2.3.4".parse().expect("a header"));
        let from = "198.51.100.2:4000".parse().expect("an address");
        assert_eq!(client(from, &headers, &[]), from, "no proxy is trusted");
    }

    #[test]
    fn a_proxy_that_says_nothing_is_the_client() {
        assert_eq!(said(&[]), "10.0.0.1:4000");
        assert_eq!(said(&["10.0.0.9"]), "10.0.0.9:0");
    }
}
