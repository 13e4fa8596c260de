//! From the URIs of STUN and TURN servers (RFC 7064, RFC 7065) to addresses.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use p2p_traversal::{RelayConfig, RelayTransport};
use p2p_wire::IceServer;

/// A name server that takes longer is as good as silent.
const DEADLINE: Duration = Duration::from_secs(3);
const DEFAULT_PORT: u16 = 3478;
const DEFAULT_TLS_PORT: u16 = 5349;

/// Addresses of all STUN servers named, relays included: every relay answers Binding requests.
pub(crate) async fn stun_servers(own: &[String], offered: &[IceServer]) -> Vec<SocketAddr> {
    let uris = own.iter().chain(offered.iter().flat_map(|s| &s.urls));
    let mut addresses = Vec::new();
    for addr in join_all(uris.map(|uri| resolve(uri))).await.into_iter().flatten() {
        if !addresses.contains(&addr) {
            addresses.push(addr);
        }
    }
    addresses
}

/// The IPv6 addresses of the same servers.
pub(crate) async fn stun_servers_v6(own: &[String], offered: &[IceServer]) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for uri in own.iter().chain(offered.iter().flat_map(|s| &s.urls)) {
        let Some(named) = Named::parse(uri).filter(Named::is_udp) else { continue };
        let v6 = named.lookup().await.into_iter().find(SocketAddr::is_ipv6);
        addresses.extend(v6.filter(|addr| !addresses.contains(addr)));
    }
    addresses
}

/// Whether a text names a STUN server that can be asked over UDP: `stun:HOST:PORT`, `HOST:PORT` or
/// `HOST`. Whether there is one under that name is another question.
pub fn is_stun_server(text: &str) -> bool {
    !text.starts_with("turn") && Named::parse(text).is_some_and(|named| named.is_udp())
}

/// Those of the servers for which there is no address.
pub(crate) async fn without_address(servers: &[String]) -> Vec<&str> {
    let looked_up = join_all(servers.iter().map(|server| resolve(server))).await;
    let servers = servers.iter().zip(looked_up);
    servers.filter(|(_, address)| address.is_none()).map(|(server, _)| server.as_str()).collect()
}

/// Every way to a relay that has credentials and an address: over UDP first, then over TCP, then
/// over TLS, each in the order of the servers. Of a name with several addresses, one that is known
/// already is taken: name servers turn their order, and one relay is not to look like another.
pub(crate) async fn relays(servers: &[IceServer], known: &[SocketAddr]) -> Vec<RelayConfig> {
    let ways = servers.iter().flat_map(|server| server.urls.iter().map(move |uri| (server, uri)));
    let ways = ways.filter(|(_, uri)| uri.starts_with("turn"));
    let resolved = join_all(ways.map(|(server, uri)| async move {
        let (username, password) = (server.username.clone()?, server.credential.clone()?);
        let named = Named::parse(uri)?;
        let addresses = named.lookup().await;
        let of_before = addresses.iter().find(|addr| known.contains(addr)).copied();
        let addr = of_before.or_else(|| v4_first(&addresses))?;
        let Named { transport, host: name, .. } = named;
        Some(RelayConfig { server: addr, transport, name, username, password })
    }));
    let mut ways: Vec<_> = resolved.await.into_iter().flatten().collect();
    ways.sort_by_key(|way| way.transport);
    ways
}

/// Where STUN may be answered over TCP: at relays that say so first, then at every STUN server.
pub(crate) fn tcp_stun_servers(stun: &[SocketAddr], relays: &[RelayConfig]) -> Vec<SocketAddr> {
    let over_tcp = relays.iter().filter(|relay| relay.transport == RelayTransport::Tcp);
    let mut servers: Vec<SocketAddr> = Vec::new();
    for server in over_tcp.map(|relay| relay.server).chain(stun.iter().copied()) {
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    servers
}

/// The address behind `stun:host:port`, `turn:host:port?transport=udp` or `host:port`. UDP only:
/// `turns:` and `transport=tcp` have no address here.
pub(crate) async fn resolve(uri: &str) -> Option<SocketAddr> {
    let named = Named::parse(uri).filter(Named::is_udp)?;
    v4_first(&named.lookup().await)
}

fn v4_first(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    addresses.iter().find(|a| a.is_ipv4()).or(addresses.first()).copied()
}

/// What a URI says.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    transport: RelayTransport,
    host: String,
    port: u16,
}

