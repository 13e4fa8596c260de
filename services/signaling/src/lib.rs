//! The signaling service: WebSocket sessions and the HTTP API.
//!
//! ```text
//! http/      routes, tokens, problems, pages
//! session/   one WebSocket: handshake, hello, frames in and out, limits, close codes
//! peerjs/    the same for PeerJS clients, and the requests that they make of a PeerServer
//! keys/      the keys that tokens are verified with, fetched anew as their issuer rotates them
//! attempt/   connect → one `attempt` to both sides → candidates → reports → one verdict
//! ```
//!
//! A message goes one way through them: `session` reads a frame, the registry says where it goes,
//! the receiver's `session` writes it. Statistics leave by a queue that never makes a session wait
//! (invariant I7).
//!
//! [`Signaling::bind`] takes the ports, [`Signaling::serve`] runs until the process is to stop and
//! drains (invariant I12).
#![warn(missing_docs)]

mod attempt;
mod clock;
pub mod config;
mod error;
mod forwarded;
mod half_open;
mod http;
mod instance;
mod keys;
mod listener;
mod meters;
mod pacer;
mod peerjs;
mod random;
mod recent;
mod relays;
mod server;
mod session;
mod write_deadline;

pub use config::{InstanceLimits, Jwks, Origins, PeerJs, RelayOffer, SignalingConfig, Timing};
pub use error::SignalingError;
pub use instance::Snapshot;
pub use keys::{BadJwksUrl, JwksUrl};
pub use server::{Signaling, SignalingHandle};
