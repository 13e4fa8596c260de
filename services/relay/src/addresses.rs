//! Which addresses relay sockets are bound to, which are advertised, and which are this host's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use p2p_turn_core::{DENIED_BY_DEFAULT, OwnAddresses, RelayIp};
use tracing::warn;

use crate::config::RelayConfig;
use crate::transport::Listening;

/// The addresses of a relay, worked out from its configuration and this host's interfaces.
pub(crate) struct Addresses {
    pub(crate) relay_ips: Vec<RelayIp>,
    pub(crate) own: OwnAddresses,
}

impl Addresses {
    /// `udp` are the addresses really bound, the configured ones first; `streams` those of TCP and
    /// TLS.
    pub(crate) fn of(config: &RelayConfig, udp: &[SocketAddr], streams: &[Listening]) -> Self {
        // Without the list, own addresses are protected less; nothing else depends on it.
        let interfaces: Vec<IpAddr> = match if_addrs::get_if_addrs() {
            Ok(interfaces) => interfaces.iter().map(if_addrs::Interface::ip).collect(),
            Err(error) => {
                warn!(%error, "cannot list this host's addresses; they are not protected from relayed traffic");
                Vec::new()
            }
        };
        // The alternate address is there for discovery; nobody has said that it may relay.
        let streams = streams.iter().map(|listening| listening.addr);
        let configured = udp.iter().copied().take(config.listen.len());
        let configured_streams =
            streams.clone().take(config.listen_tcp.len() + config.listen_tls.len());
        let configured = &configured.chain(configured_streams).collect::<Vec<_>>()[..];
        let listening: Vec<SocketAddr> = udp.iter().copied().chain(streams).collect();
        let relay_ips = if config.external_ips.is_empty() {
            from_listeners(configured, &interfaces)
        } else {
            from_external(config, configured, &interfaces)
        };
        warn_of_private(&relay_ips);

        let mut relay: Vec<IpAddr> =
            relay_ips.iter().flat_map(|ip| [ip.local, ip.advertised]).collect();
        // A socket bound to the unspecified address answers on every interface.
        if relay.iter().any(IpAddr::is_unspecified) {
            relay.retain(|ip| !ip.is_unspecified());
            relay.extend(&interfaces);
        }
        let listener_ips = listening.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified());
        let other = interfaces.iter().copied().chain(listener_ips).collect();
        let own = OwnAddresses {
            relay,
            relay_ports: config.port_range.clone(),
            listeners: listening,
            other,
        };
        Self { relay_ips, own }
    }
}

fn from_external(
    config: &RelayConfig,
    listening: &[SocketAddr],
    interfaces: &[IpAddr],
) -> Vec<RelayIp> {
    let listener_of_family = |public: IpAddr| {
        let same = |ip: &IpAddr| ip.is_ipv4() == public.is_ipv4();
        listening.iter().map(SocketAddr::ip).find(same)
    };
    let unspecified = |public: IpAddr| -> IpAddr {
        if public.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
    };
    config
        .external_ips
        .iter()
        .map(|external| {
            let public = external.public;
            let local = external.local.unwrap_or_else(|| {
                if interfaces.contains(&public) {
                    public
                } else {
                    listener_of_family(public).unwrap_or_else(|| unspecified(public))
                }
            });
            RelayIp { local, advertised: public }
        })
        .collect()
}

fn from_listeners(listening: &[SocketAddr], interfaces: &[IpAddr]) -> Vec<RelayIp> {
    let mut relay_ips: Vec<RelayIp> = Vec::new();
    for listener in listening {
        let ip = listener.ip();
        let ip = if ip.is_unspecified() { facing_address(ip, interfaces) } else { ip };
        let relay_ip = RelayIp { local: ip, advertised: ip };
        if !relay_ips.contains(&relay_ip) {
            relay_ips.push(relay_ip);
        }
    }
    relay_ips
}

