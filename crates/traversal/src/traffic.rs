//! What the shell tells of a connection's packets: the core sees none of them.

use std::time::Instant;

use crate::quality::Counters;

/// Traffic on the path in use, as the shell counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// When the last packet left.
    pub sent: Option<Instant>,
    /// When the last packet came to the socket.
    pub by_socket: Option<Instant>,
    /// When the last packet came through this side's allocation.
    pub by_relay: Option<Instant>,
    /// What the connection has sent and found lost.
    pub counted: Counters,
}

impl Traffic {
    /// When the last packet came, whichever way.
    pub(crate) fn received(&self) -> Option<Instant> {
        self.by_socket.max(self.by_relay)
    }
}
