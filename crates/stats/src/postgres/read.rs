//! Answers. Those over many attempts read rollups where they can and attempts where they must, all
//! within one snapshot, so that every attempt counts exactly once.

use std::collections::BTreeMap;

use p2p_wire::{AttemptId, Method, NatType, Outcome};
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Pool, Postgres, Row as _, Transaction};

use super::spans::{HOUR, Sources};
use super::{SNAPSHOT, rollups};
use crate::attempt::AttemptRecord;
use crate::error::StatsError;
use crate::query::{
    Cursor, Filter, MAX_PAGE, MethodCell, MethodStats, NatCell, Page, Percentiles, Summary, share,
};
use crate::row::{columns, named, record, unsigned};

const ONE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM attempts WHERE attempt = $1 ORDER BY started_unix_ms LIMIT 1"
);

/// The bound on the start alone is what lets the server leave out whole days. One app has a statement
/// of its own: where the server plans for any parameters, it takes an index for no `OR`.
macro_rules! page {
    ($whose:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM attempts WHERE ",
            $whose,
            " AND started_unix_ms >= $2 AND started_unix_ms <= $3 \
               AND started_unix_ms <= $6 AND (started_unix_ms, attempt) < ($3, $4) \
             ORDER BY started_unix_ms DESC, attempt DESC LIMIT $5"
        )
    };
}

const PAGE: &str = page!("($1::text IS NULL OR app = $1)");
const PAGE_OF_APP: &str = page!("app = $1");

/// Two statements with the same answer: over rollups, and over the attempts of one stretch. In a
/// single one, joined with the stretches, the server would look through every partition.
struct Statement {
    rollups: &'static str,
    attempts: &'static str,
}

/// The same over times: rows of rollups are histograms as they are stored, those of attempts have
/// one time each.
macro_rules! times {
    ($measure:literal, grouped by $group:literal, $group_of_attempts:literal, $ms:literal) => {
        Statement {
            rollups: concat!(
                "SELECT ",
                $group,
                " ms, attempts FROM rollup_histograms \
                 WHERE span = 'day' AND measure = '",
                $measure,
                "' AND ($1::text IS NULL OR app = $1) AND day >= $2 AND day < $6 \
                   AND day <> ALL($3) \
                 UNION ALL SELECT ",
                $group,
                " ms, attempts FROM rollup_histograms \
                 WHERE span = 'hour' AND measure = '",
                $measure,
                "' AND ($1::text IS NULL OR app = $1) AND hour >= $4 AND hour < $7 \
                   AND hour <> ALL($5) AND (day < $2 OR day >= $6 OR day = ANY($3))"
            ),
            attempts: concat!(
                "SELECT ",
                $group,
                " ARRAY[ms] AS ms, ARRAY[COUNT(*)] AS attempts FROM (SELECT ",
                $group_of_attempts,
                $ms,
                " AS ms FROM attempts \
                 WHERE started_unix_ms BETWEEN $2 AND $3 AND ($1::text IS NULL OR app = $1) \
                   AND ",
                $ms,
                " IS NOT NULL) AS stretch GROUP BY ",
                $group,
                " ms"
            ),
        }
    };
}

/// A statement by what it selects and groups by, from which rollups, and how attempts read the same.
macro_rules! over {
    (SELECT $what:literal, rollups of $table:literal,
     attempts $raw:literal $join:literal, grouped $group:literal) => {
        Statement {
            rollups: concat!(
                "SELECT ",
                $what,
                " FROM (SELECT * FROM ",
                $table,
                " WHERE span = 'day' AND ($1::text IS NULL OR app = $1) AND day >= $2 \
                   AND day < $6 AND day <> ALL($3) \
                 UNION ALL SELECT * FROM ",
                $table,
                " WHERE span = 'hour' AND ($1::text IS NULL OR app = $1) AND hour >= $4 \
                   AND hour < $7 AND hour <> ALL($5) \
                   AND (day < $2 OR day >= $6 OR day = ANY($3))) \
                 AS spans GROUP BY ",
                $group
            ),
            attempts: concat!(
                "SELECT ",
                $what,
                " FROM (SELECT ",
                $raw,
                " FROM attempts ",
                $join,
                " WHERE started_unix_ms BETWEEN $2 AND $3 \
                   AND ($1::text IS NULL OR app = $1)",
                ") AS stretch GROUP BY ",
                $group
            ),
        }
    };
}

