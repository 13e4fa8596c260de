//! Keeping the path in use, or leaving it: because it has fallen silent, because its checks are not
//! answered, or because it loses too much.

use std::net::SocketAddr;
use std::time::Instant;

use super::{ASKING, Attempt, JUST, THEIR_DOUBT};
use crate::ice::Pair;
use crate::liveness::{Finding, GONE, QUIET, SILENCE};
use crate::path::{Path, PathKind, Usable, Via};
use crate::quality::Counters;
use crate::traffic::{Leg, Traffic};

/// An address that data comes from, which is not the one it is sent to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stray {
    source: SocketAddr,
    /// Nothing had come for a while when data first came from there.
    after_silence: bool,
}

impl Attempt {
    /// Leaves the active path if it has fallen silent under traffic.
    pub(crate) fn traffic(&mut self, traffic: Traffic, now: Instant) {
        let Some(active) = self.active else { return };
        self.weigh(&active, traffic.counted, now);
        // Silence only counts while this side is talking: an idle path is not a dead one. And it
        // counts from the first unanswered packet on, not from the last answer, which may have come
        // before an idle hour.
        let talking = |sent| now.saturating_duration_since(sent) < SILENCE;
        self.follow(&active, traffic, now);
        self.look_at_strays(&active, traffic, now);
        let received = traffic.received();
        if received != self.heard || !traffic.sent.is_some_and(talking) {
            self.heard = received;
            self.unanswered = None;
        } else if traffic.sent > received {
            let since = *self.unanswered.get_or_insert(traffic.sent.unwrap_or(now));
            let silent = now.saturating_duration_since(since);
            if silent >= SILENCE.max(3 * active.rtt) {
                self.leave(active, now);
            } else if silent >= QUIET.max(2 * active.rtt) && self.asked_about != Some(since) {
                // A NAT that has forgotten gives the question a new mapping, which the other side
                // learns from it; a relay that has forgotten says so.
                self.asked_about = Some(since);
                self.ask(now);
            }
        }
    }

    /// Checks the path in use, and whether the network is still the one that was measured.
    fn ask(&mut self, now: Instant) {
        self.doubts_network = true;
        self.next_round = now;
        self.next_consent = now;
        self.streams.doubt(true, now);
    }

    /// Goes after the other side, which has left the direct path and knows why. Whoever mostly
    /// listens would else go on answering into the void. Where the path is alive after all, the
    /// next check takes it back, and the other side is not followed a second time.
    fn follow(&mut self, active: &Path, traffic: Traffic, now: Instant) {
        let (Some(by_socket), Some(by_relay)) = (traffic.by_socket, traffic.by_relay) else {
            return;
        };
        let quiet = |at: Instant| now.saturating_duration_since(at) >= GONE.max(2 * active.rtt);
        if active.kind != PathKind::Direct
            || !quiet(by_socket)
            || quiet(by_relay)
            || self.followed == Some(by_socket)
        {
            return;
        }
        self.followed = Some(by_socket);
        self.quality.forget();
        self.suspect_direct(None, now);
        self.next_round = now;
        self.search.begin(now);
    }

    /// Data from another address of the other side's than the one it is sent to: its NAT may have
    /// begun anew, and nothing gets in at the old address. If the new one answers, the data goes there
    /// once the old one is late to answer, or at once where it was silent before.
    fn look_at_strays(&mut self, active: &Path, traffic: Traffic, now: Instant) {
        let from_socket = traffic.latest.filter(|(leg, _)| *leg == Leg::Socket);
        let stray = from_socket.map(|(_, source)| source).filter(|source| *source != active.remote);
        let over_udp = active.kind == PathKind::Direct && matches!(active.via, Via::Socket(_));
        let Some(stray) = stray.filter(|_| over_udp) else {
            self.stray = None;
            return;
        };
        let known = self.stray.filter(|known| known.source == stray);
        let after_silence = match known {
            Some(known) => known.after_silence,
            None => {
                self.ask(now);
                self.was_silent_before(traffic, active)
            }
        };
        self.stray = Some(Stray { source: stray, after_silence });
        let pairs = self.pairs(now);
        let answers = |pair: &&Pair| {
            pair.remote.address == stray
                && pair.answered
                && self.path(pair).kind == PathKind::Direct
        };
        let gone = after_silence || self.consent.is_overdue(active, now);
        if gone && pairs.iter().any(|pair| answers(&pair)) {
            let answers = self.pair_of(active, &pairs).map_or(0, |pair| pair.answers);
            self.abandoned.suspect(*active, answers, now);
            self.quality.forget();
        }
    }

    /// Whether what has come now was the first for a while.
    fn was_silent_before(&self, traffic: Traffic, active: &Path) -> bool {
        let gap = self.heard.zip(traffic.by_socket);
        gap.is_none_or(|(before, now)| {
            now.saturating_duration_since(before) >= GONE.max(2 * active.rtt)
        })
    }