/// The address this host would use towards the internet, or else its first that is not loopback.
fn facing_address(unspecified: IpAddr, interfaces: &[IpAddr]) -> IpAddr {
    let (towards, loopback): (SocketAddr, IpAddr) = if unspecified.is_ipv4() {
        ((Ipv4Addr::new(192, 0, 2, 1), 9).into(), Ipv4Addr::LOCALHOST.into())
    } else {
        ((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into(), Ipv6Addr::LOCALHOST.into())
    };
    // Connecting a UDP socket sends nothing: it asks the routing table.
    let routed = UdpSocket::bind((unspecified, 0))
        .and_then(|socket| {
            socket.connect(towards)?;
            socket.local_addr()
        })
        .map(|addr| addr.ip());
    if let Ok(ip) = routed
        && !ip.is_unspecified()
    {
        return ip;
    }
    let usable = |ip: &&IpAddr| {
        ip.is_ipv4() == unspecified.is_ipv4() && !ip.is_loopback() && !is_link_local(**ip)
    };
    interfaces.iter().find(usable).copied().unwrap_or_else(|| {
        warn!("this host has no address but loopback; set --external-ip for others to reach it");
        loopback
    })
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// A private relayed address is right in a laboratory and a common mistake elsewhere.
fn warn_of_private(relay_ips: &[RelayIp]) {
    let special = |ip: IpAddr| {
        DENIED_BY_DEFAULT
            .iter()
            .filter_map(|block| block.parse::<p2p_wire::Cidr>().ok())
            .any(|block| block.contains(ip))
    };
    for ip in relay_ips.iter().map(|ip| ip.advertised) {
        if special(ip) && !ip.is_loopback() {
            warn!(
                advertised = %ip,
                "relayed addresses will be at an address the internet cannot reach; \
                 set --external-ip if peers are not on this network"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_external_addresses_the_relay_is_where_it_listens() {
        let addresses = addresses(&[], &["127.0.0.1:3478", "127.0.0.1:3479", "[::1]:3478"]);
        assert_eq!(addresses.relay_ips, [pair("127.0.0.1", "127.0.0.1"), pair("::1", "::1")]);
    }

    #[test]
    fn behind_a_nat_sockets_are_local_and_the_public_address_is_advertised() {
        let addresses = addresses(&["198.51.100.7/127.0.0.1"], &["0.0.0.0:3478"]);
        assert_eq!(addresses.relay_ips, [pair("127.0.0.1", "198.51.100.7")]);
        assert!(addresses.own.relay.contains(&ip("198.51.100.7")));
    }

    #[test]
    fn a_public_address_this_host_does_not_have_is_relayed_from_the_listener() {
        let one = addresses(&["198.51.100.7"], &["127.0.0.1:3478"]);
        assert_eq!(one.relay_ips, [pair("127.0.0.1", "198.51.100.7")]);
        let any = addresses(&["198.51.100.7"], &["0.0.0.0:3478"]);
        assert_eq!(any.relay_ips, [pair("0.0.0.0", "198.51.100.7")]);
        assert!(!any.own.relay.contains(&ip("0.0.0.0")));
    }

    #[test]
    fn an_unspecified_listener_advertises_an_address_of_this_host() {
        let addresses = addresses(&[], &["0.0.0.0:3478"]);
        let [relay_ip] = addresses.relay_ips[..] else { panic!("one relay address") };
        assert!(!relay_ip.advertised.is_unspecified());
        assert_eq!(relay_ip.local, relay_ip.advertised);
    }

    fn addresses(external: &[&str], listening: &[&str]) -> Addresses {
        let config = RelayConfig {
            listen: listening.iter().map(|text| text.parse().unwrap()).collect(),
            external_ips: external.iter().map(|text| text.parse().unwrap()).collect(),
            ..RelayConfig::default()
        };
        let listening = config.listen.clone();
        Addresses::of(&config, &listening, &[])
    }

    fn pair(local: &str, advertised: &str) -> RelayIp {
        RelayIp { local: ip(local), advertised: ip(advertised) }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
}
