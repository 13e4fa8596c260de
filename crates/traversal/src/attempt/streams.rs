//! TCP connections with the peer: dialling them, checking them, and what they mean for the attempt.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_wire::{Candidate, Method, NatProfile, PlanStep, Policy, TcpProfile};
use rand::RngCore;

use super::{Attempt, AttemptConfig};
use crate::path::Via;
use crate::peer_streams::PeerStreamId;
use crate::tcp_punch::TcpPunch;

/// What is to be done with TCP connections.
#[derive(Debug)]
pub(crate) enum StreamWork {
    Dial(SocketAddr),
    Send(PeerStreamId, Bytes),
    Close(PeerStreamId),
}

/// What a punch may spend that was not planned because a side had told nothing of its TCP yet.
const UNPLANNED_PACKETS: u32 = 64;
/// Addresses that are kept until it is known whether there is anything to dial from.
const MAX_KEPT: usize = 8;

/// What is known of TCP while nobody is dialled.
#[derive(Debug, Default)]
pub(super) struct Undialled {
    /// The plan was made knowing both sides, and has no step for it.
    ruled_out: bool,
    /// This side has a port to dial from.
    measured: bool,
    remotes: VecDeque<SocketAddr>,
}

impl Undialled {
    pub(super) fn new(config: &AttemptConfig, near: &NatProfile) -> Self {
        let measured = near.tcp.is_some();
        let told = config.remote_nat.as_ref().is_some_and(|nat| nat.tcp.is_some());
        let ruled_out = config.policy == Policy::Relay || measured && told;
        Self { ruled_out, measured, remotes: VecDeque::new() }
    }
}

/// TCP is punched where the plan has a step for it. Neither punch ends the other before a path has
/// been validated.
pub(super) fn punch(config: &AttemptConfig, now: Instant) -> Option<TcpPunch> {
    let tcp = |step: &&PlanStep| step.method == Method::TcpHolePunch;
    let step = config.plan.iter().find(tcp).filter(|_| config.policy != Policy::Relay)?;
    Some(TcpPunch::new(now + Duration::from_millis(step.after_ms), step.packets))
}

impl Attempt {
    /// Takes an address to dial.
    pub(super) fn add_tcp_remote(&mut self, candidate: &Candidate, now: Instant) {
        if self.tcp_hosts.contains(&candidate.address) {
            return;
        }
        if let Some(punch) = &mut self.punch {
            punch.add(candidate.address, now);
        } else if !self.undialled.remotes.contains(&candidate.address) {
            self.undialled.remotes.truncate(MAX_KEPT - 1);
            self.undialled.remotes.push_front(candidate.address);
            self.punch_after_all(now);
        }
    }

    /// What was measured of this side's TCP port, if it has one.
    pub(crate) fn set_tcp(&mut self, tcp: Option<TcpProfile>, now: Instant) {
        self.near.tcp = tcp;
        self.undialled.measured = tcp.is_some();
        self.punch_after_all(now);
    }

    /// A packet lost is a second before TCP is measured. What is told only then was not there for the
    /// plan, and is worth a punch all the same.
    fn punch_after_all(&mut self, now: Instant) {
        let Undialled { ruled_out, measured, remotes } = &mut self.undialled;
        if self.punch.is_some() || *ruled_out || !*measured || remotes.is_empty() {
            return;
        }
        let mut punch = TcpPunch::new(now, UNPLANNED_PACKETS);
        for remote in remotes.drain(..) {
            punch.add(remote, now);
        }
        if self.active.is_some_and(|active| !active.is_relayed()) {
            punch.stop();
        }
        self.punch = Some(punch);
    }

    pub(super) fn streams_due(&self) -> Option<Instant> {
        let punch = self.punch.as_ref().and_then(TcpPunch::poll_timeout);
        punch.into_iter().chain(self.streams.poll_timeout()).min()
    }

    /// Dials and checks what is due.
    pub(super) fn work_on_streams(&mut self, now: Instant, rng: &mut dyn RngCore) {
        if let Some(punch) = &mut self.punch {
            self.stream_work.extend(punch.due(now).into_iter().map(StreamWork::Dial));
        }
        self.streams.doubt(!self.abandoned.is_empty(), now);
        let due = self.streams.due(&self.keys, self.keep_alive, now, rng);
        let frames = due.frames.into_iter().map(|(id, frame)| StreamWork::Send(id, frame));
        self.stream_work.extend(frames);
        for (id, remote) in due.dead {
            self.stream_work.push_back(StreamWork::Close(id));
            self.dial_failed(remote, now, rng);
            self.lose_stream(id, now);
        }
    }

    /// Whether the one who sent this check knows the attempt's credentials.
    pub(crate) fn knows(&self, check: &[u8], from: SocketAddr) -> bool {
        self.keys.respond(check, from).is_some()
    }

    /// A TCP connection is there, with the peer or with somebody who says so: checks will tell.
    pub(crate) fn stream_opened(&mut self, id: PeerStreamId, remote: SocketAddr, now: Instant) {
        if self.given_up || !self.streams.add(id, remote, now) {
            self.stream_work.push_back(StreamWork::Close(id));
        }
    }

    /// A TCP connection is gone.
    pub(crate) fn stream_closed(&mut self, id: PeerStreamId, now: Instant, rng: &mut dyn RngCore) {
        if let Some(remote) = self.streams.remove(id) {
            self.dial_failed(remote, now, rng);
        }
        self.lose_stream(id, now);
    }

    /// A dial has come to nothing.
    pub(crate) fn dial_failed(&mut self, to: SocketAddr, now: Instant, rng: &mut dyn RngCore) {
        if let Some(punch) = &mut self.punch {
            punch.failed(to, now, rng);
        }
    }

    /// Reads a STUN message that came over a TCP connection.
    pub(crate) fn handle_stream(&mut self, id: PeerStreamId, message: &[u8], now: Instant) {
        if let Some(answer) = self.streams.handle(id, message, &self.keys, now) {
            self.stream_work.push_back(StreamWork::Send(id, answer));
        }
    }

    /// Whether data that comes over this connection is the peer's.
    pub(crate) fn trusts(&self, id: PeerStreamId) -> bool {
        self.streams.is_proven(id)
    }

    /// What is to be done with TCP connections.
    pub(crate) fn poll_stream(&mut self) -> Option<StreamWork> {
        self.stream_work.pop_front()
    }

    /// Dials no more once there is a direct path, and again where there is none.
    pub(super) fn review_punch(&mut self, had_direct: bool, now: Instant) {
        let has_direct = self.active.is_some_and(|active| !active.is_relayed());
        let Some(punch) = &mut self.punch else { return };
        if has_direct && self.direct.is_some() {
            punch.stop();
        } else if had_direct && !has_direct {
            punch.begin(now);
        }
    }

    fn lose_stream(&mut self, id: PeerStreamId, now: Instant) {
        if self.active.is_some_and(|active| active.via == Via::Stream(id)) {
            self.left_at = now;
            self.search_anew(now);
        }
        self.abandoned.forget(|way| way.via == Via::Stream(id));
    }
}
