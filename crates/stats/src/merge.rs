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
//! - Steps are kept per peer: the list whose best method that worked is the better one, since it was told
//!   when the other had failed so far, then the one with more successes, the longer, the later one.
//! - Candidates are kept per peer, all of them; of what the connection used, the later word.

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
        story: stored.story.merged(new.story),
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
        let worked = steps.iter().filter(|step| step.result == StepResult::Ok);
        let best = worked.clone().map(|step| Reverse(step.method)).max();
        (best, worked.count(), steps.len(), steps.iter().map(|step| step.ms).max())
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

#[cfg(test)]
mod tests {
    use p2p_wire::{AppId, AttemptId, CandidateKind, Method, PathReason, PathUse, PeerId};
    use proptest::prelude::*;

    use super::*;
    use crate::story::{CandidateSummary, Story};

    fn begun() -> AttemptRecord {
        AttemptRecord::begun(
            AttemptId::new("a").unwrap(),
            AppId::default(),
            PeerId::new("alice").unwrap(),
            PeerId::new("bob").unwrap(),
            0,
        )
    }

    fn story() -> impl Strategy<Value = Story> {
        let candidate =
            (prop::sample::select(vec![CandidateKind::Host, CandidateKind::Relay]), any::<bool>())
                .prop_map(|(kind, tcp)| CandidateSummary { kind, tcp, network: None });
        let used =
            (0..3u64, prop::sample::select(vec![PathReason::First, PathReason::Closed]), 0..2u64)
                .prop_map(|(at_ms, reason, sent_bytes)| PathUse {
                    at_ms,
                    method: None,
                    reason,
                    sent_bytes,
                    received_bytes: 1,
                });
        let candidates = prop::collection::btree_set(candidate, 0..3);
        let paths = prop::collection::vec(used, 0..3);
        (candidates.clone(), candidates, paths.clone(), paths).prop_map(
            |(caller_candidates, callee_candidates, caller_paths, callee_paths)| Story {
                caller_candidates,
                callee_candidates,
                caller_paths,
                callee_paths,
            },
        )
    }

    /// Any records of one attempt, from few enough values that ties are common.
    fn record() -> impl Strategy<Value = AttemptRecord> {
        let outcomes = vec![Outcome::Direct, Outcome::Relay, Outcome::Failed];
        let nats = || {
            let axes = prop::sample::select(vec![Mapping::Unknown, Mapping::EndpointIndependent]);
            let types = prop::sample::select(vec![NatType::Open, NatType::Unknown]);
            prop::option::of((types, axes).prop_map(|(nat_type, mapping)| NatSummary {
                nat_type,
                mapping,
                filtering: Filtering::Unknown,
                network: None,
            }))
        };
        let step = || {
            let results = vec![StepResult::Ok, StepResult::Failed, StepResult::Skipped];
            let methods = prop::sample::select(vec![Method::Direct, Method::Relay]);
            (methods, prop::sample::select(results), 0..3u64, "[xy]?").prop_map(
                |(method, result, ms, detail)| Step { method, tactic: None, result, ms, detail },
            )
        };
        let steps = move || prop::collection::vec(step(), 0..3);
        let methods = prop::option::of(prop::sample::select(Method::ALL.to_vec()));
        let ms = || prop::option::of(0..3u64);
        let verdict = (prop::sample::select(outcomes), methods, "[ab]{0,2}", "[ab]?");
        (verdict, ms(), ms(), nats(), nats(), steps(), steps(), story()).prop_map(
            |(verdict, connected_ms, direct_ms, caller_nat, callee_nat, caller, callee, story)| {
                let (outcome, method, verdict, reason) = verdict;
                AttemptRecord {
                    outcome,
                    method,
                    verdict,
                    reason: Some(reason).filter(|reason| !reason.is_empty()),
                    connected_ms,
                    direct_ms,
                    caller_nat,
                    callee_nat,
                    caller_steps: caller,
                    callee_steps: callee,
                    story,
                    ..begun()
                }
            },
        )
    }

    #[test]
    fn what_failed_so_far_is_forgotten_once_it_has_worked() {
        let step =
            |method, result, ms| Step { method, tactic: None, result, ms, detail: String::new() };
        let early = vec![
            step(Method::UdpHolePunch, StepResult::Failed, 8),
            step(Method::Relay, StepResult::Ok, 8),
        ];
        // The relay was no more than a moment's way, and is told as skipped.
        let later = vec![
            step(Method::UdpHolePunch, StepResult::Ok, 7),
            step(Method::Relay, StepResult::Skipped, 7),
        ];
        assert_eq!(fuller(early.clone(), later.clone()), later);
        assert_eq!(fuller(later.clone(), early), later);
    }

    proptest! {
        #[test]
        fn repeating_a_record_changes_nothing(a in record(), b in record()) {
            let once = merge(a.clone(), b.clone());
            prop_assert_eq!(merge(once.clone(), b), once.clone());
            prop_assert_eq!(merge(once.clone(), a.clone()), once);
            prop_assert_eq!(merge(a.clone(), a.clone()), a);
        }

        #[test]
        fn the_order_of_arrival_changes_nothing(a in record(), b in record(), c in record()) {
            prop_assert_eq!(merge(a.clone(), b.clone()), merge(b.clone(), a.clone()));
            prop_assert_eq!(
                merge(merge(a.clone(), b.clone()), c.clone()),
                merge(a, merge(b, c))
            );
        }

        #[test]
        fn the_outcome_never_gets_worse(a in record(), b in record()) {
            let merged = merge(a.clone(), b.clone());
            prop_assert_eq!(rank(merged.outcome), rank(a.outcome).max(rank(b.outcome)));
        }
    }

    #[test]
    fn verdict_and_method_come_with_the_outcome_they_belong_to() {
        let failed = AttemptRecord { verdict: "a long story".to_owned(), ..begun() };
        let relay = AttemptRecord {
            outcome: Outcome::Relay,
            method: Some(Method::Relay),
            verdict: "ok".to_owned(),
            reason: None,
            ..begun()
        };
        let merged = merge(failed, relay.clone());
        assert_eq!(merged, relay);
    }

    #[test]
    fn what_is_fixed_at_the_start_stays_as_it_was_stored() {
        let other = AttemptRecord {
            app: AppId::new("other").unwrap(),
            caller: PeerId::new("mallory").unwrap(),
            started_unix_ms: 9,
            ..begun()
        };
        assert_eq!(merge(begun(), other), begun());
    }
}
