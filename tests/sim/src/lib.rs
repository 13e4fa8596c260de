//! The whole system on a virtual clock: real [`p2p_traversal::Node`]s behind modelled NATs, a relay
//! made of the real [`p2p_turn_core::Server`], and a network that loses and delays packets as told.
//!
//! Nothing here sleeps, opens a socket or reads the time: [`World::run_for`] moves time from one
//! event to the next, so an hour takes milliseconds. Everything random comes out of one seed.
//!
//! ```
//! use std::time::Duration;
//! use p2p_sim::{Nat, World};
//!
//! let mut world = World::new(1).peer("alice", Nat::port_restricted()).peer("bob", Nat::full_cone());
//! world.settle();
//! let call = world.connect("alice", "bob");
//! world.run_for(Duration::from_secs(2));
//! assert!(world.has_direct_path("alice", &call) && world.has_direct_path("bob", &call));
//! ```
#![warn(missing_docs)]

pub mod clock;
pub mod coordinator;
pub mod host;
pub mod nat;
pub mod network;
pub mod peer;
pub mod relay;
pub mod seed;
mod survey;
pub mod tcp;
pub mod world;

pub use coordinator::Call;
pub use host::Host;
pub use nat::Nat;
pub use tcp::TcpNat;
pub use world::World;
