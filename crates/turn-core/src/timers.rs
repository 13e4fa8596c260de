//! Deadlines: what is due, and when to wake up next.
//!
//! Each object has one deadline, derived from its state; the set holds exactly the living objects,
//! so churn leaves nothing behind. Setting and removing cost O(log n), and packets touch nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

pub(crate) struct Timers<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K: Copy + Ord> Timers<K> {
    pub(crate) fn new() -> Self {
        Self { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }

    /// Sets or moves the deadline of `key`.
    pub(crate) fn set(&mut self, key: K, deadline: Instant) {
        self.remove(key);
        self.by_time.insert((deadline, key));
        self.by_key.insert(key, deadline);
    }

    pub(crate) fn remove(&mut self, key: K) {
        if let Some(deadline) = self.by_key.remove(&key) {
            self.by_time.remove(&(deadline, key));
        }
    }

    /// When the first deadline is.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|&(deadline, _)| deadline)
    }

    /// Takes one key whose deadline has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        let &(deadline, key) = self.by_time.first()?;
        if deadline > now {
            return None;
        }
        self.remove(key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn keys_come_due_in_order_and_moved_ones_at_their_new_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = Timers::new();
        for (key, deadline) in [('a', 3), ('b', 1), ('c', 2)] {
            timers.set(key, at(deadline));
        }
        timers.set('b', at(4));
        timers.remove('c');
        assert_eq!(timers.next(), Some(at(3)));
        assert_eq!(timers.pop_due(at(2)), None);
        assert_eq!(timers.pop_due(at(9)), Some('a'));
        assert_eq!(timers.pop_due(at(9)), Some('b'));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.next(), None);
    }
}
