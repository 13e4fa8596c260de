//! Recording attempts.
//!
//! The merge is the one of [`crate::merge`], in Rust, between rows that the transaction has locked.
//! An attempt that is not stored yet is inserted; where another writer is faster, the insert waits
//! for it, inserts nothing, and the attempt goes round again as one that is stored. Rows are locked
//! and inserted in the order of their ids, so that writers wait for each other in one direction.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, Row as _};

use super::partitions::Table;
use super::spans::Span;
use super::{Inner, maintenance, rollups};
use crate::attempt::{AttemptRecord, NatSummary};
use crate::error::StatsError;
use crate::merge::merge;
use crate::row::{columns, name_of, nat_type_of, record, signed};
use crate::story::Story;
use p2p_wire::{PlanStep, Step};

/// Ordered by start as well: the oldest row is the attempt's, should there be two.
const STORED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM attempts WHERE attempt = ANY($1) ORDER BY attempt, started_unix_ms FOR UPDATE"
);

/// The columns of a [`NewRow`], for `jsonb_to_recordset`.
macro_rules! typed_columns {
    () => {
        "attempt text, app text, caller text, callee text, caller_nat jsonb, callee_nat jsonb, \
         policy text, plan jsonb, started_unix_ms bigint, outcome text, method text, \
         connected_ms bigint, direct_ms bigint, caller_steps jsonb, callee_steps jsonb, \
         verdict text, reason text, story jsonb, caller_nat_type text, callee_nat_type text"
    };
}

const INSERT: &str = concat!(
    "INSERT INTO attempts (",
    columns!(),
    ", caller_nat_type, callee_nat_type) SELECT ",
    columns!(),
    ", caller_nat_type, callee_nat_type FROM jsonb_to_recordset($1) AS new(",
    typed_columns!(),
    ") ORDER BY attempt COLLATE \"C\" \
     ON CONFLICT (attempt, started_unix_ms) DO NOTHING RETURNING attempt"
);

const UPDATE: &str = concat!(
    "UPDATE attempts AS stored SET \
        caller_nat = new.caller_nat, callee_nat = new.callee_nat, \
        caller_nat_type = new.caller_nat_type, callee_nat_type = new.callee_nat_type, \
        outcome = new.outcome, method = new.method, \
        connected_ms = new.connected_ms, direct_ms = new.direct_ms, \
        caller_steps = new.caller_steps, callee_steps = new.callee_steps, \
        verdict = new.verdict, reason = new.reason, story = new.story \
     FROM jsonb_to_recordset($1) AS new(",
    typed_columns!(),
    ") WHERE stored.attempt = new.attempt AND stored.started_unix_ms = new.started_unix_ms"
);

/// Every statement here.
pub(super) fn statements() -> Vec<&'static str> {
    vec![STORED, INSERT, UPDATE]
}

/// How often attempts go round that another writer was faster with. Once is enough, unless rows are
/// removed meanwhile.
const ROUNDS: u32 = 3;

/// A row as the database takes it.
#[derive(Serialize)]
struct NewRow<'a> {
    attempt: &'a str,
    app: &'a str,
    caller: &'a str,
    callee: &'a str,
    caller_nat: Option<&'a NatSummary>,
    callee_nat: Option<&'a NatSummary>,
    policy: String,
    plan: &'a [PlanStep],
    started_unix_ms: i64,
    outcome: &'a str,
    method: Option<&'a str>,
    connected_ms: Option<i64>,
    direct_ms: Option<i64>,
    caller_steps: &'a [Step],
    callee_steps: &'a [Step],
    verdict: &'a str,
    reason: Option<&'a str>,
    story: Option<&'a Story>,
    caller_nat_type: String,
    callee_nat_type: String,
}

