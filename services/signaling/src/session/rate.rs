//! How fast one connection may talk.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket that also counts how often it was empty.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    burst: f64,
    level: f64,
    filled: Instant,
    strikes: u32,
    /// Acknowledgements that cost nothing: one for every message that was delivered.
    free_acks: u32,
}

/// What a bucket says to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Go on.
    Fine,
    /// Too fast; this is the n-th time since the bucket was last full.
    TooFast(u32),
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let (per_second, burst) = (f64::from(per_second), f64::from(burst));
        Self { per_second, burst, level: burst, filled: now, strikes: 0, free_acks: 0 }
    }

    /// Charges one message.
    pub(crate) fn take(&mut self, now: Instant) -> Pace {
        let since = now.saturating_duration_since(self.filled);
        self.filled = now;
        self.level = (self.level + since.as_secs_f64() * self.per_second).min(self.burst);
        if self.level >= self.burst {
            self.strikes = 0;
        }
        if self.level >= 1.0 {
            self.level -= 1.0;
            return Pace::Fine;
        }
        self.strikes += 1;
        Pace::TooFast(self.strikes)
    }

    /// Charges one acknowledgement. Whoever gets many messages must acknowledge many.
    pub(crate) fn take_ack(&mut self, now: Instant) -> Pace {
        if self.free_acks > 0 {
            self.free_acks -= 1;
            return Pace::Fine;
        }
        self.take(now)
    }

    /// A frame was delivered, which may be acknowledged.
    pub(crate) fn delivered(&mut self) {
        self.free_acks = self.free_acks.saturating_add(1).min(1024);
    }

    /// How long until one message fits.
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_secs_f64(((1.0 - self.level) / self.per_second).clamp(0.0, 60.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 3, start);
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Pace::Fine);
        }
        assert_eq!(bucket.take(start), Pace::TooFast(1));
        assert_eq!(bucket.take(start), Pace::TooFast(2));
        assert!(bucket.wait() <= Duration::from_millis(100));
        assert_eq!(bucket.take(start + Duration::from_millis(100)), Pace::Fine);
        assert_eq!(bucket.take(start + Duration::from_millis(100)), Pace::TooFast(3));
        bucket.take(start + Duration::from_secs(60));
        for _ in 0..2 {
            bucket.take(start + Duration::from_secs(60));
        }
        assert_eq!(bucket.take(start + Duration::from_secs(60)), Pace::TooFast(1), "forgiven");
    }

    #[test]
    fn every_delivered_message_may_be_acknowledged_for_free() {
        let now = Instant::now();
        let mut bucket = Bucket::new(1, 1, now);
        bucket.take(now);
        bucket.delivered();
        assert_eq!(bucket.take_ack(now), Pace::Fine);
        assert_eq!(bucket.take_ack(now), Pace::TooFast(1));
    }
}
