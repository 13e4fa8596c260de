//! What callers rely on: the suite that every store passes, and the recorder in front of it.
#![allow(clippy::unwrap_used)]

mod conformance;
#[cfg(unix)]
mod postgres;
mod recorder;
#[cfg(unix)]
mod server;
mod sqlite;
mod statements;
