//! The sockets clients send to: those that are configured, and the ones that complete the four
//! addresses of NAT discovery (RFC 5780).

use std::io;
use std::net::{IpAddr, SocketAddr};

use std::sync::Arc;

use mio::net::UdpSocket;
use p2p_turn_core::{Discovery, ListenerId};

use crate::config::{ExternalIp, RelayConfig};
use crate::error::RelayError;
use crate::sockets;
use crate::streams::StreamListener;
use crate::tls::Certificate;
use crate::transport::{Listening, Transport};

/// How often the four sockets are bound anew when the operating system chose a port whose
/// neighbours are taken.
const ATTEMPTS: usize = 32;

/// Everything bound.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) sockets: Vec<UdpSocket>,
    /// Of the sockets, in their order: the configured ones first.
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) discovery: Option<Discovery>,
    /// The same over TCP.
    pub(crate) stream_discovery: Option<Discovery>,
    /// Their numbers follow those of the sockets: TCP first, then TLS, then what the alternate address
    /// added.
    pub(crate) streams: Vec<StreamListener>,
    /// Of the streams, in their order.
    pub(crate) stream_addrs: Vec<Listening>,
}

impl Listeners {
    /// Binds all or nothing.
    pub(crate) fn bind(
        config: &RelayConfig,
        certificate: Option<&Arc<Certificate>>,
    ) -> Result<Self, RelayError> {
        let chosen_by_system = config.listen.iter().any(|addr| addr.port() == 0);
        let mut attempts = if chosen_by_system { ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            match Self::bind_once(config, certificate) {
                Err(RelayError::Listen { source, .. })
                    if attempts > 0 && source.kind() == io::ErrorKind::AddrInUse => {}
                outcome => return outcome,
            }
        }
    }

    fn bind_once(
        config: &RelayConfig,
        certificate: Option<&Arc<Certificate>>,
    ) -> Result<Self, RelayError> {
        let mut listeners = Self::default();
        for &addr in &config.listen {
            listeners.open(addr)?;
        }
        if let Some(alternate) = config.alternate_ip {
            listeners.discovery = Some(listeners.complete(alternate, &config.external_ips)?);
        }
        for &addr in &config.listen_tcp {
            listeners.open_stream(addr, None)?;
        }
        for &addr in &config.listen_tls {
            listeners.open_stream(addr, Some(certificate.ok_or(RelayError::NoCertificate)?))?;
        }
        if let Some(alternate) = config.alternate_ip {
            let discovery = listeners.complete_streams(alternate, &config.external_ips)?;
            listeners.stream_discovery = discovery;
        }
        Ok(listeners)
    }

    /// The first listener of the alternate address's family is the primary; the alternate port is
    /// the one above its own.
    fn complete(
        &mut self,
        alternate: ExternalIp,
        external_ips: &[ExternalIp],
    ) -> Result<Discovery, RelayError> {
        let other = alternate.local.unwrap_or(alternate.public);
        let unusable = |cause: String| RelayError::AlternateIp { ip: alternate.public, cause };
        let primary = self.addrs.iter().find(|addr| addr.is_ipv4() == other.is_ipv4());
        let primary = *primary.ok_or_else(|| unusable("no listener has its family".to_owned()))?;
        if primary.ip().is_unspecified() {
            let cause = format!("{primary} already listens on every address");
            return Err(unusable(cause));
        }
        let corners = corners(primary, other);
        let corners = corners.ok_or_else(|| unusable("there is no port above 65535".to_owned()))?;
        let advertised = [public(primary.ip(), external_ips), alternate.public];
        let mut known = [(ListenerId(0), primary); 4];
        for (place, addr) in corners.into_iter().enumerate() {
            let bound = self.addrs.iter().position(|&listening| listening == addr);
            let index = bound.map_or_else(|| self.open(addr), Ok)?;
            known[place] =
                (ListenerId(index as u16), SocketAddr::new(advertised[place / 2], addr.port()));
        }
        Discovery::new(known).ok_or_else(|| unusable("it is the primary address".to_owned()))
    }

