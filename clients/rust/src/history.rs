//! What a connection used, from its first path to its end, for the coordinator's statistics.
//!
//! Bytes are QUIC's own counts, looked at whenever the path changes: what was on its way at that
//! moment is counted to the path before or after.

use std::time::{Duration, Instant};

use p2p_traversal::Path;
use p2p_wire::limits::MAX_REPORT_PATHS;
use p2p_wire::{PathReason, PathUse};

/// Between two reports on a connection that lives.
const TELLING: Duration = Duration::from_secs(60);

/// Bytes of a connection, in datagrams.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    sent: u64,
    received: u64,
}

impl Counted {
    pub(crate) fn of(quic: Option<&quinn::Connection>) -> Self {
        let stats = quic.map(quinn::Connection::stats);
        stats.map_or_else(Self::default, |stats| Self {
            sent: stats.udp_tx.bytes,
            received: stats.udp_rx.bytes,
        })
    }
}

/// The paths of one connection.
#[derive(Debug, Default)]
pub(crate) struct History {
    paths: Vec<PathUse>,
    current: Option<Path>,
    counted: Counted,
    told: Option<Instant>,
    has_news: bool,
}

impl History {
    /// Another path is used, or none. `heard` says whether anything came in over the one before of
    /// late.
    pub(crate) fn path(&mut self, at: Duration, path: Option<Path>, counted: Counted, heard: bool) {
        let reason = match (self.current, path) {
            (None, None) => return,
            (Some(before), Some(now)) if before.same_way(&now) => return,
            _ if self.paths.is_empty() => PathReason::First,
            (Some(_), None) => PathReason::Silent,
            (None, Some(_)) => PathReason::Better,
            (Some(before), Some(now)) if now.method < before.method => PathReason::Better,
            (Some(before), Some(now)) if now.method == before.method => PathReason::Moved,
            (Some(_), Some(_)) if heard => PathReason::Lossy,
            (Some(_), Some(_)) => PathReason::Silent,
        };
        self.current = path;
        self.add(at, path, reason, counted);
    }

    /// The connection has ended.
    pub(crate) fn close(&mut self, at: Duration, counted: Counted) {
        self.current = None;
        self.add(at, None, PathReason::Closed, counted);
    }

    /// Whether something is to be told that has waited long enough.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.has_news && self.told.is_none_or(|told| now.duration_since(told) >= TELLING)
    }

    /// What there is to tell by now.
    pub(crate) fn tell(&mut self, counted: Counted, now: Instant) -> Vec<PathUse> {
        self.count(counted);
        (self.told, self.has_news) = (Some(now), false);
        self.paths.clone()
    }

    fn add(&mut self, at: Duration, path: Option<Path>, reason: PathReason, counted: Counted) {
        self.count(counted);
        self.has_news = true;
        self.paths.push(PathUse {
            at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            method: path.map(|path| path.method),
            reason,
            sent_bytes: 0,
            received_bytes: 0,
        });
        if self.paths.len() > MAX_REPORT_PATHS {
            // The first one stays: it is how the connection began.
            let gone = self.paths.remove(1);
            let heir = self.paths.iter().position(|path| path.method == gone.method).unwrap_or(0);
            self.paths[heir].sent_bytes += gone.sent_bytes;
            self.paths[heir].received_bytes += gone.received_bytes;
        }
    }

    /// What was carried since the last look is the path's in use.
    fn count(&mut self, counted: Counted) {
        if let Some(last) = self.paths.last_mut() {
            last.sent_bytes += counted.sent.saturating_sub(self.counted.sent);
            last.received_bytes += counted.received.saturating_sub(self.counted.received);
        }
        self.counted = counted;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use p2p_traversal::{PathKind, Via};
    use p2p_wire::Method;

    use super::*;

    fn path(method: Method, port: u16) -> Option<Path> {
        let kind = if method == Method::Relay { PathKind::Relay } else { PathKind::Direct };
        let remote = SocketAddr::from(([203, 0, 113, 9], port));
        Some(Path { kind, method, via: Via::Relay, remote, rtt: Duration::ZERO })
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn counted(sent: u64, received: u64) -> Counted {
        Counted { sent, received }
    }

    #[test]
    fn each_path_has_its_time_its_reason_and_its_bytes() {
        use Method::{Relay, UdpHolePunch};
        let mut history = History::default();
        history.path(ms(40), path(Relay, 1), counted(0, 0), false);
        history.path(ms(90), path(UdpHolePunch, 2), counted(500, 300), true);
        // Another round trip of the same way is no change.
        history.path(ms(95), path(UdpHolePunch, 2), counted(600, 400), true);
        history.path(ms(200), path(UdpHolePunch, 3), counted(1500, 1300), true);
        history.path(ms(300), path(Relay, 1), counted(2500, 1300), false);
        history.path(ms(400), path(UdpHolePunch, 3), counted(2500, 1300), true);
        history.path(ms(500), path(Relay, 1), counted(2600, 1300), true);
        history.path(ms(600), None, counted(2600, 1300), false);
        history.close(ms(700), counted(2700, 1300));
        let told = history.tell(counted(2700, 1300), Instant::now());
        let told: Vec<_> =
            told.iter().map(|p| (p.at_ms, p.method, p.reason, p.sent_bytes)).collect();
        let expected = [
            (40, Some(Relay), PathReason::First, 500),
            (90, Some(UdpHolePunch), PathReason::Better, 1000),
            (200, Some(UdpHolePunch), PathReason::Moved, 1000),
            (300, Some(Relay), PathReason::Silent, 0),
            (400, Some(UdpHolePunch), PathReason::Better, 100),
            (500, Some(Relay), PathReason::Lossy, 0),
            (600, None, PathReason::Silent, 100),
            (700, None, PathReason::Closed, 0),
        ];
        assert_eq!(told, expected);
    }

    /// I5: however often a network flaps, the report has its bound, and no byte is lost of it.
    #[test]
    fn i5_the_paths_of_a_report_have_a_bound_and_keep_all_bytes() {
        let mut history = History::default();
        for n in 0..1_000 {
            let (method, port) =
                if n % 2 == 0 { (Method::Relay, 1) } else { (Method::UdpHolePunch, 2) };
            history.path(ms(n), path(method, port), counted(n * 10, n), true);
        }
        let told = history.tell(counted(10_000, 1_000), Instant::now());
        assert_eq!(told.len(), MAX_REPORT_PATHS);
        assert_eq!((told[0].at_ms, told[0].reason), (0, PathReason::First));
        for method in [Method::Relay, Method::UdpHolePunch] {
            let of = told.iter().filter(|path| path.method == Some(method));
            let (sent, received) =
                of.fold((0, 0), |(s, r), p| (s + p.sent_bytes, r + p.received_bytes));
            assert_eq!((sent, received), (5_000, 500), "{method}");
        }
    }

    #[test]
    fn a_change_is_told_at_once_and_further_ones_a_minute_later() {
        let now = Instant::now();
        let mut history = History::default();
        assert!(!history.is_due(now), "nothing has changed");
        history.path(ms(1), path(Method::Relay, 1), counted(0, 0), true);
        assert!(history.is_due(now));
        history.tell(counted(0, 0), now);
        history.path(ms(2), path(Method::Direct, 2), counted(0, 0), true);
        assert!(!history.is_due(now + TELLING / 2));
        assert!(history.is_due(now + TELLING));
    }
}
