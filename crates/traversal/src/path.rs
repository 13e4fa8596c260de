//! Paths: the candidate pairs that answered, and which of them should carry the data.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use p2p_wire::Method;

use crate::peer_streams::PeerStreamId;

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
    /// Over a TCP connection with the peer.
    Stream(PeerStreamId),
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

    /// Whether a relay is on it.
    pub fn is_relayed(&self) -> bool {
        self.kind == PathKind::Relay
    }

    /// Whether both are the same way, whatever was measured on it.
    pub fn same_way(&self, other: &Self) -> bool {
        self.via == other.via && self.remote == other.remote
    }
}

/// Which relays a way goes through, the surest first.
///
/// What comes to the other side's allocation always reaches it, because every client keeps its own
/// leg to the relay open. What leaves our allocation towards the other side's NAT gets in only while
/// the other side happens to keep a hole there, and if both sides rely on that, neither does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Through {
    /// None.
    Nothing,
    /// The other side's.
    Theirs,
    /// Ours, then the other side's.
    Both,
    /// Ours.
    Ours,
}

/// A path that data may use, and what its rank depends on besides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usable {
    pub(crate) path: Path,
    pub(crate) through: Through,
}

impl Usable {
    pub(crate) fn rank(&self) -> (u8, Through) {
        (self.path.rank(), self.through)
    }
}

/// Picks the path for the data: the best rank, and among equals the one in use.
pub(crate) fn choose(active: Option<&Path>, usable: &[Usable]) -> Option<Usable> {
    let best = usable.iter().min_by_key(|u| (u.rank(), u.path.rtt))?;
    let kept = active.and_then(|a| usable.iter().find(|u| u.path.same_way(a)));
    match kept {
        Some(kept) if kept.rank() <= best.rank() => Some(*kept),
        Some(_) | None => Some(*best),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usable(method: Method, port: u16, rtt_ms: u64) -> Usable {
        let relayed = method == Method::Relay;
        let path = Path {
            kind: if relayed { PathKind::Relay } else { PathKind::Direct },
            method,
            via: Via::Relay,
            remote: SocketAddr::from(([203, 0, 113, 9], port)),
            rtt: Duration::from_millis(rtt_ms),
        };
        Usable { path, through: if relayed { Through::Theirs } else { Through::Nothing } }
    }

    fn chosen(active: Option<Usable>, usable: &[Usable]) -> Option<Path> {
        choose(active.map(|a| a.path).as_ref(), usable).map(|u| u.path)
    }

    #[test]
    fn a_direct_path_takes_over_from_the_relay() {
        let relay = usable(Method::Relay, 1, 10);
        let punched = usable(Method::UdpHolePunch, 2, 30);
        assert_eq!(chosen(Some(relay), &[relay, punched]), Some(punched.path));
    }

    #[test]
    fn equals_do_not_displace_the_path_in_use() {
        let used = usable(Method::UdpHolePunch, 1, 30);
        let faster = usable(Method::UdpHolePunch, 2, 10);
        assert_eq!(chosen(Some(used), &[used, faster]), Some(used.path));
        assert_eq!(chosen(None, &[used, faster]), Some(faster.path));
    }

    #[test]
    fn of_relayed_paths_the_one_that_needs_no_hole_in_a_nat_is_surest() {
        let theirs = usable(Method::Relay, 1, 90);
        let both = Usable { through: Through::Both, ..usable(Method::Relay, 2, 50) };
        let ours = Usable { through: Through::Ours, ..usable(Method::Relay, 3, 10) };
        assert_eq!(chosen(Some(ours), &[ours, both]), Some(both.path));
        assert_eq!(chosen(Some(both), &[ours, both, theirs]), Some(theirs.path));
    }

    #[test]
    fn an_unusable_path_is_left() {
        let gone = usable(Method::Direct, 1, 1);
        let relay = usable(Method::Relay, 2, 40);
        assert_eq!(chosen(Some(gone), &[relay]), Some(relay.path));
        assert_eq!(chosen(Some(gone), &[]), None);
    }
}
