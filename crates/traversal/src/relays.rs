//! The ways to the relay, and which of them is taken.
//!
//! The first way, over UDP, begins at once; while none has brought an allocation the next one joins
//! the race after a head start, so that a network that swallows UDP costs a moment and no timeout.
//! The first allocation is taken and the other ways are given up. UDP, which carries packets best,
//! may still come late: for a short while it takes over, if nobody has been told the first address.
//!
//! A way over TCP or TLS needs a stream, which is the caller's to open ([`StreamCommand`]).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_wire::Secret;

use crate::framing::{self, Messages};
use crate::relay::{Allocation, FromPeer, RelayConfig, RelayLeg, RelayTransport};
use crate::transmit::Transmit;

/// Ways that are tried: a few transports of a few relays.
const MAX_WAYS: usize = 8;
/// How long each way has before the next one joins: two round trips, an allocation's, on most
/// networks.
const HEAD_START: Duration = Duration::from_millis(300);
/// The same where the way in use has failed: a relay that was restarted is back over UDP by then.
const SECOND_HEAD_START: Duration = Duration::from_secs(2);
/// How long a better way may still take over.
const LATE: Duration = Duration::from_secs(2);
/// The same for one that was in use and fell silent: the network may have been silent, and comes back
/// over all ways at once. Longer than its leg pauses and then asks.
const RETURN: Duration = Duration::from_secs(15);
/// The wait before a stream that could not be opened, or broke, is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Names a stream to a relay, once and for all of a node's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

/// What the caller is to do with streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamCommand {
    /// Connect, and tell how it went: `stream_opened` or `stream_closed` of the [`Node`](crate::Node).
    Open {
        /// Its name from here on.
        id: StreamId,
        /// The relay.
        server: SocketAddr,
        /// The name that the relay's certificate must be for; without one there is no TLS.
        tls: Option<String>,
    },
    /// Write what waits and close, also where it is still being opened.
    Close(StreamId),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Relays {
    /// In the order of preference, and at the end the one in use that is not offered any more.
    ways: Vec<Way>,
    chosen: Option<usize>,
    /// The address of the way that was in use before and fell silent: others may have been told it.
    left: Option<SocketAddr>,
    changed: bool,
    /// When the next way joins, while none is chosen.
    next_at: Instant,
    /// Until then a better way may take over.
    late_until: Option<Instant>,
    last_id: u64,
    commands: VecDeque<StreamCommand>,
    datagrams: VecDeque<Transmit>,
    writes: VecDeque<(StreamId, Bytes)>,
}

#[derive(Debug)]
struct Way {
    config: RelayConfig,
    state: State,
    /// Why it did not work the last time.
    failure: Option<String>,
    not_before: Instant,
    /// It is not offered any more, and in use until another is there.
    retiring: bool,
}

#[derive(Debug)]
enum State {
    Idle,
    Opening(StreamId),
    Datagrams(Box<RelayLeg>),
    Stream { id: StreamId, leg: Box<RelayLeg>, messages: Messages },
}

impl Relays {
    /// Begins with the first.
    pub(crate) fn new(configs: Vec<RelayConfig>, now: Instant) -> Self {
        Self {
            ways: configs.into_iter().take(MAX_WAYS).map(|config| Way::new(config, now)).collect(),
            chosen: None,
            left: None,
            changed: false,
            next_at: now,
            late_until: None,
            last_id: 0,
            commands: VecDeque::new(),
            datagrams: VecDeque::new(),
            writes: VecDeque::new(),
        }
    }

