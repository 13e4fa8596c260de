//! Between a record and a row.

use p2p_wire::NatType;
use serde::de::{DeserializeOwned, IntoDeserializer, value};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, types::Json};

use crate::attempt::{AttemptRecord, NatSummary};
use crate::error::StatsError;

/// Every column that [`record`] reads, for use in a `SELECT`.
macro_rules! columns {
    () => {
        "attempt, app, caller, callee, caller_nat, callee_nat, policy, plan, started_unix_ms, \
         outcome, method, connected_ms, direct_ms, caller_steps, callee_steps, verdict, reason"
    };
}
pub(super) use columns;

/// The record that a row holds.
pub(super) fn record(row: &SqliteRow) -> Result<AttemptRecord, StatsError> {
    let id: String = row.try_get("attempt")?;
    let read = || -> Result<AttemptRecord, Unreadable> {
        Ok(AttemptRecord {
            attempt: named(&id)?,
            app: name_in(row, "app")?,
            caller: name_in(row, "caller")?,
            callee: name_in(row, "callee")?,
            caller_nat: json_or_none::<NatSummary>(row, "caller_nat")?,
            callee_nat: json_or_none::<NatSummary>(row, "callee_nat")?,
            policy: name_in(row, "policy")?,
            plan: row.try_get::<Json<_>, _>("plan")?.0,
            started_unix_ms: row.try_get("started_unix_ms")?,
            outcome: name_in(row, "outcome")?,
            method: row
                .try_get::<Option<String>, _>("method")?
                .as_deref()
                .map(named)
                .transpose()?,
            connected_ms: row.try_get::<Option<i64>, _>("connected_ms")?.map(unsigned),
            direct_ms: row.try_get::<Option<i64>, _>("direct_ms")?.map(unsigned),
            caller_steps: row.try_get::<Json<_>, _>("caller_steps")?.0,
            callee_steps: row.try_get::<Json<_>, _>("callee_steps")?.0,
            verdict: row.try_get("verdict")?,
            reason: row.try_get("reason")?,
        })
    };
    read().map_err(|error| StatsError::Damaged { attempt: id.clone(), cause: error.to_string() })
}

/// Why a column does not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// The column is missing or of another type.
    #[error(transparent)]
    Column(#[from] sqlx::Error),
    /// The text is none of the names that the type has.
    #[error(transparent)]
    Name(#[from] value::Error),
}

fn name_in<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, Unreadable> {
    Ok(named(&row.try_get::<String, _>(column)?)?)
}

fn json_or_none<T>(row: &SqliteRow, column: &str) -> Result<Option<T>, Unreadable>
where
    T: DeserializeOwned + 'static,
{
    Ok(row.try_get::<Option<Json<T>>, _>(column)?.map(|json| json.0))
}

/// The value that has this name on the wire.
pub(super) fn named<'a, T: Deserialize<'a>>(name: &'a str) -> Result<T, value::Error> {
    T::deserialize(name.into_deserializer())
}

/// The name that a value has on the wire, which is its name in the store.
pub(super) fn name_of<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("only unit variants are stored by name, not {other:?}"),
    }
}

/// The name that the matrix groups by.
pub(super) fn nat_type_of(nat: Option<&NatSummary>) -> String {
    nat.map_or(NatType::Unknown, |nat| nat.nat_type).to_string()
}

/// SQLite's integers are signed. Times beyond 292 million years are cut to that.
pub(super) fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// The schema admits no negative times and counts.
pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use p2p_wire::{Method, Outcome, Policy};

    use super::*;

    #[test]
    fn names_in_the_store_are_the_names_on_the_wire() {
        for method in Method::ALL {
            assert_eq!(name_of(method), method.as_str());
            assert_eq!(named::<Method>(method.as_str()), Ok(method));
        }
        for outcome in [Outcome::Direct, Outcome::Relay, Outcome::Failed] {
            assert_eq!(name_of(outcome), outcome.as_str());
        }
        assert_eq!(named::<Policy>("auto"), Ok(Policy::Auto));
        assert_eq!(named::<NatType>(&NatType::PortRestrictedCone.to_string()), {
            Ok(NatType::PortRestrictedCone)
        });
        assert!(named::<Method>("pigeon").is_err());
    }
}
