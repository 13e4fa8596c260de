//! The servers under test, each with what a client of it says on the wire.

mod client;
mod server;

pub(crate) use self::client::{Client, Sender};
pub(crate) use self::server::{Programs, Redis, Server};

/// Whose server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A hash map of senders and nothing else.
    Floor,
    /// `coordinator signaling`.
    Ours,
    /// npm `peer`.
    PeerServer,
    /// npm `socket.io`, with `@socket.io/redis-adapter` where there are several.
    SocketIo,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Floor, Self::Ours, Self::PeerServer, Self::SocketIo];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "bare floor",
            Self::Ours => "P2P Coordinator",
            Self::PeerServer => "PeerServer",
            Self::SocketIo => "Socket.IO",
        }
    }
}
