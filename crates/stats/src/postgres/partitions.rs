//! One partition per day: adding those that are missing, dropping those past the retention.

use std::collections::BTreeSet;

use sqlx::Row as _;

use super::Inner;
use crate::error::StatsError;

/// A table in partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Attempts,
    Sessions,
    RelayUsage,
}

impl Table {
    pub(super) const ALL: [Self; 3] = [Self::Attempts, Self::Sessions, Self::RelayUsage];

    /// Its name, and the column whose day is the partition's.
    fn name_and_key(self) -> [&'static str; 2] {
        match self {
            Self::Attempts => ["attempts", "started_unix_ms"],
            Self::Sessions => ["sessions", "opened_unix_ms"],
            Self::RelayUsage => ["relay_usage", "ended_unix_ms"],
        }
    }
}

/// Rollups of days that are gone go with them.
const FORGET: [&str; 11] = [
    "DELETE FROM rollup_counts WHERE day < $1",
    "DELETE FROM rollup_times WHERE day < $1",
    "DELETE FROM rollup_histograms WHERE day < $1",
    "DELETE FROM rollup_methods WHERE day < $1",
    "DELETE FROM rollups_stale WHERE span = 'day' AND start < $1",
    "DELETE FROM rollups_stale WHERE span = 'hour' AND start < $1 * 24",
    "DELETE FROM rollups_due WHERE span = 'day' AND start < $1",
    "DELETE FROM rollups_due WHERE span = 'hour' AND start < $1 * 24",
    "DELETE FROM session_hours WHERE hour < $1 * 24",
    "DELETE FROM relay_hours WHERE hour < $1 * 24",
    "DELETE FROM usage_stale WHERE hour < $1 * 24",
];

const ADD_DAY: &str = "SELECT add_day($1, $2, $3) AS added";

const DROP_DAYS_BEFORE: &str = "SELECT drop_days_before($1, $2, $3) AS removed";

/// Every statement here.
pub(super) fn statements() -> Vec<&'static str> {
    FORGET.into_iter().chain([ADD_DAY, DROP_DAYS_BEFORE]).collect()
}

impl Inner {
    /// Makes sure that a table has partitions for these days, and says how many of them had none.
    pub(super) async fn add_days(&self, table: Table, days: &[i64]) -> Result<usize, StatsError> {
        let mut added = 0;
        let [name, key] = table.name_and_key();
        for day in days {
            if self.days().contains(&(table, *day)) {
                continue;
            }
            let row =
                sqlx::query(ADD_DAY).bind(name).bind(key).bind(day).fetch_one(&self.pool).await?;
            added += usize::from(row.try_get::<bool, _>("added")?);
            self.days().insert((table, *day));
        }
        Ok(added)
    }

    /// Removes everything of before a day, and says how many records that were.
    pub(super) async fn drop_days_before(&self, day: i64) -> Result<u64, StatsError> {
        let mut transaction = self.pool.begin().await?;
        let mut removed = 0;
        for table in Table::ALL {
            let [name, key] = table.name_and_key();
            let row = sqlx::query(DROP_DAYS_BEFORE)
                .bind(name)
                .bind(key)
                .bind(day)
                .fetch_one(&mut *transaction)
                .await?;
            removed += crate::row::unsigned(row.try_get("removed")?);
        }
        for forget in FORGET {
            sqlx::query(forget).bind(day).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.days().retain(|(_, known)| *known >= day);
        Ok(removed)
    }

    fn days(&self) -> std::sync::MutexGuard<'_, BTreeSet<(Table, i64)>> {
        self.days.lock().expect("no code panics while it holds the lock of the known days")
    }
}
