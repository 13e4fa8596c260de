//! PeerJS clients, served as PeerServer serves them, on the registry that everybody is in.
//!
//! ```text
//! http        GET /peerjs/…: who this is, an id, the ids that there are
//! handshake   the upgrade request
//! client      who it is by key, id and token
//! connection  OPEN, frames both ways, the end
//! inbound     what a frame asks for
//! outbound    what is in its inbox, and how it acknowledges without knowing it
//! waiting     what it has sent to ids that nobody has yet, within the bounds of places
//! awaited     to whom its messages went
//! ```
//!
//! The frames are in [`p2p_wire::peerjs`], and `docs/peerjs.md` says how they differ from PeerServer's.

mod awaited;
mod client;
mod connection;
mod handshake;
mod http;
mod inbound;
mod outbound;
mod places;
mod waiting;

pub(crate) use self::client::Said;
pub(crate) use self::handshake::{upgrade, upgrade_or_about};
pub(crate) use self::http::{About, about, id, id_of_default, peers, peers_of_default};
pub(crate) use self::places::Places;

/// What its connections are counted as.
const PROTOCOL: &str = "peerjs";
