//! What peers of different instances tell each other.

use p2p_cluster::Redis;
use serde_json::{Value, json};

use crate::instance::Instance;

fn text(id: &str, status: &str) -> (String, String) {
    (id.to_owned(), status.to_owned())
}

#[tokio::test]
async fn i2_messages_reach_peers_of_other_instances_in_order_and_are_receipted() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let (mut alice, mut bob) = (one.client("alice").await, two.client("bob").await);
    for n in 1..=50 {
        alice.tell("bob", &format!("m{n}")).await;
    }
    for n in 1..=50 {
        assert_eq!(bob.message().await, (format!("m{n}"), n));
    }
    bob.ack(50).await;
    for n in 1..=50 {
        assert_eq!(alice.receipt().await, text(&format!("m{n}"), "delivered"));
    }
    alice.tell("bob", "m50").await;
    assert_eq!(alice.receipt().await, text("m50", "delivered"));
    bob.expect_silence().await;
}

#[tokio::test]
async fn i1_a_peer_that_appears_at_another_instance_is_closed_at_the_first() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let mut old = one.client("alice").await;
    let mut new = two.client("alice").await;
    while let Some(frame) = old.next().await {
        assert_ne!(frame["type"], "message", "{frame}");
    }
    let mut bob = one.client("bob").await;
    bob.tell("alice", "m1").await;
    assert_eq!(new.message().await, ("m1".to_owned(), 1));
}

#[tokio::test]
async fn a_room_has_members_at_many_instances() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let (mut alice, mut bob) = (one.client("alice").await, two.client("bob").await);
    alice.join("lobby").await;
    let joined = bob.join("lobby").await;
    assert_eq!(joined["members"].as_array().unwrap().len(), 2);
    let event = alice.expect("room").await;
    assert_eq!((&event["event"], &event["version"]), (&json!("join"), &joined["version"]));
    bob.send(json!({ "type": "leave", "id": "l", "room": "lobby" })).await;
    let event = alice.expect("room").await;
    assert_eq!(event["event"], "leave");
    assert_eq!(event["version"].as_u64(), joined["version"].as_u64().map(|v| v + 1));
}

#[tokio::test]
async fn an_attempt_reaches_both_sides_at_their_instances() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let (mut alice, mut bob) = (one.client("alice").await, two.client("bob").await);
    alice.send(json!({ "type": "connect", "id": "a1", "to": "bob" })).await;
    let (near, far): (Value, Value) = (alice.expect("attempt").await, bob.expect("attempt").await);
    assert_eq!(near["attempt"], far["attempt"]);
    assert_eq!(near["ice"]["local"], far["ice"]["remote"]);
    let candidate = json!({ "kind": "srflx", "address": "203.0.113.7:5000" });
    let trickle = json!({
        "type": "candidate", "attempt": near["attempt"], "candidate": candidate,
    });
    alice.send(trickle).await;
    assert_eq!(bob.expect("candidate").await["candidate"]["address"], "203.0.113.7:5000");
    let candidate = json!({ "kind": "srflx", "address": "203.0.113.8:6000" });
    let trickle = json!({
        "type": "candidate", "attempt": far["attempt"], "candidate": candidate,
    });
    bob.send(trickle).await;
    assert_eq!(alice.expect("candidate").await["candidate"]["address"], "203.0.113.8:6000");

    // What the callee tells at its instance decides the attempt at the caller's.
    let failed = json!({
        "type": "report", "attempt": far["attempt"], "outcome": "failed", "method": null,
        "ms": 42, "direct_ms": null, "steps": [], "verdict": "as the test says",
    });
    bob.send(failed).await;
    let ended = alice.expect("ended").await;
    assert_eq!((&ended["attempt"], &ended["reason"]), (&near["attempt"], &json!("peer_failed")));

    // An attempt of an instance that is gone is none.
    one.crash();
    let gone = json!({
        "type": "candidate", "attempt": far["attempt"],
        "candidate": { "kind": "srflx", "address": "203.0.113.8:6001" },
    });
    bob.send(gone).await;
    assert_eq!(bob.await_type("error").await["code"], "attempt_not_found");
}
