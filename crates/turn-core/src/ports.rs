//! The pool of relay ports of one relay address.
//!
//! Ports are picked uniformly by the injected random generator, which has to be a cryptographic
//! one: a guessable relayed address invites off-path injection (the class of CVE-2025-69217). A
//! freed port rests before it is used again, so that a late packet for the old allocation does not
//! reach the next one (RFC 8656 §7.2 asks for two minutes).

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rand::RngCore;

const REST: Duration = Duration::from_secs(120);

/// Ports that are neither in use nor reserved nor resting are free.
pub(crate) struct PortPool {
    first: u16,
    len: u32,
    /// Bit `n` is set when port `first + n` is free.
    free: Vec<u64>,
    free_count: u32,
    /// Freed ports and when they may be used again, oldest first.
    resting: VecDeque<(Instant, u16)>,
}

/// What RFC 8656 §7.2 lets a client ask of its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortWish {
    Any,
    /// EVEN-PORT with R=0.
    Even,
    /// EVEN-PORT with R=1: even, with the port above taken too.
    EvenAndNext,
}

impl PortPool {
    pub(crate) fn new(range: &RangeInclusive<u16>) -> Self {
        let len = if range.is_empty() { 0 } else { u32::from(range.end() - range.start()) + 1 };
        let mut pool = Self {
            first: *range.start(),
            len,
            free: vec![0; len.div_ceil(64) as usize],
            free_count: 0,
            resting: VecDeque::new(),
        };
        for index in 0..len {
            pool.set_free(index);
        }
        pool
    }

    /// Takes a port. With [`PortWish::EvenAndNext`] the next port is taken with it; each is given
    /// back on its own.
    pub(crate) fn take(
        &mut self,
        wish: PortWish,
        now: Instant,
        rng: &mut dyn RngCore,
    ) -> Option<u16> {
        self.wake(|until| until <= now);
        if let Some(port) = self.take_free(wish, rng) {
            return Some(port);
        }
        // Every port is in use or resting: an early reuse serves better than a refusal.
        self.wake(|_| true);
        self.take_free(wish, rng)
    }

    /// Gives a taken port back.
    pub(crate) fn give_back(&mut self, port: u16, now: Instant) {
        debug_assert!(!self.is_free(port), "port {port} given back twice");
        self.resting.push_back((now + REST, port));
    }

    fn wake(&mut self, may: impl Fn(Instant) -> bool) {
        while let Some(&(until, port)) = self.resting.front() {
            if !may(until) {
                break;
            }
            self.resting.pop_front();
            self.set_free(u32::from(port - self.first));
        }
    }

    fn take_free(&mut self, wish: PortWish, rng: &mut dyn RngCore) -> Option<u16> {
        if self.free_count == 0 {
            return None;
        }
        let start = random_below(self.len, rng);
        let found = if wish == PortWish::Any {
            let rank = random_below(self.free_count, rng);
            self.nth_free(rank)
        } else {
            // From a random place, once around. Even ports are half of all; a scan finds one at
            // once unless the pool is nearly used up.
            (0..self.len).map(|step| (start + step) % self.len).find(|&index| {
                let port = u32::from(self.first) + index;
                port.is_multiple_of(2)
                    && self.index_is_free(index)
                    && (wish == PortWish::Even || self.index_is_free(index + 1))
            })
        }?;
        self.set_taken(found);
        if wish == PortWish::EvenAndNext {
            self.set_taken(found + 1);
        }
        // `found < len`, and the last port of the range fits in 16 bits.
        Some((u32::from(self.first) + found) as u16)
    }

    fn nth_free(&self, mut rank: u32) -> Option<u32> {
        for (word_index, &word) in self.free.iter().enumerate() {
            let here = word.count_ones();
            if rank < here {
                let mut word = word;
                for _ in 0..rank {
                    word &= word - 1;
                }
                return Some(word_index as u32 * 64 + word.trailing_zeros());
            }
            rank -= here;
        }
        None
    }

    fn is_free(&self, port: u16) -> bool {
        self.index_is_free(u32::from(port - self.first))
    }

    fn index_is_free(&self, index: u32) -> bool {
        index < self.len && self.free[(index / 64) as usize] & (1 << (index % 64)) != 0
    }

    fn set_free(&mut self, index: u32) {
        self.free[(index / 64) as usize] |= 1 << (index % 64);
        self.free_count += 1;
    }

    fn set_taken(&mut self, index: u32) {
        self.free[(index / 64) as usize] &= !(1 << (index % 64));
        self.free_count -= 1;
    }
}

