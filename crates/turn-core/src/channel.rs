//! Channel bindings of one allocation (RFC 8656 §12).
//!
//! One struct owns both directions of the table, so they cannot drift apart.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::addr::PeerAddr;

/// A channel number that a client may bind: 0x4000–0x7FFF.
///
/// RFC 8656 §12 narrows the range to 0x4000–0x4FFF, to tell TURN from other protocols on one
/// socket. Nothing but TURN comes to this one, and clients of RFC 5766 (coturn's among them) pick
/// from the whole range it gave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelNumber(u16);

impl ChannelNumber {
    /// `None` outside 0x4000–0x7FFF.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        (0x4000..=0x7fff).contains(&number).then_some(Self(number))
    }

    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

#[derive(Clone, Copy)]
struct Channel {
    peer: PeerAddr,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// Carries data until then.
    Bound { until: Instant },
    /// Carries nothing; until then number and peer may only be bound to each other again.
    Resting { until: Instant },
}

impl State {
    fn until(self) -> Instant {
        match self {
            Self::Bound { until } | Self::Resting { until } => until,
        }
    }
}

#[derive(Default)]
pub(crate) struct Channels {
    by_number: BTreeMap<ChannelNumber, Channel>,
    by_peer: BTreeMap<SocketAddr, ChannelNumber>,
}

/// The number carries another peer, or the peer has another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conflict;

impl Channels {
    /// The peer that data on this channel goes to.
    pub(crate) fn peer(&self, number: ChannelNumber, now: Instant) -> Option<PeerAddr> {
        let channel = self.by_number.get(&number)?;
        is_bound(channel, now).then_some(channel.peer)
    }

    /// The channel that data from this peer travels on.
    pub(crate) fn number(&self, peer: PeerAddr, now: Instant) -> Option<ChannelNumber> {
        let &number = self.by_peer.get(&peer.0)?;
        is_bound(self.by_number.get(&number)?, now).then_some(number)
    }

    /// Whether the two may be bound to each other. `Ok(true)`: they are in the table already, so
    /// binding them makes it no larger.
    pub(crate) fn check(&self, number: ChannelNumber, peer: PeerAddr) -> Result<bool, Conflict> {
        match (self.by_number.get(&number), self.by_peer.get(&peer.0)) {
            (None, None) => Ok(false),
            (Some(channel), Some(&bound)) if channel.peer == peer && bound == number => Ok(true),
            _ => Err(Conflict),
        }
    }

    /// Binds or refreshes; [`Self::check`] has to have passed.
    pub(crate) fn bind(&mut self, number: ChannelNumber, peer: PeerAddr, until: Instant) {
        debug_assert!(self.check(number, peer).is_ok());
        self.by_number.insert(number, Channel { peer, state: State::Bound { until } });
        self.by_peer.insert(peer.0, number);
        self.check_invariant();
    }

    pub(crate) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// Moves channels on: bound ones whose time is over to rest, rested ones out. Returns those
    /// that stopped carrying data.
    pub(crate) fn expire(
        &mut self,
        now: Instant,
        rest: Duration,
    ) -> Vec<(ChannelNumber, PeerAddr)> {
        let mut unbound = Vec::new();
        for (&number, channel) in &mut self.by_number {
            if let State::Bound { until } = channel.state
                && until <= now
            {
                channel.state = State::Resting { until: until + rest };
                unbound.push((number, channel.peer));
            }
        }
        let by_peer = &mut self.by_peer;
        self.by_number.retain(|_, channel| {
            let rested = matches!(channel.state, State::Resting { until } if until <= now);
            if rested {
                by_peer.remove(&channel.peer.0);
            }
            !rested
        });
        self.check_invariant();
        unbound
    }

    /// Takes out every channel whose peer is not to be kept. Returns those that carried data.
    pub(crate) fn remove_unless(
        &mut self,
        keep: impl Fn(PeerAddr) -> bool,
    ) -> Vec<(ChannelNumber, PeerAddr)> {
        let mut unbound = Vec::new();
        let by_peer = &mut self.by_peer;
        self.by_number.retain(|&number, channel| {
            let kept = keep(channel.peer);
            if !kept {
                by_peer.remove(&channel.peer.0);
                if matches!(channel.state, State::Bound { .. }) {
                    unbound.push((number, channel.peer));
                }
            }
            kept
        });
        self.check_invariant();
        unbound
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.by_number.values().map(|channel| channel.state.until()).min()
    }

    fn check_invariant(&self) {
        debug_assert_eq!(self.by_number.len(), self.by_peer.len());
        debug_assert!(
            self.by_peer.iter().all(|(peer, number)| self
                .by_number
                .get(number)
                .is_some_and(|c| c.peer.0 == *peer))
        );
    }
}

fn is_bound(channel: &Channel, now: Instant) -> bool {
    matches!(channel.state, State::Bound { until } if now < until)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_MINUTES: Duration = Duration::from_secs(600);
    const REST: Duration = Duration::from_secs(300);

    #[test]
    fn only_0x4000_to_0x7fff_are_channel_numbers() {
        for (number, ok) in
            [(0x3fff, false), (0x4000, true), (0x4fff, true), (0x7fff, true), (0x8000, false)]
        {
            assert_eq!(ChannelNumber::new(number).is_some(), ok, "{number:#x}");
        }
    }

    #[test]
    fn a_number_has_one_peer_and_a_peer_one_number() {
        let (mut channels, now) = (Channels::default(), Instant::now());
        channels.bind(number(0), peer(1), now + TEN_MINUTES);
        assert_eq!(channels.check(number(0), peer(2)), Err(Conflict));
        assert_eq!(channels.check(number(1), peer(1)), Err(Conflict));
        assert_eq!(channels.check(number(0), peer(1)), Ok(true));
        assert_eq!(channels.check(number(1), peer(2)), Ok(false));
    }

    #[test]
    fn an_expired_channel_carries_nothing_and_rests_before_it_can_mean_another_peer() {
        let (mut channels, now) = (Channels::default(), Instant::now());
        channels.bind(number(0), peer(1), now + TEN_MINUTES);
        let end = now + TEN_MINUTES;

        assert_eq!(channels.peer(number(0), end), None, "before anything has swept");
        assert_eq!(channels.expire(end, REST), vec![(number(0), peer(1))]);
        assert_eq!(channels.number(peer(1), end), None);
        assert_eq!(channels.check(number(0), peer(2)), Err(Conflict));
        assert_eq!(channels.check(number(0), peer(1)), Ok(true));

        assert_eq!(channels.expire(end + REST, REST), vec![]);
        assert_eq!(channels.check(number(0), peer(2)), Ok(false));
        assert_eq!((channels.len(), channels.next_deadline()), (0, None));
    }

    #[test]
    fn a_sweep_that_comes_late_skips_the_rest() {
        let (mut channels, now) = (Channels::default(), Instant::now());
        channels.bind(number(0), peer(1), now + TEN_MINUTES);
        let unbound = channels.expire(now + TEN_MINUTES + REST, REST);
        assert_eq!((unbound.len(), channels.len()), (1, 0));
    }

    fn number(n: u16) -> ChannelNumber {
        ChannelNumber::new(0x4000 + n).unwrap()
    }

    fn peer(port: u16) -> PeerAddr {
        PeerAddr(([8, 8, 8, 8], port).into())
    }
}
