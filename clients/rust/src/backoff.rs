//! Waiting before another try: exponential with full jitter, so that clients who lost the same
//! server do not come back in step (Brooker, "Exponential Backoff And Jitter", 2015).

use std::time::{Duration, Instant};

use rand::Rng;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// How long a connection has to last before the next loss is the first again. A server that takes
/// clients and drops them at once is one that does not work.
const LASTED: Duration = Duration::from_secs(10);

/// Tries, since there was a connection that lasted.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    count: u32,
    connected: Option<Instant>,
}

impl Tries {
    /// A try has led to a connection.
    pub(crate) fn connected(&mut self, now: Instant) {
        self.connected = Some(now);
    }

    /// A try has failed, or the connection that it led to is lost. Gives how many went before it.
    pub(crate) fn lost(&mut self, now: Instant) -> u32 {
        let connected = self.connected.take();
        if connected.is_some_and(|since| now.saturating_duration_since(since) >= LASTED) {
            self.count = 0;
        }
        let before = self.count;
        self.count = self.count.saturating_add(1);
        before
    }
}

/// The pause before try number `tries` (0 is the first repeat).
pub(crate) fn pause(tries: u32, rng: &mut impl Rng) -> Duration {
    let ceiling = FIRST.saturating_mul(1 << tries.min(16)).min(LONGEST);
    ceiling.mul_f64(rng.random::<f64>())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn pauses_grow_to_their_ceiling_and_are_spread() {
        let mut rng = StdRng::seed_from_u64(7);
        for tries in 0..40 {
            let ceiling = FIRST.saturating_mul(1 << tries.min(16)).min(LONGEST);
            let pauses: Vec<_> = (0..200).map(|_| pause(tries, &mut rng)).collect();
            assert!(pauses.iter().all(|p| *p <= ceiling));
            assert!(pauses.iter().any(|p| *p < ceiling / 4), "full jitter reaches down");
            assert!(pauses.iter().any(|p| *p > ceiling / 2), "and up");
        }
    }

    #[test]
    fn a_server_that_takes_a_client_and_drops_it_is_tried_ever_more_rarely() {
        let (mut tries, mut now) = (Tries::default(), Instant::now());
        for before in 0..20 {
            tries.connected(now);
            now += LASTED / 2;
            assert_eq!(tries.lost(now), before);
        }
        assert_eq!(tries.lost(now), 20, "nor does a try that fails count as one that has lasted");
        tries.connected(now);
        now += LASTED;
        assert_eq!(tries.lost(now), 0, "one that lasted was worth the tries");
        assert_eq!(tries.lost(now), 1);
    }
}
