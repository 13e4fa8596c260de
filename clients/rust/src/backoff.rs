//! Waiting before another try: exponential with full jitter, so that clients who lost the same
//! server do not come back in step (Brooker, "Exponential Backoff And Jitter", 2015).

use std::time::Duration;

use rand::Rng;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

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
}