impl<'a> From<&'a AttemptRecord> for NewRow<'a> {
    fn from(record: &'a AttemptRecord) -> Self {
        Self {
            attempt: record.attempt.as_str(),
            app: record.app.as_str(),
            caller: record.caller.as_str(),
            callee: record.callee.as_str(),
            caller_nat: record.caller_nat.as_ref(),
            callee_nat: record.callee_nat.as_ref(),
            policy: name_of(record.policy),
            plan: &record.plan,
            started_unix_ms: record.started_unix_ms,
            outcome: record.outcome.as_str(),
            method: record.method.map(|method| method.as_str()),
            connected_ms: record.connected_ms.map(signed),
            direct_ms: record.direct_ms.map(signed),
            caller_steps: &record.caller_steps,
            callee_steps: &record.callee_steps,
            verdict: &record.verdict,
            reason: record.reason.as_deref(),
            story: Some(&record.story).filter(|story| !story.is_empty()),
            caller_nat_type: nat_type_of(record.caller_nat.as_ref()),
            callee_nat_type: nat_type_of(record.callee_nat.as_ref()),
        }
    }
}

/// Attempts by their id, in its order.
type Batch = BTreeMap<String, AttemptRecord>;

impl Inner {
    pub(super) async fn write(&self, records: &[AttemptRecord]) -> Result<(), StatsError> {
        let mut batch = Batch::new();
        for record in records {
            let record = storable(record.clone());
            let id = record.attempt.to_string();
            let merged = match batch.remove(&id) {
                Some(before) => merge(before, record),
                None => record,
            };
            batch.insert(id, merged);
        }
        let now = maintenance::unix_ms();
        let mut days: Vec<i64> =
            batch.values().map(|record| Span::day_of(record.started_unix_ms).start()).collect();
        days.retain(|day| self.has_partition(*day, now));
        self.add_days(Table::Attempts, &days).await?;

        let mut transaction = self.pool.begin().await?;
        for _ in 0..ROUNDS {
            if batch.is_empty() {
                break;
            }
            merge_stored(&mut transaction, &mut batch).await?;
            insert_new(&mut transaction, &mut batch).await?;
        }
        if !batch.is_empty() {
            // Nothing is committed; the recorder tries the whole batch again.
            return Err(StatsError::Busy(sqlx::Error::RowNotFound));
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// Merges what is stored already, and takes it out of the batch.
async fn merge_stored(transaction: &mut PgConnection, batch: &mut Batch) -> Result<(), StatsError> {
    let ids: Vec<&str> = batch.keys().map(String::as_str).collect();
    let rows = sqlx::query(STORED).bind(&ids).fetch_all(&mut *transaction).await?;
    let (mut changed, mut recounted) = (Vec::new(), Vec::new());
    for row in &rows {
        let stored = record(row)?;
        let Some(new) = batch.remove(stored.attempt.as_str()) else { continue };
        let merged = merge(stored.clone(), new);
        // What was delivered twice costs no write.
        if merged != stored {
            // A story that goes on changes no count: its hour is not rolled up again for it.
            if (AttemptRecord { story: stored.story.clone(), ..merged.clone() }) != stored {
                recounted.push(merged.started_unix_ms);
            }
            changed.push(merged);
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    rollups::mark(transaction, &recounted).await?;
    let rows: Vec<NewRow<'_>> = changed.iter().map(NewRow::from).collect();
    sqlx::query(UPDATE).bind(Json(rows)).execute(transaction).await?;
    Ok(())
}

/// Inserts what is new, and takes it out of the batch. What stays there is another writer's now.
async fn insert_new(transaction: &mut PgConnection, batch: &mut Batch) -> Result<(), StatsError> {
    if batch.is_empty() {
        return Ok(());
    }
    let starts: Vec<i64> = batch.values().map(|record| record.started_unix_ms).collect();
    rollups::mark(transaction, &starts).await?;
    let rows: Vec<NewRow<'_>> = batch.values().map(NewRow::from).collect();
    let inserted = sqlx::query(INSERT).bind(Json(rows)).fetch_all(transaction).await?;
    for row in &inserted {
        batch.remove(row.try_get::<&str, _>("attempt")?);
    }
    Ok(())
}

/// The record as the database can hold it: addresses cut down, and without the one character that
/// PostgreSQL's text has no place for.
fn storable(record: AttemptRecord) -> AttemptRecord {
    let mut record = record.with_addresses_truncated();
    let steps = record.caller_steps.iter_mut().chain(&mut record.callee_steps);
    let texts = steps.map(|step| &mut step.detail);
    for text in texts.chain([&mut record.verdict]).chain(&mut record.reason) {
        if text.contains('\0') {
            *text = text.replace('\0', "\u{fffd}");
        }
    }
    record
}
