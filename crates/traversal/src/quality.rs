//! Whether the direct path is the faster one: a path that loses packets carries less than a clean
//! relay with a longer round trip.
//!
//! What a loss-limited connection carries falls with the round trip and with the square root of the
//! loss (Mathis et al., "The Macroscopic Behavior of the TCP Congestion Avoidance Algorithm", 1997).
//! So the cost of a path is `rtt · √loss`. The loss of a path is only known while it is in use: a
//! path that is left for its loss is tried again after a while, ever more rarely.
//!
//! What a connection loses because it fills the bottleneck's queue is its own doing and speaks for
//! the path's rate, not against the path: another one would be filled the same way. The queue shows in
//! the round trip, so losses count only while that stays near the path's own.
//!
//! A network that stops for a moment loses all of a moment's packets and none after. So loss is
//! counted in windows of some packets each, and what is believed is the window in the middle.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::path::{Path, PathKind};

/// Packets that make a share of lost ones mean something.
const WINDOW: u64 = 80;
/// Windows that make up a judgement.
const WINDOWS: usize = 5;
/// Packets of the path before are under way for so long after a change.
const SETTLING: Duration = Duration::from_millis(1_000);
/// Loss below this is no reason to leave a direct path.
const MIN_LOSS: f64 = 0.02;
/// What a path without measured loss is taken to lose.
const CLEAN: f64 = 0.000_5;
/// A round trip that has grown by this factor and [`JITTER`] shows that a queue is filled.
const FILLED: u32 = 2;
const JITTER: Duration = Duration::from_millis(10);
/// How much cheaper the relay has to look.
const MARGIN: f64 = 2.0;
/// How long a path is left for its loss, the first time and at the most.
const FIRST_HOLD: Duration = Duration::from_secs(60);
const LONGEST_HOLD: Duration = Duration::from_secs(600);

/// Packets that a connection has sent and found lost, over all its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sent.
    pub sent: u64,
    /// Found lost.
    pub lost: u64,
    /// The round trip of the connection's packets at the moment, smoothed; zero where unknown.
    pub rtt: Duration,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Quality {
    way: Option<Path>,
    begun: Instant,
    base: Option<Counters>,
    /// The shortest round trip that was seen on the way.
    shortest: Option<Duration>,
    counted: Counters,
    /// The share of lost packets in each of the latest windows.
    windows: VecDeque<f64>,
    left: Option<Left>,
    hold: Duration,
    /// What the relay was found to lose.
    relay_loss: f64,
}

#[derive(Debug, Clone, Copy)]
struct Left {
    way: Path,
    cost: f64,
    until: Instant,
}

impl Quality {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            way: None,
            begun: now,
            base: None,
            shortest: None,
            counted: Counters::default(),
            windows: VecDeque::new(),
            left: None,
            hold: FIRST_HOLD,
            relay_loss: CLEAN,
        }
    }

    /// Takes note of what the connection has counted while it used this way.
    pub(crate) fn observe(&mut self, way: &Path, counted: Counters, now: Instant) {
        if !self.way.is_some_and(|known| known.same_way(way)) {
            self.way = Some(*way);
            self.begun = now;
            self.base = None;
            self.shortest = None;
            self.windows.clear();
        }
        self.counted = counted;
        let known = [way.rtt, counted.rtt].into_iter().filter(|rtt| !rtt.is_zero());
        self.shortest = self.shortest.into_iter().chain(known).min();
        if self.shortest.is_some_and(|shortest| counted.rtt > FILLED * shortest + JITTER) {
            self.base = None;
            return;
        }
        let settled = now.saturating_duration_since(self.begun) >= SETTLING;
        let Some(base) = self.base else {
            self.base = settled.then_some(counted);
            return;
        };
        let sent = counted.sent.saturating_sub(base.sent);
        let lost = counted.lost.saturating_sub(base.lost);
        if sent >= WINDOW {
            if self.windows.len() >= WINDOWS {
                self.windows.pop_front();
            }
            self.windows.push_back((lost as f64 / sent as f64).min(1.0));
            self.base = Some(counted);
        }
    }

    /// The way in use is dead, or was for a moment: what was lost then says nothing of its quality.
    pub(crate) fn forget(&mut self) {
        self.way = None;
    }

    /// Whether the data is better off by the relay than by `way`, which is in use and direct. If so
    /// the way is slow until its hold ends.
    pub(crate) fn leave_for(&mut self, way: &Path, relay: Option<&Path>, now: Instant) -> bool {
        let Some(loss) = self.loss() else { return false };
        let Some(relay) = relay.filter(|relay| !relay.rtt.is_zero()) else { return false };
        let way_cost = cost(way, loss);
        if loss < MIN_LOSS || way_cost < MARGIN * cost(relay, self.relay_loss) {
            return false;
        }
        self.left = Some(Left { way: *way, cost: way_cost, until: now + self.hold });
        self.hold = (self.hold * 2).min(LONGEST_HOLD);
        true
    }

    /// Looks whether the relay, which is in use, keeps what it promised; else the way that was left
    /// for it is taken back.
    pub(crate) fn weigh_relay(&mut self, relay: &Path) {
        let (Some(left), Some(loss)) = (self.left, self.loss()) else { return };
        self.relay_loss = loss.max(CLEAN);
        if cost(relay, self.relay_loss) >= left.cost {
            self.left = None;
        }
    }

    /// Whether a way is left for its loss at the moment, or another way to the same host was: the
    /// same network is between, and TCP only hides what it loses.
    pub(crate) fn is_slow(&self, way: &Path, now: Instant) -> bool {
        let same =
            |left: &Left| way.kind == PathKind::Direct && left.way.remote.ip() == way.remote.ip();
        self.left.is_some_and(|left| same(&left) && now < left.until)
    }

    /// The share of lost packets, once enough were sent.
    fn loss(&self) -> Option<f64> {
        if self.windows.len() < WINDOWS {
            return None;
        }
        let mut windows: Vec<_> = self.windows.iter().copied().collect();
        windows.sort_by(f64::total_cmp);
        windows.get(WINDOWS / 2).copied()
    }
}