const COUNTS: Statement = over!(
    SELECT "outcome, method, SUM(attempts)::bigint AS attempts",
    rollups of "rollup_counts",
    attempts "outcome, method, 1 AS attempts" "",
    grouped "outcome, method"
);

const CONNECT_TIMES: Statement = times!(
    "connect",
    grouped by "method,",
    "CASE WHEN outcome <> 'failed' THEN method END AS method,",
    "connected_ms"
);

const DIRECT_TIMES: Statement = times!("direct", grouped by "", "", "direct_ms");

const PAIR_COUNTS: Statement = over!(
    SELECT "caller_nat_type, callee_nat_type, outcome, SUM(attempts)::bigint AS attempts",
    rollups of "rollup_counts",
    attempts "caller_nat_type, callee_nat_type, outcome, 1 AS attempts" "",
    grouped "caller_nat_type, callee_nat_type, outcome"
);

const PAIR_TIMES: Statement = times!(
    "pair",
    grouped by "caller_nat_type, callee_nat_type,",
    "caller_nat_type, callee_nat_type,",
    "direct_ms"
);

const METHODS: Statement = over!(
    SELECT "caller_nat_type, callee_nat_type, method, SUM(tried)::bigint AS tried, \
            SUM(worked)::bigint AS worked",
    rollups of "rollup_methods",
    attempts "caller_nat_type, callee_nat_type, told.tried_method AS method, 1 AS tried, \
              told.worked::int AS worked"
        ", methods_of(outcome, method, caller_steps, callee_steps) AS told",
    grouped "caller_nat_type, callee_nat_type, method"
);

/// Every statement here.
pub(super) fn statements() -> Vec<&'static str> {
    let both = [COUNTS, CONNECT_TIMES, DIRECT_TIMES, PAIR_COUNTS, PAIR_TIMES, METHODS];
    let both = both.into_iter().flat_map(|statement| [statement.rollups, statement.attempts]);
    both.chain([ONE, PAGE, PAGE_OF_APP]).collect()
}

pub(super) async fn attempt(
    pool: &Pool<Postgres>,
    id: &AttemptId,
) -> Result<Option<AttemptRecord>, StatsError> {
    let row = sqlx::query(ONE).bind(id.as_str()).fetch_optional(pool).await?;
    row.map(|row| record(&row)).transpose()
}

