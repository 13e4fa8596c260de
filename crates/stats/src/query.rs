//! Questions to the store and their answers, as `GET /v1/stats` and its neighbours return them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use p2p_wire::{AppId, AttemptId, Method, NatType};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::attempt::AttemptRecord;
use crate::error::StatsError;

/// The most attempts that one page holds.
pub const MAX_PAGE: usize = 200;

/// Which attempts a question is about. The default is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Only those of this app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
    /// Only those that began at or after this time, in milliseconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_unix_ms: Option<i64>,
    /// Only those that began before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_unix_ms: Option<i64>,
}

impl Filter {
    /// The first and the last millisecond that the filter lets through.
    pub(crate) fn bounds(&self) -> (i64, i64) {
        let first = self.since_unix_ms.unwrap_or(i64::MIN);
        (first, self.before_unix_ms.map_or(i64::MAX, |before| before.saturating_sub(1)))
    }
}

/// A place in the list of attempts; opaque to whoever passes it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    pub(crate) started_unix_ms: i64,
    pub(crate) attempt: AttemptId,
}

impl JsonSchema for Cursor {
    fn schema_name() -> Cow<'static, str> {
        "Cursor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "Where a page begins, as the page before says it" })
    }
}

impl From<&AttemptRecord> for Cursor {
    fn from(record: &AttemptRecord) -> Self {
        Self { started_unix_ms: record.started_unix_ms, attempt: record.attempt.clone() }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.started_unix_ms, self.attempt)
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

impl FromStr for Cursor {
    type Err = StatsError;

    fn from_str(text: &str) -> Result<Self, StatsError> {
        text.split_once('.')
            .and_then(|(started, attempt)| {
                Some(Self {
                    started_unix_ms: started.parse().ok()?,
                    attempt: AttemptId::new(attempt).ok()?,
                })
            })
            .ok_or_else(|| StatsError::BadCursor(text.to_owned()))
    }
}

impl TryFrom<String> for Cursor {
    type Error = StatsError;

    fn try_from(text: String) -> Result<Self, StatsError> {
        text.parse()
    }
}

/// Attempts, newest first, and where the next page begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page {
    /// The attempts.
    pub attempts: Vec<AttemptRecord>,
    /// What to pass for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// Two percentiles by nearest rank, in milliseconds; `null` where there is nothing to rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Percentiles {
    /// Half of the values are at or below this one.
    pub p50: Option<u64>,
    /// 95 of 100 values are at or below this one.
    pub p95: Option<u64>,
}

/// Counts, rates and times over some attempts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// All of them.
    pub attempts: u64,
    /// Those that ended in a direct path.
    pub direct: u64,
    /// Those that ended on a relay.
    pub relay: u64,
    /// Those that ended in no path.
    pub failed: u64,
    /// The share that connected, 0 to 1; `null` without attempts.
    pub success_rate: Option<f64>,
    /// The share of the connected ones that stayed on a relay, 0 to 1; `null` if none connected.
    pub relay_share: Option<f64>,
    /// Time to the first usable path.
    pub connect_ms: Percentiles,
    /// Time to a verified direct path.
    pub direct_ms: Percentiles,
    /// The connected attempts by the method of their best path, best method first; methods that
    /// connected nobody are left out.
    pub by_method: Vec<MethodStats>,
}

/// The attempts that one method connected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MethodStats {
    /// The method.
    pub method: Method,
    /// How many it connected.
    pub attempts: u64,
    /// Their share of all attempts, 0 to 1.
    pub share: f64,
    /// Time to the first usable path of these attempts.
    pub connect_ms: Percentiles,
}

/// The attempts between two types of network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NatCell {
    /// The caller's network.
    pub caller: NatType,
    /// The callee's network.
    pub callee: NatType,
    /// All attempts between them.
    pub attempts: u64,
    /// Those that ended in a direct path.
    pub direct: u64,
    /// Those that ended on a relay.
    pub relay: u64,
    /// Those that ended in no path.
    pub failed: u64,
    /// The median time to a verified direct path, in milliseconds; `null` where there was none.
    pub direct_ms_p50: Option<u64>,
}

/// What became of one method between two types of network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MethodCell {
    /// The caller's network.
    pub caller: NatType,
    /// The callee's network.
    pub callee: NatType,
    /// The method.
    pub method: Method,
    /// Attempts that tried it.
    pub tried: u64,
    /// Attempts in which it carried packets both ways.
    pub worked: u64,
}

/// A part of a whole, 0 to 1; nothing of nothing is `None`.
pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_form() {
        let cursor: Cursor = "1700000000123.a.b-c".parse().unwrap();
        assert_eq!(cursor.started_unix_ms, 1_700_000_000_123);
        assert_eq!(cursor.attempt.as_str(), "a.b-c");
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
    }

    #[test]
    fn a_foreign_cursor_is_refused_with_a_fix() {
        for text in ["", "x", "12", "12.", "x.a", ".a"] {
            let error = text.parse::<Cursor>().unwrap_err();
            assert_eq!(error.code(), "stats_bad_cursor", "{text}");
            assert!(error.fix().contains("without a cursor"));
        }
    }
}
