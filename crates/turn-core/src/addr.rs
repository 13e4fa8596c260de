//! Addresses and names by role: a client is not a peer, and neither is a relayed address.
//!
//! `Debug` shows no full IP address (I10). Code that has to send reaches the address by field.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// One local socket on which clients reach the server, numbered by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u16);

/// Where a client's datagrams come from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientAddr(pub SocketAddr);

/// Whom a client talks to through its relayed address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerAddr(pub SocketAddr);

/// The transport address an allocation has for the outside world.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayedAddr(pub SocketAddr);

/// The 5-tuple of RFC 8656 §2.2. The listener stands for the server's address and the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FiveTuple {
    pub listener: ListenerId,
    pub client: ClientAddr,
}

/// Names an allocation for as long as it lives. A name is not used twice: the slot is, with
/// another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AllocationId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl AllocationId {
    /// A small number, unique among living allocations: good for indexing a table of sockets.
    #[must_use]
    pub fn index(self) -> usize {
        self.slot as usize
    }
}

/// The moment a call is about. The core reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic; drives lifetimes.
    pub instant: Instant,
    /// Seconds since the Unix epoch; drives credential expiry and nonce age.
    pub unix: u64,
}

impl fmt::Debug for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientAddr({})", Redacted(self.0))
    }
}

impl fmt::Debug for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerAddr({})", Redacted(self.0))
    }
}

impl fmt::Debug for RelayedAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayedAddr({})", Redacted(self.0))
    }
}

/// Keeps what tells networks apart (the first 16 bits) and the port, hides the rest.
struct Redacted(SocketAddr);

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.0.port();
        match self.0.ip() {
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                write!(f, "{a}.{b}.x.x:{port}")
            }
            IpAddr::V6(ip) => write!(f, "[{:x}:x]:{port}", ip.segments()[0]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_host_part() {
        let client = ClientAddr("203.0.113.7:4000".parse().unwrap());
        let peer = PeerAddr("[2001:db8::7]:4000".parse().unwrap());
        assert_eq!(format!("{client:?}"), "ClientAddr(203.0.x.x:4000)");
        assert_eq!(format!("{peer:?}"), "PeerAddr([2001:x]:4000)");
    }
}