fn cost(way: &Path, loss: f64) -> f64 {
    way.rtt.as_secs_f64().max(0.001) * loss.max(CLEAN).sqrt()
}

#[cfg(test)]
mod tests {
    use p2p_wire::Method;

    use super::*;
    use crate::path::Via;

    fn way(kind: PathKind, rtt_ms: u64) -> Path {
        let relayed = kind == PathKind::Relay;
        Path {
            kind,
            method: if relayed { Method::Relay } else { Method::UdpHolePunch },
            via: if relayed { Via::Relay } else { Via::Socket([192, 0, 2, 1].into()) },
            remote: "198.51.100.7:9".parse().unwrap(),
            rtt: Duration::from_millis(rtt_ms),
        }
    }

    struct Bench {
        quality: Quality,
        now: Instant,
        counted: Counters,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::now();
            Self { quality: Quality::new(now), now, counted: Counters::default() }
        }

        /// Five seconds with a thousand packets, so many of which are lost, here and there.
        fn use_way(&mut self, way: &Path, lost: u64) {
            let before = self.counted.lost;
            for tenth in 1..=50 {
                self.quality.observe(way, self.counted, self.now);
                self.now += Duration::from_millis(100);
                self.counted.sent += 20;
                self.counted.lost = before + lost * tenth / 50;
            }
            self.quality.observe(way, self.counted, self.now);
        }
    }

    #[test]
    fn a_lossy_direct_path_is_left_for_a_clean_relay_and_tried_again_ever_more_rarely() {
        let (direct, relay) = (way(PathKind::Direct, 50), way(PathKind::Relay, 90));
        let mut bench = Bench::new();
        let mut holds = Vec::new();
        for _ in 0..6 {
            bench.use_way(&direct, 50);
            assert!(bench.quality.leave_for(&direct, Some(&relay), bench.now));
            let left = bench.now;
            let over_tcp = Path { method: Method::TcpHolePunch, remote: direct.remote, ..direct };
            assert!(bench.quality.is_slow(&over_tcp, left), "the same network");
            while bench.quality.is_slow(&direct, bench.now) {
                bench.use_way(&relay, 0);
                bench.quality.weigh_relay(&relay);
            }
            holds.push((bench.now - left).as_secs());
        }
        assert_eq!(holds, [60, 120, 240, 480, 600, 600]);
    }

    #[test]
    fn a_relay_that_loses_more_is_left_again_and_not_believed_a_second_time() {
        let (direct, relay) = (way(PathKind::Direct, 50), way(PathKind::Relay, 90));
        let mut bench = Bench::new();
        bench.use_way(&direct, 50);
        assert!(bench.quality.leave_for(&direct, Some(&relay), bench.now));
        bench.use_way(&relay, 80);
        bench.quality.weigh_relay(&relay);
        assert!(!bench.quality.is_slow(&direct, bench.now));
        bench.use_way(&direct, 50);
        assert!(!bench.quality.leave_for(&direct, Some(&relay), bench.now));
    }

    #[test]
    fn a_good_path_few_packets_and_a_slow_relay_change_nothing() {
        let (direct, relay) = (way(PathKind::Direct, 50), way(PathKind::Relay, 90));
        let mut bench = Bench::new();
        bench.counted.lost += 100;
        bench.use_way(&direct, 0);
        assert!(!bench.quality.leave_for(&direct, Some(&relay), bench.now), "a moment's outage");
        bench.counted.rtt = Duration::from_millis(150);
        bench.use_way(&direct, 50);
        assert!(!bench.quality.leave_for(&direct, Some(&relay), bench.now), "its own queue");
        bench.counted.rtt = Duration::from_millis(55);
        bench.use_way(&direct, 5);
        assert!(!bench.quality.leave_for(&direct, Some(&relay), bench.now), "half a percent");
        bench.use_way(&direct, 50);
        assert!(!bench.quality.leave_for(&direct, None, bench.now), "no relay");
        bench.use_way(&direct, 25);
        let far = way(PathKind::Relay, 400);
        assert!(!bench.quality.leave_for(&direct, Some(&far), bench.now), "far away");
        let mut bench = Bench::new();
        let counted = Counters { sent: 10_000, lost: 9_000, ..Counters::default() };
        bench.quality.observe(&direct, counted, bench.now);
        assert!(!bench.quality.leave_for(&direct, Some(&relay), bench.now), "of before");
    }
}
