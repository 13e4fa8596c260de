//! TCP hole punching: whom to dial when (RFC 6544 §5.2, simultaneous open).
//!
//! Both sides dial each other's measured address from their own measured port, and listen there. A
//! NAT that drops a SYN nobody asked for forgives any skew. One that answers it with a reset does
//! not: both SYNs have to be under way at once, and only random gaps between the tries bring that
//! about, because equal ones keep missing each other the same way.
//!
//! A campaign begins densely and then goes on ever more rarely, as the search over UDP does. What it
//! dials comes out of the plan's packets, which fill up again slowly.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::{Rng, RngCore};

/// Addresses that are dialled for one attempt; of more the latest.
const MAX_TARGETS: usize = 8;
/// The gap between two tries of one address, in milliseconds, while a campaign is dense.
const GAP_MS: std::ops::RangeInclusive<u64> = 10..=100;
/// How long that is.
const WINDOW: Duration = Duration::from_secs(10);
/// The gaps after that, in milliseconds; the last one repeats.
const LATER_MS: [u64; 4] = [4_000, 8_000, 16_000, 30_000];
/// What a dial costs: the kernel sends a second SYN after a second, and has given up before a third.
const PACKETS_PER_DIAL: f64 = 2.0;
/// Packets a second that come back to a budget after its first window.
const REFILL: f64 = 1.0;

/// The dials of one attempt.
#[derive(Debug)]
pub(crate) struct TcpPunch {
    targets: VecDeque<Target>,
    begins: Instant,
    stopped: bool,
    capacity: f64,
    packets: f64,
    filled: Instant,
    dials: u64,
    exhausted: Option<Instant>,
}

#[derive(Debug)]
struct Target {
    to: SocketAddr,
    /// When it is dialled next; `None` while a dial is under way or its connection there.
    next: Option<Instant>,
    /// Dials since the campaign's window has ended.
    late: usize,
}

impl TcpPunch {
    /// Dials from `begins` on, within a budget of packets.
    pub(crate) fn new(begins: Instant, packets: u32) -> Self {
        let capacity = f64::from(packets);
        Self {
            targets: VecDeque::new(),
            begins,
            stopped: false,
            capacity,
            packets: capacity,
            filled: begins + WINDOW,
            dials: 0,
            exhausted: None,
        }
    }

    /// Adds an address of the other side's.
    pub(crate) fn add(&mut self, to: SocketAddr, now: Instant) {
        if self.targets.iter().any(|target| target.to == to) {
            return;
        }
        if self.targets.len() >= MAX_TARGETS {
            self.targets.pop_front();
        }
        self.targets.push_back(Target { to, next: Some(now.max(self.begins)), late: 0 });
    }

