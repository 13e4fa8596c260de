//! How fast many may talk, each for itself, in constant memory.
//!
//! A rate by the generic cell rate algorithm needs one time for each key: when the key would be
//! back at rest. The times are in a table of fixed size (invariant I5): keys that fall together
//! share a rate, and nobody can choose to, because the hash is keyed with a secret of this run.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

/// Rates of many keys.
pub(crate) struct Pacer {
    /// Nanoseconds after `began` at which the key is at rest.
    at_rest: Box<[AtomicU64]>,
    hasher: RandomState,
    began: Instant,
    /// What one costs.
    interval: u64,
    /// How far ahead of its rate a key may be.
    ahead: u64,
}

/// A key's place in a [`Pacer`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot(usize);

impl Pacer {
    /// So many a second for each key after a burst, over a table of `slots`.
    pub(crate) fn new(per_second: u32, burst: u32, slots: usize) -> Self {
        let interval = 1_000_000_000 / u64::from(per_second.max(1));
        Self {
            at_rest: (0..slots.max(1)).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            began: Instant::now(),
            interval,
            ahead: interval * u64::from(burst.max(1) - 1),
        }
    }

    /// Where a key's rate is kept, for who asks often.
    pub(crate) fn slot(&self, key: impl Hash) -> Slot {
        Slot(self.hasher.hash_one(key) as usize % self.at_rest.len())
    }

    /// Charges one, or says how long to wait until one fits.
    pub(crate) fn take(&self, key: impl Hash, now: Instant) -> Result<(), Duration> {
        self.take_at(self.slot(key), now)
    }

    /// As [`Self::take`].
    pub(crate) fn take_at(&self, slot: Slot, now: Instant) -> Result<(), Duration> {
        let now = now.saturating_duration_since(self.began).as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX / 2);
        let charge = |at_rest: u64| {
            let from = at_rest.max(now);
            (from - now <= self.ahead).then_some(from + self.interval)
        };
        match self.at_rest[slot.0].fetch_update(Relaxed, Relaxed, charge) {
            Ok(_) => Ok(()),
            Err(at_rest) => Err(Duration::from_nanos(at_rest - now - self.ahead)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds_for_each_key_by_itself() {
        let pacer = Pacer::new(10, 3, 4096);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(pacer.take(("alice", "bob"), start), Ok(()));
        }
        let wait = pacer.take(("alice", "bob"), start).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(100), "{wait:?}");
        assert_eq!(pacer.take(("alice", "bob"), start + wait), Ok(()));
        assert!(pacer.take(("alice", "bob"), start + wait).is_err());
        // Another key has a burst of its own, unless the two share a slot: then none has.
        let others = (0..100).filter(|n| pacer.take(("alice", *n), start).is_ok()).count();
        assert!(others >= 95, "{others} of 100 passed");
        let rested = start + Duration::from_secs(60);
        let burst = (0..10).filter(|_| pacer.take(("alice", "bob"), rested).is_ok()).count();
        assert_eq!(burst, 3, "a pause gives no more than a burst");
    }

    #[test]
    fn i5_the_rates_of_any_number_of_keys_take_the_same_memory() {
        let pacer = Pacer::new(1, 1, 8);
        let now = Instant::now();
        let passed = (0..100_000).filter(|key| pacer.take(key, now).is_ok()).count();
        assert_eq!(passed, 8, "one for each slot");
    }
}
