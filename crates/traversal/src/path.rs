//! Paths: the candidate pairs that answered, and which of them should carry the data.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use p2p_wire::Method;

/// Whether a relay is on the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PathKind {
    /// No relay.
    Direct,
    /// At least one.
    Relay,
}

/// How a packet leaves this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// From the socket, by this local address.
    Socket(IpAddr),
    /// Through this host's allocation at the relay.
    Relay,
}

/// A usable way to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Whether a relay is on it.
    pub kind: PathKind,
    /// What made it possible.
    pub method: Method,
    /// How packets leave.
    pub via: Via,
    /// Where they go: the peer's address, or its relayed address.
    pub remote: SocketAddr,
    /// The last check's round trip; zero until one has been measured.
    pub rtt: Duration,
}

impl Path {
    /// Lower is better. Ranks are coarse on purpose: paths of one rank do not displace each other,
    /// so that a connection does not flap between equals.
    pub(crate) fn rank(&self) -> u8 {
        match self.method {
            Method::Direct => 0,
            Method::UdpHolePunch => 1,
            Method::TcpHolePunch => 2,
            Method::Relay => 3,
        }
    }

    /// Whether both are the same way, whatever was measured on it.
    pub fn same_way(&self, other: &Self) -> bool {
        self.via == other.via && self.remote == other.remote
    }
}

/// Picks the path for the data: the best rank, and among equals the one in use.
pub(crate) fn choose(active: Option<&Path>, usable: &[Path]) -> Option<Path> {
    let best = usable.iter().min_by_key(|p| (p.rank(), p.rtt))?;
    let kept = active.and_then(|a| usable.iter().find(|p| p.same_way(a)));
    match kept {
        Some(kept) if kept.rank() <= best.rank() => Some(*kept),
        Some(_) | None => Some(*best),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(method: Method, port: u16, rtt_ms: u64) -> Path {
        Path {
            kind: if method == Method::Relay { PathKind::Relay } else { PathKind::Direct },
            method,
            via: Via::Relay,
            remote: SocketAddr::from(([203, 0, 113, 9], port)),
            rtt: Duration::from_millis(rtt_ms),
        }
    }

    #[test]
    fn a_direct_path_takes_over_from_the_relay() {
        let relay = path(Method::Relay, 1, 10);
        let punched = path(Method::UdpHolePunch, 2, 30);
        assert_eq!(choose(Some(&relay), &[relay, punched]), Some(punched));
    }

    #[test]
    fn equals_do_not_displace_the_path_in_use() {
        let used = path(Method::UdpHolePunch, 1, 30);
        let faster = path(Method::UdpHolePunch, 2, 10);
        assert_eq!(choose(Some(&used), &[used, faster]), Some(used));
        assert_eq!(choose(None, &[used, faster]), Some(faster));
    }

    #[test]
    fn an_unusable_path_is_left() {
        let gone = path(Method::Direct, 1, 1);
        let relay = path(Method::Relay, 2, 40);
        assert_eq!(choose(Some(&gone), &[relay]), Some(relay));
        assert_eq!(choose(Some(&gone), &[]), None);
    }
}
