//! What a PeerJS client gets out of its inbox, and how it acknowledges without knowing it.
//!
//! The frames go out with a WebSocket ping behind them that has the number of the last one. The pong
//! comes from the client's WebSocket, not from its program (RFC 6455 §5.5.3), and in order: what was
//! before the ping has arrived. So the senders' receipts are true, and what has not arrived is sent
//! again where the client connects next.
//!
//! A proxy may swallow pings. Whoever is heard long after one has got what came before it, too.

use std::time::Duration;

use p2p_registry::{Feed, Frame};
use p2p_wire::peerjs::{Translated, translate};
use p2p_wire::server::ReceiptStatus;
use p2p_wire::{AttemptId, Outcome, PeerId, Report};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Bytes;
use tracing::debug;

use super::connection::Connection;
use crate::session::closing::Closing;
use crate::session::socket::Socket;

/// Frames that are written together at most: the others wait no longer than for these.
const AT_ONCE: usize = 32;
/// After which a frame from the client stands for the pong that has not come.
const SWALLOWED: Duration = Duration::from_secs(15);

/// Where the client is in its inbox.
pub(super) struct Outbound {
    /// The number of the last message that was written.
    written: u64,
    /// The ping that waits for its pong: the number behind which it went out, and when.
    asked: Option<(u64, Instant)>,
    /// When the last ping went out.
    pinged: Instant,
}

impl Outbound {
    pub(super) fn new(now: Instant) -> Self {
        Self { written: 0, asked: None, pinged: now }
    }

    /// A message that an earlier connection has not acknowledged, if there is a frame for it.
    pub(super) fn replayed(&mut self, frame: &Frame, to: &PeerId) -> Option<Frame> {
        match translate(frame, to) {
            Translated::Message { seq, text } => {
                self.written = seq;
                text.map(Frame::from)
            }
            _ => None,
        }
    }

    /// Asks for an acknowledgement of what was written, if there is something and no other ping is on
    /// its way.
    pub(super) async fn ask(&mut self, socket: &mut Socket) -> Result<(), Closing> {
        if self.asked.is_some() || self.written == 0 {
            return Ok(());
        }
        self.ping(socket, Instant::now()).await
    }

    async fn ping(&mut self, socket: &mut Socket, now: Instant) -> Result<(), Closing> {
        self.asked.get_or_insert((self.written, now));
        self.pinged = now;
        socket.ping(Bytes::copy_from_slice(&self.written.to_be_bytes())).await
    }

    /// When the next ping goes out where nothing else is said: proxies cut off what is silent.
    pub(super) fn next_ping(&self, heartbeat: Duration) -> Instant {
        self.pinged + heartbeat
    }

    /// What a pong says has arrived. Clients may send pongs that nobody asked for.
    fn answered(&mut self, payload: &[u8]) -> Option<u64> {
        let seq = u64::from_be_bytes(payload.try_into().ok()?);
        let (asked, _) = self.asked?;
        if seq < asked || seq > self.written {
            return None;
        }
        self.asked = None;
        Some(seq)
    }

    /// What has arrived by all appearances.
    fn swallowed(&mut self, now: Instant) -> Option<u64> {
        let (seq, _) = self.asked.filter(|(_, at)| now.duration_since(*at) >= SWALLOWED)?;
        self.asked = None;
        Some(seq)
    }

    /// Whether something was written behind the last acknowledgement asked for.
    fn is_behind(&self, acknowledged: u64) -> bool {
        self.written > acknowledged
    }
}

impl Connection {
    /// Hands over what there is, several frames with one write.
    pub(super) async fn deliver(
        &mut self,
        socket: &mut Socket,
        feed: &mut Feed,
        first: Frame,
    ) -> Result<(), Closing> {
        let mut frames = Vec::new();
        let mut next = Some(first);
        while let Some(frame) = next {
            match translate(&frame, &self.registered.owner.peer) {
                Translated::Message { seq, text } => {
                    self.outbound.written = seq;
                    frames.extend(text.map(Frame::from));
                }
                Translated::Receipt { id, status } => {
                    frames.extend(self.on_receipt(&id, status));
                }
                Translated::Attempt(attempt) => Box::pin(self.decline(attempt)).await,
                Translated::Nothing => {}
            }
            next = if frames.len() < AT_ONCE { feed.ready() } else { None };
        }
        let mut frames = frames.into_iter();
        if let Some(first) = frames.next() {
            socket.send_frames(first, || frames.next()).await?;
        }
        self.outbound.ask(socket).await
    }

