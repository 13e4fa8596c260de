//! The embedded back end.

use std::time::Duration;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The most attempts.
    pub max_attempts: u64,
    /// How old an attempt may grow; `None` is for ever.
    pub max_age: Option<Duration>,
}
