//! Answers. Each is one statement, or several within one read transaction, so that its parts agree.
//!
//! Percentiles are by nearest rank: of `n` values in order, the one at rank `ceil(n * p / 100)`.

use std::collections::HashMap;

use p2p_wire::{AttemptId, Method};
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Pool, Row, Sqlite, SqliteConnection};

use crate::attempt::AttemptRecord;
use crate::error::StatsError;
use crate::query::{
    Cursor, Filter, MAX_PAGE, MethodStats, NatCell, Page, Percentiles, Summary, share,
};
use crate::row::{columns, named, record, unsigned};

const ONE: &str = concat!("SELECT ", columns!(), " FROM attempts WHERE attempt = ?1");

/// One app has a statement of its own: an index is taken for no `OR`.
macro_rules! page {
    ($whose:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM attempts \
             WHERE ",
            $whose,
            " AND started_unix_ms BETWEEN ?2 AND ?6 AND (started_unix_ms, attempt) < (?3, ?4) \
             ORDER BY started_unix_ms DESC, attempt DESC LIMIT ?5"
        )
    };
}

const PAGE: &str = page!("(?1 IS NULL OR app = ?1)");
const PAGE_OF_APP: &str = page!("app = ?1");

const OUTCOMES: &str = "SELECT COUNT(*) AS attempts, \
        COALESCE(SUM(outcome = 'direct'), 0) AS direct, \
        COALESCE(SUM(outcome = 'relay'), 0) AS relay, \
        COALESCE(SUM(outcome = 'failed'), 0) AS failed \
     FROM attempts WHERE (?1 IS NULL OR app = ?1) AND started_unix_ms BETWEEN ?2 AND ?3";

const CONNECT_MS: &str = "WITH ranked AS ( \
        SELECT connected_ms AS ms, ROW_NUMBER() OVER (ORDER BY connected_ms) AS place, \
               COUNT(*) OVER () AS n \
        FROM attempts WHERE (?1 IS NULL OR app = ?1) AND started_unix_ms BETWEEN ?2 AND ?3 \
          AND connected_ms IS NOT NULL) \
     SELECT MAX(CASE WHEN place = (n * 50 + 99) / 100 THEN ms END) AS p50, \
            MAX(CASE WHEN place = (n * 95 + 99) / 100 THEN ms END) AS p95 FROM ranked";

const DIRECT_MS: &str = "WITH ranked AS ( \
        SELECT direct_ms AS ms, ROW_NUMBER() OVER (ORDER BY direct_ms) AS place, \
               COUNT(*) OVER () AS n \
        FROM attempts WHERE (?1 IS NULL OR app = ?1) AND started_unix_ms BETWEEN ?2 AND ?3 \
          AND direct_ms IS NOT NULL) \
     SELECT MAX(CASE WHEN place = (n * 50 + 99) / 100 THEN ms END) AS p50, \
            MAX(CASE WHEN place = (n * 95 + 99) / 100 THEN ms END) AS p95 FROM ranked";

/// Attempts without a time come last in their group, behind every rank that is asked for.
const BY_METHOD: &str = "WITH ranked AS ( \
        SELECT method, connected_ms AS ms, \
               ROW_NUMBER() OVER (PARTITION BY method ORDER BY connected_ms NULLS LAST) AS place, \
               COUNT(connected_ms) OVER (PARTITION BY method) AS n \
        FROM attempts WHERE (?1 IS NULL OR app = ?1) AND started_unix_ms BETWEEN ?2 AND ?3 \
          AND outcome <> 'failed' AND method IS NOT NULL) \
     SELECT method, COUNT(*) AS attempts, \
            MAX(CASE WHEN place = (n * 50 + 99) / 100 THEN ms END) AS p50, \
            MAX(CASE WHEN place = (n * 95 + 99) / 100 THEN ms END) AS p95 \
     FROM ranked GROUP BY method";

const MATRIX: &str = "WITH ranked AS ( \
        SELECT caller_nat_type, callee_nat_type, outcome, direct_ms AS ms, \
               ROW_NUMBER() OVER (PARTITION BY caller_nat_type, callee_nat_type \
                                  ORDER BY direct_ms NULLS LAST) AS place, \
               COUNT(direct_ms) OVER (PARTITION BY caller_nat_type, callee_nat_type) AS n \
        FROM attempts WHERE (?1 IS NULL OR app = ?1) AND started_unix_ms BETWEEN ?2 AND ?3) \
     SELECT caller_nat_type, callee_nat_type, COUNT(*) AS attempts, \
            SUM(outcome = 'direct') AS direct, SUM(outcome = 'relay') AS relay, \
            SUM(outcome = 'failed') AS failed, \
            MAX(CASE WHEN place = (n * 50 + 99) / 100 THEN ms END) AS direct_ms_p50 \
     FROM ranked GROUP BY caller_nat_type, callee_nat_type";

