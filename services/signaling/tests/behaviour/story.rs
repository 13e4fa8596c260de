//! What an attempt's record tells besides its verdict: candidates, and what the connection used.

use serde_json::{Value, json};
use tokio::time::{Duration, sleep, timeout};

use crate::support::{Client, HANG, World, all_for};

/// What both sides know, once each has reported a direct path: the attempt is over for the instance.
async fn connected(world: &World) -> (Client, Client, Value) {
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    for (client, host) in [(&mut alice, "192.168.7.5:4000"), (&mut bob, "192.168.8.6:4000")] {
        let candidates = json!([
            { "kind": "host", "address": host },
            { "kind": "srflx", "address": "203.0.113.7:5000" },
            { "kind": "srflx", "address": "203.0.113.8:5001" },
        ]);
        let profile = json!({
            "type": "Full Cone", "mapping": "endpoint-independent",
            "filtering": "endpoint-independent", "udp": true,
        });
        client.send(json!({ "type": "nat", "profile": profile, "candidates": candidates })).await;
        client.expect_silence().await;
    }
    alice.send(json!({ "type": "connect", "id": "a1", "to": "bob" })).await;
    let attempt = alice.expect("attempt").await["attempt"].clone();
    bob.expect("attempt").await;
    let relayed = json!({ "kind": "relay", "address": "198.51.100.9:49160" });
    bob.send(json!({ "type": "candidate", "attempt": attempt, "candidate": relayed })).await;
    alice.expect("candidate").await;
    let first = [used(38, "relay", "first", 100), used(93, "udp-hole-punch", "better", 0)];
    alice.send(report(&attempt, &first)).await;
    bob.send(report(&attempt, &[])).await;
    for client in [&mut alice, &mut bob] {
        client.expect_silence().await;
    }
    (alice, bob, attempt)
}

fn used(at_ms: u64, method: &str, reason: &str, sent: u64) -> Value {
    json!({
        "at_ms": at_ms, "method": method, "reason": reason,
        "sent_bytes": sent, "received_bytes": 7,
    })
}

fn report(attempt: &Value, paths: &[Value]) -> Value {
    json!({
        "type": "report", "attempt": attempt, "outcome": "direct", "method": "udp-hole-punch",
        "ms": 38, "direct_ms": 93, "paths": paths,
    })
}

/// The record once it is as it should be.
async fn record(world: &World, attempt: &Value, is: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/v1/attempts/{}", attempt.as_str().unwrap());
    let asking = async {
        loop {
            world.signaling.flush_stats().await;
            let answer = world.get(&path, Some(&all_for("admin"))).await;
            if answer.status == 200 && is(&answer.json()) {
                return answer.json();
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HANG, asking).await.expect("the story is stored")
}

#[tokio::test]
async fn i10_candidates_are_told_by_kind_and_network_and_the_paths_with_their_bytes() {
    let world = World::start().await;
    let (_alice, _bob, attempt) = connected(&world).await;
    let stored = record(&world, &attempt, |it| it["outcome"] == "direct").await;
    let seen = |network: &str| json!({ "kind": "srflx", "network": network });
    let host = |network: &str| json!({ "kind": "host", "network": network });
    let relay = json!({ "kind": "relay", "network": "198.51.100.0/24" });
    let story = &stored["story"];
    assert_eq!(
        story["caller_candidates"],
        json!([host("192.168.7.0/24"), seen("203.0.113.0/24")]),
        "{story}"
    );
    assert_eq!(
        story["callee_candidates"],
        json!([host("192.168.8.0/24"), seen("203.0.113.0/24"), relay]),
        "{story}"
    );
    let told = [used(38, "relay", "first", 100), used(93, "udp-hole-punch", "better", 0)];
    assert_eq!(story["caller_paths"], json!(told));
    assert!(story.get("callee_paths").is_none(), "bob told of none: {story}");
}

#[tokio::test]
async fn what_a_connection_used_is_told_at_its_end_however_long_its_attempt_is_forgotten() {
    let world = World::start().await;
    let (mut alice, mut bob, attempt) = connected(&world).await;
    record(&world, &attempt, |it| it["outcome"] == "direct").await;

    // One who takes no part tells something, too.
    let mut mallory = world.client("mallory").await;
    mallory.send(report(&attempt, &[used(1, "relay", "first", 666)])).await;
    mallory.expect_silence().await;
    let closed = json!({ "at_ms": 90_000, "reason": "closed" });
    let first = used(38, "relay", "first", 100);
    let all = [first, used(93, "udp-hole-punch", "better", 5_000), closed];
    alice.send(report(&attempt, &all)).await;
    bob.send(report(&attempt, &all[..1])).await;
    let told = |it: &Value| {
        it["story"]["caller_paths"].as_array().is_some_and(|paths| paths.len() == 3)
            && it["story"]["callee_paths"].is_array()
    };
    let stored = record(&world, &attempt, told).await;
    assert_eq!(stored["story"]["caller_paths"][1]["sent_bytes"], 5_000);
    assert_eq!(stored["story"]["caller_paths"][2]["reason"], "closed");
    assert!(!stored.to_string().contains("666"), "{stored}");
    assert_eq!(stored["connected_ms"], 38, "the verdict is as it was");

    // Without anything new to tell, it is an attempt that is not known any more.
    alice.send(report(&attempt, &[])).await;
    alice.expect_error("attempt_not_found").await;
}

#[tokio::test]
async fn a_candidate_reaches_the_other_side_however_long_its_attempt_is_forgotten() {
    let world = World::start().await;
    let (mut alice, mut bob, attempt) = connected(&world).await;
    record(&world, &attempt, |it| it["outcome"] == "direct").await;
    let candidate = |attempt: &Value, address: &str| {
        let candidate = json!({ "kind": "relay", "address": address });
        json!({ "type": "candidate", "attempt": attempt, "candidate": candidate })
    };
    // Their relay has started again, and each has another address there now.
    let (mut from, mut to) = (&mut alice, &mut bob);
    for address in ["198.51.100.9:50001", "198.51.100.9:50002"] {
        from.send(candidate(&attempt, address)).await;
        let heard = to.expect("candidate").await;
        assert_eq!(
            (&heard["attempt"], &heard["candidate"]["address"]),
            (&attempt, &json!(address))
        );
        from.expect_silence().await;
        (from, to) = (to, from);
    }
    // Neither does anybody else reach them this way, nor does what nobody may be sent to.
    let mut mallory = world.client("mallory").await;
    mallory.send(candidate(&attempt, "203.0.113.66:6")).await;
    mallory.expect_error("attempt_not_found").await;
    alice.send(candidate(&attempt, "127.0.0.1:22")).await;
    alice.expect_error("bad_message").await;
    bob.expect_silence().await;
}

#[tokio::test]
async fn i5_a_report_tells_of_so_many_paths_and_no_more() {
    let world = World::start().await;
    let (mut alice, _bob, attempt) = connected(&world).await;
    let many: Vec<_> = (0..33).map(|at| used(at, "relay", "moved", 1)).collect();
    alice.send(report(&attempt, &many)).await;
    alice.expect_error("bad_message").await;
}
