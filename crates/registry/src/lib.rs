//! Who is where: registered peers, their rooms and their inboxes, behind one trait.
//!
//! [`Registry`] is what a signaling instance knows about the others. [`MemoryRegistry`] is the
//! registry of a single instance. Both sides of the trait are written for a cluster: every change
//! names the ownership it acts for, and the registry refuses it once a newer owner has taken over
//! (invariant I1); messages are kept until they are acknowledged (invariant I2).
//!
//! A message's way: `send` → inbox of the receiver → [`Link`] of its session → `ack` → receipt to
//! the sender's link.
#![warn(missing_docs)]

mod claim;
mod conflict;
#[cfg(test)]
mod conformance;
mod error;
mod link;
pub mod memory;
mod notice;
pub mod redis;
mod registry;
pub mod relays;
mod secret;
mod send;
pub mod tickets;
mod view;

pub use self::redis::{RedisRegistry, RedisSettings};
pub use claim::{Claim, Claimed, Ownership, Standing};
pub use conflict::{ConflictPolicy, Conflicts, NoSuchPolicy};
pub use error::RegistryError;
pub use link::{Delivery, End, Feed, Frame, Link, NotPushed};
pub use memory::{MemoryRegistry, Settings};
pub use notice::{Notice, Presence};
pub use registry::{Answer, Prompt, Registry};
pub use relays::{RelayDirectory, RelayLease, RelayRecord};
pub use send::{Outgoing, Sent, Target};
pub use tickets::{MemoryTickets, RedisTickets, TicketBox};
pub use view::{Counts, Listing, Page, PeerView, Published, RoomSummary, RoomView};
