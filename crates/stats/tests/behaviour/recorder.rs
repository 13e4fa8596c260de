//! The recorder in front of stores that are fast, stuck, busy or broken.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crate::conformance::records::{begun, between, direct};
use p2p_stats::{
    AddressDetail, AttemptRecord, Cursor, Filter, MethodCell, NatCell, Page, Recorder, RelayRecord,
    SessionRecord, SqliteStore, StatsError, Store, StoreFuture, Summary, Usage,
};
use p2p_wire::{AttemptId, NatType};
use tokio::sync::Semaphore;

/// A store behind a gate, which refuses some of what it is told to write. It holds no database:
/// with the clock paused, time would run on while one works.
struct Gated {
    kept: Mutex<Vec<AttemptRecord>>,
    gate: Semaphore,
    entered: Semaphore,
    busy_for: AtomicU32,
    away_for: AtomicU32,
    refuses: Option<AttemptId>,
}

impl Gated {
    fn new(open: bool) -> Self {
        Self {
            kept: Mutex::new(Vec::new()),
            gate: Semaphore::new(if open { Semaphore::MAX_PERMITS } else { 0 }),
            entered: Semaphore::new(0),
            busy_for: AtomicU32::new(0),
            away_for: AtomicU32::new(0),
            refuses: None,
        }
    }

    fn attempts_kept(&self) -> usize {
        self.kept.lock().unwrap().len()
    }
}

impl Store for Gated {
    fn record_attempts<'a>(&'a self, records: &'a [AttemptRecord]) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.entered.add_permits(1);
            let _pass = self.gate.acquire().await.unwrap();
            if self.busy_for.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok() {
                return Err(StatsError::Busy(sqlx::Error::PoolTimedOut));
            }
            if self.away_for.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok() {
                return Err(StatsError::Away(sqlx::Error::PoolTimedOut));
            }
            if records.iter().any(|record| Some(&record.attempt) == self.refuses.as_ref()) {
                return Err(StatsError::Database(sqlx::Error::RowNotFound));
            }
            self.kept.lock().unwrap().extend_from_slice(records);
            Ok(())
        })
    }

    fn attempt<'a>(&'a self, _: &'a AttemptId) -> StoreFuture<'a, Option<AttemptRecord>> {
        unreachable!("a recorder only writes")
    }

    fn attempts<'a>(
        &'a self,
        _: &'a Filter,
        _: Option<&'a Cursor>,
        _: usize,
    ) -> StoreFuture<'a, Page> {
        unreachable!("a recorder only writes")
    }

    fn summary<'a>(&'a self, _: &'a Filter) -> StoreFuture<'a, Summary> {
        unreachable!("a recorder only writes")
    }

    fn nat_matrix<'a>(&'a self, _: &'a Filter) -> StoreFuture<'a, Vec<NatCell>> {
        unreachable!("a recorder only writes")
    }

    fn record_sessions<'a>(&'a self, _: &'a [SessionRecord]) -> StoreFuture<'a, ()> {
        unreachable!("these tests record attempts")
    }

    fn record_relays<'a>(&'a self, _: &'a [RelayRecord]) -> StoreFuture<'a, ()> {
        unreachable!("these tests record attempts")
    }

    fn methods<'a>(&'a self, _: &'a Filter) -> StoreFuture<'a, Vec<MethodCell>> {
        unreachable!("a recorder only writes")
    }

    fn usage<'a>(&'a self, _: &'a Filter) -> StoreFuture<'a, Usage> {
        unreachable!("a recorder only writes")
    }
}

#[tokio::test]
async fn after_a_flush_everything_handed_over_before_is_stored() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let recorder = Recorder::new(store.clone(), 1_000);
    for n in 0..700 {
        recorder.record(direct(&format!("a{n}"), n, 1, 2));
    }
    recorder.flush().await;
    assert_eq!(store.summary(&Filter::default()).await.unwrap().direct, 700);
    assert_eq!((recorder.written(), recorder.dropped(), recorder.queued()), (700, 0, 0));
}

