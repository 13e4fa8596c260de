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

/// Receivers of one message that cost as much as a message.
const RECEIVERS_OF_ONE: f64 = 16.0;
/// Bytes to deliver that cost as much as a message.
const BYTES_OF_ONE: f64 = 40.0 * 1024.0;

/// What a message costs that goes to so many: what it makes the service do, in messages of few bytes to
/// one peer. Without it a room would multiply whatever one peer may send.
fn cost(bytes: usize, receivers: usize) -> f64 {
    let (bytes, receivers) = (bytes as f64, receivers as f64);
    (receivers / RECEIVERS_OF_ONE).max(bytes * receivers / BYTES_OF_ONE).max(1.0)
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

    /// Charges a message that went to so many for what it costs beyond the one that was taken for
    /// it. The next one waits until it is paid off.
    pub(crate) fn owe(&mut self, bytes: usize, receivers: usize) {
        self.level -= cost(bytes, receivers) - 1.0;
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

    #[test]
    fn a_message_to_many_costs_what_it_makes_the_service_do() {
        let start = Instant::now();
        assert_eq!(cost(10 * 1024, 1), 1.0, "an offer");
        assert_eq!(cost(100, 8), 1.0, "a few words in a small room");
        assert_eq!(cost(100, 256), 16.0);
        assert_eq!(cost(64 * 1024, 255), 408.0);
        let mut bucket = Bucket::new(100, 400, start);
        assert_eq!(bucket.take(start), Pace::Fine);
        bucket.owe(64 * 1024, 255);
        assert_eq!(bucket.take(start), Pace::TooFast(1));
        assert!(bucket.wait() <= Duration::from_millis(100), "{:?}", bucket.wait());
        assert_eq!(bucket.take(start + Duration::from_millis(100)), Pace::Fine);
        bucket.owe(0, 0);
        assert_eq!(bucket.take(start + Duration::from_millis(110)), Pace::Fine, "no more is owed");
    }
}
