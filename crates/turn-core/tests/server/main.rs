//! The server as a shell drives it: bytes and time in, routes and commands out.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod allocate;
mod authentication;
mod binding;
mod channels;
mod data;
mod discovery;
mod hostile_input;
mod lifecycle;
mod permissions;
mod refresh;
mod stream;
mod world;
