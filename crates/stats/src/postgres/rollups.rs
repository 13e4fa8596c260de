//! Rolling settled hours and days up.
//!
//! A writer marks the hours and days that it changes as stale, under a shared advisory lock for
//! each; rolling one up takes that lock alone, without waiting: where a writer is at work it is left
//! for the next round. So a mark is only ever removed together with a rollup that knows every
//! attempt written before, and writers wait for nobody but the rollup of the very hour they change.
//!
//! The marks are in `rollups_due`; a trigger puts there what anybody marks in `rollups_stale`, as
//! instances of the version before histograms do. Those take their own marks away from
//! `rollups_stale`; this version only adds to it.

use std::collections::BTreeSet;

use sqlx::{PgConnection, Row as _};

use super::Inner;
use super::spans::{DAY, HOUR, Span};
use crate::error::StatsError;

const LOCK_SHARED: &str = "SELECT pg_advisory_xact_lock_shared(k) FROM unnest($1::bigint[]) AS k";

const MARK: &str = "INSERT INTO rollups_stale (span, start) \
     SELECT * FROM unnest($1::text[], $2::bigint[]) ON CONFLICT DO NOTHING";

const STALE: &str = "SELECT span, start FROM rollups_due";

const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock($1) AS locked";

const STALE_HOURS_WITHIN: &str = "SELECT EXISTS (SELECT FROM rollups_due \
     WHERE span = 'hour' AND start BETWEEN $1 AND $1 + 23) AS some";

const FORGET: [&str; 3] = [
    "DELETE FROM rollup_counts WHERE span = $1 AND day = $2 AND hour = $3",
    // With the measures, the index leads straight to the rows.
    "DELETE FROM rollup_histograms WHERE span = $1 AND day = $2 AND hour = $3 \
       AND measure IN ('connect', 'direct', 'pair')",
    "DELETE FROM rollup_methods WHERE span = $1 AND day = $2 AND hour = $3",
];

const UNMARK: &str = "DELETE FROM rollups_due WHERE span = $1 AND start = $2";

const HOUR_COUNTS: &str = "INSERT INTO rollup_counts \
     SELECT 'hour', $1, $2, app, caller_nat_type, callee_nat_type, outcome, method, COUNT(*) \
     FROM attempts WHERE started_unix_ms BETWEEN $3 AND $4 \
     GROUP BY app, caller_nat_type, callee_nat_type, outcome, method";

const HOUR_TIMES: &str = "INSERT INTO rollup_histograms \
     WITH timed AS ( \
        SELECT app, CASE WHEN outcome <> 'failed' THEN method END AS method, caller_nat_type, \
               callee_nat_type, rollup_ms(connected_ms, 7) AS connected_ms, \
               rollup_ms(direct_ms, 7) AS direct_ms, rollup_ms(direct_ms, 5) AS pair_ms \
        FROM attempts WHERE started_unix_ms BETWEEN $3 AND $4), \
     counted AS ( \
        SELECT app, 'connect' AS measure, method, NULL AS caller, NULL AS callee, \
               connected_ms AS ms, COUNT(*) AS attempts \
        FROM timed WHERE connected_ms IS NOT NULL GROUP BY app, method, connected_ms \
        UNION ALL \
        SELECT app, 'direct', NULL, NULL, NULL, direct_ms, COUNT(*) \
        FROM timed WHERE direct_ms IS NOT NULL GROUP BY app, direct_ms \
        UNION ALL \
        SELECT app, 'pair', NULL, caller_nat_type, callee_nat_type, pair_ms, COUNT(*) \
        FROM timed WHERE pair_ms IS NOT NULL \
        GROUP BY app, caller_nat_type, callee_nat_type, pair_ms) \
     SELECT 'hour', $1, $2, app, measure, method, caller, callee, \
            array_agg(ms ORDER BY ms), array_agg(attempts ORDER BY ms) \
     FROM counted GROUP BY app, measure, method, caller, callee";

const HOUR_METHODS: &str = "INSERT INTO rollup_methods \
     SELECT 'hour', $1, $2, app, caller_nat_type, callee_nat_type, tried_method, COUNT(*), \
            COUNT(*) FILTER (WHERE worked) \
     FROM attempts, methods_of(outcome, method, caller_steps, callee_steps) \
     WHERE started_unix_ms BETWEEN $3 AND $4 \
     GROUP BY app, caller_nat_type, callee_nat_type, tried_method";

const DAY_COUNTS: &str = "INSERT INTO rollup_counts \
     SELECT 'day', $1, $2, app, caller_nat_type, callee_nat_type, outcome, method, SUM(attempts) \
     FROM rollup_counts WHERE span = 'hour' AND day = $1 \
     GROUP BY app, caller_nat_type, callee_nat_type, outcome, method";

