//! Between a record and a row, which both back ends keep in the same columns.

use p2p_wire::{NatType, PlanStep, Step};
use serde::de::{DeserializeOwned, IntoDeserializer, value};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{ColumnIndex, Database, Decode, Row, Type};

use crate::attempt::{AttemptRecord, NatSummary};
use crate::error::StatsError;
use crate::story::Story;

/// Every column that [`record`] reads, for use in a `SELECT`.
macro_rules! columns {
    () => {
        "attempt, app, caller, callee, caller_nat, callee_nat, policy, plan, started_unix_ms, \
         outcome, method, connected_ms, direct_ms, caller_steps, callee_steps, verdict, reason, \
         story"
    };
}
pub(crate) use columns;

/// A value that a column of this database holds.
pub(crate) trait Column<'r, DB: Database>: Decode<'r, DB> + Type<DB> {}

impl<'r, DB: Database, T: Decode<'r, DB> + Type<DB>> Column<'r, DB> for T {}

/// The record that a row holds.
pub(crate) fn record<'r, R: Row>(row: &'r R) -> Result<AttemptRecord, StatsError>
where
    for<'n> &'n str: ColumnIndex<R>,
    String: Column<'r, R::Database>,
    i64: Column<'r, R::Database>,
    Json<NatSummary>: Column<'r, R::Database>,
    Json<Vec<PlanStep>>: Column<'r, R::Database>,
    Json<Vec<Step>>: Column<'r, R::Database>,
    Json<Story>: Column<'r, R::Database>,
{
    let id: String = row.try_get("attempt")?;
    let read = || -> Result<AttemptRecord, Unreadable> {
        Ok(AttemptRecord {
            attempt: named(&id)?,
            app: name_in(row, "app")?,
            caller: name_in(row, "caller")?,
            callee: name_in(row, "callee")?,
            caller_nat: nat_in(row, "caller_nat")?,
            callee_nat: nat_in(row, "callee_nat")?,
            policy: name_in(row, "policy")?,
            plan: row.try_get::<Json<Vec<PlanStep>>, _>("plan")?.0,
            started_unix_ms: row.try_get("started_unix_ms")?,
            outcome: name_in(row, "outcome")?,
            method: row
                .try_get::<Option<String>, _>("method")?
                .as_deref()
                .map(named)
                .transpose()?,
            connected_ms: row.try_get::<Option<i64>, _>("connected_ms")?.map(unsigned),
            direct_ms: row.try_get::<Option<i64>, _>("direct_ms")?.map(unsigned),
            caller_steps: row.try_get::<Json<Vec<Step>>, _>("caller_steps")?.0,
            callee_steps: row.try_get::<Json<Vec<Step>>, _>("callee_steps")?.0,
            verdict: row.try_get("verdict")?,
            reason: row.try_get("reason")?,
            story: row
                .try_get::<Option<Json<Story>>, _>("story")?
                .map(|it| it.0)
                .unwrap_or_default(),
        })
    };
    read().map_err(|error| StatsError::Damaged { attempt: id.clone(), cause: error.to_string() })
}

/// Why a column does not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// The column is missing or of another type.
    #[error(transparent)]
    Column(#[from] sqlx::Error),
    /// The text is none of the names that the type has.
    #[error(transparent)]
    Name(#[from] value::Error),
}

fn name_in<'r, T, R>(row: &'r R, column: &str) -> Result<T, Unreadable>
where
    T: DeserializeOwned,
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    String: Column<'r, R::Database>,
{
    Ok(named(&row.try_get::<String, _>(column)?)?)
}

fn nat_in<'r, R>(row: &'r R, column: &str) -> Result<Option<NatSummary>, Unreadable>
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    Json<NatSummary>: Column<'r, R::Database>,
{
    Ok(row.try_get::<Option<Json<NatSummary>>, _>(column)?.map(|json| json.0))
}

/// The value that has this name on the wire.
pub(crate) fn named<'a, T: Deserialize<'a>>(name: &'a str) -> Result<T, value::Error> {
    T::deserialize(name.into_deserializer())
}

/// The name that a value has on the wire, which is its name in the store.
pub(crate) fn name_of<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("only unit variants are stored by name, not {other:?}"),
    }
}

/// The name that the matrix groups by.
pub(crate) fn nat_type_of(nat: Option<&NatSummary>) -> String {
    nat.map_or(NatType::Unknown, |nat| nat.nat_type).to_string()
}

/// The databases' integers are signed. Times beyond 292 million years are cut to that.
pub(crate) fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// The schema admits no negative times and counts.
pub(crate) fn unsigned(value: i64) -> u64 {
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
