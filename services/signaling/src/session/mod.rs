//! One WebSocket, from the upgrade request to its close code.
//!
//! [`handshake`] finds the token and upgrades, [`connection`] says who it is and carries frames
//! until it ends, [`inbound`] does what a frame asks for: this is the protocol `p2p.v1`.
//!
//! What does not depend on the protocol is for others as well: [`admission`] to a place,
//! [`registered`] and its end, [`serve`] for what happens meanwhile, [`pace`], [`closing`].

pub(crate) mod admission;
mod bell;
pub(crate) mod closing;
mod connection;
mod handshake;
mod inbound;
pub(crate) mod pace;
pub(crate) mod rate;
pub(crate) mod registered;
pub(crate) mod serve;
pub(crate) mod socket;
pub(crate) mod token;
pub(crate) mod upgrade;

pub(crate) use handshake::upgrade;
