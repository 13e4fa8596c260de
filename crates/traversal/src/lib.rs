//! NAT traversal, sans-I/O: what a client does with the STUN, TURN and ICE packets of its one UDP
//! socket, and which path each of its connections should use.
//!
//! [`Node`] is the whole of it: one per socket. It owns the NAT [`detect`]or, the [`relay`] leg and
//! every open [`attempt`]. The caller drives it in a loop:
//!
//! 1. pass in what happened: [`Node::handle_datagram`], [`Node::handle_timeout`],
//!    [`Node::start_attempt`] and the other verbs, each with the current time;
//! 2. send everything that [`Node::poll_transmit`] returns;
//! 3. act on everything that [`Node::poll_event`] returns;
//! 4. call [`Node::handle_timeout`] no later than [`Node::poll_timeout`] says.
//!
//! Where UDP does not reach the relay the node asks for a stream ([`Node::poll_stream_command`]),
//! writes to it ([`Node::poll_stream_write`]) and hears from it ([`Node::stream_received`]).
//!
//! TCP connections with peers, which cross where UDP does not, are asked for the same way
//! ([`Node::poll_peer_stream_command`]).
//!
//! Nothing here reads a clock, opens a socket or spawns a task.
#![warn(missing_docs)]

pub mod attempt;
pub mod behaviour;
mod budget;
mod check;
pub mod demux;
pub mod detect;
pub mod frames;
mod framing;
mod ice;
pub mod liveness;
pub mod node;
pub mod path;
mod peer_streams;
pub mod quality;
pub mod relay;
mod relays;
mod renewals;
mod schedule;
mod search;
mod stale;
pub mod stream_binding;
mod stun;
pub mod tcp_mapping;
mod tcp_punch;
pub mod traffic;
pub mod transmit;

pub use attempt::AttemptConfig;
pub use node::{Event, Input, Node, NodeConfig, PeerStreamCommand};
pub use path::{Path, PathKind, Via};
pub use peer_streams::PeerStreamId;
pub use relay::{RelayConfig, RelayTransport};
pub use relays::{StreamCommand, StreamId};
pub use transmit::Transmit;
