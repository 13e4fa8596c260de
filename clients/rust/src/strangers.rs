//! Datagrams of QUIC's that come from an address which no check has named yet.
//!
//! A NAT that maps by destination gives a peer an address that nobody has heard of, and the check that
//! shows it may be lost or late: ahead of a relay's permission, or behind the data. The data waits for
//! it a moment here. Without a check nothing of it is read: whose it is, only a check proves (I9).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_traversal::traffic::Leg;

/// Datagrams that wait at once, of whomever; the oldest goes first.
const MAX_WAITING: usize = 16;
/// How long one waits: until the next check of a side that has asked in vain.
const PATIENCE: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Strangers(VecDeque<Waiting>);

#[derive(Debug)]
struct Waiting {
    since: Instant,
    leg: Leg,
    source: SocketAddr,
    datagram: Bytes,
}

impl Strangers {
    /// Keeps a datagram. Returns how many were dropped for it: for their age, or for want of room.
    pub(crate) fn keep(
        &mut self,
        leg: Leg,
        source: SocketAddr,
        datagram: Bytes,
        now: Instant,
    ) -> u64 {
        let before = self.0.len();
        self.0.retain(|waiting| now.saturating_duration_since(waiting.since) < PATIENCE);
        if self.0.len() >= MAX_WAITING {
            self.0.pop_front();
        }
        let dropped = before - self.0.len();
        self.0.push_back(Waiting { since: now, leg, source, datagram });
        dropped as u64
    }

    /// What came from these addresses a moment ago, in order.
    pub(crate) fn take(
        &mut self,
        sources: &[SocketAddr],
        now: Instant,
    ) -> Vec<(Leg, SocketAddr, Bytes)> {
        let mut taken = Vec::new();
        self.0.retain(|waiting| {
            let theirs = sources.contains(&waiting.source);
            if theirs && now.saturating_duration_since(waiting.since) < PATIENCE {
                taken.push((waiting.leg, waiting.source, waiting.datagram.clone()));
            }
            !theirs
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(port: u16) -> SocketAddr {
        ([203, 0, 113, 12], port).into()
    }

    fn datagram(number: u8) -> Bytes {
        Bytes::copy_from_slice(&[0xc0, number])
    }

    #[test]
    fn what_came_ahead_of_its_check_is_there_in_order_once_that_has_come() {
        let (mut strangers, now) = (Strangers::default(), Instant::now());
        for (number, port) in [(1, 7), (2, 8), (3, 7)] {
            assert_eq!(strangers.keep(Leg::Relay, from(port), datagram(number), now), 0);
        }
        let sevenths = strangers.take(&[from(6), from(7)], now + PATIENCE / 2);
        let expected = [1, 3].map(|number| (Leg::Relay, from(7), datagram(number)));
        assert_eq!(sevenths, expected);
        assert_eq!(strangers.take(&[from(7)], now), [], "once");
        assert_eq!(strangers.take(&[from(8)], now + PATIENCE), [], "too late");
    }

    #[test]
    fn i5_strangers_wait_within_a_bound_and_for_a_while() {
        let (mut strangers, now) = (Strangers::default(), Instant::now());
        let mut keep = |number, now| strangers.keep(Leg::Socket, from(7), datagram(number), now);
        let dropped: u64 = (0..20).map(|number| keep(number, now)).sum();
        assert_eq!(dropped, 4);
        assert_eq!(keep(20, now + PATIENCE), 16, "all of the others are too old");
        assert_eq!(strangers.take(&[from(7)], now + PATIENCE).len(), 1);
    }
}
