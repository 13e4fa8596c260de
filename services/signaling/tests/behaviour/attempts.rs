//! From `connect` to one verdict in the store.

use std::time::Duration;

use p2p_auth::Scope;
use p2p_signaling::RelayOffer;
use serde_json::{Value, json};

use crate::support::{Client, World, all_for, claims};

fn connect(to: &str, policy: &str) -> Value {
    json!({ "type": "connect", "id": "a1", "to": to, "policy": policy })
}

fn nat(kind: &str, candidates: &[&str]) -> Value {
    let candidates: Vec<_> = candidates
        .iter()
        .map(|text| {
            let (kind, address) = text.split_once(' ').unwrap();
            json!({ "kind": kind, "address": address })
        })
        .collect();
    json!({
        "type": "nat",
        "profile": {
            "type": kind, "mapping": "endpoint-independent", "filtering": "endpoint-independent",
            "udp": true, "public_address": "203.0.113.7:5000",
        },
        "candidates": candidates,
    })
}

fn report(attempt: &Value, outcome: &str, method: Value) -> Value {
    json!({
        "type": "report", "attempt": attempt["attempt"], "outcome": outcome, "method": method,
        "ms": 42, "direct_ms": if outcome == "direct" { json!(90) } else { Value::Null },
        "steps": [], "verdict": "as the test says",
    })
}

/// The attempt's record, once it is in the store.
async fn record(world: &World, attempt: &Value) -> Value {
    world.signaling.flush_stats().await;
    let path = format!("/v1/attempts/{}", attempt["attempt"].as_str().unwrap());
    let answer = world.get(&path, Some(&all_for("admin"))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn begun(alice: &mut Client, bob: &mut Client, policy: &str) -> (Value, Value) {
    alice.send(connect("bob", policy)).await;
    (alice.expect("attempt").await, bob.expect("attempt").await)
}

async fn with_relay() -> World {
    World::with(|config| {
        config.relays = vec![RelayOffer { urls: vec!["turn:192.0.2.9:3478".to_owned()] }];
        config.turn_secrets = secrecy::SecretString::from("a secret of the relay").into();
    })
    .await
}

#[tokio::test]
async fn both_sides_get_one_attempt_that_fits_together() {
    let world = with_relay().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    alice.send(nat("Full Cone", &["host 192.168.1.5:5000", "srflx 203.0.113.7:5000"])).await;
    bob.send(nat("Symmetric", &["host 10.0.0.2:6000"])).await;
    bob.expect_silence().await;
    let (near, far) = begun(&mut alice, &mut bob, "auto").await;

    assert_eq!(near["attempt"], far["attempt"]);
    assert_eq!((&near["id"], &far["id"]), (&json!("a1"), &Value::Null));
    assert_eq!((&near["peer"], &far["peer"]), (&json!("bob"), &json!("alice")));
    assert_eq!((&near["controlling"], &far["controlling"]), (&json!(true), &json!(false)));
    assert_eq!(near["ice"]["local"], far["ice"]["remote"]);
    assert_eq!(near["ice"]["remote"], far["ice"]["local"]);
    assert_ne!(near["ice"]["local"], near["ice"]["remote"]);
    assert!(near["ice"]["local"]["ufrag"].as_str().unwrap().len() >= 8);
    assert!(near["ice"]["local"]["pwd"].as_str().unwrap().len() >= 24);
    assert_eq!(near["peer_candidates"][0]["address"], "10.0.0.2:6000");
    assert_eq!(far["peer_candidates"].as_array().unwrap().len(), 2);
    assert_eq!(near["peer_nat"]["type"], "Symmetric");
    assert_eq!(near["plan"], far["plan"]);
    assert!(!near["plan"].as_array().unwrap().is_empty());
    for (side, user) in [(&near, ":default:alice"), (&far, ":default:bob")] {
        let relay = &side["relays"][0];
        assert_eq!(relay["urls"][0], "turn:192.0.2.9:3478");
        assert!(relay["username"].as_str().unwrap().ends_with(user), "{relay}");
        assert!(!relay["credential"].as_str().unwrap().is_empty());
    }
}

/// Clients that others write need not know all fields.
#[tokio::test]
async fn a_network_that_is_told_without_a_word_on_udp_is_taken_to_have_it() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    let told = |profile: Value| json!({ "type": "nat", "profile": profile });
    alice.send(told(json!({ "type": "Unknown" }))).await;
    bob.send(told(json!({ "type": "Full Cone", "mapping": "endpoint-independent" }))).await;
    bob.expect_silence().await;
    let (near, far) = begun(&mut alice, &mut bob, "auto").await;
    assert_eq!((&near["peer_nat"]["udp"], &far["peer_nat"]["udp"]), (&json!(true), &json!(true)));
    let plan = near["plan"].as_array().unwrap();
    assert!(plan.iter().any(|step| step["method"] == "udp-hole-punch"), "{plan:?}");
}

#[tokio::test]
async fn a_first_flight_goes_to_the_callee_as_it_is_and_to_nobody_else() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    let mut request = connect("bob", "auto");
    request["first_flight"] = json!(["wAAAAAEI", "4AAAAAEI"]);
    alice.send(request).await;
    let (near, far) = (alice.expect("attempt").await, bob.expect("attempt").await);
    assert_eq!(far["first_flight"], json!(["wAAAAAEI", "4AAAAAEI"]));
    assert_eq!(near["first_flight"], Value::Null);
}

