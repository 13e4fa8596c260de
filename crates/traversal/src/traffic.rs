//! What the shell tells of a connection's packets: the core sees none of them.

use std::net::SocketAddr;
use std::time::Instant;

use crate::quality::Counters;

/// How a packet came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leg {
    /// To the socket.
    Socket,
    /// Through this side's allocation at the relay.
    Relay,
}

/// Traffic on the path in use, as the shell counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// When the last packet left.
    pub sent: Option<Instant>,
    /// When the last packet came to the socket.
    pub by_socket: Option<Instant>,
    /// When the last packet came through this side's allocation.
    pub by_relay: Option<Instant>,
    /// How the last datagram came, and from where; `None` if it came in a stream of the peer's own.
    pub latest: Option<(Leg, SocketAddr)>,
    /// What the connection has sent and found lost.
    pub counted: Counters,
}

impl Traffic {
    /// When the last packet came, whichever way.
    pub(crate) fn received(&self) -> Option<Instant> {
        self.by_socket.max(self.by_relay)
    }
}
