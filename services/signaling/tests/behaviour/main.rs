//! What the signaling service does, over real WebSockets on loopback.
// The helpers of tests are tests; JSON values are written where they are used.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

mod attempts;
mod bad_input;
mod documentation;
mod drain;
mod http;
mod keys;
mod learning;
mod logs;
mod messages;
mod peerjs;
mod peerjs_client;
mod rooms;
mod sessions;
mod slow_clients;
mod slow_registry;
mod story;
mod support;
mod trouble;