#[tokio::test]
async fn candidates_go_to_the_other_side_of_their_attempt_only() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    let mut mallory = world.client("mallory").await;
    let (near, _) = begun(&mut alice, &mut bob, "auto").await;
    let candidate = json!({
        "type": "candidate", "attempt": near["attempt"],
        "candidate": { "kind": "srflx", "address": "203.0.113.7:5000" },
    });
    alice.send(candidate.clone()).await;
    let forwarded = bob.expect("candidate").await;
    assert_eq!(forwarded["attempt"], near["attempt"]);
    assert_eq!(forwarded["candidate"]["address"], "203.0.113.7:5000");
    alice.expect_silence().await;
    mallory.send(candidate).await;
    mallory.expect_error("attempt_not_found").await;
    mallory.send(report(&near, "direct", json!("direct"))).await;
    mallory.expect_error("attempt_not_found").await;
}

#[tokio::test]
async fn i9_candidates_that_lead_to_a_peer_itself_or_to_everybody_are_refused() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    alice.send(nat("Open", &["host 127.0.0.1:5000", "host 192.168.1.5:5000"])).await;
    alice.expect_error("bad_message").await;
    let (near, far) = begun(&mut alice, &mut bob, "auto").await;
    assert_eq!(far["peer_candidates"].as_array().unwrap().len(), 1, "the good one is kept");
    for address in ["127.0.0.1:1", "224.0.0.1:1", "0.0.0.0:1", "[::1]:1"] {
        let candidate = json!({ "kind": "host", "address": address });
        alice
            .send(
                json!({ "type": "candidate", "attempt": near["attempt"], "candidate": candidate }),
            )
            .await;
        alice.expect_error("bad_message").await;
    }
    bob.expect_silence().await;
}

