//! Recording attempts, and removing what is too old or too many.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use p2p_telemetry::metrics::STORE_TRIMMED;
use sqlx::types::Json;
use sqlx::{Sqlite, SqliteConnection, Transaction};

use super::{Retention, SqliteStore};
use crate::attempt::AttemptRecord;
use crate::error::StatsError;
use crate::merge::merge;
use crate::row::{columns, name_of, nat_type_of, record, signed};

const SELECT: &str = concat!("SELECT ", columns!(), " FROM attempts WHERE attempt = ?1");

const UPSERT: &str = concat!(
    "INSERT INTO attempts (",
    columns!(),
    ", caller_nat_type, callee_nat_type) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20) \
     ON CONFLICT (attempt) DO UPDATE SET \
        caller_nat = excluded.caller_nat, callee_nat = excluded.callee_nat, \
        caller_nat_type = excluded.caller_nat_type, callee_nat_type = excluded.callee_nat_type, \
        outcome = excluded.outcome, method = excluded.method, \
        connected_ms = excluded.connected_ms, direct_ms = excluded.direct_ms, \
        caller_steps = excluded.caller_steps, callee_steps = excluded.callee_steps, \
        verdict = excluded.verdict, reason = excluded.reason, story = excluded.story"
);

const TRIM_OLD: [&str; 3] = [
    "DELETE FROM attempts WHERE started_unix_ms < ?1",
    "DELETE FROM sessions WHERE opened_unix_ms < ?1",
    "DELETE FROM relay_usage WHERE ended_unix_ms < ?1",
];

const TRIM_MANY: [&str; 3] = [
    "DELETE FROM attempts WHERE attempt IN \
     (SELECT attempt FROM attempts ORDER BY started_unix_ms DESC, attempt DESC LIMIT -1 OFFSET ?1)",
    "DELETE FROM sessions WHERE id IN \
     (SELECT id FROM sessions ORDER BY opened_unix_ms DESC, id DESC LIMIT -1 OFFSET ?1)",
    "DELETE FROM relay_usage WHERE id IN \
     (SELECT id FROM relay_usage ORDER BY ended_unix_ms DESC, id DESC LIMIT -1 OFFSET ?1)",
];

/// Hours whose attempts are all gone.
const TRIM_METHODS: &str = "DELETE FROM method_hours WHERE tried <= 0";

/// Every statement here.
pub(super) fn statements() -> Vec<&'static str> {
    let trims = TRIM_OLD.into_iter().chain(TRIM_MANY);
    trims.chain([SELECT, UPSERT, TRIM_METHODS]).collect()
}

impl SqliteStore {
    pub(super) async fn write(&self, records: &[AttemptRecord]) -> Result<(), StatsError> {
        let mut transaction = self.begin().await?;
        for record in records {
            upsert(&mut transaction, record).await?;
        }
        self.commit(transaction, records.len()).await
    }

    /// Commits, after the bound has been looked at where that is due.
    pub(super) async fn commit(
        &self,
        mut transaction: Transaction<'static, Sqlite>,
        records: usize,
    ) -> Result<(), StatsError> {
        let written = self.written_since_trim.load(Relaxed) + records as u64;
        let due = written >= self.retention.trim_every();
        let trimmed = if due { delete(&mut transaction, self.retention).await? } else { 0 };
        transaction.commit().await?;
        self.written_since_trim.store(if due { 0 } else { written }, Relaxed);
        self.count_trimmed(trimmed);
        Ok(())
    }

    pub(super) async fn trim(&self) -> Result<(), StatsError> {
        let mut transaction = self.begin().await?;
        let trimmed = delete(&mut transaction, self.retention).await?;
        transaction.commit().await?;
        self.count_trimmed(trimmed);
        Ok(())
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StatsError> {
        Ok(self.writer.begin_with(super::BEGIN).await?)
    }

    fn count_trimmed(&self, trimmed: u64) {
        if trimmed > 0 {
            self.trimmed.fetch_add(trimmed, Relaxed);
            STORE_TRIMMED.get().increment(trimmed);
            tracing::debug!(trimmed, "old records removed from the statistics");
        }
    }
}

impl Retention {
    /// After how many writes the bound is looked at: counting rows costs more than a write.
    fn trim_every(self) -> u64 {
        (self.max_attempts / 100).clamp(1, 1_000)
    }
}

async fn upsert(connection: &mut SqliteConnection, new: &AttemptRecord) -> Result<(), StatsError> {
    let new = new.clone().with_addresses_truncated();
    let stored = sqlx::query(SELECT)
        .bind(new.attempt.as_str())
        .fetch_optional(&mut *connection)
        .await?
        .map(|row| record(&row))
        .transpose()?;
    let attempt = match stored {
        Some(stored) => merge(stored, new),
        None => new,
    };
    sqlx::query(UPSERT)
        .bind(attempt.attempt.as_str())
        .bind(attempt.app.as_str())
        .bind(attempt.caller.as_str())
        .bind(attempt.callee.as_str())
        .bind(attempt.caller_nat.as_ref().map(Json))
        .bind(attempt.callee_nat.as_ref().map(Json))
        .bind(name_of(attempt.policy))
        .bind(Json(&attempt.plan))
        .bind(attempt.started_unix_ms)
        .bind(attempt.outcome.as_str())
        .bind(attempt.method.map(|method| method.as_str()))
        .bind(attempt.connected_ms.map(signed))
        .bind(attempt.direct_ms.map(signed))
        .bind(Json(&attempt.caller_steps))
        .bind(Json(&attempt.callee_steps))
        .bind(&attempt.verdict)
        .bind(&attempt.reason)
        .bind(Some(&attempt.story).filter(|story| !story.is_empty()).map(Json))
        .bind(nat_type_of(attempt.caller_nat.as_ref()))
        .bind(nat_type_of(attempt.callee_nat.as_ref()))
        .execute(connection)
        .await?;
    Ok(())
}

/// Removes what the bound does not keep and says how much that was.
async fn delete(
    connection: &mut SqliteConnection,
    retention: Retention,
) -> Result<u64, StatsError> {
    let mut removed = 0;
    if let Some(age) = retention.max_age {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let oldest = i64::try_from(now.saturating_sub(age).as_millis()).unwrap_or(i64::MAX);
        for trim in TRIM_OLD {
            let old = sqlx::query(trim).bind(oldest).execute(&mut *connection).await?;
            removed += old.rows_affected();
        }
    }
    let keep = signed(retention.max_attempts);
    for trim in TRIM_MANY {
        let many = sqlx::query(trim).bind(keep).execute(&mut *connection).await?;
        removed += many.rows_affected();
    }
    sqlx::query(TRIM_METHODS).execute(connection).await?;
    Ok(removed)
}
