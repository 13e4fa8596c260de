//! Whether the store takes what is written, and for how long it has not: the state behind the
//! metrics of the database.

use std::time::Duration;

use p2p_telemetry::metrics::{DATABASE_OUTAGE_SECONDS, DATABASE_OUTAGES, DATABASE_UP};
use tokio::time::Instant;

/// The store's state, as whoever writes to it finds it.
#[derive(Debug)]
pub(crate) struct Outage {
    /// Whether it is the database that is away, and not what is before it.
    is_of_database: bool,
    since: Option<Instant>,
    /// Whole seconds of it that the metric has.
    counted: u64,
}

impl Outage {
    /// A store that is there. Must come after the metrics' recorder is installed.
    pub(crate) fn none() -> Self {
        DATABASE_UP.get().set(1.0);
        // A series that is there from the start shows its first increase.
        DATABASE_OUTAGES.get().increment(0);
        DATABASE_OUTAGE_SECONDS.get().increment(0);
        Self { is_of_database: true, since: None, counted: 0 }
    }

    /// The same for what is before the database: it shows in no metric of the database.
    pub(crate) fn none_before_the_database() -> Self {
        Self { is_of_database: false, since: None, counted: 0 }
    }

    /// Whether the store was away when it was last asked.
    pub(crate) fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// The store is away. True where it was there before.
    pub(crate) fn gone(&mut self) -> bool {
        let now = Instant::now();
        if let Some(since) = self.since {
            self.count(now - since);
            return false;
        }
        (self.since, self.counted) = (Some(now), 0);
        if self.is_of_database {
            DATABASE_UP.get().set(0.0);
            DATABASE_OUTAGES.get().increment(1);
        }
        true
    }

    /// The store took something, or refused it by itself. True where it was away before.
    pub(crate) fn over(&mut self) -> bool {
        let Some(since) = self.since.take() else { return false };
        self.count(since.elapsed());
        if self.is_of_database {
            DATABASE_UP.get().set(1.0);
        }
        true
    }

    fn count(&mut self, lasted: Duration) {
        let seconds = lasted.as_secs();
        if self.is_of_database {
            DATABASE_OUTAGE_SECONDS.get().increment(seconds - self.counted);
        }
        self.counted = seconds;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_shows_in_the_metrics_while_it_lasts_and_afterwards() {
        let exporter = p2p_telemetry::prometheus::install("0").unwrap();
        let shown = |up: u8, outages: u8, seconds: u8| {
            let text = exporter.render();
            for line in [
                format!("p2p_database_up {up}"),
                format!("p2p_database_outages_total {outages}"),
                format!("p2p_database_outage_seconds_total {seconds}"),
            ] {
                assert!(text.lines().any(|shown| shown == line), "no {line:?} in:\n{text}");
            }
        };
        let mut outage = Outage::none();
        shown(1, 0, 0);
        assert!(outage.gone());
        shown(0, 1, 0);
        advance(Duration::from_millis(2_700)).await;
        assert!(!outage.gone(), "the same outage");
        shown(0, 1, 2);
        advance(Duration::from_millis(1_400)).await;
        assert!(outage.over());
        shown(1, 1, 4);
        assert!(!outage.over());
        assert!(outage.gone());
        assert!(outage.over());
        shown(1, 2, 4);
    }
}