    /// The same over TCP, for clients to learn how their NAT maps that. `None` without a TCP listener
    /// that has one address of the family, or where TLS has one of the ports.
    fn complete_streams(
        &mut self,
        alternate: ExternalIp,
        external_ips: &[ExternalIp],
    ) -> Result<Option<Discovery>, RelayError> {
        let other = alternate.local.unwrap_or(alternate.public);
        let primary = self.stream_addrs.iter().find(|listening| {
            listening.transport == Transport::Tcp
                && listening.addr.is_ipv4() == other.is_ipv4()
                && !listening.addr.ip().is_unspecified()
        });
        let Some(primary) = primary.map(|listening| listening.addr) else { return Ok(None) };
        let Some(corners) = corners(primary, other) else { return Ok(None) };
        let speaks_tls = |l: &Listening| l.transport == Transport::Tls && corners.contains(&l.addr);
        if self.stream_addrs.iter().any(speaks_tls) {
            return Ok(None);
        }
        let advertised = [public(primary.ip(), external_ips), alternate.public];
        let mut known = [(ListenerId(0), primary); 4];
        for (place, addr) in corners.into_iter().enumerate() {
            let bound = self.stream_addrs.iter().position(|listening| listening.addr == addr);
            let index = match bound {
                Some(index) => index,
                None => {
                    self.open_stream(addr, None)?;
                    self.streams.len() - 1
                }
            };
            let address = SocketAddr::new(advertised[place / 2], addr.port());
            known[place] = (self.streams[index].id, address);
        }
        Ok(Discovery::new(known))
    }

    fn open(&mut self, addr: SocketAddr) -> Result<usize, RelayError> {
        let failed = |source| RelayError::Listen { transport: Transport::Udp, addr, source };
        let socket = sockets::listener(addr).map_err(failed)?;
        self.addrs.push(socket.local_addr().map_err(failed)?);
        self.sockets.push(socket);
        Ok(self.sockets.len() - 1)
    }

    fn open_stream(
        &mut self,
        addr: SocketAddr,
        certificate: Option<&Arc<Certificate>>,
    ) -> Result<(), RelayError> {
        let transport = if certificate.is_some() { Transport::Tls } else { Transport::Tcp };
        let failed = |source| RelayError::Listen { transport, addr, source };
        let socket = sockets::stream_listener(addr).map_err(failed)?;
        let addr = socket.local_addr().map_err(failed)?;
        let tls = certificate.map(Certificate::server_config).transpose()?;
        let id = ListenerId((self.sockets.len() + self.streams.len()) as u16);
        self.streams.push(StreamListener { id, socket, tls });
        self.stream_addrs.push(Listening { transport, addr });
        Ok(())
    }
}

/// The primary address with its port and the one above, then the other address with the same ports.
fn corners(primary: SocketAddr, other: IpAddr) -> Option<[SocketAddr; 4]> {
    let next = primary.port().checked_add(1)?;
    Some([
        primary,
        SocketAddr::new(primary.ip(), next),
        SocketAddr::new(other, primary.port()),
        SocketAddr::new(other, next),
    ])
}