/// Uniform in `0..bound`, without modulo bias. `bound` is at most 65 536.
fn random_below(bound: u32, rng: &mut dyn RngCore) -> u32 {
    let limit = u32::MAX - u32::MAX % bound;
    loop {
        let drawn = rng.next_u32();
        if drawn < limit {
            return drawn % bound;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn every_port_is_handed_out_once_and_then_none() {
        let (mut pool, now, mut rng) = pool(50_000..=50_099);
        let taken: BTreeSet<_> =
            (0..100).map(|_| pool.take(PortWish::Any, now, &mut rng).unwrap()).collect();
        assert_eq!(taken, (50_000..=50_099).collect());
        assert_eq!(pool.take(PortWish::Any, now, &mut rng), None);
    }

    #[test]
    fn the_highest_port_can_be_used() {
        let (mut pool, now, mut rng) = pool(65_535..=65_535);
        assert_eq!(pool.take(PortWish::EvenAndNext, now, &mut rng), None);
        assert_eq!(pool.take(PortWish::Any, now, &mut rng), Some(65_535));
    }

    #[test]
    fn a_freed_port_rests_two_minutes_while_others_are_free() {
        let (mut pool, now, mut rng) = pool(50_000..=50_001);
        let port = pool.take(PortWish::Any, now, &mut rng).unwrap();
        pool.give_back(port, now);
        let other = pool.take(PortWish::Any, now, &mut rng).unwrap();
        assert_ne!(port, other);
        pool.give_back(other, now);
        let later = now + REST;
        assert!(pool.take(PortWish::Any, later, &mut rng).is_some());
    }

    #[test]
    fn a_resting_port_is_used_early_when_it_is_the_only_one_left() {
        let (mut pool, now, mut rng) = pool(50_000..=50_000);
        pool.take(PortWish::Any, now, &mut rng).unwrap();
        assert_eq!(pool.take(PortWish::Any, now, &mut rng), None);
        pool.give_back(50_000, now);
        assert_eq!(pool.take(PortWish::Any, now, &mut rng), Some(50_000));
    }

    #[test]
    fn ports_differ_from_seed_to_seed() {
        let draw = |seed| {
            let (mut pool, now, _) = pool(49_152..=65_535);
            let mut rng = StdRng::seed_from_u64(seed);
            (0..4).map(|_| pool.take(PortWish::Any, now, &mut rng).unwrap()).collect::<Vec<_>>()
        };
        assert_ne!(draw(1), draw(2));
        assert!(draw(3).windows(2).any(|pair| pair[0].abs_diff(pair[1]) > 1));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Take(PortWish),
        GiveBack(prop::sample::Index),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Take(PortWish::Any)),
            Just(Step::Take(PortWish::Even)),
            Just(Step::Take(PortWish::EvenAndNext)),
            any::<prop::sample::Index>().prop_map(Step::GiveBack),
            (0u64..200).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// The class of coturn 4adbd82e: EVEN-PORT leaked a port each time.
        #[test]
        fn the_pool_never_leaks_or_doubles_a_port(
            steps in prop::collection::vec(step(), 1..200), first in 50_000u16..50_004, seed: u64
        ) {
            let range = first..=first + 9;
            let (mut pool, mut now, _) = pool(range.clone());
            let mut rng = StdRng::seed_from_u64(seed);
            let mut taken = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Take(wish) => {
                        if let Some(port) = pool.take(wish, now, &mut rng) {
                            prop_assert!(range.contains(&port) && taken.insert(port));
                            prop_assert!(wish == PortWish::Any || port % 2 == 0);
                            if wish == PortWish::EvenAndNext {
                                prop_assert!(range.contains(&(port + 1)) && taken.insert(port + 1));
                            }
                        } else if wish == PortWish::Any {
                            prop_assert_eq!(taken.len(), 10);
                        }
                    }
                    Step::GiveBack(index) if !taken.is_empty() => {
                        let port = *taken.iter().nth(index.index(taken.len())).unwrap();
                        taken.remove(&port);
                        pool.give_back(port, now);
                    }
                    Step::GiveBack(_) => {}
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                }
                prop_assert_eq!(
                    pool.free_count as usize + pool.resting.len() + taken.len(), 10
                );
            }
        }
    }

    fn pool(range: RangeInclusive<u16>) -> (PortPool, Instant, StdRng) {
        (PortPool::new(&range), Instant::now(), StdRng::seed_from_u64(7))
    }
}
