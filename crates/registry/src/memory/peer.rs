//! One registered peer.

use std::collections::BTreeSet;
use std::sync::Arc;

use p2p_wire::server::{Member, PeerState};
use p2p_wire::{Meta, PeerId, PeerKey, RoomName};

use super::inbox::{Author, Inbox, SentLog};
use crate::link::{Frame, Link, NotPushed};
use crate::secret::SecretHash;
use crate::view::{PeerView, Published};

pub(super) struct Peer {
    pub(super) epoch: u64,
    /// Itself, as what it sends names it.
    pub(super) author: Arc<Author>,
    pub(super) secret: SecretHash,
    /// The one that the last resume presented, good until the owner acts: the answer with the new
    /// one may have been lost.
    pub(super) earlier: Option<SecretHash>,
    pub(super) presence: Presence,
    pub(super) meta: Meta,
    pub(super) key: Option<PeerKey>,
    pub(super) published: Published,
    pub(super) rooms: BTreeSet<RoomName>,
    pub(super) inbox: Inbox,
    pub(super) sent: SentLog,
}

/// Whether a WebSocket is there.
pub(super) enum Presence {
    /// Frames go here.
    On(Link),
    /// The resume window is open.
    Away,
}

impl Peer {
    pub(super) fn state(&self) -> PeerState {
        match self.presence {
            Presence::On(_) => PeerState::On,
            Presence::Away => PeerState::Away,
        }
    }

    /// Hands a frame to the session, if it is connected and keeps up.
    pub(super) fn push(&mut self, frame: Frame) -> Result<(), NotPushed> {
        match &mut self.presence {
            Presence::On(link) => link.push(frame),
            Presence::Away => Err(NotPushed::Ended),
        }
    }

    pub(super) fn view(&self) -> PeerView {
        PeerView {
            state: self.state(),
            meta: self.meta.clone(),
            key: self.key.clone(),
            published: self.published.clone(),
        }
    }

    pub(super) fn member(&self, peer: &PeerId, role: Option<String>) -> Member {
        Member { peer: peer.clone(), meta: self.meta.clone(), state: self.state(), role }
    }
}
