//! Why the registry does not do what it is asked.

use p2p_wire::limits::{MAX_ROOM_MEMBERS, MAX_ROOMS_PER_PEER};
use p2p_wire::{Code, Problem};

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// A newer connection owns the peer id, or its session has ended.
    #[error("another connection owns this peer id")]
    NotOwner,
    /// The session to resume is not there any more, or the secret is not its.
    #[error("the session cannot be resumed: its window has passed or its secret is wrong")]
    SessionExpired,
    /// Another connection holds the id, and the policy lets it.
    #[error("another connection holds this peer id")]
    PeerTaken,
    /// The peer is not in the room, or there is no such room.
    #[error("this peer is not in the room")]
    RoomNotFound,
    /// The room has all the members it may have.
    #[error("the room has {MAX_ROOM_MEMBERS} members, which is all it may have")]
    RoomFull,
    /// The peer is in as many rooms as it may be.
    #[error("this peer is in {MAX_ROOMS_PER_PEER} rooms, which is all it may be in")]
    TooManyRooms,
    /// The registry has all the peers it may have.
    #[error("this instance has {0} peers, which is all it may have")]
    Full(usize),
    /// The registry's backend does not answer.
    #[error("the registry is not available: {0}")]
    Unavailable(String),
}

impl RegistryError {
    /// The problem as HTTP and WebSocket answers carry it.
    pub fn problem(&self) -> Problem {
        let (code, fix) = match self {
            Self::NotOwner => (Code::PeerTaken, "use the newer connection, or another peer id"),
            Self::SessionExpired => {
                (Code::NotAllowed, "say hello without `resume` to begin a new session")
            }
            Self::PeerTaken => (Code::PeerTaken, "close the other connection, or use another id"),
            Self::RoomNotFound => (Code::RoomNotFound, "join the room first"),
            Self::RoomFull => (Code::RoomFull, "wait until somebody leaves, or use another room"),
            Self::TooManyRooms => (Code::LimitReached, "leave a room first"),
            Self::Full(_) => (Code::Overloaded, "try again later, or at another instance"),
            Self::Unavailable(_) => (Code::Overloaded, "try again in a few seconds"),
        };
        Problem::new(code, "Not possible", self.to_string(), fix)
    }
}