/// What clients know a local address by: it may be behind a one-to-one NAT.
fn public(local: IpAddr, external_ips: &[ExternalIp]) -> IpAddr {
    let same_family = |ip: &&ExternalIp| ip.public.is_ipv4() == local.is_ipv4();
    let named = external_ips.iter().find(|ip| ip.local == Some(local) || ip.public == local);
    let implied = || external_ips.iter().filter(same_family).find(|ip| ip.local.is_none());
    named.or_else(implied).map_or(local, |ip| ip.public)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_addresses_are_bound_and_configured_ones_are_not_bound_twice() {
        let listeners = bind(&["127.0.0.1:0"], "127.0.0.2").unwrap();
        let [a, b, c, d] = listeners.addrs[..] else { panic!("{:?}", listeners.addrs) };
        assert_eq!([a, b].map(|addr| addr.ip()), [ip("127.0.0.1"); 2]);
        assert_eq!([c, d].map(|addr| addr.ip()), [ip("127.0.0.2"); 2]);
        assert_eq!([b.port(), c.port(), d.port()], [a.port() + 1, a.port(), a.port() + 1]);
        drop(listeners);

        let both = [a.to_string(), c.to_string()];
        let listeners = bind(&[&both[0], &both[1]], "127.0.0.2").unwrap();
        assert_eq!(listeners.addrs, [a, c, b, d]);
        assert!(listeners.discovery.is_some());
    }

    #[test]
    fn over_tcp_the_alternate_address_adds_the_same_four_and_leaves_tls_its_port() {
        let config = |listen: &str| RelayConfig {
            listen: Vec::new(),
            listen_tcp: vec![listen.parse().unwrap()],
            alternate_ip: Some("127.0.0.2".parse().unwrap()),
            ..RelayConfig::default()
        };
        let alone = Listeners::bind(&config("127.0.0.1:0"), None).map(|_| ()).unwrap_err();
        assert_eq!(alone.code(), "RELAY_BAD_ALTERNATE_IP", "discovery takes UDP first of all");
        let both = |listen: &str| {
            let udp = vec!["127.0.0.1:0".parse().unwrap()];
            Listeners::bind(&RelayConfig { listen: udp, ..config(listen) }, None).unwrap()
        };
        let listeners = both("127.0.0.1:0");
        let addrs: Vec<_> = listeners.stream_addrs.iter().map(|l| l.addr).collect();
        let [a, b, c, d] = addrs[..] else { panic!("{addrs:?}") };
        assert_eq!([a.ip(), b.ip()], [ip("127.0.0.1"); 2]);
        assert_eq!([c.ip(), d.ip()], [ip("127.0.0.2"); 2]);
        assert_eq!([b.port(), c.port(), d.port()], [a.port() + 1, a.port(), a.port() + 1]);
        assert!(listeners.stream_discovery.is_some());
        assert!(both("0.0.0.0:0").stream_discovery.is_none(), "every address is one already");
    }

    #[test]
    fn an_alternate_address_that_cannot_be_one_is_an_error_with_a_fix() {
        for (listen, alternate) in
            [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.2"), ("127.0.0.1:0", "::1")]
        {
            let error = bind(&[listen], alternate).unwrap_err();
            assert_eq!(error.code(), "RELAY_BAD_ALTERNATE_IP", "{listen} {alternate}: {error}");
            assert!(error.fix().contains("--alternate-ip"));
        }
        let error = bind(&["127.0.0.1:0"], "198.51.100.7").unwrap_err();
        assert_eq!(error.code(), "RELAY_ADDRESS_UNKNOWN");
    }

    #[test]
    fn behind_a_one_to_one_nat_clients_are_told_the_public_addresses() {
        let external = ["198.51.100.7/127.0.0.1".parse().unwrap()];
        assert_eq!(public(ip("127.0.0.1"), &external), ip("198.51.100.7"));
        assert_eq!(public(ip("127.0.0.3"), &external), ip("127.0.0.3"));
        let external = ["198.51.100.7".parse().unwrap()];
        assert_eq!(public(ip("127.0.0.1"), &external), ip("198.51.100.7"));
    }

    fn bind(listen: &[&str], alternate: &str) -> Result<Listeners, RelayError> {
        let config = RelayConfig {
            listen: listen.iter().map(|addr| addr.parse().unwrap()).collect(),
            alternate_ip: Some(alternate.parse().unwrap()),
            ..RelayConfig::default()
        };
        Listeners::bind(&config, None)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
}