/// Every statement here.
pub(super) fn statements() -> Vec<&'static str> {
    vec![ONE, PAGE, PAGE_OF_APP, OUTCOMES, CONNECT_MS, DIRECT_MS, BY_METHOD, MATRIX]
}

pub(super) async fn attempt(
    readers: &Pool<Sqlite>,
    id: &AttemptId,
) -> Result<Option<AttemptRecord>, StatsError> {
    let row = sqlx::query(ONE).bind(id.as_str()).fetch_optional(readers).await?;
    row.map(|row| record(&row)).transpose()
}

pub(super) async fn attempts(
    readers: &Pool<Sqlite>,
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
        .fetch_all(readers)
        .await?;
    let attempts = rows.iter().take(limit).map(record).collect::<Result<Vec<_>, _>>()?;
    let next = if rows.len() > limit { attempts.last().map(Cursor::from) } else { None };
    Ok(Page { attempts, next })
}

pub(super) async fn summary(
    readers: &Pool<Sqlite>,
    filter: &Filter,
) -> Result<Summary, StatsError> {
    let mut snapshot = readers.begin().await?;
    let outcomes = one(&mut snapshot, OUTCOMES, filter).await?;
    let [attempts, direct, relay, failed] =
        counts(&outcomes, ["attempts", "direct", "relay", "failed"])?;
    let connect_ms = percentiles(&one(&mut snapshot, CONNECT_MS, filter).await?)?;
    let direct_ms = percentiles(&one(&mut snapshot, DIRECT_MS, filter).await?)?;

    let mut methods = HashMap::new();
    for row in all(&mut snapshot, BY_METHOD, filter).await? {
        methods.insert(row.try_get::<String, _>("method")?, row);
    }
    let mut by_method = Vec::new();
    for method in Method::ALL {
        let Some(row) = methods.get(method.as_str()) else { continue };
        let [connected] = counts(row, ["attempts"])?;
        let share = share(connected, attempts).unwrap_or(0.0);
        let connect_ms = percentiles(row)?;
        by_method.push(MethodStats { method, attempts: connected, share, connect_ms });
    }
    snapshot.commit().await?;
    Ok(Summary {
        attempts,
        direct,
        relay,
        failed,
        success_rate: share(direct + relay, attempts),
        relay_share: share(relay, direct + relay),
        connect_ms,
        direct_ms,
        by_method,
    })
}

pub(super) async fn nat_matrix(
    readers: &Pool<Sqlite>,
    filter: &Filter,
) -> Result<Vec<NatCell>, StatsError> {
    let mut connection = readers.acquire().await?;
    let rows = all(&mut connection, MATRIX, filter).await?;
    let mut cells = rows.iter().map(cell).collect::<Result<Vec<_>, _>>()?;
    cells.sort_by_key(|cell| (cell.caller, cell.callee));
    Ok(cells)
}

fn cell(row: &SqliteRow) -> Result<NatCell, StatsError> {
    let [attempts, direct, relay, failed] = counts(row, ["attempts", "direct", "relay", "failed"])?;
    Ok(NatCell {
        caller: value(row, "caller_nat_type")?,
        callee: value(row, "callee_nat_type")?,
        attempts,
        direct,
        relay,
        failed,
        direct_ms_p50: row.try_get::<Option<i64>, _>("direct_ms_p50")?.map(unsigned),
    })
}

/// What a name in a column stands for.
pub(super) fn value<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, StatsError> {
    let name: String = row.try_get(column)?;
    named(&name).map_err(|error| StatsError::Damaged {
        attempt: format!("with {column} {name:?}"),
        cause: error.to_string(),
    })
}

pub(super) async fn one(
    connection: &mut SqliteConnection,
    sql: &'static str,
    filter: &Filter,
) -> Result<SqliteRow, sqlx::Error> {
    let (first, last) = filter.bounds();
    sqlx::query(sql)
        .bind(filter.app.as_ref().map(|app| app.as_str()))
        .bind(first)
        .bind(last)
        .fetch_one(connection)
        .await
}

pub(super) async fn all(
    connection: &mut SqliteConnection,
    sql: &'static str,
    filter: &Filter,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let (first, last) = filter.bounds();
    sqlx::query(sql)
        .bind(filter.app.as_ref().map(|app| app.as_str()))
        .bind(first)
        .bind(last)
        .fetch_all(connection)
        .await
}

pub(super) fn counts<const N: usize>(
    row: &SqliteRow,
    columns: [&str; N],
) -> Result<[u64; N], sqlx::Error> {
    let mut counts = [0; N];
    for (count, column) in counts.iter_mut().zip(columns) {
        *count = unsigned(row.try_get(column)?);
    }
    Ok(counts)
}

fn percentiles(row: &SqliteRow) -> Result<Percentiles, sqlx::Error> {
    Ok(Percentiles {
        p50: row.try_get::<Option<i64>, _>("p50")?.map(unsigned),
        p95: row.try_get::<Option<i64>, _>("p95")?.map(unsigned),
    })
}
