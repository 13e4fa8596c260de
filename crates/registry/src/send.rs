//! A message on its way to a peer or a room.

use p2p_wire::server::{MessageFrame, ReceiptStatus};
use p2p_wire::{Payload, PeerId, RequestId, RoomName};

/// To whom a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One peer.
    Peer(PeerId),
    /// Everybody in a room but the sender, who must be in it.
    Room(RoomName),
}

/// A message to send.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The sender's name for it. Sending the same id again in the same session does not deliver
    /// twice.
    pub id: RequestId,
    /// To whom.
    pub target: Target,
    /// What the payload is.
    pub kind: String,
    /// Opaque JSON.
    pub payload: Payload,
}

impl Outgoing {
    /// What a receiver gets.
    pub(crate) fn frame<'a>(&'a self, seq: u64, from: &'a PeerId) -> MessageFrame<'a> {
        let room = match &self.target {
            Target::Peer(_) => None,
            Target::Room(room) => Some(room),
        };
        MessageFrame { seq, from, kind: &self.kind, payload: &self.payload, room }
    }
}

/// What the registry can say at once about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way; a receipt follows through the sender's link.
    OnItsWay {
        /// In how many inboxes it is.
        receivers: usize,
    },
    /// This is known already. A `queued` message gets a second receipt when it is decided.
    Receipt {
        /// Into how many inboxes it was put: none, where it has been sent before.
        receivers: usize,
        /// What became of it.
        status: ReceiptStatus,
        /// Why, or how many of a room it reached.
        reason: Option<String>,
    },
}

impl Sent {
    /// Into how many inboxes it was put.
    #[must_use]
    pub fn receivers(&self) -> usize {
        match self {
            Self::OnItsWay { receivers } | Self::Receipt { receivers, .. } => *receivers,
        }
    }

    /// The receipt for a message that went into no inbox.
    pub(crate) fn nobody(target: &Target, receivers: usize) -> Self {
        let (status, reason) = match (target, receivers) {
            (Target::Peer(peer), 0) => {
                (ReceiptStatus::Gone, format!("no peer {peer} is connected"))
            }
            (Target::Room(_), 0) => (ReceiptStatus::Gone, "nobody else is in the room".to_owned()),
            (_, _) => (
                ReceiptStatus::Rejected,
                "the receiver has not acknowledged earlier messages and its inbox is full"
                    .to_owned(),
            ),
        };
        Self::Receipt { receivers: 0, status, reason: Some(reason) }
    }
}
