//! When connectivity checks go out: dense at first, because a punch succeeds as soon as both sides'
//! packets have crossed, then ever rarer, because a pair that has not answered for seconds will
//! hardly answer at all and every check of every pair costs a packet.

use std::time::{Duration, Instant};

/// The time from the attempt's start up to which each gap applies.
const GAPS: [(Duration, Duration); 7] = [
    // A check to a relayed address gets there together with the word that it may, and is lost where it
    // is ahead by a hair.
    (Duration::from_millis(2), Duration::from_millis(2)),
    (Duration::from_millis(5), Duration::from_millis(3)),
    // The two sides hear of an attempt within milliseconds of each other, and the first check of the
    // earlier one is lost at the later one's NAT: the next must not be far.
    (Duration::from_millis(50), Duration::from_millis(10)),
    (Duration::from_millis(400), Duration::from_millis(25)),
    (Duration::from_millis(1_000), Duration::from_millis(50)),
    (Duration::from_millis(3_000), Duration::from_millis(150)),
    (Duration::from_secs(6), Duration::from_millis(400)),
];
/// The gap after that.
const LAST_GAP: Duration = Duration::from_secs(1);

/// Checks that a pair may get in `window`; what the agent's own counter has to allow.
pub(crate) const CHECKS_PER_PAIR: u16 = 100;

/// When the next round of checks is due after one at `now`.
pub(crate) fn next_round(started: Instant, now: Instant) -> Instant {
    let age = now.saturating_duration_since(started);
    let gap = GAPS.iter().find(|(until, _)| age < *until).map_or(LAST_GAP, |(_, gap)| *gap);
    now + gap
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_half_a_minute_of_checking_stays_within_the_packet_budget() {
        let started = Instant::now();
        let mut at = started;
        let mut rounds = 0;
        while at < started + Duration::from_secs(30) {
            rounds += 1;
            at = next_round(started, at);
        }
        assert!(rounds <= CHECKS_PER_PAIR, "{rounds} rounds");
        assert!(rounds > 40, "{rounds} rounds");
    }
}
