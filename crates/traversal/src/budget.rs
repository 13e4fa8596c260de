//! How many packets one attempt may aim at one address (invariant I9).
//!
//! Candidates are a peer's word, and learnt addresses multiply checks: without a bound, two NATs
//! that give every destination another port make a stream of packets out of one attempt. A bucket
//! per address holds enough for every pair's checks, and fills slowly enough that an address which
//! nobody asked for would hardly notice.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

/// Packets that may go to one address at once.
const BURST: f64 = 250.0;
/// Packets a second after that: what consent checks of a pair in doubt and the answers to the other
/// side's take.
const PER_SECOND: f64 = 5.0;

/// One attempt's buckets. There are as many as the attempt has remote candidates, which are bounded.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    buckets: HashMap<SocketAddr, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Budget {
    /// Takes one packet out of the address's bucket; `false` when it is empty.
    pub(crate) fn take(&mut self, to: SocketAddr, now: Instant) -> bool {
        let bucket = self.buckets.entry(to).or_insert(Bucket { tokens: BURST, filled: now });
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * PER_SECOND).min(BURST);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn i9_an_address_gets_a_burst_and_then_a_trickle() {
        let (mut budget, start) = (Budget::default(), Instant::now());
        let target = "203.0.113.9:1".parse().unwrap();
        let burst = (0..1_000).filter(|_| budget.take(target, start)).count();
        assert_eq!(burst, 250);
        let minute = start + Duration::from_secs(60);
        let later = (0..1_000).filter(|_| budget.take(target, minute)).count();
        assert_eq!(later, 250);
    }

    #[test]
    fn one_address_does_not_eat_another_s() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        let (one, two) = ("203.0.113.9:1".parse().unwrap(), "203.0.113.9:2".parse().unwrap());
        while budget.take(one, now) {}
        assert!(budget.take(two, now));
    }
}
