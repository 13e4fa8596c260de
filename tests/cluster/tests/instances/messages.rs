//! What peers of different instances tell each other.

use p2p_cluster::Redis;
use serde_json::json;

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