    /// Leaves a direct path for a relayed one where that carries more, and returns where it does not.
    pub(super) fn weigh(&mut self, active: &Path, counted: Counters, now: Instant) {
        self.quality.observe(active, counted, now);
        if active.kind == PathKind::Relay {
            self.quality.weigh_relay(active);
            return;
        }
        let pairs = self.pairs(now);
        let relayed = pairs.iter().filter(|pair| pair.answered).map(|pair| self.usable_pair(pair));
        let relayed = relayed.filter(|u| u.path.kind == PathKind::Relay);
        let relay = relayed.filter(|u| !self.abandoned.holds(&u.path)).min_by_key(Usable::rank);
        self.quality.leave_for(active, relay.map(|u| u.path).as_ref(), now);
    }

    /// Looks whether the checks of the path in use are answered.
    pub(super) fn doubt(&mut self, pairs: &[Pair], now: Instant) {
        let Some(active) = self.active.filter(|_| self.agent.settled()) else { return };
        let Some(pair) = self.pair_of(&active, pairs) else { return };
        match self.consent.observe(&active, pair.requests, pair.answers, now) {
            Finding::Good => {}
            Finding::Doubtful => {
                self.next_round = self.next_round.min(now + ASKING.max(active.rtt));
            }
            Finding::Reassured if self.abandoned.is_empty() => {
                self.next_round = now + self.keep_alive;
            }
            Finding::Reassured => {}
            Finding::Dead => self.leave(active, now),
        }
    }

    /// The path in use has answered a check. If data has been silent, what was sent into the silence
    /// is likely to be lost, and whoever sent it may wait long before it says it again.
    pub(super) fn hear_answer(&mut self, now: Instant) {
        self.answered = Some(now);
        self.tells_answer |= self.unanswered.is_some() && self.asked_about == self.unanswered;
    }

    /// What the other side has a doubt about may be dead in this side's direction only. A check of
    /// our own tells, unless one has just told.
    pub(super) fn hear_doubt(&mut self, now: Instant) {
        let lately = |at: Instant| now.saturating_duration_since(at) < THEIR_DOUBT;
        let doubts = self.asked.replace(now).is_some_and(lately);
        let just = |at: Instant| now.saturating_duration_since(at) < JUST;
        if doubts && !self.answered.is_some_and(just) {
            // Not at once every time: two sides in doubt would go on asking each other for ever.
            let next = now.max(self.last_round + ASKING);
            self.next_round = self.next_round.min(next);
            self.next_consent = next;
        }
    }

    pub(super) fn is_in_use(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.active.is_some_and(|active| {
            let same_via = match active.via {
                Via::Socket(ip) => local.ip() == ip,
                Via::Relay => Some(local) == self.local_relay,
                Via::Stream(_) => false,
            };
            same_via && active.remote == remote
        })
    }

    /// A path that was left is used again once it has answered after its probation.
    pub(super) fn readmit(&mut self, pairs: &[Pair], now: Instant) {
        let mut abandoned = std::mem::take(&mut self.abandoned);
        let answers = |way: &Path| match way.via {
            Via::Stream(_) => self.streams.answers(way),
            Via::Socket(_) | Via::Relay => self.pair_of(way, pairs).map_or(0, |pair| pair.answers),
        };
        abandoned.readmit(answers, now);
        self.abandoned = abandoned;
    }

    pub(super) fn leave(&mut self, way: Path, now: Instant) {
        if self.abandoned.holds(&way) {
            return;
        }
        self.doubts_network = true;
        self.left_at = now;
        self.quality.forget();
        self.abandoned.leave(way, now);
        // What it died of, other direct ways are likely to have died of too. To try them one after
        // the other would take a silence each.
        if way.kind == PathKind::Direct {
            self.suspect_direct(now.checked_sub(SILENCE), now);
        }
        self.next_round = now;
        self.search.begin(now);
    }

    /// Leaves every direct way until its next answer, but those that have given one since `lately`.
    fn suspect_direct(&mut self, lately: Option<Instant>, now: Instant) {
        for pair in self.pairs(now) {
            let path = self.path(&pair);
            let heard = self.search.heard(pair.local.address, pair.remote.address);
            let alive = lately.is_some_and(|lately| heard.is_some_and(|heard| heard >= lately));
            if path.kind == PathKind::Direct && !alive {
                self.abandoned.suspect(path, pair.answers, now);
            }
        }
        for stream in self.streams.usable() {
            let answers = self.streams.answers(&stream.path);
            self.abandoned.suspect(stream.path, answers, now);
        }
        self.streams.doubt(true, now);
    }
}
