//! The native half of the Node.js package: thin classes over the Rust client and the embedded
//! coordinator. The JavaScript half (`lib/`) makes Node's events and streams of them.
//!
//! Everything that waits is a promise over a future that owns what it uses: no future borrows a
//! JavaScript object, so a worker thread may be terminated at any moment. Nothing here runs on the
//! event loop longer than it takes to copy its arguments.
#![allow(unreachable_pub, reason = "the outside is JavaScript")]
#![allow(clippy::needless_pass_by_value, reason = "JavaScript hands its arguments over")]

mod client;
mod connection;
mod embedded;
mod failure;
pub mod logs;
mod messages;
pub mod network;
mod news;
mod receiving;
mod sending;
mod stream;

/// What a panicking holder left behind is still whole: every value here is replaced at once.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
