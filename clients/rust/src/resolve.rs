//! From the URIs of STUN and TURN servers (RFC 7064, RFC 7065) to addresses.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_traversal::RelayConfig;
use p2p_wire::IceServer;

/// A name server that takes longer is as good as silent.
const DEADLINE: Duration = Duration::from_secs(3);
const DEFAULT_PORT: u16 = 3478;

/// Addresses of all STUN servers named, relays included: every relay answers Binding requests.
pub(crate) async fn stun_servers(own: &[String], offered: &[IceServer]) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for uri in own.iter().chain(offered.iter().flat_map(|s| &s.urls)) {
        if let Some(addr) = resolve(uri).await
            && !addresses.contains(&addr)
        {
            addresses.push(addr);
        }
    }
    addresses
}

/// The IPv6 addresses of the same servers.
pub(crate) async fn stun_servers_v6(own: &[String], offered: &[IceServer]) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for uri in own.iter().chain(offered.iter().flat_map(|s| &s.urls)) {
        let resolved = lookup(uri).await.unwrap_or_default();
        let v6 = resolved.into_iter().find(SocketAddr::is_ipv6);
        addresses.extend(v6.filter(|addr| !addresses.contains(addr)));
    }
    addresses
}

/// The first relay that has credentials and an address.
pub(crate) async fn relay(servers: &[IceServer]) -> Option<RelayConfig> {
    for server in servers {
        let (Some(username), Some(password)) = (&server.username, &server.credential) else {
            continue;
        };
        for uri in server.urls.iter().filter(|uri| uri.starts_with("turn:")) {
            if let Some(addr) = resolve(uri).await {
                let (username, password) = (username.clone(), password.clone());
                return Some(RelayConfig { server: addr, username, password });
            }
        }
    }
    None
}

/// The address behind `stun:host:port`, `turn:host:port?transport=udp` or `host:port`. UDP only:
/// `turns:` and `transport=tcp` have no address here.
pub(crate) async fn resolve(uri: &str) -> Option<SocketAddr> {
    let addresses = lookup(uri).await?;
    addresses.iter().find(|a| a.is_ipv4()).or(addresses.first()).copied()
}

async fn lookup(uri: &str) -> Option<Vec<SocketAddr>> {
    let (host, port) = host_port(uri)?;
    let lookup = tokio::net::lookup_host((host.as_str(), port));
    Some(tokio::time::timeout(DEADLINE, lookup).await.ok()?.ok()?.collect())
}

fn host_port(uri: &str) -> Option<(String, u16)> {
    let (uri, query) = uri.split_once('?').unwrap_or((uri, ""));
    if uri.starts_with("turns:") || uri.starts_with("stuns:") || query.contains("transport=tcp") {
        return None;
    }
    let rest = uri.strip_prefix("stun:").or_else(|| uri.strip_prefix("turn:")).unwrap_or(uri);
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (host, port) = bracketed.split_once(']')?;
        let port = port.strip_prefix(':').map_or(Some(DEFAULT_PORT), |p| p.parse().ok())?;
        return Some((host.to_owned(), port));
    }
    match rest.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() => Some((host.to_owned(), port.parse().ok()?)),
        Some(_) => None,
        None if rest.is_empty() => None,
        None => Some((rest.to_owned(), DEFAULT_PORT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_a_host_and_a_port() {
        let parsed = |uri| host_port(uri).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(parsed("stun:stun.example.org").unwrap(), "stun.example.org 3478");
        assert_eq!(parsed("turn:192.0.2.1:5000?transport=udp").unwrap(), "192.0.2.1 5000");
        assert_eq!(parsed("stun:[2001:db8::1]:99").unwrap(), "2001:db8::1 99");
        assert_eq!(parsed("[2001:db8::1]").unwrap(), "2001:db8::1 3478");
        assert_eq!(parsed("example.org:1").unwrap(), "example.org 1");
    }

    #[test]
    fn what_is_not_udp_or_not_an_address_is_left_out() {
        for uri in ["turns:h:443", "turn:h:443?transport=tcp", "stun:", "stun:h:port", ":3478"] {
            assert_eq!(host_port(uri), None, "{uri}");
        }
    }
}