pub(super) async fn attempts(
    pool: &Pool<Postgres>,
    filter: &Filter,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Page, StatsError> {
    let limit = limit.clamp(1, MAX_PAGE);
    // Without a cursor the page begins before anything that can be stored.
    let (started, id) =
        after.map_or((i64::MAX, "\u{10ffff}"), |c| (c.started_unix_ms, c.attempt.as_str()));
    let (first, last) = filter.bounds();
    // One row more than asked for tells whether there is a next page.
    let page = if filter.app.is_some() { PAGE_OF_APP } else { PAGE };
    let rows = sqlx::query(page)
        .bind(filter.app.as_ref().map(|app| app.as_str()))
        .bind(first)
        .bind(started)
        .bind(id)
        .bind(limit as i64 + 1)
        .bind(last)
        .fetch_all(pool)
        .await?;
    let attempts = rows.iter().take(limit).map(record).collect::<Result<Vec<_>, _>>()?;
    let next = if rows.len() > limit { attempts.last().map(Cursor::from) } else { None };
    Ok(Page { attempts, next })
}

pub(super) async fn summary(pool: &Pool<Postgres>, filter: &Filter) -> Result<Summary, StatsError> {
    let mut question = Question::begin(pool, filter).await?;
    let (mut by_outcome, mut by_method) = (Outcomes::default(), BTreeMap::new());
    for row in question.rows(COUNTS).await? {
        let outcome: Outcome = value(&row, "outcome")?;
        let attempts = count(&row)?;
        by_outcome.add(outcome, attempts);
        if let Some(method) = method(&row)?.filter(|_| outcome != Outcome::Failed) {
            *by_method.entry(method).or_insert(0) += attempts;
        }
    }
    let (mut connect, mut connect_by) = (Times::default(), BTreeMap::<Method, Times>::new());
    for row in question.rows(CONNECT_TIMES).await? {
        connect.add(&row)?;
        if let Some(method) = method(&row)? {
            connect_by.entry(method).or_default().add(&row)?;
        }
    }
    let mut direct = Times::default();
    for row in question.rows(DIRECT_TIMES).await? {
        direct.add(&row)?;
    }
    question.end().await?;

    let attempts = by_outcome.all();
    let connected = by_outcome.direct + by_outcome.relay;
    let by_method = by_method.into_iter().map(|(method, connected)| MethodStats {
        method,
        attempts: connected,
        share: share(connected, attempts).unwrap_or(0.0),
        connect_ms: connect_by.get(&method).map(Times::percentiles).unwrap_or_default(),
    });
    Ok(Summary {
        attempts,
        direct: by_outcome.direct,
        relay: by_outcome.relay,
        failed: by_outcome.failed,
        success_rate: share(connected, attempts),
        relay_share: share(by_outcome.relay, connected),
        connect_ms: connect.percentiles(),
        direct_ms: direct.percentiles(),
        by_method: by_method.collect(),
    })
}

pub(super) async fn nat_matrix(
    pool: &Pool<Postgres>,
    filter: &Filter,
) -> Result<Vec<NatCell>, StatsError> {
    let mut question = Question::begin(pool, filter).await?;
    let mut cells = BTreeMap::<(NatType, NatType), (Outcomes, Times)>::new();
    for row in question.rows(PAIR_COUNTS).await? {
        let cell = cells.entry(pair(&row)?).or_default();
        cell.0.add(value(&row, "outcome")?, count(&row)?);
    }
    for row in question.rows(PAIR_TIMES).await? {
        cells.entry(pair(&row)?).or_default().1.add(&row)?;
    }
    question.end().await?;
    let cell = |((caller, callee), (outcomes, times)): (_, (Outcomes, Times))| NatCell {
        caller,
        callee,
        attempts: outcomes.all(),
        direct: outcomes.direct,
        relay: outcomes.relay,
        failed: outcomes.failed,
        direct_ms_p50: times.percentiles().p50,
    };
    Ok(cells.into_iter().map(cell).collect())
}

pub(super) async fn methods(
    pool: &Pool<Postgres>,
    filter: &Filter,
) -> Result<Vec<MethodCell>, StatsError> {
    // By whole hours: what is rolled up and what is not then begin and end together.
    let filter = Filter {
        app: filter.app.clone(),
        since_unix_ms: filter.since_unix_ms.map(|ms| ms.saturating_sub(ms.rem_euclid(HOUR))),
        before_unix_ms: filter.before_unix_ms.map(|ms| match ms.rem_euclid(HOUR) {
            0 => ms,
            over => ms.saturating_add(HOUR - over),
        }),
    };
    let mut question = Question::begin(pool, &filter).await?;
    let mut cells = BTreeMap::<(NatType, NatType, Method), (u64, u64)>::new();
    for row in question.rows(METHODS).await? {
        let (caller, callee) = pair(&row)?;
        let cell = cells.entry((caller, callee, value(&row, "method")?)).or_default();
        cell.0 += unsigned(row.try_get("tried")?);
        cell.1 += unsigned(row.try_get("worked")?);
    }
    question.end().await?;
    let cell = |((caller, callee, method), (tried, worked))| MethodCell {
        caller,
        callee,
        method,
        tried,
        worked,
    };
    Ok(cells.into_iter().map(cell).collect())
}

/// Statements over one snapshot and the attempts of one filter.
struct Question<'a> {
    snapshot: Transaction<'static, Postgres>,
    filter: &'a Filter,
    sources: Sources,
}

