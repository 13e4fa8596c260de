//! The time, moved by hand.

use std::time::{Duration, Instant};

use p2p_turn_core::Now;

/// Where the Unix clock stands when a world begins. Any moment will do; a fixed one replays.
const BEGIN_UNIX: u64 = 1_800_000_000;

/// A clock that stands still until it is moved.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    begin: Instant,
    now: Instant,
}

impl Clock {
    /// A clock at the beginning. The one real time it takes is only a name for that moment.
    pub(crate) fn new() -> Self {
        let begin = Instant::now();
        Self { begin, now: begin }
    }

    /// The moment it is.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now - self.begin
    }

    /// The moment as the relay wants it.
    pub(crate) fn relay_now(&self) -> Now {
        Now { instant: self.now, unix: BEGIN_UNIX + self.elapsed().as_secs() }
    }

    /// Moves to `to`; never backwards.
    pub(crate) fn move_to(&mut self, to: Instant) {
        self.now = self.now.max(to);
    }
}
