//! What keeps the database in shape, once a minute by every instance. Each step is safe to do twice
//! at once, and where one fails the next round does it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_telemetry::metrics::STORE_TRIMMED;
use tokio::time::MissedTickBehavior;

use super::Inner;
use super::partitions::Table;
use super::spans::{DAY, HOUR};
use crate::error::StatsError;

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(60);
/// How many days have their partition before they begin.
const DAYS_AHEAD: i64 = 2;
/// How long after its end an hour is rolled up: until then its attempts still change.
const SETTLED: i64 = HOUR / 6;

/// What one round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Days whose partitions were added for attempts.
    pub days_added: usize,
    /// Records that were past the retention.
    pub removed: u64,
    /// Hours and days that were rolled up.
    pub rolled_up: usize,
}

pub(super) async fn run(inner: Arc<Inner>) {
    let mut rounds = tokio::time::interval(EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        match inner.maintain(unix_ms()).await {
            Ok(done) if done == Maintained::default() => {}
            Ok(done) => tracing::debug!(?done, "statistics database maintained"),
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, "statistics database not maintained; trying again");
            }
            Err(error) => {
                tracing::warn!(code = error.code(), fix = error.fix(), "upkeep: {error}");
            }
        }
    }
}

impl Inner {
    pub(super) async fn maintain(&self, now: i64) -> Result<Maintained, StatsError> {
        let today = now.div_euclid(DAY);
        let ahead: Vec<i64> = (today..=today + DAYS_AHEAD).collect();
        let days_added = self.add_days(Table::Attempts, &ahead).await?;
        self.add_days(Table::Sessions, &ahead).await?;
        self.add_days(Table::RelayUsage, &ahead).await?;
        let removed = match self.first_day_kept(now) {
            Some(day) => self.drop_days_before(day).await?,
            None => 0,
        };
        if removed > 0 {
            STORE_TRIMMED.get().increment(removed);
        }
        let rolled_up =
            self.roll_up(now - SETTLED).await? + self.roll_usage_up(now - SETTLED).await?;
        Ok(Maintained { days_added, removed, rolled_up })
    }

    /// The first day that the retention keeps: a day goes when its last attempt is too old.
    pub(super) fn first_day_kept(&self, now: i64) -> Option<i64> {
        let age = i64::try_from(self.max_age?.as_millis()).unwrap_or(i64::MAX);
        Some(now.saturating_sub(age).div_euclid(DAY).max(0))
    }

    /// The days that may have a partition of their own: from the first that is kept to the last that
    /// is ahead. Attempts of others go to the default partition.
    pub(super) fn has_partition(&self, day: i64, now: i64) -> bool {
        let first = self.first_day_kept(now).unwrap_or(0);
        (first..=now.div_euclid(DAY) + DAYS_AHEAD).contains(&day)
    }
}

/// This machine's clock, in milliseconds since 1970-01-01 UTC.
pub(super) fn unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
