//! One partition per day: adding those that are missing, dropping those past the retention.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

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

/// Rollups of days that are gone go with them. Each names the columns that its index begins with:
/// without them the server would read whole tables.
const FORGET: [&str; 9] = [
    "DELETE FROM rollup_counts WHERE span IN ('hour', 'day') AND day < $1",
    "DELETE FROM rollup_times WHERE span IN ('hour', 'day') \
       AND measure IN ('connect', 'direct', 'pair') AND day < $1",
    "DELETE FROM rollup_histograms WHERE span IN ('hour', 'day') \
       AND measure IN ('connect', 'direct', 'pair') AND day < $1",
    "DELETE FROM rollup_methods WHERE span IN ('hour', 'day') AND day < $1",
    "DELETE FROM rollups_stale WHERE (span = 'day' AND start < $1) \
       OR (span = 'hour' AND start < $1 * 24)",
    "DELETE FROM rollups_due WHERE (span = 'day' AND start < $1) \
       OR (span = 'hour' AND start < $1 * 24)",
    "DELETE FROM session_hours WHERE hour < $1 * 24",
    "DELETE FROM relay_hours WHERE hour < $1 * 24",
    "DELETE FROM usage_stale WHERE kind IN ('sessions', 'relay_usage') AND hour < $1 * 24",
];

/// One at a time in the whole database ("p2pf"), and beside what the lock of days is for.
const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock(1882353766) AS locked";

/// The days before one that a table has partitions for.
const DAYS_BEFORE: &str = "SELECT day FROM ( \
        SELECT (to_date(right(c.relname, 8), 'YYYYMMDD') - date '1970-01-01')::bigint AS day \
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
        WHERE i.inhparent = to_regclass($1) AND c.relname ~ ('^' || $1 || '_d[0-9]{8}$')) AS days \
     WHERE day < $2 ORDER BY day";

const ADD_DAY: &str = "SELECT add_day($1, $2, $3) AS added";

const DROP_DAYS_BEFORE: &str = "SELECT drop_days_before($1, $2, $3) AS removed";

/// Every statement here.
pub(super) fn statements() -> Vec<&'static str> {
    FORGET.into_iter().chain([TRY_LOCK, DAYS_BEFORE, ADD_DAY, DROP_DAYS_BEFORE]).collect()
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
    ///
    /// Each partition goes in a transaction of its own: a dropped one keeps everybody from its table
    /// until that ends, and the next one's records would be counted meanwhile.
    pub(super) async fn drop_days_before(&self, day: i64) -> Result<u64, StatsError> {
        let mut removed = 0;
        for table in Table::ALL {
            let [name, key] = table.name_and_key();
            let rows = sqlx::query(DAYS_BEFORE).bind(name).bind(day).fetch_all(&self.pool).await?;
            let old: Vec<i64> =
                rows.iter().map(|row| row.try_get("day")).collect::<Result<_, _>>()?;
            // The last one is for what has no partition.
            for before in old.iter().map(|old| old + 1).chain([day]) {
                let drop = sqlx::query(DROP_DAYS_BEFORE).bind(name).bind(key).bind(before);
                let row = drop.fetch_one(&self.pool).await?;
                removed += crate::row::unsigned(row.try_get("removed")?);
            }
        }
        // Where nothing is removed, rollups are past the retention only once a day.
        if removed > 0 || self.forgotten_before.load(Relaxed) != day {
            self.forget_before(day).await?;
        }
        self.days().retain(|(_, known)| *known >= day);
        Ok(removed)
    }

    /// Removes what rollups have of before a day, unless another instance is about it.
    async fn forget_before(&self, day: i64) -> Result<(), StatsError> {
        let mut transaction = self.pool.begin().await?;
        let row = sqlx::query(TRY_LOCK).fetch_one(&mut *transaction).await?;
        if !row.try_get::<bool, _>("locked")? {
            // That one may have begun before there was all of it to remove.
            self.forgotten_before.store(i64::MIN, Relaxed);
            return Ok(());
        }
        for forget in FORGET {
            sqlx::query(forget).bind(day).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.forgotten_before.store(day, Relaxed);
        Ok(())
    }

    fn days(&self) -> std::sync::MutexGuard<'_, BTreeSet<(Table, i64)>> {
        self.days.lock().expect("no code panics while it holds the lock of the known days")
    }
}
