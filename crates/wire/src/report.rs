//! How an attempt ended, as one of its peers tells it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::AttemptId;
use crate::plan::{Method, Tactic};

/// The verdict on an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The peers talk without a relay.
    Direct,
    /// The peers talk through a relay.
    Relay,
    /// The peers do not talk.
    Failed,
}

impl Outcome {
    /// The name on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "relay",
            Self::Failed => "failed",
        }
    }
}

/// What became of one method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepResult {
    /// It carried packets both ways.
    Ok,
    /// It was tried and did not.
    Failed,
    /// It was not tried; the detail says why.
    Skipped,
}

/// One method of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// The method.
    pub method: Method,
    /// How it went about it, where there was a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tactic: Option<Tactic>,
    /// What became of it.
    pub result: StepResult,
    /// Milliseconds from the attempt's start to this result.
    pub ms: u64,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Why a connection came to use a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PathReason {
    /// It was the first that answered.
    First,
    /// It is better than the one before.
    Better,
    /// The one before had fallen silent.
    Silent,
    /// The one before lost packets.
    Lossy,
    /// As good as the one before, at another address: a network or a NAT has changed.
    Moved,
    /// None is used any more: the connection is closed.
    Closed,
    /// A reason that this version does not know.
    #[serde(other)]
    Other,
}

/// What a connection used from one moment to the next, as one peer saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PathUse {
    /// Milliseconds from the attempt's start until it came into use.
    pub at_ms: u64,
    /// The method of the path; absent while there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Why it came into use.
    pub reason: PathReason,
    /// Bytes that this peer sent meanwhile, in datagrams.
    #[serde(default)]
    pub sent_bytes: u64,
    /// Bytes that this peer received meanwhile.
    #[serde(default)]
    pub received_bytes: u64,
}

/// One peer's report on one attempt. A later report of the same peer replaces its earlier one: a
/// relayed attempt that turns direct is reported twice, and a connection again when it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The attempt.
    pub attempt: AttemptId,
    /// How it ended.
    pub outcome: Outcome,
    /// The method of the path in use; absent when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Milliseconds from the attempt's start to the first usable path, or to failure.
    pub ms: u64,
    /// Milliseconds from the attempt's start to a verified direct path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct_ms: Option<u64>,
    /// What became of each method.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The verdict in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub verdict: String,
    /// What the connection used so far, in order; the last one ends it where its reason is `closed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathUse>,
}