    /// Whom to dial now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<SocketAddr> {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = self.filled.max(now);
        self.packets = (self.packets + passed * REFILL).min(self.capacity);
        let mut due = Vec::new();
        if self.stopped {
            return due;
        }
        for target in &mut self.targets {
            if target.next.is_none_or(|next| next > now) {
                continue;
            }
            if self.packets < PACKETS_PER_DIAL {
                self.exhausted.get_or_insert(now);
                // By then there is something again.
                target.next = Some(now.max(self.filled) + Duration::from_secs(30));
                continue;
            }
            self.packets -= PACKETS_PER_DIAL;
            self.dials += 1;
            target.next = None;
            due.push(target.to);
        }
        due
    }

    /// A dial has come to nothing, or its connection is gone: the next one follows after a gap.
    pub(crate) fn failed(&mut self, to: SocketAddr, now: Instant, rng: &mut dyn RngCore) {
        let dense = now < self.begins + WINDOW;
        for target in self.targets.iter_mut().filter(|target| target.to == to) {
            let gap = if dense {
                rng.random_range(GAP_MS)
            } else {
                let gap = LATER_MS[target.late.min(LATER_MS.len() - 1)];
                target.late += 1;
                gap + rng.random_range(GAP_MS)
            };
            target.next = Some(now + Duration::from_millis(gap));
        }
    }

    /// Begins anew: the network has changed, or the way in use is gone. What is under way goes on.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.stopped = false;
        self.begins = now;
        for target in &mut self.targets {
            target.late = 0;
            target.next = target.next.map(|_| now);
        }
    }

    /// Nobody is dialled any more until something changes: there is a direct path.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Whether there is anybody to dial.
    pub(crate) fn has_targets(&self) -> bool {
        !self.targets.is_empty()
    }

    /// Dials so far.
    pub(crate) fn dials(&self) -> u64 {
        self.dials
    }

    /// When the budget was spent for the first time.
    pub(crate) fn exhausted(&self) -> Option<Instant> {
        self.exhausted
    }

    /// When [`TcpPunch::due`] has something.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        self.targets.iter().filter_map(|target| target.next).min()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn target(port: u16) -> SocketAddr {
        ([198, 51, 100, 7], port).into()
    }

    /// Dials until `end`, each refused after a while; returns when.
    fn play(packets: u32, refused_after: u64, targets: u16, end: Duration) -> Vec<Duration> {
        let start = Instant::now();
        let mut rng = StdRng::seed_from_u64(7);
        let mut punch = TcpPunch::new(start + Duration::from_millis(300), packets);
        (0..targets).for_each(|port| punch.add(target(port), start));
        let (mut now, mut dials) = (start, Vec::new());
        while let Some(due) = punch.poll_timeout().filter(|due| *due < start + end) {
            now = now.max(due);
            let called = punch.due(now);
            for to in called {
                dials.push(now - start);
                punch.failed(to, now + Duration::from_millis(refused_after), &mut rng);
            }
        }
        dials
    }

    #[test]
    fn i9_dials_stay_within_the_plan_s_packets_at_first_and_within_few_for_ever() {
        for (packets, refused_after) in [(64, 1), (64, 2_500), (10, 1), (10_000, 200)] {
            let hour = play(packets, refused_after, 8, Duration::from_secs(3_600));
            let first = hour.iter().filter(|at| **at < WINDOW).count();
            assert!(hour[0] >= Duration::from_millis(300), "not before its turn");
            assert!(first > 2 && 2 * first <= packets as usize, "{first} dials for {packets}");
            assert!(hour.len() - first < 1_900, "{} dials in an hour", hour.len());
        }
    }

    #[test]
    fn an_address_is_dialled_once_at_a_time_and_gaps_are_spread() {
        let (now, mut rng) = (Instant::now(), StdRng::seed_from_u64(7));
        let mut punch = TcpPunch::new(now, 1_000);
        punch.add(target(1), now);
        let mut gaps = BTreeSet::new();
        let mut at = now;
        for _ in 0..50 {
            assert_eq!(punch.due(at), [target(1)]);
            assert!(punch.due(at + Duration::from_secs(1)).is_empty(), "one is under way");
            punch.failed(target(1), at, &mut rng);
            let next = punch.poll_timeout().unwrap();
            gaps.insert((next - at).as_millis());
            at = next;
        }
        assert!(gaps.len() > 15, "the same gap misses the other side for ever: {gaps:?}");
        assert!(gaps.iter().all(|gap| (10..=100).contains(gap)));
    }

    #[test]
    fn of_too_many_addresses_the_latest_are_dialled_and_a_path_ends_the_dialling() {
        let now = Instant::now();
        let mut punch = TcpPunch::new(now, 1_000);
        (0..100).for_each(|port| punch.add(target(port), now));
        assert_eq!(punch.due(now).len(), MAX_TARGETS);
        punch.stop();
        assert!(punch.due(now).is_empty() && punch.poll_timeout().is_none());
        let mut rng = StdRng::seed_from_u64(7);
        punch.failed(target(99), now, &mut rng);
        punch.begin(now);
        assert_eq!(punch.due(now), [target(99)], "the others are under way");
    }

    #[test]
    fn a_spent_budget_is_told() {
        let now = Instant::now();
        let mut punch = TcpPunch::new(now, 2);
        punch.add(target(1), now);
        punch.add(target(2), now);
        assert_eq!(punch.due(now).len(), 1);
        assert_eq!(punch.exhausted(), Some(now));
        assert!(punch.poll_timeout().unwrap() > now);
    }
}
