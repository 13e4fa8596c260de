//! Records to test with.

use p2p_stats::{AttemptRecord, CandidateSummary, NatSummary, Network, Story};
use p2p_wire::{
    AppId, AttemptId, CandidateKind, Filtering, Mapping, Method, NatType, Outcome, PathReason,
    PathUse, PeerId, PlanStep, Policy, Step, StepResult,
};

/// An attempt that nobody has reported on, in the default app.
pub(crate) fn begun(id: &str, started_unix_ms: i64) -> AttemptRecord {
    AttemptRecord::begun(
        AttemptId::new(id).unwrap(),
        AppId::default(),
        PeerId::new("alice").unwrap(),
        PeerId::new("bob").unwrap(),
        started_unix_ms,
    )
}

/// An attempt that ended on a relay.
pub(crate) fn relayed(id: &str, started_unix_ms: i64, connected_ms: u64) -> AttemptRecord {
    AttemptRecord {
        outcome: Outcome::Relay,
        method: Some(Method::Relay),
        connected_ms: Some(connected_ms),
        verdict: "on the relay".to_owned(),
        reason: None,
        ..begun(id, started_unix_ms)
    }
}

/// An attempt that was punched through.
pub(crate) fn direct(
    id: &str,
    started_unix_ms: i64,
    connected_ms: u64,
    direct_ms: u64,
) -> AttemptRecord {
    AttemptRecord {
        outcome: Outcome::Direct,
        method: Some(Method::UdpHolePunch),
        direct_ms: Some(direct_ms),
        verdict: "punched".to_owned(),
        ..relayed(id, started_unix_ms, connected_ms)
    }
}

/// The same attempt, in another app.
pub(crate) fn in_app(app: &str, record: AttemptRecord) -> AttemptRecord {
    AttemptRecord { app: AppId::new(app).unwrap(), ..record }
}

/// The same attempt, between networks of these types.
pub(crate) fn between(caller: NatType, callee: NatType, record: AttemptRecord) -> AttemptRecord {
    AttemptRecord { caller_nat: Some(nat(caller)), callee_nat: Some(nat(callee)), ..record }
}

/// A network of this type.
pub(crate) fn nat(nat_type: NatType) -> NatSummary {
    NatSummary {
        nat_type,
        mapping: Mapping::EndpointIndependent,
        filtering: Filtering::AddressAndPortDependent,
        network: Some(Network::of("203.0.113.9".parse().unwrap())),
    }
}

/// An attempt in which every field holds something.
pub(crate) fn full(id: &str) -> AttemptRecord {
    let step = |method, result, ms| Step {
        method,
        tactic: None,
        result,
        ms,
        detail: format!("after {ms}"),
    };
    AttemptRecord {
        policy: Policy::Direct,
        plan: vec![
            PlanStep {
                method: Method::Direct,
                tactic: None,
                chance: 0.25,
                after_ms: 0,
                packets: 5,
            },
            PlanStep {
                method: Method::UdpHolePunch,
                tactic: None,
                chance: 0.85,
                after_ms: 20,
                packets: 30,
            },
        ],
        caller_steps: vec![
            step(Method::Direct, StepResult::Failed, 12),
            step(Method::UdpHolePunch, StepResult::Ok, 80),
        ],
        callee_steps: vec![step(Method::TcpHolePunch, StepResult::Skipped, 0)],
        reason: Some("because".to_owned()),
        story: story(),
        ..between(NatType::Symmetric, NatType::FullCone, direct(id, -5, 40, 80))
    }
}

fn story() -> Story {
    let candidate = |kind, network| CandidateSummary { kind, tcp: false, network };
    let network = Some(Network::of("2001:db8:5:6::7".parse().unwrap()));
    let path = |at_ms, method, reason| PathUse {
        at_ms,
        method,
        reason,
        sent_bytes: u64::MAX,
        received_bytes: 5,
    };
    Story {
        caller_candidates: [candidate(CandidateKind::Host, None)].into(),
        callee_candidates: [candidate(CandidateKind::Relay, network)].into(),
        caller_paths: vec![
            path(40, Some(Method::Relay), PathReason::First),
            path(900, None, PathReason::Closed),
        ],
        callee_paths: vec![path(80, Some(Method::UdpHolePunch), PathReason::First)],
    }
}
