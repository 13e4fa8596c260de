//! What the registry tells about peers and rooms.

use p2p_wire::limits::MAX_MESSAGE_BYTES;
use p2p_wire::server::{Member, PeerState};
use p2p_wire::{Candidate, Meta, NatProfile, PeerKey, RoomName};

/// What a peer publishes for its connection attempts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Published {
    /// What it measured about its network.
    pub nat: Option<NatProfile>,
    /// Where it may be reached.
    pub candidates: Vec<Candidate>,
    /// The region of the instance that it is connected to; relays near it are preferred.
    pub region: Option<String>,
}

/// One peer as an attempt's coordinator sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerView {
    /// Whether it is connected.
    pub state: PeerState,
    /// What it says about itself.
    pub meta: Meta,
    /// The key that connections to it are pinned to.
    pub key: Option<PeerKey>,
    /// Its network and addresses.
    pub published: Published,
}

/// One room with its members.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomView {
    /// Everybody in it. Metadata is left out of members beyond what fits one frame.
    pub members: Vec<Member>,
    /// Counts the room's changes.
    pub version: u64,
}

impl RoomView {
    /// A snapshot that fits one frame: ids always, metadata as long as there is space.
    pub(crate) fn in_one_frame(mut members: Vec<Member>, version: u64) -> Self {
        let mut space = MAX_MESSAGE_BYTES;
        for member in &mut members {
            let bytes = serialized_len(member);
            if bytes > space {
                member.meta = Meta::default();
            }
            space = space.saturating_sub(bytes);
        }
        Self { members, version }
    }
}

/// One room in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSummary {
    /// Its name.
    pub room: RoomName,
    /// How many are in it.
    pub members: usize,
}

/// Which part of a listing.
#[derive(Debug, Clone)]
pub struct Page<Id> {
    /// Begins behind this id; `None` begins at the first.
    pub after: Option<Id>,
    /// How many at most.
    pub limit: usize,
}

/// One part of a listing, in the order of ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing<Id, T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Id>,
}

impl<Id, T> Listing<Id, T> {
    pub(crate) fn empty() -> Self {
        Self { items: Vec::new(), next: None }
    }
}

/// How much there is, and how often a bound was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Peers that are connected.
    pub peers_on: usize,
    /// Peers whose resume window is open.
    pub peers_away: usize,
    /// Rooms with at least one member.
    pub rooms: usize,
    /// Messages that wait for an acknowledgement.
    pub queued_messages: usize,
    /// Connections that were replaced by a newer one, ever.
    pub replaced: u64,
    /// Sessions that took their frames too slowly, ever.
    pub lagging: u64,
    /// Messages rejected because an inbox was full, ever.
    pub inbox_full: u64,
    /// Sessions resumed, ever.
    pub resumed: u64,
    /// Sessions whose resume window passed, ever.
    pub expired: u64,
}

/// An upper estimate that need not serialise: names and role at most double by escaping, and the
/// object around them has under 64 bytes.
fn serialized_len(member: &Member) -> usize {
    let role = member.role.as_ref().map_or(0, |role| 2 * role.len());
    let meta: usize = member
        .meta
        .entries()
        .iter()
        .map(|(key, value)| key.len() + value.to_string().len() + 4)
        .sum();
    member.peer.as_str().len() + role + meta + 64
}
