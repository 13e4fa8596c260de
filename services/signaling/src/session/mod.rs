//! One WebSocket, from the upgrade request to its close code.
//!
//! [`handshake`] finds the token and upgrades, [`connection`] says who it is and carries frames
//! until it ends, [`inbound`] does what a frame asks for.

mod bell;
mod closing;
mod connection;
mod handshake;
mod inbound;
mod rate;
mod serve;
mod socket;
pub(crate) mod token;
mod upgrade;

pub(crate) use handshake::upgrade;