    /// Takes fresh credentials, or other relays. The way in use is kept whatever the order is now:
    /// that follows the relays' load, and connections go through it. One that is not named any more
    /// is left once another is there.
    pub(crate) fn set(&mut self, configs: Vec<RelayConfig>, now: Instant) {
        if configs.is_empty() {
            self.changed |= self.chosen.is_some();
            return self.close(now);
        }
        let chosen = self.chosen.map(|chosen| self.ways[chosen].config.clone());
        let mut before = std::mem::take(&mut self.ways);
        for config in configs.into_iter().take(MAX_WAYS) {
            match before.iter().position(|way| way.config.is_same_way(&config)) {
                Some(same) => {
                    let mut way = before.swap_remove(same);
                    way.retiring = false;
                    way.renew_credentials(config, now);
                    self.ways.push(way);
                }
                None => self.ways.push(Way::new(config, now)),
            }
        }
        if let Some(chosen) = chosen {
            if let Some(at) = before.iter().position(|way| way.config.is_same_way(&chosen)) {
                let way = before.swap_remove(at);
                self.ways.push(Way { retiring: true, ..way });
                self.next_at = now;
                self.late_until = None;
            }
            self.chosen = self.ways.iter().position(|way| way.config.is_same_way(&chosen));
        } else {
            self.next_at = self.next_at.min(now);
        }
        let kept = std::mem::replace(&mut self.ways, before);
        self.give_up(|_| true, now);
        self.ways = kept;
    }

    /// Takes fresh credentials for the ways that are named, and leaves the others as they are.
    pub(crate) fn renew(&mut self, configs: Vec<RelayConfig>, now: Instant) {
        for config in configs {
            if let Some(way) = self.ways.iter_mut().find(|way| way.config.is_same_way(&config)) {
                way.renew_credentials(config, now);
            }
        }
    }

    /// Where the ways lead.
    pub(crate) fn servers(&self) -> impl Iterator<Item = SocketAddr> {
        self.ways.iter().map(|way| way.config.server)
    }

    /// The leg in use.
    pub(crate) fn leg(&mut self) -> Option<&mut RelayLeg> {
        self.ways[self.chosen?].leg_mut()
    }

    /// Where peers reach this client, if anywhere.
    pub(crate) fn relayed(&self) -> Option<SocketAddr> {
        self.ways[self.chosen?].relayed()
    }

    /// The transport of the leg in use.
    pub(crate) fn transport(&self) -> Option<RelayTransport> {
        Some(self.ways[self.chosen?].config.transport)
    }

    /// The allocation, as far as any way has brought one; `None` without relays.
    pub(crate) fn allocation(&self) -> Option<Allocation> {
        if let Some(addr) = self.relayed() {
            return Some(Allocation::Ready(addr));
        }
        let retry = self.ways.iter().map(|way| way.not_before).min()?;
        let mut reasons = Vec::new();
        for way in &self.ways {
            match way.failure() {
                Some(reason) => reasons.push(format!("over {}: {reason}", way.config.transport)),
                None => return Some(Allocation::Pending),
            }
        }
        Some(Allocation::Failed { reason: reasons.join("; "), retry })
    }

    /// Whether the allocation came, went or moved since this was asked last.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether datagrams from there are a relay's.
    pub(crate) fn is_relay(&self, remote: SocketAddr) -> bool {
        self.ways.iter().any(|way| way.is_datagram_way_to(remote))
    }

