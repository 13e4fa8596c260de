//! Other people's TURN clients relay data through our relay.
//!
//! Everything stays on loopback, on free ports.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod coturn;
mod our_relay;
mod rtc_turn_client;
mod turn_crate_client;
