//! What the server tells the shell: routes for data, commands for everything else.

use std::ops::Range;
use std::time::Duration;

use crate::addr::{AllocationId, ClientAddr, FiveTuple, ListenerId, PeerAddr, RelayedAddr};
use crate::allocation::AllocationUsage;
use crate::channel::ChannelNumber;
use crate::counters::AllocationEnd;
use crate::credentials::UserId;
use crate::message::MAX_DATA_HEADER_LEN;

/// Bytes a shell keeps free in front of what it reads from a peer, for [`ClientRoute::header`].
pub const HEADROOM: usize = MAX_DATA_HEADER_LEN;

/// Bytes a shell keeps free behind what it reads from a peer, for [`ClientRoute::padding`].
pub const TAILROOM: usize = 3;

/// What to do with a datagram from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAction {
    /// Nothing to relay. An answer, if any, is among the commands.
    Done,
    /// Send this part of the datagram to the peer, from the allocation's relay socket.
    Relay { allocation: AllocationId, peer: PeerAddr, payload: Range<usize> },
}

/// Where a datagram from a peer goes, and what it is wrapped in.
#[derive(Debug, Clone)]
pub struct ClientRoute {
    pub listener: ListenerId,
    pub client: ClientAddr,
    header: [u8; HEADROOM],
    header_len: u8,
    padding: u8,
}

impl ClientRoute {
    pub(super) fn new(
        to: FiveTuple,
        header: [u8; HEADROOM],
        header_len: usize,
        padding: usize,
    ) -> Self {
        let FiveTuple { listener, client } = to;
        Self { listener, client, header, header_len: header_len as u8, padding: padding as u8 }
    }

    /// Goes in front of the payload.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.header[..usize::from(self.header_len)]
    }

    /// How many zero bytes follow the payload: at most [`TAILROOM`].
    #[must_use]
    pub fn padding(&self) -> usize {
        usize::from(self.padding)
    }
}

/// What the shell is to do besides relaying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    SendToClient {
        listener: ListenerId,
        client: ClientAddr,
        datagram: Vec<u8>,
    },
    /// Open a UDP socket at this address and answer with
    /// [`Server::allocation_opened`](super::Server::allocation_opened). Data from the client may
    /// come for the allocation only after that.
    CreateAllocation {
        allocation: AllocationId,
        relayed: RelayedAddr,
    },
    /// Close the allocation's socket. Its id is not used again.
    FreeAllocation(FreedAllocation),
    /// The channel carries data from here on, or goes on carrying it. For a fast path below the
    /// shell; a shell without one ignores it.
    BindChannel(ChannelRoute),
    /// The channel carries no more data: expired, freed with its allocation, or forbidden.
    UnbindChannel(ChannelRoute),
}

/// Both ends of a channel: `(listener, client, number)` ⇄ `(relayed, peer)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelRoute {
    pub allocation: AllocationId,
    pub listener: ListenerId,
    pub client: ClientAddr,
    pub number: ChannelNumber,
    /// The local address of the relay socket.
    pub relayed: RelayedAddr,
    /// Where packets to the peer go and come from.
    pub peer: PeerAddr,
}

/// An allocation that has ended, and what went through it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreedAllocation {
    pub allocation: AllocationId,
    pub user: UserId,
    pub end: AllocationEnd,
    pub lived: Duration,
    pub usage: AllocationUsage,
}

/// Why the shell could not open a relay socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// Another program has the port: another port may work.
    PortTaken,
    /// No port will do: out of descriptors or memory, or the address is gone.
    Exhausted,
}
