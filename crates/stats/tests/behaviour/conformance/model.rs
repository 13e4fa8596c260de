//! The answers a store must give, worked out the plain way over a list of records, and records at
//! random to compare the two on.

use p2p_stats::merge::merge;
use p2p_stats::{
    AttemptRecord, Filter, MethodStats, NatCell, NatSummary, Percentiles, Store, Summary,
};
use p2p_wire::{AppId, Method, NatType, Outcome};
use proptest::prelude::*;

use super::records::{begun, nat};

/// Compares the store with the model after these records, for all apps and for one.
pub(crate) async fn answers_agree_with_the_model(store: &dyn Store, records: &[AttemptRecord]) {
    store.record_attempts(records).await.unwrap();
    answers_are_those_of(store, records).await;
}

/// Compares the store, into which these records went, with the model.
pub(crate) async fn answers_are_those_of(store: &dyn Store, records: &[AttemptRecord]) {
    let kept = merged(records);
    for filter in [
        Filter::default(),
        Filter { app: Some(AppId::default()), since_unix_ms: Some(50), before_unix_ms: None },
        Filter {
            app: Some(AppId::new("other").unwrap()),
            since_unix_ms: None,
            before_unix_ms: None,
        },
        Filter { app: None, since_unix_ms: Some(20), before_unix_ms: Some(70) },
    ] {
        let picked: Vec<&AttemptRecord> = kept
            .iter()
            .filter(|r| filter.app.as_ref().is_none_or(|app| r.app == *app))
            .filter(|r| r.started_unix_ms >= filter.since_unix_ms.unwrap_or(i64::MIN))
            .filter(|r| r.started_unix_ms < filter.before_unix_ms.unwrap_or(i64::MAX))
            .collect();
        assert_eq!(store.summary(&filter).await.unwrap(), summary(&picked), "{filter:?}");
        assert_eq!(store.nat_matrix(&filter).await.unwrap(), matrix(&picked), "{filter:?}");
    }
}

/// Records of few attempts, few apps and few types, so that they meet in the same groups.
pub(crate) fn records() -> impl Strategy<Value = Vec<AttemptRecord>> {
    prop::collection::vec(record(), 0..60)
}

fn record() -> impl Strategy<Value = AttemptRecord> {
    let nats = || {
        prop::option::of(prop::sample::select(vec![NatType::Open, NatType::Symmetric]))
            .prop_map(|nat_type| nat_type.map(nat))
    };
    let outcome = prop_oneof![
        Just((Outcome::Failed, None)),
        Just((Outcome::Relay, Some(Method::Relay))),
        prop::sample::select(vec![Method::Direct, Method::UdpHolePunch])
            .prop_map(|method| (Outcome::Direct, Some(method))),
    ];
    let ms = || prop::option::of(0..40u64);
    (0..40i64, nats(), nats(), outcome, ms(), ms()).prop_map(
        |(n, caller_nat, callee_nat, (outcome, method), connected_ms, direct_ms)| {
            // What is fixed when an attempt begins follows from its number.
            let app = if n % 3 == 0 { "other" } else { "default" };
            AttemptRecord {
                app: AppId::new(app).unwrap(),
                caller_nat,
                callee_nat,
                outcome,
                method,
                connected_ms: connected_ms.filter(|_| outcome != Outcome::Failed),
                direct_ms: direct_ms.filter(|_| outcome == Outcome::Direct),
                ..begun(&format!("a{n}"), n * 3)
            }
        },
    )
}

/// One record for each attempt.
pub(crate) fn merged(records: &[AttemptRecord]) -> Vec<AttemptRecord> {
    let mut kept: Vec<AttemptRecord> = Vec::new();
    for record in records {
        match kept.iter_mut().find(|stored| stored.attempt == record.attempt) {
            Some(stored) => *stored = merge(stored.clone(), record.clone()),
            None => kept.push(record.clone()),
        }
    }
    kept
}

fn summary(records: &[&AttemptRecord]) -> Summary {
    let attempts = records.len() as u64;
    let [direct, relay, failed] = outcomes(records);
    let connected = direct + relay;
    let times =
        |records: &[&AttemptRecord]| percentiles(records.iter().filter_map(|r| r.connected_ms));
    let by_method = Method::ALL.into_iter().filter_map(|method| {
        let of: Vec<_> = records.iter().copied().filter(|r| r.method == Some(method)).collect();
        let share = of.len() as f64 / attempts as f64;
        let (attempts, connect_ms) = (of.len() as u64, times(&of));
        (attempts > 0).then_some(MethodStats { method, attempts, share, connect_ms })
    });
    Summary {
        attempts,
        direct,
        relay,
        failed,
        success_rate: (attempts > 0).then(|| connected as f64 / attempts as f64),
        relay_share: (connected > 0).then(|| relay as f64 / connected as f64),
        connect_ms: times(records),
        direct_ms: percentiles(records.iter().filter_map(|r| r.direct_ms)),
        by_method: by_method.collect(),
    }
}

fn matrix(records: &[&AttemptRecord]) -> Vec<NatCell> {
    let type_of = |nat: &Option<NatSummary>| nat.as_ref().map_or(NatType::Unknown, |n| n.nat_type);
    let pair = |r: &AttemptRecord| (type_of(&r.caller_nat), type_of(&r.callee_nat));
    let mut pairs: Vec<_> = records.iter().map(|r| pair(r)).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let cell = |(caller, callee)| {
        let of: Vec<_> = records.iter().copied().filter(|r| pair(r) == (caller, callee)).collect();
        let [direct, relay, failed] = outcomes(&of);
        let direct_ms_p50 = percentiles(of.iter().filter_map(|r| r.direct_ms)).p50;
        let attempts = of.len() as u64;
        NatCell { caller, callee, attempts, direct, relay, failed, direct_ms_p50 }
    };
    pairs.into_iter().map(cell).collect()
}

fn outcomes(records: &[&AttemptRecord]) -> [u64; 3] {
    [Outcome::Direct, Outcome::Relay, Outcome::Failed]
        .map(|outcome| records.iter().filter(|r| r.outcome == outcome).count() as u64)
}

/// The smallest value that at least p of 100 values do not exceed, by counting.
fn percentiles(values: impl Iterator<Item = u64>) -> Percentiles {
    let values: Vec<u64> = values.collect();
    let at = |p: usize| {
        let reached = |v: &u64| values.iter().filter(|w| *w <= v).count() * 100 >= values.len() * p;
        values.iter().copied().filter(reached).min()
    };
    Percentiles { p50: at(50), p95: at(95) }
}
