//! How long Redis has been away, for the metrics. A start that waits for Redis is an outage, too.

use std::time::Duration;

use p2p_telemetry::metrics::{REDIS_OUTAGE_SECONDS, REDIS_OUTAGES};
use tokio::time::Instant;

/// The outage that goes on, if one does.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// When it began, and how many of its seconds are counted.
    current: Option<(Instant, u64)>,
}

impl Outage {
    pub(super) fn begin(&mut self) {
        if self.current.is_none() {
            self.current = Some((Instant::now(), 0));
            REDIS_OUTAGES.get().increment(1);
        }
    }

    /// Counts the seconds that have passed since it was called last.
    pub(super) fn count(&mut self) {
        if let Some((began, counted)) = &mut self.current {
            let seconds = began.elapsed().as_secs();
            REDIS_OUTAGE_SECONDS.get().increment(seconds - *counted);
            *counted = seconds;
        }
    }

    /// For how long Redis has been away; zero while it is there.
    pub(super) fn lasts(&self) -> Duration {
        self.current.map_or(Duration::ZERO, |(began, _)| began.elapsed())
    }

    pub(super) fn end(&mut self) {
        self.count();
        self.current = None;
    }
}
