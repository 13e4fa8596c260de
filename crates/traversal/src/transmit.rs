//! A datagram that the caller is to send.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

/// One datagram out of the node's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The local address it must leave from, so that the other side sees the candidate it was
    /// promised. `None` leaves the choice to the host's routes.
    pub from: Option<IpAddr>,
    /// Where it goes.
    pub to: SocketAddr,
    /// The datagram.
    pub payload: Bytes,
}
