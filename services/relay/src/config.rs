//! What an operator decides about a relay.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use p2p_auth::turn_rest::TurnSecrets;
use p2p_turn_core::{Limits, StaticUser};
use p2p_wire::Cidr;
use tokio::sync::mpsc;

use crate::snapshot::RelayUsage;
use crate::streams::StreamLimits;
use crate::tls::TlsFiles;

/// Everything [`Relay::bind`](crate::Relay::bind) needs to know.
///
/// The default listens nowhere, knows no credentials, and denies special-purpose peers: with
/// `listen` set it is a STUN server that relays for nobody.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Where clients reach the relay, over UDP. Port 0 takes a free one. An IPv6 address serves
    /// IPv6 only: list an IPv4 address beside it for both.
    pub listen: Vec<SocketAddr>,
    /// The same over TCP.
    pub listen_tcp: Vec<SocketAddr>,
    /// The same over TLS; needs `tls`.
    pub listen_tls: Vec<SocketAddr>,
    /// The certificate of the TLS listeners.
    pub tls: Option<TlsFiles>,
    /// Bounds on connections over TCP and TLS.
    pub streams: StreamLimits,
    /// Names the relay to clients; part of every long-term key. Default `p2p`.
    pub realm: String,
    /// The addresses clients are told their relayed addresses are at. When empty: the addresses
    /// listened on, or for an unspecified one the address this host would use towards the
    /// internet.
    pub external_ips: Vec<ExternalIp>,
    /// A second address of this host, written like an external one. With it the relay answers RFC
    /// 5780, so that clients find out how their NAT filters: on the primary address, which is that
    /// of the first listener of the same family, and on this one, each with the listener's port and
    /// the next. Listeners that are missing for that are added.
    pub alternate_ip: Option<ExternalIp>,
    /// Ports of relayed addresses. Default 49152–65535 (RFC 8656 §7.2).
    pub port_range: RangeInclusive<u16>,
    /// Secrets of time-limited credentials, newest first.
    pub secrets: TurnSecrets,
    /// Users with a lasting password.
    pub users: Vec<StaticUser>,
    /// Peers that may be reached although they are denied by default.
    pub allow_peers: Vec<Cidr>,
    /// Peers that may not be reached; wins over `allow_peers`.
    pub deny_peers: Vec<Cidr>,
    /// Bounds on what clients can make the relay keep.
    pub limits: Limits,
    /// Where finished allocations are reported. When the queue is full a report is dropped and
    /// counted: statistics never slow the relay.
    pub usage: Option<mpsc::Sender<RelayUsage>>,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            listen_tcp: Vec::new(),
            listen_tls: Vec::new(),
            tls: None,
            streams: StreamLimits::default(),
            realm: "p2p".to_owned(),
            external_ips: Vec::new(),
            alternate_ip: None,
            port_range: 49_152..=65_535,
            secrets: TurnSecrets::default(),
            users: Vec::new(),
            allow_peers: Vec::new(),
            deny_peers: Vec::new(),
            limits: Limits::default(),
            usage: None,
        }
    }
}

/// A public address and, behind a one-to-one NAT, the local address it is mapped to. Written
/// `PUBLIC` or `PUBLIC/LOCAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExternalIp {
    pub public: IpAddr,
    /// `None`: the public address if this host has it, else the address listened on.
    pub local: Option<IpAddr>,
}

/// Why a text is not an external address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExternalIpError {
    #[error(
        "`{0}` is not an external address; write 198.51.100.7, or 198.51.100.7/10.0.0.7 behind a one-to-one NAT"
    )]
    NotAnAddress(String),
    #[error("`{0}` mixes IPv4 and IPv6; the public and the local address have to be of one family")]
    FamilyMismatch(String),
}

impl FromStr for ExternalIp {
    type Err = ExternalIpError;

    fn from_str(text: &str) -> Result<Self, ExternalIpError> {
        let parse = |part: &str| {
            part.trim().parse().map_err(|_| ExternalIpError::NotAnAddress(text.to_owned()))
        };
        let Some((public, local)) = text.split_once('/') else {
            return Ok(Self { public: parse(text)?, local: None });
        };
        let (public, local): (IpAddr, IpAddr) = (parse(public)?, parse(local)?);
        if public.is_ipv4() != local.is_ipv4() {
            return Err(ExternalIpError::FamilyMismatch(text.to_owned()));
        }
        Ok(Self { public, local: Some(local) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_external_address_is_public_or_public_and_local() {
        let both: ExternalIp = "198.51.100.7/10.0.0.7".parse().unwrap();
        assert_eq!(both.local, Some("10.0.0.7".parse().unwrap()));
        let one: ExternalIp = "2001:db8::7".parse().unwrap();
        assert_eq!((one.public, one.local), ("2001:db8::7".parse().unwrap(), None));
    }

    #[test]
    fn a_bad_external_address_says_how_to_write_one() {
        for text in ["", "relay.example.org", "198.51.100.7/24", "198.51.100.7:3478"] {
            let error = text.parse::<ExternalIp>().unwrap_err();
            assert!(error.to_string().contains("write 198.51.100.7"), "{text}: {error}");
        }
        let mixed = "198.51.100.7/fd00::7".parse::<ExternalIp>();
        assert!(matches!(mixed, Err(ExternalIpError::FamilyMismatch(_))));
    }
}
