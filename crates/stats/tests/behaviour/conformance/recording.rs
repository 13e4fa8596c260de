//! Recording: what goes in comes out, once, at its best.

use p2p_stats::{AttemptRecord, Filter, Store};
use p2p_wire::{AttemptId, Outcome, Step, StepResult};

use super::records::{begun, direct, full, relayed};

fn id(text: &str) -> AttemptId {
    AttemptId::new(text).unwrap()
}

pub(crate) async fn an_attempt_reads_back_as_it_was_recorded(store: &dyn Store) {
    for record in [full("full"), begun("begun", 7)] {
        store.record_attempt(&record).await.unwrap();
        assert_eq!(store.attempt(&record.attempt).await.unwrap(), Some(record));
    }
}

pub(crate) async fn an_attempt_that_was_never_recorded_is_none(store: &dyn Store) {
    assert_eq!(store.attempt(&id("nobody")).await.unwrap(), None);
}

pub(crate) async fn recording_twice_counts_once(store: &dyn Store) {
    let record = full("a");
    for _ in 0..3 {
        store.record_attempts(&[record.clone(), record.clone()]).await.unwrap();
    }
    assert_eq!(store.summary(&Filter::default()).await.unwrap().attempts, 1);
    assert_eq!(store.attempt(&id("a")).await.unwrap(), Some(record));
}

pub(crate) async fn a_relayed_attempt_that_turns_direct_becomes_direct(store: &dyn Store) {
    store.record_attempt(&relayed("a", 1, 40)).await.unwrap();
    store.record_attempt(&direct("a", 1, 60, 120)).await.unwrap();
    let stored = store.attempt(&id("a")).await.unwrap().unwrap();
    assert_eq!(stored.outcome, Outcome::Direct);
    assert_eq!((stored.connected_ms, stored.direct_ms), (Some(40), Some(120)));
    assert_eq!(stored.verdict, "punched");
}

pub(crate) async fn a_later_worse_record_changes_no_verdict(store: &dyn Store) {
    store.record_attempt(&direct("a", 1, 60, 120)).await.unwrap();
    store.record_attempt(&relayed("a", 1, 90)).await.unwrap();
    store.record_attempt(&begun("a", 1)).await.unwrap();
    assert_eq!(store.attempt(&id("a")).await.unwrap(), Some(direct("a", 1, 60, 120)));
    let summary = store.summary(&Filter::default()).await.unwrap();
    assert_eq!((summary.direct, summary.relay, summary.failed), (1, 0, 0));
}

/// One batch holds two records of an attempt: the merge sees its own writes.
pub(crate) async fn records_of_one_attempt_in_one_batch_are_merged(store: &dyn Store) {
    let batch = [direct("a", 1, 60, 120), relayed("a", 1, 30), relayed("b", 2, 10)];
    store.record_attempts(&batch).await.unwrap();
    let stored = store.attempt(&id("a")).await.unwrap().unwrap();
    assert_eq!((stored.outcome, stored.connected_ms), (Outcome::Direct, Some(30)));
    assert_eq!(store.summary(&Filter::default()).await.unwrap().attempts, 2);
}

/// Candidates come with the attempt, what the connection used comes when it has ended.
pub(crate) async fn a_story_that_goes_on_is_added_and_changes_no_count(store: &dyn Store) {
    let whole = full("a");
    let mut begun = whole.clone();
    begun.story.caller_paths.truncate(1);
    begun.story.callee_paths.clear();
    let mut rest = whole.clone();
    rest.story.caller_candidates.clear();
    rest.story.callee_candidates.clear();
    store.record_attempt(&begun).await.unwrap();
    let before = store.summary(&Filter::default()).await.unwrap();
    for record in [&rest, &begun, &rest] {
        store.record_attempt(record).await.unwrap();
    }
    assert_eq!(store.attempt(&id("a")).await.unwrap(), Some(whole));
    assert_eq!(store.summary(&Filter::default()).await.unwrap(), before);
}

pub(crate) async fn i10_no_full_address_reaches_the_store(store: &dyn Store) {
    let told = AttemptRecord {
        verdict: "punched to 198.51.100.77:4000".to_owned(),
        caller_steps: vec![Step {
            tactic: None,
            method: p2p_wire::Method::Direct,
            result: StepResult::Failed,
            ms: 1,
            detail: "nothing from [2001:db8:5:6::77]:9".to_owned(),
        }],
        ..direct("a", 1, 1, 1)
    };
    store.record_attempt(&told).await.unwrap();
    let stored = store.attempt(&id("a")).await.unwrap().unwrap();
    assert_eq!(stored.verdict, "punched to 198.51.100.0/24");
    assert_eq!(stored.caller_steps[0].detail, "nothing from 2001:db8:5::/48");
}

/// A time that no clock shows is a peer's mistake, not a fault of the store.
pub(crate) async fn times_at_the_edges_are_kept(store: &dyn Store) {
    for (name, started) in [("first", i64::MIN), ("last", i64::MAX)] {
        let record = direct(name, started, 0, i64::MAX as u64);
        store.record_attempt(&record).await.unwrap();
        assert_eq!(store.attempt(&id(name)).await.unwrap(), Some(record));
    }
    store.record_attempt(&direct("over", 0, u64::MAX, u64::MAX)).await.unwrap();
    let stored = store.attempt(&id("over")).await.unwrap().unwrap();
    assert_eq!(stored.direct_ms, Some(i64::MAX as u64));
    let page = store.attempts(&Filter::default(), None, 10).await.unwrap();
    assert_eq!(page.attempts.len(), 3);
}
