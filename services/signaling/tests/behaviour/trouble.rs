//! What is behind the instance is slow or broken, or there is too much to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use p2p_registry::Settings;
use p2p_stats::{
    AttemptRecord, Cursor, Filter, MethodCell, NatCell, Page, RelayRecord, SessionRecord, Store,
    StoreFuture, Summary, Usage,
};
use p2p_wire::AttemptId;
use serde_json::json;

use crate::support::{World, all_for, config, raw_request};

/// A store that never answers, or panics when it is asked for numbers.
#[derive(Default)]
struct BrokenStore {
    panics: bool,
    checks: AtomicUsize,
}

impl Store for BrokenStore {
    fn record_attempts<'a>(&'a self, _: &'a [AttemptRecord]) -> StoreFuture<'a, ()> {
        Box::pin(std::future::pending())
    }

    fn check(&self) -> StoreFuture<'_, ()> {
        self.checks.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::pending())
    }

    fn attempt<'a>(&'a self, _: &'a AttemptId) -> StoreFuture<'a, Option<AttemptRecord>> {
        Box::pin(std::future::pending())
    }

    fn attempts<'a>(
        &'a self,
        _: &'a Filter,
        _: Option<&'a Cursor>,
        _: usize,
    ) -> StoreFuture<'a, Page> {
        Box::pin(std::future::pending())
    }

    fn summary<'a>(&'a self, _: &'a Filter) -> StoreFuture<'a, Summary> {
        assert!(!self.panics, "the test asked for it");
        Box::pin(std::future::pending())
    }

    fn nat_matrix<'a>(&'a self, _: &'a Filter) -> StoreFuture<'a, Vec<NatCell>> {
        Box::pin(std::future::pending())
    }

    fn record_sessions<'a>(&'a self, _: &'a [SessionRecord]) -> StoreFuture<'a, ()> {
        Box::pin(std::future::pending())
    }

    fn record_relays<'a>(&'a self, _: &'a [RelayRecord]) -> StoreFuture<'a, ()> {
        Box::pin(std::future::pending())
    }

    fn methods<'a>(&'a self, _: &'a Filter) -> StoreFuture<'a, Vec<MethodCell>> {
        Box::pin(std::future::pending())
    }

    fn usage<'a>(&'a self, _: &'a Filter) -> StoreFuture<'a, Usage> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn i7_a_store_that_hangs_slows_no_session_and_what_is_lost_is_counted() {
    let mut config = config();
    config.limits.records = 4;
    let store = Arc::new(BrokenStore::default());
    let world = World::of(config, Settings::default(), store).await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    for _ in 0..20 {
        alice.send(json!({ "type": "connect", "id": "a", "to": "bob" })).await;
        let begun = alice.expect("attempt").await;
        // Nothing is known of earlier attempts: the chances are those that plans begin with.
        assert_eq!(begun["plan"][0]["chance"], 0.85, "{begun}");
        let attempt = begun["attempt"].clone();
        bob.expect("attempt").await;
        for client in [&mut alice, &mut bob] {
            let report = json!({
                "type": "report", "attempt": attempt, "outcome": "direct", "method": "direct", "ms": 1,
            });
            client.send(report).await;
            client.expect_silence().await;
        }
    }
    assert!(world.signaling.snapshot().records_dropped > 0);
}

#[tokio::test]
async fn i7_what_is_told_late_to_a_store_that_hangs_holds_nobody_up_and_has_a_bound() {
    let mut config = config();
    config.limits.messages_per_second = 1_000_000;
    config.limits.message_burst = 1_000_000;
    let store = Arc::new(BrokenStore::default());
    let world = World::of(config, Settings::default(), store).await;
    let mut alice = world.client("alice").await;
    let late = json!({
        "type": "report", "attempt": "of-last-week", "outcome": "direct", "method": "direct",
        "ms": 1, "paths": [{ "at_ms": 9, "reason": "closed" }],
    });
    // One is in hand, 1,024 wait, and the rest has no place.
    for _ in 0..1_100 {
        alice.send(late.clone()).await;
    }
    alice.expect_silence().await;
    let metrics = world.get("/metrics", None).await.body;
    let dropped = metrics.lines().find_map(|line| {
        line.strip_prefix("p2p_recorder_dropped_total{reason=\"late\"} ")?.parse::<u64>().ok()
    });
    assert!(dropped.is_some_and(|dropped| dropped >= 75), "{dropped:?}");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_all_the_same() {
    let mut config = config();
    config.timing.request = Duration::from_millis(30);
    let store = Arc::new(BrokenStore::default());
    let world = World::of(config, Settings::default(), store).await;
    let answer = world.get("/v1/stats", Some(&all_for("admin"))).await;
    assert_eq!((answer.status, answer.problem().as_str()), (504, "timeout"));
    assert_eq!(world.get("/livez", None).await.status, 200);
}

#[tokio::test]
async fn a_panic_in_a_request_is_a_problem_and_not_the_end() {
    let store = Arc::new(BrokenStore { panics: true, ..BrokenStore::default() });
    let world = World::of(config(), Settings::default(), store).await;
    let mut alice = world.client("alice").await;
    let answer = world.get("/v1/stats", Some(&all_for("admin"))).await;
    assert_eq!((answer.status, answer.problem().as_str()), (500, "internal"));
    assert!(!answer.body.contains("the test asked for it"), "{}", answer.body);
    alice.expect_silence().await;
}

#[tokio::test]
async fn i5_more_requests_than_the_instance_can_take_are_shed() {
    let world = World::with(|config| config.limits.requests = 0).await;
    let mut alice = world.client("alice").await;
    let answer = world.get("/v1/ice-servers", Some(&all_for("alice"))).await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "overloaded"));
    assert!(answer.headers.contains("retry-after"), "{}", answer.headers);
    assert_eq!(world.get("/readyz", None).await.status, 200);
    alice.expect_silence().await;
}

#[tokio::test]
async fn i5_who_has_no_token_costs_one_look_in_a_while_however_often_he_asks() {
    let mut config = config();
    config.timing.look = Duration::from_secs(3600);
    let store = Arc::new(BrokenStore::default());
    let world = World::of(config, Settings::default(), store.clone()).await;
    let address = world.signaling.local_addr();
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..20 {
        asked.spawn(async move { raw_request(address, "GET", "/readyz", "").await });
    }
    while let Some(answer) = asked.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("database: degraded"), "{}", answer.body);
    }
    assert_eq!(store.checks.load(Ordering::Relaxed), 1, "the database was asked once");

    let peers = async || {
        let page = world.get("/", None).await.body;
        page.split("<dt>Peers connected</dt><dd>")
            .nth(1)
            .unwrap()
            .split('<')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(peers().await, "0");
    let _alice = world.client("alice").await;
    assert_eq!(world.signaling.snapshot().peers_on, 1);
    assert_eq!(peers().await, "0", "the registry's peers are not counted again");
}
