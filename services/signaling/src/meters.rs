//! Counters that every frame touches, looked up once.

use metrics::Counter;
use p2p_telemetry::metrics::{
    SIGNALING_CONNECTIONS, SIGNALING_CONNECTIONS_CLOSED, SIGNALING_CONNECTIONS_OPENED,
    SIGNALING_MESSAGES, SIGNALING_RATE_LIMITED, SIGNALING_REJECTED,
};
use p2p_wire::{ClientMessage, Code};

/// The names of client messages, in the order of [`index`].
const KINDS: [&str; 12] = [
    "hello",
    "nat",
    "meta",
    "join",
    "leave",
    "send",
    "ack",
    "connect",
    "candidate",
    "report",
    "ping",
    "refresh",
];

/// Counters of one instance.
pub(crate) struct Meters {
    accepted: Vec<Counter>,
}

impl Meters {
    /// Must come after the recorder is installed.
    pub(crate) fn new() -> Self {
        let accepted = |kind| SIGNALING_MESSAGES.with([kind, "accepted"]);
        Self { accepted: KINDS.into_iter().map(accepted).collect() }
    }

    /// A frame was understood.
    pub(crate) fn message(&self, message: &ClientMessage) {
        self.accepted[index(message)].increment(1);
    }
}

/// A frame, request or connection was refused.
pub(crate) fn rejected(code: Code) {
    SIGNALING_REJECTED.with([code.as_str()]).increment(1);
}

/// A bound was reached.
pub(crate) fn limited(limit: &str) {
    SIGNALING_RATE_LIMITED.with([limit]).increment(1);
}

/// One open WebSocket, counted for as long as this lives.
pub(crate) struct OpenConnection {
    protocol: &'static str,
    /// The close code, once there is one; 1006 is a connection that ended without (RFC 6455 §7.4.1).
    pub(crate) code: u16,
}

impl OpenConnection {
    pub(crate) fn begin(protocol: &'static str) -> Self {
        SIGNALING_CONNECTIONS.get().increment(1.0);
        SIGNALING_CONNECTIONS_OPENED.with([protocol]).increment(1);
        Self { protocol, code: 1006 }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        SIGNALING_CONNECTIONS.get().decrement(1.0);
        let code = self.code.to_string();
        SIGNALING_CONNECTIONS_CLOSED.with([self.protocol, code.as_str()]).increment(1);
    }
}

fn index(message: &ClientMessage) -> usize {
    match message {
        ClientMessage::Hello(_) => 0,
        ClientMessage::Nat(_) => 1,
        ClientMessage::Meta(_) => 2,
        ClientMessage::Join(_) => 3,
        ClientMessage::Leave(_) => 4,
        ClientMessage::Send(_) => 5,
        ClientMessage::Ack(_) => 6,
        ClientMessage::Connect(_) => 7,
        ClientMessage::Candidate(_) => 8,
        ClientMessage::Report(_) => 9,
        ClientMessage::Ping(_) => 10,
        ClientMessage::Refresh(_) => 11,
    }
}
