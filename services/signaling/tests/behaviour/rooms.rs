//! Who is in a room, and who hears of it.

use p2p_auth::{RoomGrant, RoomVerb};
use serde_json::json;

use crate::support::{World, all_for, claims};

#[tokio::test]
async fn a_newcomer_gets_the_members_and_the_members_hear_of_it() {
    let world = World::start().await;
    let mut alice = world.client("alice").await;
    let hello = json!({ "type": "hello", "peer": "bob", "meta": { "name": "Bob" } });
    let mut bob = world.client_with(&all_for("bob"), hello).await;
    assert_eq!(alice.join("demo").await["members"].as_array().unwrap().len(), 1);
    bob.send(json!({ "type": "join", "id": "c1", "room": "demo", "role": "guest" })).await;
    let joined = bob.expect("joined").await;
    assert_eq!(joined["id"], "c1");
    assert_eq!(joined["members"][0]["peer"], "alice");
    assert_eq!(joined["members"][1]["role"], "guest");

    let event = alice.expect("room").await;
    assert_eq!((&event["event"], &event["peer"]), (&json!("join"), &json!("bob")));
    assert_eq!(event["meta"]["name"], "Bob");
    assert_eq!(event["version"], joined["version"]);
    bob.send(json!({ "type": "meta", "meta": { "name": "Robert" } })).await;
    let event = alice.expect("room").await;
    assert_eq!((&event["event"], &event["meta"]["name"]), (&json!("meta"), &json!("Robert")));
    bob.expect("room").await;
    bob.send(json!({ "type": "leave", "room": "demo" })).await;
    assert_eq!(alice.expect("room").await["event"], "leave");
    bob.send(json!({ "type": "leave", "room": "demo" })).await;
    bob.expect_error("room_not_found").await;
}

#[tokio::test]
async fn a_room_message_reaches_the_others_and_nobody_else() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    let mut outside = world.client("carol").await;
    alice.join("demo").await;
    bob.join("demo").await;
    alice.expect("room").await;
    let send =
        json!({ "type": "send", "id": "m1", "room": "demo", "kind": "chat", "payload": "hi" });
    alice.send(send).await;
    let message = bob.expect("message").await;
    assert_eq!((&message["room"], &message["payload"]), (&json!("demo"), &json!("hi")));
    bob.send(json!({ "type": "ack", "seq": message["seq"] })).await;
    let receipt = alice.expect("receipt").await;
    assert_eq!(receipt["status"], "delivered");
    assert_eq!(receipt["reason"], "1 of 1 members");
    outside.expect_silence().await;
    outside
        .send(json!({ "type": "send", "id": "m2", "room": "demo", "kind": "chat", "payload": 1 }))
        .await;
    let receipt = outside.expect("receipt").await;
    assert_eq!(receipt["status"], "rejected");
    assert!(receipt["reason"].as_str().unwrap().starts_with("room_not_found"), "{receipt}");
}

#[tokio::test]
async fn a_token_opens_only_the_rooms_and_verbs_that_it_grants() {
    let world = World::start().await;
    let mut listener = claims("alice");
    listener.rooms =
        vec![RoomGrant { room: "team-*".parse().unwrap(), verbs: Some(vec![RoomVerb::Join]) }];
    let hello = json!({ "type": "hello", "peer": "alice" });
    let mut alice = world.client_with(&listener, hello).await;
    alice.send(json!({ "type": "join", "id": "c1", "room": "other" })).await;
    let error = alice.expect_error("not_allowed").await;
    assert_eq!(error["id"], "c1");
    alice.join("team-7").await;
    alice
        .send(json!({ "type": "send", "id": "m", "room": "team-7", "kind": "chat", "payload": 1 }))
        .await;
    let receipt = alice.expect("receipt").await;
    assert!(receipt["reason"].as_str().unwrap().starts_with("not_allowed"), "{receipt}");
}

#[tokio::test]
async fn rooms_of_different_apps_with_one_name_are_different_rooms() {
    let world = World::start().await;
    let mut alice = world.client("alice").await;
    alice.join("demo").await;
    let elsewhere = all_for("bob").with_app("other".parse().unwrap());
    let hello = json!({ "type": "hello", "peer": "bob" });
    let mut bob = world.client_with(&elsewhere, hello).await;
    assert_eq!(bob.join("demo").await["members"].as_array().unwrap().len(), 1);
    alice.expect_silence().await;
}