#[tokio::test]
async fn i7_a_store_that_hangs_does_not_hold_up_recording_and_what_is_lost_is_counted() {
    let store = Arc::new(Gated::new(false));
    let recorder = Recorder::new(store.clone(), 4);
    recorder.record(begun("first", 0));
    // The writer now holds the first record and hangs; the queue takes four more.
    store.entered.acquire().await.unwrap().forget();
    for n in 0..10 {
        recorder.record(begun(&format!("a{n}"), n));
    }
    assert_eq!((recorder.queued(), recorder.dropped()), (4, 6));
    store.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    recorder.flush().await;
    assert_eq!(store.attempts_kept(), 5);
    assert_eq!((recorder.written(), recorder.dropped()), (5, 6));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_busy_for_a_while_loses_nothing() {
    let store = Arc::new(Gated::new(true));
    store.busy_for.store(4, SeqCst);
    let recorder = Recorder::new(store.clone(), 10);
    recorder.record(begun("a", 1));
    recorder.flush().await;
    assert_eq!((recorder.written(), recorder.dropped()), (1, 0));
    assert_eq!(store.attempts_kept(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_busy_costs_the_batch_and_not_the_recorder() {
    let store = Arc::new(Gated::new(true));
    store.busy_for.store(7, SeqCst);
    let recorder = Recorder::new(store.clone(), 10);
    recorder.record(begun("lost", 1));
    recorder.flush().await;
    recorder.record(begun("kept", 2));
    recorder.flush().await;
    assert_eq!((recorder.written(), recorder.dropped()), (1, 1));
    assert_eq!(store.attempts_kept(), 1);
}

#[tokio::test(start_paused = true)]
async fn i7_a_store_that_is_away_for_long_loses_only_what_the_queue_cannot_hold() {
    let store = Arc::new(Gated::new(true));
    store.away_for.store(100, SeqCst);
    let recorder = Recorder::new(store.clone(), 8);
    recorder.record(begun("in hand", 0));
    store.entered.acquire().await.unwrap().forget();
    for n in 0..10 {
        recorder.record(begun(&format!("a{n}"), n));
    }
    assert_eq!(recorder.dropped(), 2);
    recorder.flush().await;
    assert_eq!((recorder.written(), recorder.dropped()), (9, 2));
    assert_eq!(store.attempts_kept(), 9);
}

#[tokio::test(start_paused = true)]
async fn i12_shutting_down_does_not_wait_for_ever_for_a_store_that_is_away() {
    let store = Arc::new(Gated::new(true));
    store.away_for.store(u32::MAX, SeqCst);
    let recorder = Recorder::new(store.clone(), 2_000);
    for n in 0..1_000 {
        recorder.record(begun(&format!("a{n}"), n));
    }
    recorder.shutdown().await;
    assert_eq!((recorder.written(), recorder.dropped()), (0, 1_000));
    let asked = u32::MAX - store.away_for.load(SeqCst);
    assert!(asked < 20, "batches that wait are not tried one after the other: {asked}");
}

#[tokio::test]
async fn a_record_that_the_store_refuses_does_not_take_its_batch_with_it() {
    let mut store = Gated::new(true);
    store.refuses = Some(AttemptId::new("bad").unwrap());
    let store = Arc::new(store);
    let recorder = Recorder::new(store.clone(), 10);
    for id in ["a", "bad", "b"] {
        recorder.record(begun(id, 1));
    }
    recorder.flush().await;
    assert_eq!((recorder.written(), recorder.dropped()), (2, 1));
    assert_eq!(store.attempts_kept(), 2);
}

#[tokio::test]
async fn i12_shutting_down_writes_what_waits_and_counts_what_comes_after() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let recorder = Recorder::new(store.clone(), 100);
    for n in 0..50 {
        recorder.record(begun(&format!("a{n}"), n));
    }
    recorder.shutdown().await;
    recorder.clone().record(begun("late", 99));
    recorder.flush().await;
    recorder.shutdown().await;
    assert_eq!(store.summary(&Filter::default()).await.unwrap().attempts, 50);
    assert_eq!((recorder.written(), recorder.dropped()), (50, 1));
}

#[tokio::test]
async fn i10_with_addresses_kept_out_not_even_their_networks_are_stored() {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let recorder = Recorder::new(store.clone(), 100).with_addresses(AddressDetail::Nothing);
    let mut told = between(NatType::Open, NatType::Open, direct("a", 1, 1, 2));
    told.verdict = "at 203.0.113.9:5000".to_owned();
    recorder.record(told);
    recorder.flush().await;
    let stored = store.attempt(&AttemptId::new("a").unwrap()).await.unwrap().unwrap();
    assert_eq!(stored.verdict, "at (an address)");
    assert_eq!(stored.caller_nat.unwrap().network, None);
    assert_eq!(stored.callee_nat.unwrap().network, None);
}