const DAY_TIMES: &str = "INSERT INTO rollup_histograms \
     WITH counted AS ( \
        SELECT app, measure, method, caller_nat_type, callee_nat_type, t.ms, \
               SUM(t.attempts)::bigint AS attempts \
        FROM rollup_histograms AS h, unnest(h.ms, h.attempts) AS t(ms, attempts) \
        WHERE span = 'hour' AND day = $1 AND measure IN ('connect', 'direct', 'pair') \
        GROUP BY app, measure, method, caller_nat_type, callee_nat_type, t.ms) \
     SELECT 'day', $1, $2, app, measure, method, caller_nat_type, callee_nat_type, \
            array_agg(ms ORDER BY ms), array_agg(attempts ORDER BY ms) \
     FROM counted GROUP BY app, measure, method, caller_nat_type, callee_nat_type";

const DAY_METHODS: &str = "INSERT INTO rollup_methods \
     SELECT 'day', $1, $2, app, caller_nat_type, callee_nat_type, method, SUM(tried), SUM(worked) \
     FROM rollup_methods WHERE span = 'hour' AND day = $1 \
     GROUP BY app, caller_nat_type, callee_nat_type, method";

/// Every statement here.
pub(super) fn statements() -> Vec<&'static str> {
    let fills = [HOUR_COUNTS, HOUR_TIMES, HOUR_METHODS, DAY_COUNTS, DAY_TIMES, DAY_METHODS];
    let marks = [LOCK_SHARED, MARK, STALE, TRY_LOCK, STALE_HOURS_WITHIN, UNMARK];
    [fills, marks].concat().into_iter().chain(FORGET).collect()
}

/// Marks the hours and days of these times as stale, for as long as the transaction that writes
/// them is open under locks that keep rollups out.
pub(super) async fn mark(transaction: &mut PgConnection, times: &[i64]) -> Result<(), StatsError> {
    if times.is_empty() {
        return Ok(());
    }
    let spans: BTreeSet<Span> =
        times.iter().flat_map(|time| [Span::hour_of(*time), Span::day_of(*time)]).collect();
    let locks: Vec<i64> = spans.iter().map(|span| span.lock()).collect();
    let names: Vec<&str> = spans.iter().map(|span| span.name()).collect();
    let starts: Vec<i64> = spans.iter().map(|span| span.start()).collect();
    sqlx::query(LOCK_SHARED).bind(&locks).execute(&mut *transaction).await?;
    sqlx::query(MARK).bind(&names).bind(&starts).execute(transaction).await?;
    Ok(())
}

/// What is not rolled up.
pub(super) async fn stale(connection: &mut PgConnection) -> Result<BTreeSet<Span>, StatsError> {
    let rows = sqlx::query(STALE).fetch_all(connection).await?;
    let span = |row: &sqlx::postgres::PgRow| -> Result<Span, sqlx::Error> {
        let start = row.try_get("start")?;
        let is_day = row.try_get::<&str, _>("span")? == "day";
        Ok(if is_day { Span::Day(start) } else { Span::Hour(start) })
    };
    Ok(rows.iter().map(span).collect::<Result<_, _>>()?)
}

impl Inner {
    pub(super) async fn roll_up(&self, before: i64) -> Result<usize, StatsError> {
        let stale = stale(&mut *self.pool.acquire().await?).await?;
        // Hours sort before days, which are made of them.
        let settled = stale.into_iter().filter(|span| match span {
            Span::Hour(hour) => *hour < before.div_euclid(HOUR),
            Span::Day(day) => *day < before.div_euclid(DAY),
        });
        let mut done = 0;
        for span in settled {
            done += usize::from(self.roll_up_one(span).await?);
        }
        Ok(done)
    }

    /// Rolls one up; false where that has to wait.
    async fn roll_up_one(&self, span: Span) -> Result<bool, StatsError> {
        let mut transaction = self.pool.begin().await?;
        let locked = sqlx::query(TRY_LOCK).bind(span.lock()).fetch_one(&mut *transaction).await?;
        if !locked.try_get::<bool, _>("locked")? {
            return Ok(false);
        }
        let (day, hour) = (span.day(), span.first_hour());
        if matches!(span, Span::Day(_)) {
            let hours = sqlx::query(STALE_HOURS_WITHIN).bind(hour);
            if hours.fetch_one(&mut *transaction).await?.try_get::<bool, _>("some")? {
                return Ok(false);
            }
        }
        for forget in FORGET {
            sqlx::query(forget)
                .bind(span.name())
                .bind(day)
                .bind(hour)
                .execute(&mut *transaction)
                .await?;
        }
        match span {
            Span::Hour(_) => {
                let (first, last) = span.bounds();
                for fill in [HOUR_COUNTS, HOUR_TIMES, HOUR_METHODS] {
                    let fill = sqlx::query(fill).bind(day).bind(hour).bind(first).bind(last);
                    fill.execute(&mut *transaction).await?;
                }
            }
            Span::Day(_) => {
                for fill in [DAY_COUNTS, DAY_TIMES, DAY_METHODS] {
                    sqlx::query(fill).bind(day).bind(hour).execute(&mut *transaction).await?;
                }
            }
        }
        let unmark = sqlx::query(UNMARK).bind(span.name()).bind(span.start());
        unmark.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }
}
