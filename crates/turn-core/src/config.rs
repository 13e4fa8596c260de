//! What the operator decides, as the core needs it.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::challenge_limit::ChallengeRate;
use crate::discovery::Discovery;

/// An address relay sockets are bound to, and the address clients are told.
///
/// They differ when the server sits behind a one-to-one NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayIp {
    pub local: IpAddr,
    /// Same family as `local`.
    pub advertised: IpAddr,
}

impl RelayIp {
    /// Where a packet for a relayed address of this server really goes: a one-to-one NAT seldom
    /// sends back in what came from behind it.
    pub(crate) fn inside(ips: &[Self], addr: SocketAddr) -> SocketAddr {
        let own = ips.iter().find(|ip| ip.is_behind_nat() && ip.advertised == addr.ip());
        own.map_or(addr, |ip| SocketAddr::new(ip.local, addr.port()))
    }

    /// The address that clients know the sender of a packet by.
    pub(crate) fn outside(ips: &[Self], addr: SocketAddr) -> SocketAddr {
        let own = ips.iter().find(|ip| ip.is_behind_nat() && ip.local == addr.ip());
        own.map_or(addr, |ip| SocketAddr::new(ip.advertised, addr.port()))
    }

    fn is_behind_nat(&self) -> bool {
        self.local != self.advertised && !self.local.is_unspecified()
    }
}

/// Bounds on everything a remote party can make the server keep (I5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Allocations in all; more are refused with 508.
    pub allocations: usize,
    /// Allocations one user may hold; more are refused with 486.
    pub allocations_per_user: u32,
    /// Peers one allocation may name; more are refused with 508.
    pub permissions_per_allocation: usize,
    /// Channels one allocation may bind; more are refused with 508.
    pub channels_per_allocation: usize,
    /// Ports held for RESERVATION-TOKEN; more are refused with 508.
    pub reservations: usize,
    /// Answers to sources that have not authenticated. NAT discovery has the same budget once more
    /// for itself.
    pub challenges: ChallengeRate,
    /// How many ports are tried when the operating system refuses one.
    pub port_attempts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            allocations: 65_536,
            allocations_per_user: 64,
            permissions_per_allocation: 128,
            channels_per_allocation: 128,
            reservations: 1024,
            challenges: ChallengeRate { per_second: 50, burst: 100 },
            port_attempts: 8,
        }
    }
}

/// How long things live. The defaults are those of RFC 8656; tests shorten nothing, they move time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetimes {
    /// An allocation's when the client asks for none or for less (§7.2).
    pub allocation_default: Duration,
    /// The most an allocation gets at once.
    pub allocation_max: Duration,
    /// A permission's (§9).
    pub permission: Duration,
    /// A channel binding's (§12).
    pub channel: Duration,
    /// After a channel expires, its number and peer may only be bound to each other (§12).
    pub channel_rest: Duration,
    /// A port held for a RESERVATION-TOKEN (§7.2).
    pub reservation: Duration,
    /// A nonce's (§5 suggests an hour).
    pub nonce: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            allocation_default: Duration::from_secs(600),
            allocation_max: Duration::from_secs(3600),
            permission: Duration::from_secs(300),
            channel: Duration::from_secs(600),
            channel_rest: Duration::from_secs(300),
            reservation: Duration::from_secs(30),
            nonce: Duration::from_secs(3600),
        }
    }
}

/// Where the server relays, and how much.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// At least one. Of several in one family, the allocation's is picked at random.
    pub relay_ips: Vec<RelayIp>,
    pub relay_ports: RangeInclusive<u16>,
    pub limits: Limits,
    pub lifetimes: Lifetimes,
    /// Which listeners answer for each other (RFC 5780). `None`: CHANGE-REQUEST is refused with 420.
    pub discovery: Option<Discovery>,
    /// The same over TCP, where answers only name the other address: a connection has one source, so
    /// CHANGE-REQUEST is refused with 420.
    pub stream_discovery: Option<Discovery>,
}
