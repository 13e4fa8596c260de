//! Hello and welcome, heartbeats, resume, goodbye, two clients with one id.

use std::time::Duration;

use p2p_registry::Settings;
use serde_json::json;

use crate::support::{World, all_for, claims, now, token};

#[tokio::test]
async fn a_hello_is_answered_with_everything_a_client_needs() {
    let world = World::with(|config| {
        config.stun = vec!["stun:stun.example.org:3478".to_owned()];
    })
    .await;
    let alice = world.client("alice").await;
    let welcome = &alice.welcome;
    assert_eq!(welcome["peer"], "alice");
    assert_eq!(welcome["resumed"], false);
    assert_eq!(welcome["heartbeat_ms"], 25_000);
    assert_eq!(welcome["limits"]["message_bytes"], 65_536);
    assert_eq!(welcome["ice_servers"][0]["urls"][0], "stun:stun.example.org:3478");
    assert!(welcome["observed_address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(welcome["secret"].as_str().unwrap().len() >= 40);
    assert_eq!(world.signaling.snapshot().peers_on, 1);
}

#[tokio::test]
async fn a_token_travels_as_a_subprotocol_or_behind_a_ticket() {
    let world = World::start().await;
    let protocol = format!("p2p.v1, bearer.{}", token(&all_for("alice")).expose());
    let headers = [("sec-websocket-protocol", protocol)];
    let mut alice = world.open("/v1/ws", &headers).await.unwrap();
    alice.send(json!({ "type": "hello", "peer": "alice" })).await;
    alice.expect("welcome").await;

    let answer = world.request("POST", "/v1/tickets", Some(&all_for("bob"))).await;
    assert_eq!(answer.status, 201);
    let path = format!("/v1/ws?ticket={}", answer.json()["ticket"].as_str().unwrap());
    let mut bob = world.open(&path, &[]).await.unwrap();
    bob.send(json!({ "type": "hello", "peer": "bob" })).await;
    bob.expect("welcome").await;

    let mut again = world.open(&path, &[]).await.unwrap();
    let error = again.expect_error("token_invalid").await;
    assert!(error["message"].as_str().unwrap().contains("ticket"), "{error}");
    assert_eq!(again.closed().await.0, 4401);
}

#[tokio::test]
async fn a_token_for_a_prefix_registers_any_id_that_begins_so() {
    let world = World::start().await;
    let fleet = claims("device-*");
    let hello = json!({ "type": "hello", "peer": "device-7" });
    assert_eq!(world.client_with(&fleet, hello).await.welcome["peer"], "device-7");
    let mut other = world.connect(&fleet).await;
    other.send(json!({ "type": "hello", "peer": "alice" })).await;
    other.expect_error("not_allowed").await;
    assert_eq!(other.closed().await.0, 4403);
}

#[tokio::test]
async fn i1_of_two_clients_with_one_id_the_newer_stays_and_the_older_is_closed() {
    let world = World::start().await;
    let mut bystander = world.client("bob").await;
    let mut old = world.client("alice").await;
    let mut new = world.client("alice").await;
    assert_eq!(old.closed().await.0, 4409);
    drop(old);
    new.expect_silence().await;
    bystander.send(json!({ "type": "send", "id": "m", "to": "alice", "kind": "hi" })).await;
    assert_eq!(new.expect("message").await["from"], "bob");
}

#[tokio::test]
async fn a_session_is_resumed_with_its_rooms_and_what_was_missed() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    alice.join("demo").await;
    bob.join("demo").await;
    alice.expect("room").await;
    let resume = bob.resume(0);
    drop(bob);
    assert_eq!(alice.expect("room").await["event"], "away");
    alice
        .send(json!({ "type": "send", "id": "m1", "to": "bob", "kind": "hi", "payload": 1 }))
        .await;
    assert_eq!(alice.expect("receipt").await["status"], "queued");

    let mut bob = world.client_with(&all_for("bob"), resume).await;
    assert_eq!(bob.welcome["resumed"], true);
    let message = bob.expect("message").await;
    assert_eq!((&message["seq"], &message["payload"]), (&json!(1), &json!(1)));
    assert_eq!(alice.expect("room").await["event"], "back");
    bob.send(json!({ "type": "ack", "seq": 1 })).await;
    assert_eq!(alice.expect("receipt").await["status"], "delivered");
}

#[tokio::test]
async fn i1_a_resume_takes_over_a_connection_that_is_only_half_dead() {
    let world = World::start().await;
    let mut old = world.client("alice").await;
    let new = world.client_with(&all_for("alice"), old.resume(0)).await;
    assert_eq!(new.welcome["session"], old.welcome["session"]);
    assert_ne!(new.welcome["secret"], old.welcome["secret"]);
    assert_eq!(old.closed().await.0, 4409);
}

#[tokio::test]
async fn a_session_whose_window_has_passed_is_not_resumed() {
    let settings = Settings { resume_window: Duration::from_millis(50), ..Settings::default() };
    let world = World::with_registry(|_| {}, settings).await;
    let mut alice = world.client("alice").await;
    let bob = world.client("bob").await;
    alice.join("demo").await;
    let resume = bob.resume(0);
    let mut bob = bob;
    bob.join("demo").await;
    drop(bob);
    let heard =
        [alice.expect("room").await, alice.expect("room").await, alice.expect("room").await];
    assert_eq!(heard.map(|event| event["event"].clone()), ["join", "away", "leave"]);
    let mut late = world.connect(&all_for("bob")).await;
    late.send(resume).await;
    late.expect_error("not_allowed").await;
    assert_eq!(late.closed().await.0, 4410);
}

#[tokio::test]
async fn a_goodbye_ends_the_session_at_once() {
    for code in [Some(1000), None] {
        let world = World::start().await;
        let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
        alice.join("demo").await;
        bob.join("demo").await;
        alice.expect("room").await;
        let resume = bob.resume(0);
        bob.close(code).await;
        assert_eq!(alice.expect("room").await["event"], "leave");
        let mut back = world.connect(&all_for("bob")).await;
        back.send(resume).await;
        assert_eq!(back.closed().await.0, 4410);
    }
}

#[tokio::test]
async fn a_page_that_is_left_may_come_back() {
    let world = World::start().await;
    let alice = world.client("alice").await;
    let resume = alice.resume(0);
    alice.close(Some(1001)).await;
    let alice = world.client_with(&all_for("alice"), resume).await;
    assert_eq!(alice.welcome["resumed"], true);
}

#[tokio::test]
async fn a_client_that_stays_silent_loses_its_connection_but_not_its_session() {
    let world = World::with(|config| config.timing.heartbeat = Duration::from_millis(40)).await;
    let mut alice = world.client("alice").await;
    assert_eq!(alice.welcome["heartbeat_ms"], 40);
    assert_eq!(alice.closed().await.0, 4408);
    let alice = world.client_with(&all_for("alice"), alice.resume(0)).await;
    assert_eq!(alice.welcome["resumed"], true);
}

#[tokio::test]
async fn pings_are_answered_and_keep_a_connection() {
    let world = World::with(|config| config.timing.heartbeat = Duration::from_millis(400)).await;
    let mut alice = world.client("alice").await;
    let mut beat = tokio::time::interval(Duration::from_millis(200));
    // Together longer than the second of silence that would end the connection.
    for _ in 0..7 {
        beat.tick().await;
        alice.expect_silence().await;
    }
}

#[tokio::test]
async fn a_token_that_ends_during_a_session_ends_the_connection() {
    let world = World::start().await;
    let mut ending = all_for("alice");
    // 30 s of leeway: this one has one second left.
    ending.exp = now() - 29;
    let hello = json!({ "type": "hello", "peer": "alice" });
    let mut alice = world.client_with(&ending, hello).await;
    let error = alice.expect_error("token_expired").await;
    assert!(error["fix"].as_str().unwrap().contains("new token"), "{error}");
    assert_eq!(alice.closed().await.0, 4401);
    let alice = world.client_with(&all_for("alice"), alice.resume(0)).await;
    assert_eq!(alice.welcome["resumed"], true, "with a new token the session goes on");
}
