//! The four addresses of a server that lets clients find out how their NAT behaves (RFC 5780).

use std::net::SocketAddr;

use crate::addr::ListenerId;

/// Two addresses with the same two ports each, and the listener behind each of the four.
///
/// A client learns its mapping by asking several of them, and its filtering by asking one to have
/// the answer sent from another.
#[derive(Clone, PartialEq, Eq)]
pub struct Discovery {
    corners: [Corner; 4],
}

/// One of the four.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Corner {
    pub(crate) listener: ListenerId,
    /// As clients know it.
    pub(crate) address: SocketAddr,
}

/// CHANGE-REQUEST: what is to differ in the source of the answer (RFC 5780 §7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Change {
    pub(crate) ip: bool,
    pub(crate) port: bool,
}

/// Where an answer leaves from, and what it says about the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) listener: ListenerId,
    /// RESPONSE-ORIGIN.
    pub(crate) origin: SocketAddr,
    /// OTHER-ADDRESS.
    pub(crate) other: SocketAddr,
}

impl Discovery {
    /// The listeners, with their addresses as clients know them, in the order of RFC 5780 §4.1:
    /// the primary address with its two ports, then the alternate address with the same ports.
    /// `None` unless they are two different addresses of one family with two different ports each.
    #[must_use]
    pub fn new(corners: [(ListenerId, SocketAddr); 4]) -> Option<Self> {
        let corners = corners.map(|(listener, address)| Corner { listener, address });
        let [a, b, c, d] = corners.map(|corner| corner.address);
        let is_square = a.ip() == b.ip()
            && c.ip() == d.ip()
            && a.port() == c.port()
            && b.port() == d.port()
            && a.ip() != c.ip()
            && a.port() != b.port()
            && a.is_ipv4() == c.is_ipv4();
        is_square.then_some(Self { corners })
    }

    /// RFC 5780 §6.1: where the answer to a request at `listener` leaves from. `None` for a listener
    /// that is none of the four.
    pub(crate) fn origin(&self, listener: ListenerId, change: Change) -> Option<Origin> {
        let at = self.corners.iter().position(|corner| corner.listener == listener)?;
        // The first bit of the place is the port, the second the address.
        let source = self.corners[at ^ usize::from(change.port) ^ (usize::from(change.ip) << 1)];
        // What both changes would lead to, whatever was asked for.
        let other = self.corners[at ^ 3].address;
        Some(Origin { listener: source.listener, origin: source.address, other })
    }
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.corners.iter().map(|corner| corner.listener)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "198.51.100.9:3478";
    const B: &str = "198.51.100.9:3479";
    const C: &str = "198.51.100.10:3478";
    const D: &str = "198.51.100.10:3479";

    fn discovery(addresses: [&str; 4]) -> Option<Discovery> {
        let mut listener = 0;
        Discovery::new(addresses.map(|address| {
            listener += 1;
            (ListenerId(listener), address.parse().unwrap())
        }))
    }

    #[test]
    fn each_change_leads_to_its_corner_and_other_is_always_the_opposite_one() {
        let discovery = discovery([A, B, C, D]).unwrap();
        for (at, other, [none, port, ip, both]) in
            [(1, D, [A, B, C, D]), (2, C, [B, A, D, C]), (3, B, [C, D, A, B]), (4, A, [D, C, B, A])]
        {
            for (change, expected) in [
                (Change { ip: false, port: false }, none),
                (Change { ip: false, port: true }, port),
                (Change { ip: true, port: false }, ip),
                (Change { ip: true, port: true }, both),
            ] {
                let origin = discovery.origin(ListenerId(at), change).unwrap();
                assert_eq!(origin.origin, expected.parse().unwrap(), "{at} {change:?}");
                assert_eq!(origin.other, other.parse().unwrap());
            }
        }
        assert!(discovery.origin(ListenerId(9), Change::default()).is_none());
    }

    #[test]
    fn four_addresses_that_tell_nothing_apart_are_refused() {
        assert!(discovery([A, B, A, B]).is_none(), "one address");
        assert!(discovery([A, A, C, C]).is_none(), "one port");
        assert!(discovery([A, B, D, C]).is_none(), "ports crossed");
        assert!(discovery([A, B, "[::1]:3478", "[::1]:3479"]).is_none(), "two families");
    }
}
