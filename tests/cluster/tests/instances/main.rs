//! Signaling instances as processes, and one Redis that they share, of whichever kind.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests panic")]

mod admission;
mod attempts;
mod client;
mod collector;
mod crash;
mod instance;
mod kinds;
mod messages;
mod metrics;
mod outage;
mod partition;
mod peerjs;
mod relays;
mod rolling;
mod tickets;
mod traces;
