//! What callers rely on: the suite that every store passes, and the recorder in front of it.

mod conformance;
mod recorder;
mod sqlite;
