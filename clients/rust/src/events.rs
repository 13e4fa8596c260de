//! What a client tells while it runs, and what it has counted.

use std::time::Duration;

use p2p_traversal::Path;
use p2p_wire::{AttemptId, NatProfile, PeerId, Report};

use crate::error::Error;

/// Something happened that a user may want to see.
#[derive(Debug, Clone)]
pub enum ClientEvent {
    /// The coordinator is connected; `resumed` says whether an earlier session goes on.
    Registered {
        /// Whether an earlier session goes on.
        resumed: bool,
    },
    /// The coordinator is lost; connections stay, and it is tried again after this long.
    SignalingLost {
        /// Why.
        cause: String,
        /// The pause before the next try.
        retry_in: Duration,
    },
    /// The token ends after this long, and with it the registration: a tenth of its life is left.
    /// [`crate::Client::refresh_token`] takes a newer one.
    TokenEnding {
        /// The time that is left.
        left: Duration,
    },
    /// The coordinator will not have this client back. [`crate::Client::signaling_ended`] says so later, too.
    SignalingEnded(Error),
    /// This network was measured.
    Nat(NatProfile),
    /// The allocation at the relay came or went.
    Relay {
        /// Whether it is there.
        ready: bool,
    },
    /// A connection uses another path.
    PathChanged {
        /// The connection's attempt.
        attempt: AttemptId,
        /// The other peer.
        peer: PeerId,
        /// The path; `None` when there is none at the moment.
        path: Option<Path>,
    },
    /// An attempt has ended, or has become better than it was.
    Verdict {
        /// The other peer.
        peer: PeerId,
        /// How it ended.
        report: Report,
    },
    /// A connection has ended.
    Disconnected {
        /// The connection's attempt.
        attempt: AttemptId,
        /// The other peer.
        peer: PeerId,
        /// Why.
        cause: String,
    },
}

/// What a client has counted since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientStats {
    /// Connections that came about, either side's doing.
    pub connections: u64,
    /// Connections that are open.
    pub active: u64,
    /// Attempts that reached a direct path.
    pub direct: u64,
    /// Attempts that ended on the relay.
    pub relayed: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Datagrams that had nowhere to go or came from nobody known.
    pub dropped: u64,
    /// Since the start.
    pub uptime: Duration,
}
