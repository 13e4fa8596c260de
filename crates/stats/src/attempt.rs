//! One connection attempt as the store keeps it.

use p2p_wire::{
    AppId, AttemptId, Filtering, Mapping, Method, NatProfile, NatType, Outcome, PathUse, PeerId,
    PlanStep, Policy, Report, Step,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::merge;
use crate::network::{self, AddressDetail, Network};
use crate::story::Story;

/// Which of the two peers of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The peer that asked to connect.
    Caller,
    /// The peer it asked for.
    Callee,
}

/// A peer's network in the words that statistics need: both axes, the name, and no more of the
/// address than its network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NatSummary {
    /// The name for people.
    #[serde(rename = "type")]
    pub nat_type: NatType,
    /// The mapping axis.
    pub mapping: Mapping,
    /// The filtering axis.
    pub filtering: Filtering,
    /// The network of the public address; absent where it is unknown or kept out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

impl From<&NatProfile> for NatSummary {
    fn from(profile: &NatProfile) -> Self {
        Self {
            nat_type: profile.nat_type,
            mapping: profile.mapping,
            filtering: profile.filtering,
            network: profile.public_address.map(|address| Network::of(address.ip())),
        }
    }
}

/// Everything that is kept about one attempt.
///
/// Free text from peers (verdict, reason, the details of steps) may name addresses; the store keeps
/// it with [`network::truncate_addresses`] applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptRecord {
    /// The attempt.
    pub attempt: AttemptId,
    /// The tenant both peers belong to.
    pub app: AppId,
    /// The peer that asked to connect.
    pub caller: PeerId,
    /// The peer it asked for.
    pub callee: PeerId,
    /// The caller's network, if it told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_nat: Option<NatSummary>,
    /// The callee's network, if it told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callee_nat: Option<NatSummary>,
    /// Which paths the caller allowed.
    pub policy: Policy,
    /// The strategies both peers were given, in order.
    pub plan: Vec<PlanStep>,
    /// When the attempt began: milliseconds since 1970-01-01 UTC, by the coordinator's clock.
    pub started_unix_ms: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// The method of the best path; absent when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Milliseconds from the start to the first usable path; absent when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_ms: Option<u64>,
    /// Milliseconds from the start to the first verified direct path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct_ms: Option<u64>,
    /// What became of each method, as the caller tells it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caller_steps: Vec<Step>,
    /// What became of each method, as the callee tells it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callee_steps: Vec<Step>,
    /// The verdict in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub verdict: String,
    /// Why it failed, as a short code such as `no_report`, `timeout` or `peer_gone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where both could be reached and what their connection used, as far as it is told.
    #[serde(default, skip_serializing_if = "Story::is_empty")]
    pub story: Story,
}

impl AttemptRecord {
    /// An attempt that has just begun. Until a peer reports, it counts as failed with the reason
    /// `no_report`: an attempt of which nobody tells is not a success (invariant I11).
    pub fn begun(
        attempt: AttemptId,
        app: AppId,
        caller: PeerId,
        callee: PeerId,
        started_unix_ms: i64,
    ) -> Self {
        Self {
            attempt,
            app,
            caller,
            callee,
            caller_nat: None,
            callee_nat: None,
            policy: Policy::default(),
            plan: Vec::new(),
            started_unix_ms,
            outcome: Outcome::Failed,
            method: None,
            connected_ms: None,
            direct_ms: None,
            caller_steps: Vec::new(),
            callee_steps: Vec::new(),
            verdict: String::new(),
            reason: Some("no_report".to_owned()),
            story: Story::default(),
        }
    }

    /// Takes in what one peer reports, by the rule of [`merge::merge`].
    pub fn apply(&mut self, side: Side, report: &Report) {
        let connected = report.outcome != Outcome::Failed;
        let mut told = self.clone();
        told.outcome = report.outcome;
        told.method = report.method;
        told.connected_ms = connected.then_some(report.ms);
        told.direct_ms = report.direct_ms;
        told.verdict.clone_from(&report.verdict);
        told.reason = (!connected).then(|| "reported_failed".to_owned());
        // A later report of the same peer replaces what it told before.
        match side {
            Side::Caller => self.caller_steps.clone_from(&report.steps),
            Side::Callee => self.callee_steps.clone_from(&report.steps),
        }
        match side {
            Side::Caller => told.story.caller_paths.clone_from(&report.paths),
            Side::Callee => told.story.callee_paths.clone_from(&report.paths),
        }
        told.caller_steps.clone_from(&self.caller_steps);
        told.callee_steps.clone_from(&self.callee_steps);
        *self = merge::merge(self.clone(), told);
    }

    /// Takes in what a connection used, as one peer tells it, and nothing else.
    pub fn used(&mut self, side: Side, paths: Vec<PathUse>) {
        let mut told = Story::default();
        match side {
            Side::Caller => told.caller_paths = paths,
            Side::Callee => told.callee_paths = paths,
        }
        self.story = std::mem::take(&mut self.story).merged(told);
    }