#[tokio::test]
async fn with_the_relay_policy_the_peers_do_not_learn_each_other_s_addresses() {
    let world = with_relay().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    let addresses = ["host 192.168.1.5:5000", "srflx 203.0.113.7:5000", "relay 192.0.2.9:49152"];
    alice.send(nat("Full Cone", &addresses)).await;
    bob.send(nat("Full Cone", &addresses)).await;
    bob.expect_silence().await;
    let (near, far) = begun(&mut alice, &mut bob, "relay").await;
    for side in [&near, &far] {
        assert_eq!(side["policy"], "relay");
        assert_eq!(side["peer_candidates"].as_array().unwrap().len(), 1, "{side}");
        assert!(side["peer_nat"]["public_address"].is_null(), "{side}");
        assert_eq!(side["plan"].as_array().unwrap().len(), 1);
        let text = side.to_string();
        assert!(!text.contains("203.0.113.7") && !text.contains("192.168.1.5"), "{text}");
    }
    let trickle = json!({
        "type": "candidate", "attempt": near["attempt"],
        "candidate": { "kind": "host", "address": "192.168.1.5:5001" },
    });
    alice.send(trickle).await;
    alice.expect_silence().await;
    bob.expect_silence().await;
}

#[tokio::test]
async fn with_the_direct_policy_nobody_gets_relay_credentials() {
    let world = with_relay().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    let (near, far) = begun(&mut alice, &mut bob, "direct").await;
    assert_eq!((&near["relays"], &far["relays"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn i11_reports_of_both_sides_make_one_record() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    alice.send(nat("Full Cone", &[])).await;
    bob.send(nat("Symmetric", &[])).await;
    bob.expect_silence().await;
    let (near, _) = begun(&mut alice, &mut bob, "auto").await;
    for client in [&mut alice, &mut bob] {
        client.send(report(&near, "relay", json!("relay"))).await;
        client.expect_silence().await;
    }
    let stored = record(&world, &near).await;
    assert_eq!((&stored["caller"], &stored["callee"]), (&json!("alice"), &json!("bob")));
    assert_eq!((&stored["outcome"], &stored["method"]), (&json!("relay"), &json!("relay")));
    assert_eq!(stored["caller_nat"]["type"], "Full Cone");
    assert_eq!(stored["callee_nat"]["type"], "Symmetric");
    assert_eq!(stored["connected_ms"], 42);
    assert_eq!(stored["plan"], near["plan"]);
    assert_eq!(world.signaling.snapshot().open_attempts, 0);

    alice.send(report(&near, "direct", json!("udp-hole-punch"))).await;
    alice.expect_silence().await;
    let stored = record(&world, &near).await;
    assert_eq!(stored["outcome"], "direct", "a relayed attempt may turn direct");
    let stats = world.get("/v1/stats", Some(&all_for("admin"))).await.json();
    assert_eq!((&stats["attempts"], &stats["direct"]), (&json!(1), &json!(1)), "{stats}");
    let matrix = world.get("/v1/stats/nat-matrix", Some(&all_for("admin"))).await.json();
    assert_eq!(matrix["cells"][0]["callee"], "Symmetric", "{matrix}");
}

#[tokio::test]
async fn a_peer_that_leaves_mid_attempt_ends_it_for_the_other() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    let (near, _) = begun(&mut alice, &mut bob, "auto").await;
    bob.goodbye().await;
    let ended = alice.expect("ended").await;
    assert_eq!((&ended["attempt"], &ended["reason"]), (&near["attempt"], &json!("peer_gone")));
    let stored = record(&world, &near).await;
    assert_eq!((&stored["outcome"], &stored["reason"]), (&json!("failed"), &json!("peer_gone")));
    assert!(stored["verdict"].as_str().unwrap().contains("bob left"), "{stored}");
}

#[tokio::test]
async fn a_peer_whose_connection_breaks_mid_attempt_has_a_grace_and_then_it_ends() {
    let world = World::with(|config| config.timing.attempt_grace = Duration::from_millis(30)).await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    begun(&mut alice, &mut bob, "auto").await;
    drop(bob);
    assert_eq!(alice.expect("ended").await["reason"], "peer_gone");
}

#[tokio::test]
async fn a_peer_that_resumes_in_time_keeps_its_attempt() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    let (near, _) = begun(&mut alice, &mut bob, "auto").await;
    let resume = bob.resume(0);
    drop(bob);
    let mut bob = world.client_with(&all_for("bob"), resume).await;
    for client in [&mut alice, &mut bob] {
        client.send(report(&near, "direct", json!("direct"))).await;
        client.expect_silence().await;
    }
    assert_eq!(record(&world, &near).await["outcome"], "direct");
}

#[tokio::test]
async fn a_peer_that_begins_anew_has_left_its_attempts() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    begun(&mut alice, &mut bob, "auto").await;
    let _new = world.client("bob").await;
    assert_eq!(alice.expect("ended").await["reason"], "peer_gone");
}

