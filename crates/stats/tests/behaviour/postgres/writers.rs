//! Several instances that write the same attempts at once, while others roll up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use p2p_stats::merge::merge;
use p2p_stats::{AttemptRecord, Filter, PostgresStore, Store as _};

use super::store;
use crate::conformance::model;
use crate::conformance::records::{begun, direct, relayed};

const WRITERS: usize = 4;
const ATTEMPTS: i64 = 300;
const HOUR: i64 = 60 * 60 * 1000;

/// What is told about an attempt, in three records that differ.
fn told(n: i64) -> [AttemptRecord; 3] {
    let (id, started) = (format!("a{n}"), n * HOUR / 10);
    let ms = 10 + n.unsigned_abs() % 7;
    [begun(&id, started), relayed(&id, started, ms), direct(&id, started, ms + 3, ms + 9)]
}

/// Every writer's own order, in batches that overlap with everybody's.
fn deliveries(writer: usize) -> Vec<AttemptRecord> {
    let mut records: Vec<AttemptRecord> = (0..ATTEMPTS).flat_map(told).collect();
    let rotate = writer * records.len() / WRITERS;
    records.rotate_left(rotate);
    if writer % 2 == 1 {
        records.reverse();
    }
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_of_the_same_attempts_store_each_once_and_at_its_best() {
    let Some((store, url)) = store().await else { return };
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let url = url.clone();
            tokio::spawn(async move {
                let store = PostgresStore::open(&url, None).await.unwrap();
                for batch in deliveries(writer).chunks(50) {
                    // What the recorder does: a batch that met another's is tried again.
                    while let Err(error) = store.record_attempts(batch).await {
                        assert!(error.is_transient() && !error.is_away(), "{error}");
                    }
                }
            })
        })
        .collect();
    // Rolls up as long as they write, hours that change under it.
    let store = Arc::new(store);
    let (rolling, finished) = (Arc::clone(&store), Arc::new(AtomicBool::new(false)));
    let stop = Arc::clone(&finished);
    let roller = tokio::spawn(async move {
        while !stop.load(SeqCst) {
            rolling.roll_up(i64::MAX).await.unwrap();
            let attempts = rolling.summary(&Filter::default()).await.unwrap().attempts;
            assert!(attempts <= ATTEMPTS as u64, "{attempts} of {ATTEMPTS}");
        }
    });
    for writer in writers {
        writer.await.unwrap();
    }
    finished.store(true, SeqCst);
    roller.await.unwrap();

    let all: Vec<AttemptRecord> = (0..ATTEMPTS).flat_map(told).collect();
    model::answers_are_those_of(&*store, &all).await;
    store.roll_up(i64::MAX).await.unwrap();
    model::answers_are_those_of(&*store, &all).await;
    for n in 0..ATTEMPTS {
        let best = told(n).into_iter().reduce(merge).unwrap();
        assert_eq!(store.attempt(&best.attempt).await.unwrap(), Some(best));
    }
}

/// What is fixed when an attempt begins is the stored record's, its day as well.
#[tokio::test]
async fn a_record_that_disagrees_on_the_start_changes_the_attempt_and_not_its_day() {
    let Some((store, _)) = store().await else { return };
    store.record_attempt(&relayed("a", 5, 1)).await.unwrap();
    store.record_attempt(&direct("a", 5 + 48 * HOUR, 2, 3)).await.unwrap();
    let stored = store.attempts(&Filter::default(), None, 10).await.unwrap().attempts;
    let expected = merge(relayed("a", 5, 1), direct("a", 5, 2, 3));
    assert_eq!(stored, [expected]);
}
