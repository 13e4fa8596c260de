//! A budget for answers to sources that have proved nothing.
//!
//! A 401 is up to three times the size of the request that asked for it, and the source address of
//! a request may be forged: the server would be shooting at a bystander. Answers to one source
//! network (IPv4 /32, IPv6 /64) are therefore limited, and what is over the limit is dropped
//! silently.
//!
//! The table has a fixed size (I5). Sources share a bucket when their keyed hashes collide, so the
//! limit holds however many sources there are, and nobody can choose whom to share with.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::addr::ClientAddr;

const BUCKETS: usize = 8192;

/// Answers a second, and how many may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChallengeRate {
    /// Answers a second to one source network; 0 turns the limit off.
    pub per_second: u32,
    pub burst: u32,
}

pub(crate) struct ChallengeLimiter {
    rate: ChallengeRate,
    /// Unpredictable, so that nobody can choose whom to share a bucket with.
    key: u64,
    buckets: Vec<Option<Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// Thousandths of an answer.
    tokens: u32,
    filled: Instant,
}

impl ChallengeLimiter {
    pub(crate) fn new(rate: ChallengeRate, key: u64) -> Self {
        Self { rate, key, buckets: vec![None; BUCKETS] }
    }

    /// Whether one more answer may go to this source now.
    #[must_use]
    pub(crate) fn permit(&mut self, client: ClientAddr, now: Instant) -> bool {
        if self.rate.per_second == 0 {
            return true;
        }
        let full = self.rate.burst.max(1).saturating_mul(1000);
        let mut hasher = DefaultHasher::new();
        (self.key, source_network(client)).hash(&mut hasher);
        let slot = hasher.finish() as usize % BUCKETS;
        let bucket = self.buckets[slot].get_or_insert(Bucket { tokens: full, filled: now });
        let elapsed = now.saturating_duration_since(bucket.filled).as_millis() as u64;
        // What is left of the millisecond counts next time, or a flood would slow the refill.
        bucket.filled += Duration::from_millis(elapsed);
        let gained = elapsed.saturating_mul(u64::from(self.rate.per_second));
        let tokens = u64::from(bucket.tokens).saturating_add(gained).min(u64::from(full)) as u32;
        let permitted = tokens >= 1000;
        bucket.tokens = if permitted { tokens - 1000 } else { tokens };
        permitted
    }
}

/// An IPv6 host has a /64 of addresses at its disposal.
fn source_network(client: ClientAddr) -> u64 {
    match client.0.ip() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let (mut limiter, now) = limiter();
        let passed = (0..100).filter(|_| limiter.permit(v4(1), now)).count();
        assert_eq!(passed, 5);
        let passed = (0..100).filter(|_| limiter.permit(v4(1), now + SECOND)).count();
        assert_eq!(passed, 2);
    }

    #[test]
    fn a_long_silence_earns_one_burst_and_no_more() {
        let (mut limiter, now) = limiter();
        assert!(limiter.permit(v4(1), now));
        let later = now + 3600 * SECOND;
        assert_eq!((0..100).filter(|_| limiter.permit(v4(1), later)).count(), 5);
    }

    #[test]
    fn frequent_requests_do_not_stop_the_refill() {
        let (mut limiter, now) = limiter();
        let step = Duration::from_micros(100);
        let passed = (0..10_000).filter(|&n| limiter.permit(v4(1), now + n * step)).count();
        assert!((6..=7).contains(&passed), "{passed}");
    }

    #[test]
    fn a_v6_source_is_its_slash_64() {
        let (mut limiter, now) = limiter();
        let host =
            |n: u16| ClientAddr((std::net::Ipv6Addr::new(0x2001, 1, 1, 1, 0, 0, 0, n), 5).into());
        assert_eq!((0..100).filter(|&n| limiter.permit(host(n), now)).count(), 5);
    }

    #[test]
    fn any_number_of_sources_fits_in_the_same_table() {
        let (mut limiter, now) = limiter();
        for source in 0..100_000 {
            let _ = limiter.permit(v4(source), now);
        }
        assert_eq!(limiter.buckets.len(), BUCKETS);
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn limiter() -> (ChallengeLimiter, Instant) {
        (ChallengeLimiter::new(ChallengeRate { per_second: 2, burst: 5 }, 7), Instant::now())
    }

    fn v4(source: u32) -> ClientAddr {
        ClientAddr((std::net::Ipv4Addr::from_bits(source), 1000).into())
    }
}