    /// What became of a message of the client's. It hears of it where it is lost.
    fn on_receipt(&mut self, id: &str, status: ReceiptStatus) -> Option<Frame> {
        match status {
            ReceiptStatus::Queued => None,
            ReceiptStatus::Delivered => {
                self.awaited.delivered(id);
                None
            }
            ReceiptStatus::Gone | ReceiptStatus::Rejected => {
                let lost = self.awaited.lost(id)?;
                Some(self.expire(lost.as_str()))
            }
        }
    }

    /// Tells a native peer at once that this one cannot be connected to in its way.
    async fn decline(&self, attempt: AttemptId) {
        let report = Report {
            attempt,
            outcome: Outcome::Failed,
            method: None,
            ms: 0,
            direct_ms: None,
            steps: Vec::new(),
            verdict: "failed: this peer is a PeerJS client, and takes offers alone".to_owned(),
            paths: Vec::new(),
        };
        let owner = &self.registered.owner;
        let attempts = &self.registered.instance.attempts;
        if let Err(problem) = attempts.report(&owner.app, &owner.peer, &report).await {
            debug!(%problem, "an attempt is not declined");
        }
    }

    pub(super) async fn on_pong(
        &mut self,
        socket: &mut Socket,
        payload: &[u8],
    ) -> Result<(), Closing> {
        match self.outbound.answered(payload) {
            Some(seq) => self.acknowledge(socket, seq).await,
            None => Ok(()),
        }
    }

    /// The client was heard, by something else than a pong.
    pub(super) async fn on_sign_of_life(&mut self, socket: &mut Socket) -> Result<(), Closing> {
        match self.outbound.swallowed(self.registered.last_heard) {
            Some(seq) => self.acknowledge(socket, seq).await,
            None => Ok(()),
        }
    }

    async fn acknowledge(&mut self, socket: &mut Socket, seq: u64) -> Result<(), Closing> {
        if seq > 0 {
            self.registered.acknowledged = self.registered.acknowledged.max(Some(seq));
        }
        if self.outbound.is_behind(seq) { self.outbound.ask(socket).await } else { Ok(()) }
    }

    /// Keeps what is between here and the client from forgetting the connection.
    pub(super) async fn keep_alive(
        &mut self,
        socket: &mut Socket,
        now: Instant,
    ) -> Result<(), Closing> {
        let heartbeat = self.registered.instance.config.timing.heartbeat;
        if self.outbound.next_ping(heartbeat) > now {
            return Ok(());
        }
        self.outbound.ping(socket, now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(written: u64) -> (Outbound, Instant) {
        let now = Instant::now();
        let mut outbound = Outbound::new(now);
        outbound.written = written;
        outbound.asked = Some((written, now));
        (outbound, now)
    }

    #[test]
    fn i2_a_pong_acknowledges_what_went_out_before_its_ping_and_nothing_else_does() {
        let (mut outbound, now) = asking(7);
        outbound.written = 9;
        for payload in [&[][..], b"unasked", &6u64.to_be_bytes(), &10u64.to_be_bytes()] {
            assert_eq!(outbound.answered(payload), None, "{payload:?}");
        }
        assert_eq!(outbound.swallowed(now + SWALLOWED / 2), None);
        assert_eq!(outbound.answered(&7u64.to_be_bytes()), Some(7));
        assert!(outbound.is_behind(7));
        assert_eq!(outbound.answered(&7u64.to_be_bytes()), None, "once");
    }

    #[test]
    fn whoever_is_heard_long_after_a_ping_has_got_what_came_before_it() {
        let (mut outbound, now) = asking(7);
        assert_eq!(outbound.swallowed(now), None);
        assert_eq!(outbound.swallowed(now + SWALLOWED), Some(7));
        assert_eq!(outbound.swallowed(now + SWALLOWED), None, "once");
    }
}
