//! What a registry tells an instance as a whole, past its sessions.

use p2p_wire::{AppId, AttemptId, PeerId};

use crate::link::Frame;

/// Where a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Connected.
    On,
    /// Its connection is lost and its resume window open.
    Away,
    /// There is no such session any more.
    Gone,
}

/// One notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Another instance hands a text to this one.
    PassedOn(Frame),
    /// A side of attempts that this instance watches is somewhere else than before.
    Side {
        /// The tenant.
        app: AppId,
        /// The side.
        peer: PeerId,
        /// Where it is now.
        presence: Presence,
        /// The attempts.
        attempts: Vec<AttemptId>,
    },
    /// The instance that watched an attempt is gone, and this one is to go on with it: what was
    /// kept of it.
    Inherited(Frame),
    /// Others took this instance for dead, and one of them goes on with what it watched.
    TakenOver {
        /// The one.
        heir: String,
    },
}
