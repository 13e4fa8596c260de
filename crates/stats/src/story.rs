//! What an attempt's record tells besides its verdict: where its peers could be reached, and what
//! their connection used.

use std::collections::BTreeSet;

use p2p_wire::limits::MAX_CANDIDATES;
use p2p_wire::{Candidate, CandidateKind, PathUse, Transport};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::network::{AddressDetail, Network};

/// A candidate without more of its address than its network.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct CandidateSummary {
    /// Where the address comes from.
    pub kind: CandidateKind,
    /// Whether it is for TCP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tcp: bool,
    /// The address's network; absent where addresses are kept out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

impl From<&Candidate> for CandidateSummary {
    fn from(candidate: &Candidate) -> Self {
        Self {
            kind: candidate.kind,
            tcp: candidate.transport == Transport::Tcp,
            network: Some(Network::of(candidate.address.ip())),
        }
    }
}

/// What is told of both sides beside the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Story {
    /// Where the caller could be reached, as far as the coordinator heard. In their order, each once.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub caller_candidates: BTreeSet<CandidateSummary>,
    /// The same of the callee.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub callee_candidates: BTreeSet<CandidateSummary>,
    /// What the connection used, as the caller tells it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caller_paths: Vec<PathUse>,
    /// The same as the callee tells it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callee_paths: Vec<PathUse>,
}

impl Story {
    /// Whether nothing is told.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The story with addresses cut down to what may be kept.
    #[must_use]
    pub(crate) fn with_addresses(mut self, detail: AddressDetail) -> Self {
        if detail == AddressDetail::Nothing {
            for candidates in [&mut self.caller_candidates, &mut self.callee_candidates] {
                let bare =
                    |candidate: &CandidateSummary| CandidateSummary { network: None, ..*candidate };
                *candidates = candidates.iter().map(bare).collect();
            }
        }
        self
    }

    /// One story of what two tell of the same attempt, whichever comes first and however often.
    #[must_use]
    pub(crate) fn merged(self, other: Self) -> Self {
        Self {
            caller_candidates: all(self.caller_candidates, other.caller_candidates),
            callee_candidates: all(self.callee_candidates, other.callee_candidates),
            caller_paths: later(self.caller_paths, other.caller_paths),
            callee_paths: later(self.callee_paths, other.callee_paths),
        }
    }
}

/// The first of all of them in their order: which those are does not depend on who told when.
fn all(
    mut one: BTreeSet<CandidateSummary>,
    other: BTreeSet<CandidateSummary>,
) -> BTreeSet<CandidateSummary> {
    one.extend(other);
    while one.len() > MAX_CANDIDATES {
        one.pop_last();
    }
    one
}

/// What a peer told later: it reaches further, or has counted more.
fn later(one: Vec<PathUse>, other: Vec<PathUse>) -> Vec<PathUse> {
    let key = |paths: &[PathUse]| {
        let bytes = |path: &PathUse| u128::from(path.sent_bytes) + u128::from(path.received_bytes);
        (paths.last().map(|path| path.at_ms), paths.iter().map(bytes).sum::<u128>(), paths.len())
    };
    // Equal keys are decided by the paths themselves, so that the order of arrival never matters.
    let tie = |paths: &[PathUse]| -> Vec<_> {
        let told =
            |p: &PathUse| (p.at_ms, p.method, p.reason as u8, p.sent_bytes, p.received_bytes);
        paths.iter().map(told).collect()
    };
    if key(&one).cmp(&key(&other)).then_with(|| tie(&one).cmp(&tie(&other))).is_lt() {
        other
    } else {
        one
    }
}
