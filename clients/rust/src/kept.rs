//! What is said again over another way: copies of what left last, and of a handshake.
//!
//! A datagram that left last may be lost with its way, and one that is faster may overtake a handshake
//! that is still on a slower way. QUIC discards what comes in ahead of the handshake it belongs to (RFC
//! 9001 §5.7), and `quinn` takes later copies of that for repetitions: so the handshake goes first.

use std::collections::VecDeque;
use std::slice::Chunks;
use std::time::{Duration, Instant};

/// Datagrams that are kept: a flight of a handshake, and what follows it.
pub(crate) const MAX_KEPT: usize = 4;
/// How long a handshake may be on its way, once it has one.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// The datagrams of one route, in the order in which they left, or could not.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    datagrams: VecDeque<Vec<u8>>,
    /// When the last one of a handshake was kept.
    handshake: Option<Instant>,
}

impl Kept {
    /// Keeps a datagram that has no way to go, beside those before it.
    pub(crate) fn add(&mut self, datagram: &[u8], now: Instant) {
        if is_of_handshake(datagram) {
            self.handshake = Some(now);
        }
        self.push(datagram.to_vec());
    }

    /// Keeps of what leaves at once now what is worth it.
    pub(crate) fn leave(&mut self, datagrams: Chunks<'_, u8>, now: Instant) {
        let count = datagrams.len();
        for (at, datagram) in datagrams.enumerate() {
            if at + 1 == count || is_of_handshake(datagram) {
                self.replace(datagram, now);
            }
        }
    }

    /// Keeps one that leaves now, and of those before it only what it must not overtake.
    fn replace(&mut self, datagram: &[u8], now: Instant) {
        if is_of_handshake(datagram) {
            return self.add(datagram, now);
        }
        let mut last =
            self.datagrams.pop_back_if(|last| !is_of_handshake(last)).unwrap_or_default();
        let under_way =
            self.handshake.is_some_and(|at| now.saturating_duration_since(at) < HANDSHAKE);
        if under_way {
            self.datagrams.retain(|earlier| is_of_handshake(earlier));
        } else {
            self.datagrams.clear();
            self.handshake = None;
        }
        last.clear();
        last.extend_from_slice(datagram);
        self.push(last);
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> Vec<Vec<u8>> {
        self.datagrams.iter().cloned().collect()
    }

    fn push(&mut self, datagram: Vec<u8>) {
        if self.datagrams.len() >= MAX_KEPT {
            self.datagrams.pop_front();
        }
        self.datagrams.push_back(datagram);
    }
}

/// Long headers are those of handshakes (RFC 9000 §17.2); more may be in the same datagram.
fn is_of_handshake(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0x80 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_what_has_no_way_is_kept_within_a_bound() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        for datagram in 90..100u8 {
            kept.add(&[datagram], now);
        }
        assert_eq!(kept.all(), [[96], [97], [98], [99]]);
    }

    #[test]
    fn of_what_leaves_only_the_last_is_kept_and_the_handshake_before_it_for_a_while() {
        let (mut kept, began) = (Kept::default(), Instant::now());
        kept.add(&[0xc0, 1], began);
        kept.replace(&[0xe0, 2], began);
        for data in [3, 4, 5] {
            kept.replace(&[0x40, data], began + HANDSHAKE / 2);
        }
        assert_eq!(kept.all(), [[0xc0, 1], [0xe0, 2], [0x40, 5]]);
        kept.leave([0x40, 6, 0x40, 7, 0x40, 8].chunks(2), began + HANDSHAKE);
        assert_eq!(kept.all(), [[0x40, 8]]);
    }

    #[test]
    fn i5_a_handshake_that_goes_on_and_on_is_kept_within_the_same_bound() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        for datagram in 0..20 {
            kept.replace(&[0xe0, datagram], now);
            kept.replace(&[0x40, datagram], now);
        }
        assert_eq!(kept.all(), [[0xe0, 17], [0xe0, 18], [0xe0, 19], [0x40, 19]]);
    }
}
