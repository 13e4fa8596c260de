//! Every bound of the protocol in one place. Reaching one is answered, counted and named (I5).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes in one WebSocket message, either way. An SDP offer has 2–10 KB.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Bytes in a peer id, room name, app or session id.
pub const MAX_ID_BYTES: usize = 128;
/// Bytes in a client's request id.
pub const MAX_REQUEST_ID_BYTES: usize = 64;
/// Bytes of a peer's metadata as JSON.
pub const MAX_META_BYTES: usize = 2 * 1024;
/// Bytes in the `kind` of a message.
pub const MAX_KIND_BYTES: usize = 64;
/// Bytes in a member's role in a room.
pub const MAX_ROLE_BYTES: usize = 64;
/// Rooms that one peer may be in.
pub const MAX_ROOMS_PER_PEER: usize = 64;
/// Members of one room. A full mesh costs signaling the square of this.
pub const MAX_ROOM_MEMBERS: usize = 256;
/// Candidates that one side may offer in one attempt.
pub const MAX_CANDIDATES: usize = 64;
/// Attempts that one peer has asked for and that may be open at once.
pub const MAX_OPEN_ATTEMPTS: usize = 64;
/// Those of them that may lead to the same peer.
pub const MAX_OPEN_ATTEMPTS_TO_ONE: usize = 8;
/// Attempts that others have asked one peer for and that may be open at once: each makes it send some
/// messages, and it may send few hundred at once.
pub const MAX_OPEN_ATTEMPTS_OF_CALLEE: usize = 64;
/// Datagrams of a handshake's first flight that go with a `connect`.
pub const MAX_FLIGHT_DATAGRAMS: usize = 2;
/// Bytes of each as text: a datagram of 1,500 bytes fits.
pub const MAX_FLIGHT_TEXT_BYTES: usize = 2 * 1024;
/// Messages kept for a peer until it acknowledges them.
pub const MAX_INBOX_MESSAGES: usize = 256;
/// Steps in a report.
pub const MAX_REPORT_STEPS: usize = 32;
/// Paths in a report.
pub const MAX_REPORT_PATHS: usize = 32;
/// Bytes in each free text of a report.
pub const MAX_REPORT_TEXT_BYTES: usize = 512;
/// Milliseconds that a new WebSocket has to say hello.
pub const HELLO_DEADLINE_MS: u64 = 5_000;
/// Milliseconds between a client's heartbeats, as named in `welcome`.
pub const HEARTBEAT_MS: u64 = 25_000;
/// Milliseconds that a lost session can be resumed.
pub const RESUME_WINDOW_MS: u64 = 30_000;
/// Milliseconds after which an attempt that nobody reported is closed as failed.
pub const ATTEMPT_TIMEOUT_MS: u64 = 30_000;

/// The bounds that a client must keep, told to it in `welcome`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Bytes in one WebSocket message.
    pub message_bytes: usize,
    /// Bytes of metadata as JSON.
    pub meta_bytes: usize,
    /// Rooms that this peer may be in.
    pub rooms: usize,
    /// Candidates per side and attempt.
    pub candidates: usize,
    /// Messages a second, sustained.
    pub messages_per_second: u32,
    /// Messages that may come at once.
    pub message_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: MAX_MESSAGE_BYTES,
            meta_bytes: MAX_META_BYTES,
            rooms: MAX_ROOMS_PER_PEER,
            candidates: MAX_CANDIDATES,
            messages_per_second: 100,
            message_burst: 400,
        }
    }
}