    /// Reads a datagram of a relay's.
    pub(crate) fn handle_datagram(
        &mut self,
        remote: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Option<FromPeer> {
        let way = self.ways.iter_mut().find(|way| way.is_datagram_way_to(remote))?;
        way.leg_mut()?.handle_datagram(datagram, now)
    }

    /// The stream is there: ask for an allocation over it.
    pub(crate) fn stream_opened(&mut self, id: StreamId, now: Instant) {
        let opening = |way: &&mut Way| matches!(way.state, State::Opening(it) if it == id);
        if let Some(way) = self.ways.iter_mut().find(opening) {
            let leg = Box::new(RelayLeg::new(way.config.clone(), now));
            way.state = State::Stream { id, leg, messages: Messages::default() };
        }
    }

    /// Reads what came over a stream. What peers sent is appended.
    pub(crate) fn stream_received(
        &mut self,
        id: StreamId,
        bytes: &[u8],
        from_peers: &mut Vec<FromPeer>,
        now: Instant,
    ) {
        let of = |way: &mut Way| match &mut way.state {
            State::Stream { id: it, leg, messages } if *it == id => {
                messages.push(bytes);
                loop {
                    match messages.next() {
                        Ok(Some(message)) => from_peers.extend(leg.handle_datagram(&message, now)),
                        Ok(None) => return Some(Ok(())),
                        Err(error) => return Some(Err(error)),
                    }
                }
            }
            _ => None,
        };
        if let Some(Err(error)) = self.ways.iter_mut().find_map(of) {
            self.commands.push_back(StreamCommand::Close(id));
            self.stream_closed(id, &error.to_string(), now);
        }
    }

    /// The stream could not be opened, or is gone.
    pub(crate) fn stream_closed(&mut self, id: StreamId, reason: &str, now: Instant) {
        let Some(way) = self.ways.iter_mut().find(|way| way.stream() == Some(id)) else { return };
        way.state = State::Idle;
        way.failure = Some(reason.to_owned());
        way.not_before = now + RETRY;
        // Its head start is worth nothing to anybody.
        self.next_at = self.next_at.min(now);
    }

    /// Retransmits, refreshes and asks again.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for leg in self.ways.iter_mut().filter_map(Way::leg_mut) {
            if leg.poll_timeout().is_some_and(|due| due <= now) {
                leg.handle_timeout(now);
            }
        }
    }

    /// When [`Relays::handle_timeout`] and [`Relays::review`] are due.
    pub(crate) fn poll_timeout(&mut self) -> Option<Instant> {
        let idle = |way: &Way| matches!(way.state, State::Idle).then_some(way.not_before);
        let next = self.ways.iter().filter_map(idle).min().map(|at| at.max(self.next_at));
        let next = next.filter(|_| self.seeks());
        let legs = self.ways.iter_mut().filter_map(Way::leg_mut).filter_map(RelayLeg::poll_timeout);
        legs.chain(next).chain(self.late_until).min()
    }

    /// Chooses, begins the next way where none is chosen, and gives up those that are not needed.
    /// `idle`: nobody has been told the allocation's address.
    pub(crate) fn review(&mut self, idle: bool, now: Instant) {
        if let Some(chosen) = self.chosen
            && !self.ways[chosen].is_ready()
        {
            self.chosen = None;
            self.changed = true;
            self.late_until = None;
            self.left = self.ways[chosen].doubted();
            // A stream that broke needs no more time, and a relay that is silent has had a lot; one
            // that has forgotten is asked again by its leg.
            self.next_at = match self.ways[chosen].leg() {
                Some(_) if self.left.is_none() => now + SECOND_HEAD_START,
                Some(_) | None => now,
            };
            if self.ways[chosen].retiring {
                self.give_up(|index| index == chosen, now);
                self.ways.truncate(chosen);
            }
        }
        match (self.chosen, self.ways.iter().position(Way::is_ready)) {
            (None, Some(first)) => self.choose(first, now),
            (Some(chosen), Some(first)) if first < chosen => {
                let returns = self.left.is_some() && self.ways[first].relayed() == self.left;
                if idle || returns || self.ways[chosen].retiring {
                    self.choose(first, now);
                }
            }
            _ => {}
        }
        if self.seeks() && self.next_at <= now {
            self.begin_next(now);
        }
        if self.late_until.is_some_and(|until| until <= now) {
            self.late_until = None;
            let chosen = self.chosen;
            self.give_up(|index| Some(index) != chosen, now);
        }
        self.collect();
    }

    /// The next datagram to send.
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.datagrams.pop_front()
    }

    /// The next bytes to write to a stream.
    pub(crate) fn poll_write(&mut self) -> Option<(StreamId, Bytes)> {
        self.writes.pop_front()
    }

    /// The next thing to do with a stream.
    pub(crate) fn poll_command(&mut self) -> Option<StreamCommand> {
        self.commands.pop_front()
    }

    /// Gives every allocation back, and asks for no other: nobody would give that one back.
    pub(crate) fn close(&mut self, now: Instant) {
        self.give_up(|_| true, now);
        self.chosen = None;
        self.ways.clear();
    }

    /// Never one that is retiring: it is the last.
    fn choose(&mut self, first: usize, now: Instant) {
        self.chosen = Some(first);
        self.changed = true;
        let may_return = self.ways[..first].iter().any(|way| way.doubted().is_some());
        self.late_until = (first > 0).then_some(now + if may_return { RETURN } else { LATE });
        self.give_up(|index| index > first, now);
        self.ways.retain(|way| !way.retiring);
    }

    /// Whether there is to be another way.
    fn seeks(&self) -> bool {
        self.chosen.is_none_or(|chosen| self.ways[chosen].retiring)
    }

    fn begin_next(&mut self, now: Instant) {
        let idle = |way: &&mut Way| matches!(way.state, State::Idle) && way.not_before <= now;
        let Some(way) = self.ways.iter_mut().find(idle) else { return };
        self.next_at = now + HEAD_START;
        let config = way.config.clone();
        let tls = match config.transport {
            RelayTransport::Udp => {
                way.state = State::Datagrams(Box::new(RelayLeg::new(config, now)));
                return;
            }
            RelayTransport::Tcp => None,
            RelayTransport::Tls => Some(config.name),
        };
        self.last_id += 1;
        let id = StreamId(self.last_id);
        way.state = State::Opening(id);
        self.commands.push_back(StreamCommand::Open { id, server: config.server, tls });
    }

    fn give_up(&mut self, which: impl Fn(usize) -> bool, now: Instant) {
        for way in self.ways.iter_mut().enumerate().filter(|(i, _)| which(*i)).map(|(_, way)| way) {
            if let Some(leg) = way.leg_mut() {
                leg.close(now);
            }
        }
        self.collect();
        for way in self.ways.iter_mut().enumerate().filter(|(i, _)| which(*i)).map(|(_, way)| way) {
            self.commands.extend(way.stream().map(StreamCommand::Close));
            way.state = State::Idle;
            way.not_before = way.not_before.max(now);
        }
    }

    /// Takes out what the legs want sent.
    fn collect(&mut self) {
        for way in &mut self.ways {
            match &mut way.state {
                State::Idle | State::Opening(_) => {}
                State::Datagrams(leg) => {
                    self.datagrams.extend(std::iter::from_fn(|| leg.poll_transmit()));
                }
                State::Stream { id, leg, .. } => {
                    let messages = std::iter::from_fn(|| leg.poll_transmit());
                    let id = *id;
                    self.writes.extend(messages.map(|it| (id, framing::padded(it.payload))));
                }
            }
        }
    }
}

