//! What callers rely on: the suite that every store passes, and the recorder in front of it.
#![allow(clippy::unwrap_used)]

mod conformance;
mod recorder;
mod sqlite;