impl<'a> Question<'a> {
    async fn begin(pool: &Pool<Postgres>, filter: &'a Filter) -> Result<Self, StatsError> {
        let mut snapshot = pool.begin_with(SNAPSHOT).await?;
        let stale = rollups::stale(&mut snapshot).await?;
        let sources = Sources::of(filter, &stale);
        Ok(Self { snapshot, filter, sources })
    }

    async fn rows(&mut self, statement: Statement) -> Result<Vec<PgRow>, StatsError> {
        let Self { snapshot, filter, sources } = self;
        let app = filter.app.as_ref().map(|app| app.as_str());
        let connection: &mut PgConnection = snapshot;
        let mut rows = sqlx::query(statement.rollups)
            .bind(app)
            .bind(sources.from_day)
            .bind(&sources.stale_days)
            .bind(sources.from_hour)
            .bind(&sources.stale_hours)
            .bind(sources.to_day)
            .bind(sources.to_hour)
            .fetch_all(&mut *connection)
            .await?;
        for (first, last) in &sources.stretches {
            let attempts = sqlx::query(statement.attempts).bind(app).bind(first).bind(last);
            rows.extend(attempts.fetch_all(&mut *connection).await?);
        }
        Ok(rows)
    }

    async fn end(self) -> Result<(), StatsError> {
        Ok(self.snapshot.commit().await?)
    }
}

/// Attempts by outcome.
#[derive(Default)]
struct Outcomes {
    direct: u64,
    relay: u64,
    failed: u64,
}

impl Outcomes {
    fn add(&mut self, outcome: Outcome, attempts: u64) {
        let count = match outcome {
            Outcome::Direct => &mut self.direct,
            Outcome::Relay => &mut self.relay,
            Outcome::Failed => &mut self.failed,
        };
        *count += attempts;
    }

    fn all(&self) -> u64 {
        self.direct + self.relay + self.failed
    }
}

/// How many attempts took how long.
#[derive(Default)]
struct Times(BTreeMap<u64, u64>);

impl Times {
    /// Takes a histogram in.
    fn add(&mut self, row: &PgRow) -> Result<(), sqlx::Error> {
        let (ms, attempts): (Vec<i64>, Vec<i64>) = (row.try_get("ms")?, row.try_get("attempts")?);
        for (ms, attempts) in ms.into_iter().zip(attempts) {
            *self.0.entry(unsigned(ms)).or_insert(0) += unsigned(attempts);
        }
        Ok(())
    }

    /// By nearest rank: of `n` values in order, the one at rank `ceil(n * p / 100)`.
    fn percentiles(&self) -> Percentiles {
        let all: u64 = self.0.values().sum();
        let at = |percent: u64| {
            let rank = (all * percent).div_ceil(100);
            let mut passed = 0;
            let reached = self.0.iter().find(|(_, attempts)| {
                passed += **attempts;
                passed >= rank
            });
            reached.map(|(ms, _)| *ms)
        };
        Percentiles { p50: at(50), p95: at(95) }
    }
}

fn count(row: &PgRow) -> Result<u64, sqlx::Error> {
    Ok(unsigned(row.try_get("attempts")?))
}

fn method(row: &PgRow) -> Result<Option<Method>, StatsError> {
    let has_one = row.try_get::<Option<&str>, _>("method")?.is_some();
    has_one.then(|| value(row, "method")).transpose()
}

fn pair(row: &PgRow) -> Result<(NatType, NatType), StatsError> {
    Ok((value(row, "caller_nat_type")?, value(row, "callee_nat_type")?))
}

/// What a name in a column stands for.
fn value<T: DeserializeOwned>(row: &PgRow, column: &str) -> Result<T, StatsError> {
    let name: &str = row.try_get(column)?;
    named(name).map_err(|error| StatsError::Damaged {
        attempt: format!("with {column} {name:?}"),
        cause: error.to_string(),
    })
}