    /// The record with every address in free text cut down to its network.
    #[must_use]
    pub fn with_addresses_truncated(self) -> Self {
        self.with_addresses(AddressDetail::Network)
    }

    /// The record with every address cut down to what may be kept.
    #[must_use]
    pub fn with_addresses(mut self, detail: AddressDetail) -> Self {
        let cut = |text: &str| network::replace_addresses(text, detail);
        self.verdict = cut(&self.verdict);
        self.reason = self.reason.map(|reason| cut(&reason));
        for step in self.caller_steps.iter_mut().chain(&mut self.callee_steps) {
            step.detail = cut(&step.detail);
        }
        self.story = self.story.with_addresses(detail);
        if detail == AddressDetail::Nothing {
            for nat in [&mut self.caller_nat, &mut self.callee_nat].into_iter().flatten() {
                nat.network = None;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use p2p_wire::StepResult;

    use super::*;

    fn begun() -> AttemptRecord {
        AttemptRecord::begun(
            AttemptId::new("a1").unwrap(),
            AppId::default(),
            PeerId::new("alice").unwrap(),
            PeerId::new("bob").unwrap(),
            1_000,
        )
    }

    fn report(outcome: Outcome, method: Option<Method>, ms: u64) -> Report {
        Report {
            attempt: AttemptId::new("a1").unwrap(),
            outcome,
            method,
            ms,
            direct_ms: None,
            steps: vec![],
            verdict: format!("said {}", outcome.as_str()),
            paths: vec![],
        }
    }

    #[test]
    fn i11_an_attempt_that_nobody_reports_on_is_a_failure_with_a_reason() {
        let record = begun();
        assert_eq!(record.outcome, Outcome::Failed);
        assert_eq!(record.reason.as_deref(), Some("no_report"));
    }

    #[test]
    fn a_relayed_attempt_that_turns_direct_keeps_its_first_connection_time() {
        let mut record = begun();
        record.apply(Side::Caller, &report(Outcome::Relay, Some(Method::Relay), 40));
        let mut direct = report(Outcome::Direct, Some(Method::UdpHolePunch), 40);
        direct.direct_ms = Some(120);
        record.apply(Side::Caller, &direct);
        assert_eq!(record.outcome, Outcome::Direct);
        assert_eq!(record.method, Some(Method::UdpHolePunch));
        assert_eq!((record.connected_ms, record.direct_ms), (Some(40), Some(120)));
        assert_eq!(record.verdict, "said direct");
        assert_eq!(record.reason, None);
    }

    #[test]
    fn i11_two_peers_that_disagree_end_in_the_better_of_their_verdicts() {
        let mut record = begun();
        record.apply(Side::Callee, &report(Outcome::Direct, Some(Method::Direct), 9));
        record.apply(Side::Caller, &report(Outcome::Failed, None, 30_000));
        assert_eq!(record.outcome, Outcome::Direct);
        assert_eq!(record.connected_ms, Some(9));
        assert_eq!(record.verdict, "said direct");
    }

    #[test]
    fn the_time_to_failure_is_not_a_time_to_connect() {
        let mut record = begun();
        record.apply(Side::Caller, &report(Outcome::Failed, None, 30_000));
        assert_eq!(record.connected_ms, None);
        assert_eq!(record.reason.as_deref(), Some("reported_failed"));
    }

    #[test]
    fn a_later_report_of_the_same_peer_replaces_its_steps() {
        let step = |result| Step {
            tactic: None,
            method: Method::UdpHolePunch,
            result,
            ms: 5,
            detail: "to 203.0.113.77:4000".to_owned(),
        };
        let mut record = begun();
        let mut first = report(Outcome::Relay, Some(Method::Relay), 5);
        first.steps = vec![step(StepResult::Failed), step(StepResult::Failed)];
        record.apply(Side::Caller, &first);
        let mut second = report(Outcome::Direct, Some(Method::UdpHolePunch), 5);
        second.steps = vec![step(StepResult::Ok)];
        record.apply(Side::Caller, &second);
        assert_eq!(record.caller_steps, second.steps);
        assert!(record.callee_steps.is_empty());
    }

    #[test]
    fn i10_free_text_is_kept_without_full_addresses() {
        let mut record = begun();
        record.verdict = "direct to 198.51.100.9:5000".to_owned();
        record.caller_steps = vec![Step {
            tactic: None,
            method: Method::Direct,
            result: StepResult::Failed,
            ms: 1,
            detail: "no answer from [2001:db8:7:1::5]:9".to_owned(),
        }];
        let text = serde_json::to_string(&record.with_addresses_truncated()).unwrap();
        assert!(!text.contains("198.51.100.9"), "{text}");
        assert!(!text.contains("7:1::5"), "{text}");
        assert!(text.contains("198.51.100.0/24"), "{text}");
    }
}