impl Way {
    fn new(config: RelayConfig, now: Instant) -> Self {
        Self { config, state: State::Idle, failure: None, not_before: now, retiring: false }
    }

    fn leg(&self) -> Option<&RelayLeg> {
        match &self.state {
            State::Idle | State::Opening(_) => None,
            State::Datagrams(leg) | State::Stream { leg, .. } => Some(leg),
        }
    }

    fn leg_mut(&mut self) -> Option<&mut RelayLeg> {
        match &mut self.state {
            State::Idle | State::Opening(_) => None,
            State::Datagrams(leg) | State::Stream { leg, .. } => Some(leg),
        }
    }

    fn stream(&self) -> Option<StreamId> {
        match self.state {
            State::Opening(id) | State::Stream { id, .. } => Some(id),
            State::Idle | State::Datagrams(_) => None,
        }
    }

    fn is_ready(&self) -> bool {
        self.relayed().is_some()
    }

    fn relayed(&self) -> Option<SocketAddr> {
        self.leg()?.relayed()
    }

    fn doubted(&self) -> Option<SocketAddr> {
        self.leg()?.doubted()
    }

    fn is_datagram_way_to(&self, remote: SocketAddr) -> bool {
        self.config.transport == RelayTransport::Udp && self.config.server == remote
    }

    /// Why it does not work, where that is known.
    fn failure(&self) -> Option<&str> {
        match self.leg().map(RelayLeg::allocation) {
            Some(Allocation::Failed { reason, .. }) => Some(reason),
            Some(Allocation::Pending | Allocation::Ready(_)) => None,
            None => self.failure.as_deref(),
        }
    }

    fn renew_credentials(&mut self, config: RelayConfig, now: Instant) {
        if let Some(leg) = self.leg_mut() {
            let (username, password): (&str, &Secret) = (&config.username, &config.password);
            leg.renew_credentials(username, password, now);
        }
        self.config = config;
    }
}
