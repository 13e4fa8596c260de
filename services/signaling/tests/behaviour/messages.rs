//! Messages, receipts and acknowledgements.

use serde_json::{Value, json};

use crate::support::World;

fn send(id: &str, to: &str, payload: Value) -> Value {
    json!({ "type": "send", "id": id, "to": to, "kind": "offer", "payload": payload })
}

#[tokio::test]
async fn i2_messages_arrive_as_they_were_sent_in_order_and_are_receipted() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    for n in 1..=20 {
        alice.send(send(&format!("m{n}"), "bob", json!({ "n": n, "text": "ü" }))).await;
    }
    for n in 1..=20 {
        let message = bob.expect("message").await;
        assert_eq!(message["seq"], n);
        assert_eq!((&message["from"], &message["kind"]), (&json!("alice"), &json!("offer")));
        assert_eq!(message["payload"], json!({ "n": n, "text": "ü" }));
    }
    bob.send(json!({ "type": "ack", "seq": 20 })).await;
    for n in 1..=20 {
        let receipt = alice.expect("receipt").await;
        assert_eq!(
            (&receipt["id"], &receipt["status"]),
            (&json!(format!("m{n}")), &json!("delivered"))
        );
    }
}

#[tokio::test]
async fn a_message_to_an_unknown_peer_is_gone() {
    let world = World::start().await;
    let mut alice = world.client("alice").await;
    alice.send(send("m1", "nobody", json!(null))).await;
    let receipt = alice.expect("receipt").await;
    assert_eq!((&receipt["id"], &receipt["status"]), (&json!("m1"), &json!("gone")));
    assert!(receipt["reason"].as_str().unwrap().contains("nobody"));
}

#[tokio::test]
async fn i2_a_message_sent_again_after_a_resume_is_delivered_once() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    alice.send(send("m1", "bob", json!(1))).await;
    bob.expect("message").await;
    let resume = alice.resume(0);
    drop(alice);
    let mut alice = world.client_with(&crate::support::all_for("alice"), resume).await;
    alice.send(send("m1", "bob", json!(1))).await;
    assert_eq!(alice.expect("receipt").await["status"], "queued");
    bob.expect_silence().await;
    bob.send(json!({ "type": "ack", "seq": 1 })).await;
    assert_eq!(alice.expect("receipt").await["status"], "delivered");
}

#[tokio::test]
async fn a_receiver_that_never_acknowledges_is_reported_as_queued() {
    let settings = p2p_registry::Settings {
        receipt_patience: std::time::Duration::from_millis(20),
        ..p2p_registry::Settings::default()
    };
    let world = World::with_registry(|_| {}, settings).await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    alice.send(send("m1", "bob", json!(1))).await;
    assert_eq!(alice.expect("receipt").await["status"], "queued");
    bob.expect("message").await;
    bob.send(json!({ "type": "ack", "seq": 1 })).await;
    assert_eq!(alice.expect("receipt").await["status"], "delivered");
}

#[tokio::test]
async fn a_message_of_the_largest_size_passes() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    let frame = |pad: usize| send("m1", "bob", json!("x".repeat(pad))).to_string();
    let text = frame(65_536 - frame(0).len());
    assert_eq!(text.len(), 65_536);
    alice.send_text(&text).await;
    let message = bob.expect("message").await;
    assert_eq!(message["payload"].as_str().unwrap().len(), 65_536 - frame(0).len());
}
