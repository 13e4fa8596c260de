//! How attempts, connections and the client end, and who is told: the user, the peers, and the
//! coordinator for its statistics.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use p2p_wire::{AttemptId, ClientMessage, Outcome, Policy, Report};

use super::{Attempts, Entry, Inputs, LINGER, MAX_LINGERING};
use crate::client::relay_ready;
use crate::error::{Error, ErrorCode};
use crate::events::ClientEvent;
use crate::history::Counted;

/// How long connections may take to say goodbye once nobody holds the client.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

impl Attempts {
    pub(super) fn on_verdict(&mut self, report: Report) {
        let Some(entry) = self.entries.get_mut(&report.attempt) else { return };
        let upgraded = entry.report.borrow().is_some();
        entry.report.send_replace(Some(report.clone()));
        let (peer, told) = (entry.peer.clone(), entry.told(Instant::now()));
        self.count(report.outcome, upgraded);
        if let Some(told) = told {
            let _ = self.signaling.try_send(ClientMessage::Report(told));
        }
        if report.outcome == Outcome::Failed {
            let error = self.verdict_error(&report);
            self.end(&report.attempt, Some(error));
        } else {
            self.hand_out(&report.attempt);
        }
        self.tell(ClientEvent::Verdict { peer, report });
    }

    fn count(&self, outcome: Outcome, upgraded: bool) {
        let counters = &self.counters;
        match outcome {
            Outcome::Direct => counters.direct.fetch_add(1, Ordering::Relaxed),
            Outcome::Relay => counters.relayed.fetch_add(1, Ordering::Relaxed),
            Outcome::Failed => counters.failed.fetch_add(1, Ordering::Relaxed),
        };
        if upgraded && outcome == Outcome::Direct {
            counters.relayed.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn verdict_error(&self, report: &Report) -> Error {
        let near = self.socket.with_node(|node, _| node.profile().clone());
        let blocked = near.nat_type == p2p_wire::NatType::UdpBlocked && near.tcp.is_none();
        if blocked && !relay_ready(&self.socket) {
            return udp_blocked();
        }
        let entry = self.entries.get(&report.attempt);
        if entry.is_some_and(|entry| entry.policy == Policy::Direct) {
            let fix = "allow the relay with the policy `auto`";
            return Error::new(ErrorCode::DirectRequired, report.verdict.clone(), fix);
        }
        timed_out(&report.verdict)
    }

    /// The attempt has failed for a reason that the node does not know.
    pub(super) fn fail(&mut self, attempt: &AttemptId, error: Error) {
        let Some(entry) = self.entries.get(attempt) else { return };
        if entry.report.borrow().as_ref().is_none_or(|r| r.outcome != Outcome::Failed) {
            let upgraded = entry.report.borrow().is_some();
            let report = Report {
                attempt: attempt.clone(),
                outcome: Outcome::Failed,
                method: None,
                ms: u64::try_from(entry.started.elapsed().as_millis()).unwrap_or(u64::MAX),
                direct_ms: None,
                steps: Vec::new(),
                verdict: format!("failed: {}", error.cause),
                paths: Vec::new(),
            };
            self.count(Outcome::Failed, upgraded);
            let _ = self.signaling.try_send(ClientMessage::Report(report));
        }
        self.end(attempt, Some(error));
    }

    /// An attempt that this side asked for, and whose asker has gone meanwhile.
    pub(super) fn decline(&mut self, attempt: AttemptId) {
        let report = Report {
            attempt,
            outcome: Outcome::Failed,
            method: None,
            ms: 0,
            direct_ms: None,
            steps: Vec::new(),
            verdict: "failed: the caller has stopped waiting".to_owned(),
            paths: Vec::new(),
        };
        let _ = self.signaling.try_send(ClientMessage::Report(report));
    }

    /// Without the coordinator nobody new can come; who is on the way still does.
    pub(super) fn stop_accepting(&mut self) {
        if self.accepted.is_none() || self.signaling_ended.borrow().is_none() {
            return;
        }
        let comes =
            |entry: &Entry| !entry.controlling && (!entry.connected || entry.ready.is_some());
        if !self.entries.values().any(comes) {
            self.accepted = None;
        }
    }

    /// Nobody holds the client any more: the peers are told, what the connections used is reported, and
    /// the allocation given back. The goodbye to the coordinator follows with the end of this task.
    pub(super) async fn leave(mut self, mut inputs: Inputs) {
        self.endpoint.close(quinn::VarInt::from_u32(0), b"the client is gone");
        let endpoint = self.endpoint.clone();
        let mut idle = std::pin::pin!(endpoint.wait_idle());
        // A peer that is gone does not hold this up.
        let mut patience = std::pin::pin!(tokio::time::sleep(LEAVE_WITHIN));
        let mut is_idle = false;
        while !is_idle || self.counters.active.load(Ordering::Relaxed) > 0 {
            tokio::select! {
                biased;
                Some((attempt, cause)) = inputs.ended.recv() => self.on_ended(&attempt, cause),
                Some(_) = inputs.node.recv() => {}
                () = &mut idle, if !is_idle => is_idle = true,
                () = &mut patience => break,
            }
        }
        self.socket.with_node(|node, now| node.close(now));
        drop(self.end);
    }

    pub(super) fn on_ended(&mut self, attempt: &AttemptId, cause: String) {
        let Some(mut entry) = self.entries.remove(attempt) else { return };
        if let Some(reply) = entry.reply.take() {
            let _ = reply.send(Err(Error::closed(cause.clone())));
        }
        entry.history.close(entry.started.elapsed(), Counted::of(entry.quic.as_ref()));
        if let Some(report) = entry.told(Instant::now()) {
            let _ = self.signaling.try_send(ClientMessage::Report(report));
        }
        self.counters.active.fetch_sub(1, Ordering::Relaxed);
        self.counters.ended.notify_waiters();
        self.socket.with_node(|node, now| node.end_attempt(attempt, now));
        let (socket, id) = (Arc::clone(&self.socket), attempt.clone());
        tokio::spawn(async move {
            tokio::time::sleep(LINGER).await;
            socket.routes.remove_attempt(&id);
        });
        let peer = entry.peer;
        let now = Instant::now();
        self.lingering.retain(|(_, until)| *until > now);
        // Who is not in it begins a handshake that comes to nothing, and then another.
        if self.lingering.len() < MAX_LINGERING {
            self.lingering.push((peer.clone(), now + 2 * LINGER));
        }
        self.tell(ClientEvent::Disconnected { attempt: attempt.clone(), peer, cause });
    }

    pub(super) fn end(&mut self, attempt: &AttemptId, error: Option<Error>) {
        self.socket.with_node(|node, now| node.end_attempt(attempt, now));
        self.socket.routes.remove_attempt(attempt);
        let reply = self.entries.remove(attempt).and_then(|entry| entry.reply);
        if let (Some(reply), Some(error)) = (reply, error) {
            let _ = reply.send(Err(error));
        }
    }
}

impl Entry {
    /// The verdict, where there is one, with what the connection used by now.
    pub(super) fn told(&mut self, now: Instant) -> Option<Report> {
        let mut report = self.report.borrow().clone()?;
        report.paths = self.history.tell(Counted::of(self.quic.as_ref()), now);
        Some(report)
    }
}

/// No UDP leaves this network, and no relay is reached otherwise.
pub(crate) fn udp_blocked() -> Error {
    Error::new(
        ErrorCode::UdpBlocked,
        "UDP is blocked on this network: no STUN server answered, and no relay over TCP or TLS either",
        "let UDP out to the relay's port 3478, or TCP to one that listens on it (`p2p netcheck` lists them), or try another network",
    )
}

pub(super) fn timed_out(cause: &str) -> Error {
    Error::new(
        ErrorCode::Timeout,
        cause,
        "see `p2p netcheck` on both sides for what their networks allow",
    )
}
