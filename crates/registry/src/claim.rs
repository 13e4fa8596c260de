//! Taking a peer id: who asks for it, and what the new owner gets.

use p2p_wire::client::Resume;
use p2p_wire::{AppId, Meta, PeerId, PeerKey, Secret, SessionId};

use crate::link::{Frame, Link};

/// Asks to own a peer id.
#[derive(Debug)]
pub struct Claim {
    /// The tenant.
    pub app: AppId,
    /// The id.
    pub peer: PeerId,
    /// What others learn about the peer.
    pub meta: Meta,
    /// The key that connections to the peer are pinned to.
    pub key: Option<PeerKey>,
    /// The session to take up again, instead of a new one.
    pub resume: Option<Resume>,
    /// Where frames for the peer go.
    pub link: Link,
}

/// The right to act as a peer. Every claim of an id gets a higher epoch than the one before, and
/// an ownership with a lower epoch than the registry's is void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// The tenant.
    pub app: AppId,
    /// The peer.
    pub peer: PeerId,
    /// The fence.
    pub epoch: u64,
    /// The session; a resumed one keeps its name.
    pub session: SessionId,
}

/// A granted claim.
#[derive(Debug)]
pub struct Claimed {
    /// What later calls name.
    pub ownership: Ownership,
    /// Proves the session at its next resume. Only its hash is kept, and every resume makes a new
    /// one.
    pub secret: Secret,
    /// Whether an earlier session goes on.
    pub resumed: bool,
    /// Messages after the resume's `last_seq`, in order. They come before anything in the link.
    pub replay: Vec<Frame>,
}