#[tokio::test]
async fn i11_an_attempt_that_nobody_reports_fails_with_a_reason() {
    let world = World::with(|config| config.timing.attempt = Duration::from_millis(30)).await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    let (near, _) = begun(&mut alice, &mut bob, "auto").await;
    assert_eq!(near["timeout_ms"], 30);
    assert_eq!(alice.expect("ended").await["reason"], "timeout");
    assert_eq!(bob.expect("ended").await["reason"], "timeout");
    let stored = record(&world, &near).await;
    assert_eq!((&stored["outcome"], &stored["reason"]), (&json!("failed"), &json!("timeout")));
}

#[tokio::test]
async fn when_one_side_gives_up_the_other_is_told() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    let (near, _) = begun(&mut alice, &mut bob, "auto").await;
    bob.send(report(&near, "failed", Value::Null)).await;
    assert_eq!(alice.expect("ended").await["reason"], "peer_failed");
    alice.send(report(&near, "failed", Value::Null)).await;
    alice.expect_silence().await;
    assert_eq!(record(&world, &near).await["outcome"], "failed");
}

#[tokio::test]
async fn an_attempt_with_an_unknown_peer_oneself_or_somebody_away_is_refused_with_a_fix() {
    let world = World::start().await;
    let mut alice = world.client("alice").await;
    alice.send(connect("nobody", "auto")).await;
    let error = alice.expect_error("peer_not_found").await;
    assert_eq!(error["id"], "a1");
    assert!(error["message"].as_str().unwrap().contains("nobody"), "{error}");
    alice.send(connect("alice", "auto")).await;
    alice.expect_error("bad_message").await;

    let mut bob = world.client("bob").await;
    alice.join("demo").await;
    bob.join("demo").await;
    alice.expect("room").await;
    drop(bob);
    assert_eq!(alice.expect("room").await["event"], "away");
    alice.send(connect("bob", "auto")).await;
    let error = alice.expect_error("peer_not_found").await;
    assert!(error["fix"].as_str().unwrap().contains("reconnecting"), "{error}");
}

#[tokio::test]
async fn a_token_without_the_scope_does_not_connect() {
    let world = World::start().await;
    let _bob = world.client("bob").await;
    let listener = claims("alice").with_scopes([Scope::Discover]);
    let hello = json!({ "type": "hello", "peer": "alice" });
    let mut alice = world.client_with(&listener, hello).await;
    alice.send(connect("bob", "auto")).await;
    let error = alice.expect_error("not_allowed").await;
    assert!(error["fix"].as_str().unwrap().contains("connect"), "{error}");
}

#[tokio::test]
async fn i5_a_peer_s_open_attempts_are_bounded() {
    let world = World::start().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    for _ in 0..8 {
        begun(&mut alice, &mut bob, "auto").await;
    }
    alice.send(connect("bob", "auto")).await;
    let error = alice.expect_error("limit_reached").await;
    assert!(error["message"].as_str().unwrap().contains("to bob"), "{error}");
    // Neither carol's calls nor bob's own are alice's to keep back.
    let mut carol = world.client("carol").await;
    begun(&mut carol, &mut bob, "auto").await;
    bob.send(connect("alice", "auto")).await;
    bob.expect("attempt").await;
    alice.expect("attempt").await;
    alice.send(connect("carol", "auto")).await;
    alice.expect("attempt").await;
}
