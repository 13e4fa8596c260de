//! One partition per day: adding those that are missing, dropping those past the retention.

use std::collections::BTreeSet;

use sqlx::Row as _;

use super::Inner;
use crate::error::StatsError;

/// Rollups of days that are gone go with them.
const FORGET: [&str; 4] = [
    "DELETE FROM rollup_counts WHERE day < $1",
    "DELETE FROM rollup_times WHERE day < $1",
    "DELETE FROM rollups_stale WHERE span = 'day' AND start < $1",
    "DELETE FROM rollups_stale WHERE span = 'hour' AND start < $1 * 24",
];

impl Inner {
    /// Makes sure that these days have partitions, and says how many of them had none.
    pub(super) async fn add_days(&self, days: &[i64]) -> Result<usize, StatsError> {
        let mut added = 0;
        for day in days {
            if self.days().contains(day) {
                continue;
            }
            let row = sqlx::query("SELECT attempts_add_day($1) AS added")
                .bind(day)
                .fetch_one(&self.pool)
                .await?;
            added += usize::from(row.try_get::<bool, _>("added")?);
            self.days().insert(*day);
        }
        Ok(added)
    }

    /// Removes every attempt that began before a day, and says how many that were.
    pub(super) async fn drop_days_before(&self, day: i64) -> Result<u64, StatsError> {
        let mut transaction = self.pool.begin().await?;
        let row = sqlx::query("SELECT attempts_drop_days_before($1) AS removed")
            .bind(day)
            .fetch_one(&mut *transaction)
            .await?;
        for forget in FORGET {
            sqlx::query(forget).bind(day).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.days().retain(|known| *known >= day);
        Ok(crate::row::unsigned(row.try_get("removed")?))
    }

    fn days(&self) -> std::sync::MutexGuard<'_, BTreeSet<i64>> {
        self.days.lock().expect("no code panics while it holds the lock of the known days")
    }
}
