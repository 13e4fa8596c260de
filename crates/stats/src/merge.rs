//! How two records of one attempt become one.
//!
//! Records of an attempt arrive once per peer and once more when a relayed attempt turns direct;
//! delivery may repeat them or swap them. So the rule must not depend on order or number: each part
//! of the result is the greater of the two under a total order, which makes [`merge`] idempotent,
//! commutative and associative over records of the same attempt.
//!
//! - What is fixed when the attempt begins (peers, app, policy, plan, start) is the stored record's.
//! - Outcome, method, verdict and reason belong together and come from one record: the better
//!   outcome (direct, relay, failed), then the better method, then the longer verdict.
//! - The times are the earliest told, so a relayed attempt that turns direct keeps the time of its
//!   first connection.
//! - Steps are kept per peer: the list with more successes, then the longer, then the later one.

use std::cmp::{Ordering, Reverse};

use p2p_wire::{Filtering, Mapping, NatType, Outcome, Step, StepResult};

use crate::attempt::{AttemptRecord, NatSummary};

/// Merges a record into the stored record of the same attempt.
pub fn merge(stored: AttemptRecord, new: AttemptRecord) -> AttemptRecord {
    let (verdict_of, other) = match by_verdict(&stored, &new) {
        Ordering::Less => (&new, &stored),
        Ordering::Equal | Ordering::Greater => (&stored, &new),
    };
    AttemptRecord {
        outcome: verdict_of.outcome,
        method: verdict_of.method,
        verdict: verdict_of.verdict.clone(),
        reason: verdict_of.reason.clone(),
        connected_ms: earliest(verdict_of.connected_ms, other.connected_ms),
        direct_ms: earliest(verdict_of.direct_ms, other.direct_ms),
        caller_nat: better_known(stored.caller_nat, new.caller_nat),
        callee_nat: better_known(stored.callee_nat, new.callee_nat),
        caller_steps: fuller(stored.caller_steps, new.caller_steps),
        callee_steps: fuller(stored.callee_steps, new.callee_steps),
        attempt: stored.attempt,
        app: stored.app,
        caller: stored.caller,
        callee: stored.callee,
        policy: stored.policy,
        plan: stored.plan,
        started_unix_ms: stored.started_unix_ms,
    }
}

/// How good an outcome is; more is better.
fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Failed => 0,
        Outcome::Relay => 1,
        Outcome::Direct => 2,
    }
}

fn by_verdict(a: &AttemptRecord, b: &AttemptRecord) -> Ordering {
    // `Method` is ordered best first. A record without a method knows less than one with it.
    let key = |r: &AttemptRecord| (rank(r.outcome), r.method.map(Reverse), r.verdict.len());
    key(a)
        .cmp(&key(b))
        .then_with(|| a.verdict.cmp(&b.verdict))
        .then_with(|| a.reason.cmp(&b.reason))
}

fn earliest(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

fn better_known(a: Option<NatSummary>, b: Option<NatSummary>) -> Option<NatSummary> {
    let key = |nat: &NatSummary| {
        let known = u8::from(nat.nat_type != NatType::Unknown)
            + u8::from(nat.mapping != Mapping::Unknown)
            + u8::from(nat.filtering != Filtering::Unknown)
            + u8::from(nat.network.is_some());
        (known, nat.nat_type, nat.mapping, nat.filtering, nat.network)
    };
    a.into_iter().chain(b).max_by_key(key)
}

fn fuller(a: Vec<Step>, b: Vec<Step>) -> Vec<Step> {
    let key = |steps: &[Step]| {
        let successes = steps.iter().filter(|step| step.result == StepResult::Ok).count();
        (successes, steps.len(), steps.iter().map(|step| step.ms).max())
    };
    // Equal keys are decided by the steps themselves, so that the order of arrival never matters.
    let tie = |steps: &[Step]| -> Vec<(u64, p2p_wire::Method, u8, String)> {
        steps.iter().map(|s| (s.ms, s.method, s.result as u8, s.detail.clone())).collect()
    };
    match key(&a).cmp(&key(&b)).then_with(|| tie(&a).cmp(&tie(&b))) {
        Ordering::Less => b,
        Ordering::Equal | Ordering::Greater => a,
    }
}
