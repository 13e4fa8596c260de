//! How many files the process may have open. Each connection and each allocation is one.
//!
//! Systems start programs with a soft limit of 1,024 for those that use `select(2)`, which nothing
//! here does, and with room above it for those that ask.

/// Takes all the room that the system gives.
#[cfg(unix)]
pub fn allow_many() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(?current, ?maximum, "more files may be open"),
        Err(error) => tracing::debug!(%error, ?current, "no more files may be open"),
    }
}

/// There is no such limit.
#[cfg(not(unix))]
pub fn allow_many() {}