impl Named {
    fn parse(uri: &str) -> Option<Self> {
        let (uri, query) = uri.split_once('?').unwrap_or((uri, ""));
        let (scheme, rest) = match uri.split_once(':') {
            Some((scheme @ ("stun" | "turn" | "stuns" | "turns"), rest)) => (scheme, rest),
            Some(_) | None => ("stun", uri),
        };
        let transport = match (scheme, query) {
            ("stun" | "turn", "" | "transport=udp") => RelayTransport::Udp,
            ("stun" | "turn", "transport=tcp") => RelayTransport::Tcp,
            ("stuns" | "turns", "" | "transport=tcp") => RelayTransport::Tls,
            _ => return None,
        };
        let is_tls = transport == RelayTransport::Tls;
        let default_port = if is_tls { DEFAULT_TLS_PORT } else { DEFAULT_PORT };
        let (host, port) = host_port(rest, default_port).filter(|(host, _)| is_host(host))?;
        Some(Self { transport, host: host.to_owned(), port })
    }

    fn is_udp(&self) -> bool {
        self.transport == RelayTransport::Udp
    }

    async fn lookup(&self) -> Vec<SocketAddr> {
        let lookup = tokio::net::lookup_host((self.host.as_str(), self.port));
        match tokio::time::timeout(DEADLINE, lookup).await {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }
}

fn host_port(text: &str, default_port: u16) -> Option<(&str, u16)> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, port) = bracketed.split_once(']')?;
        let port = port.strip_prefix(':').map_or(Some(default_port), |p| p.parse().ok())?;
        return Some((host, port));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() => Some((host, port.parse().ok()?)),
        Some(_) => None,
        None if text.is_empty() => None,
        None => Some((text, default_port)),
    }
}

/// Letters of any script: a name server knows which names there are.
fn is_host(host: &str) -> bool {
    host.parse::<Ipv6Addr>().is_ok()
        || host.chars().all(|c| c.is_alphanumeric() || ".-_".contains(c))
}

#[cfg(test)]
mod tests {
    use p2p_wire::Secret;

    use super::*;

    #[test]
    fn uris_name_a_transport_a_host_and_a_port() {
        let parsed = |uri| {
            Named::parse(uri).map(|n| format!("{} {} {}", n.transport.name(), n.host, n.port))
        };
        assert_eq!(parsed("stun:stun.example.org").unwrap(), "udp stun.example.org 3478");
        assert_eq!(parsed("turn:192.0.2.1:5000?transport=udp").unwrap(), "udp 192.0.2.1 5000");
        assert_eq!(parsed("stun:[2001:db8::1]:99").unwrap(), "udp 2001:db8::1 99");
        assert_eq!(parsed("[2001:db8::1]").unwrap(), "udp 2001:db8::1 3478");
        assert_eq!(parsed("example.org:1").unwrap(), "udp example.org 1");
        assert_eq!(parsed("turn:h:443?transport=tcp").unwrap(), "tcp h 443");
        assert_eq!(parsed("turns:h").unwrap(), "tls h 5349");
        assert_eq!(parsed("turns:[::1]:443?transport=tcp").unwrap(), "tls ::1 443");
    }

    #[test]
    fn what_is_not_an_address_or_unknown_is_left_out() {
        for uri in [
            "stun:",
            "stun:h:port",
            ":3478",
            "turns:h?transport=udp",
            "turn:h?x",
            "http://h:1",
            "a b",
            "[::1",
        ] {
            assert_eq!(Named::parse(uri), None, "{uri}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_told_from_what_can() {
        for text in ["h", "h:1", "stun:h", "192.0.2.1:3478", "[2001:db8::1]:1", "stun.example.org"]
        {
            assert!(is_stun_server(text), "{text}");
        }
        for text in ["", "h:port", "stuns:h", "turn:h", "h?transport=tcp", "http://h", "a b:1"] {
            assert!(!is_stun_server(text), "{text}");
        }
        let servers = ["127.0.0.1:1", "h:port", "[::1]:1"].map(str::to_owned);
        assert_eq!(without_address(&servers).await, ["h:port"]);
    }

    #[tokio::test]
    async fn relays_over_udp_come_first_and_those_without_credentials_not_at_all() {
        let server = |urls: &[&str], username: Option<&str>| IceServer {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            username: username.map(str::to_owned),
            credential: Some(Secret::new("p")),
        };
        let servers = [
            server(&["turns:127.0.0.1:1", "turn:127.0.0.1:2?transport=tcp"], Some("a")),
            server(&["stun:127.0.0.1:3", "turn:127.0.0.1:4?transport=udp"], Some("b")),
            server(&["turn:127.0.0.1:5"], None),
        ];
        let ways = relays(&servers, &[]).await;
        let ways: Vec<_> = ways.iter().map(|w| (w.transport.name(), w.server.port())).collect();
        assert_eq!(ways, [("udp", 4), ("tcp", 2), ("tls", 1)]);
        assert_eq!(resolve("turn:127.0.0.1:2?transport=tcp").await, None);
    }
}
