//! Taking a peer id: who asks for it, and what the new owner gets.

use p2p_wire::client::Resume;
use p2p_wire::{AppId, Meta, PeerId, PeerKey, Secret, SessionId};

use crate::conflict::{ConflictPolicy, Conflicts};
use crate::link::{Frame, Link};
use crate::secret::SecretHash;

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
    /// What it is known by, if it keeps no resume secret. Without effect beside `resume`.
    pub standing: Option<Standing>,
    /// Where frames for the peer go.
    pub link: Link,
}

/// What a client is known by that keeps nothing from one connection to the next.
///
/// A session that the same secret began goes on, whatever the policy: with all that its owner has not
/// acknowledged. A session of anybody else is none of its business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The same at every connection of this client, and of nobody else.
    pub secret: Secret,
    /// Leaves the id to whoever else is connected under it, also where the policy would take it over.
    pub yields: bool,
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
    /// one, unless the claim had a standing one.
    pub secret: Secret,
    /// Whether an earlier session goes on.
    pub resumed: bool,
    /// Messages after the resume's `last_seq`, in order. They come before anything in the link.
    pub replay: Vec<Frame>,
}

impl Claim {
    /// What becomes of it where another session holds the id.
    pub(crate) fn policy(&self, conflicts: &Conflicts) -> ConflictPolicy {
        let yields = self.standing.as_ref().is_some_and(|standing| standing.yields);
        match conflicts.policy(&self.app) {
            ConflictPolicy::Takeover if yields => ConflictPolicy::Reject,
            policy => policy,
        }
    }

    /// The secret of the session from here on, and what is kept of it.
    pub(crate) fn secret(&self) -> (Secret, SecretHash) {
        match &self.standing {
            Some(Standing { secret, .. }) => (secret.clone(), SecretHash::of(secret)),
            None => SecretHash::fresh(),
        }
    }
}
