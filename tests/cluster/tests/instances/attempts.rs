//! Attempts whose sides are at different instances, and instances that die in the middle of one.

use p2p_cluster::Redis;
use serde_json::{Value, json};

use crate::client::Client;
use crate::instance::Instance;

/// Both sides of an attempt that alice began.
async fn begin(alice: &mut Client, bob: &mut Client) -> (Value, Value) {
    alice.send(json!({ "type": "connect", "id": "a1", "to": "bob" })).await;
    let near = alice.await_type("attempt").await;
    let far = bob.await_type("attempt").await;
    assert_eq!(near["attempt"], far["attempt"]);
    (near, far)
}

/// What a side says when it finds another address.
fn trickle(attempt: &Value, address: &str) -> Value {
    json!({
        "type": "candidate", "attempt": attempt["attempt"],
        "candidate": { "kind": "srflx", "address": address },
    })
}

fn failed(attempt: &Value) -> Value {
    json!({
        "type": "report", "attempt": attempt["attempt"], "outcome": "failed", "method": null,
        "ms": 42, "direct_ms": null, "steps": [], "verdict": "as the test says",
    })
}

async fn ended(client: &mut Client, attempt: &Value, reason: &str) {
    let ended = client.await_type("ended").await;
    assert_eq!((&ended["attempt"], &ended["reason"]), (&attempt["attempt"], &json!(reason)));
}

const VERDICTS: &str = "p2p_attempts_total";
const FAILED: &str = "outcome=\"failed\"";

/// To how many attempts this instance gave the verdict that they failed.
async fn verdicts(instance: &Instance) -> f64 {
    instance.metric(VERDICTS, &[FAILED]).await
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
    alice.send(trickle(&near, "203.0.113.7:5000")).await;
    assert_eq!(bob.expect("candidate").await["candidate"]["address"], "203.0.113.7:5000");
    bob.send(trickle(&far, "203.0.113.8:6000")).await;
    assert_eq!(alice.expect("candidate").await["candidate"]["address"], "203.0.113.8:6000");

    // What the callee tells at its instance decides the attempt at the caller's.
    bob.send(failed(&far)).await;
    let ended = alice.expect("ended").await;
    assert_eq!((&ended["attempt"], &ended["reason"]), (&near["attempt"], &json!("peer_failed")));
}

#[tokio::test]
async fn a_side_that_leaves_another_instance_ends_the_attempt_at_once() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let (mut alice, mut bob) = (one.client("alice").await, two.client("bob").await);
    let (near, _) = begin(&mut alice, &mut bob).await;
    bob.say_goodbye().await;
    ended(&mut alice, &near, "peer_gone").await;
}

#[tokio::test]
async fn a_side_that_is_lost_at_another_instance_has_the_grace_to_come_back_at_any() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let three = Instance::start(&redis).await;
    let (mut alice, mut bob) = (one.client("alice").await, two.client("bob").await);
    alice.join("lobby").await;
    bob.join("lobby").await;
    let (near, far) = begin(&mut alice, &mut bob).await;
    let resume = bob.resume(0);
    drop(bob);
    while alice.await_type("room").await["event"] != "away" {}
    let mut bob = three.hello("bob", resume).await;
    bob.send(trickle(&far, "203.0.113.8:6000")).await;
    assert_eq!(alice.await_type("candidate").await["candidate"]["address"], "203.0.113.8:6000");
    // This time it does not come back.
    drop(bob);
    ended(&mut alice, &near, "peer_gone").await;
    one.until_metric(VERDICTS, &[FAILED], |n| n == 1.0).await;
}

#[tokio::test]
async fn i11_an_attempt_whose_instance_dies_goes_on_where_its_caller_resumes() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let three = Instance::start(&redis).await;
    let (mut alice, mut bob) = (one.client("alice").await, two.client("bob").await);
    let (near, far) = begin(&mut alice, &mut bob).await;
    let resume = alice.resume(0);
    one.crash();
    let mut alice = three.hello("alice", resume).await;
    assert_eq!(alice.welcome["resumed"], true);
    // Whoever says something about it finds that its instance is gone, and who goes on with it.
    bob.send(trickle(&far, "203.0.113.8:6000")).await;
    assert_eq!(alice.await_type("candidate").await["candidate"]["address"], "203.0.113.8:6000");
    alice.send(failed(&near)).await;
    ended(&mut bob, &far, "peer_failed").await;
    bob.send(failed(&far)).await;
    let mut given = 0.0;
    while given == 0.0 {
        given = verdicts(&two).await + verdicts(&three).await;
    }
    assert_eq!(given, 1.0, "one verdict");
}

#[tokio::test]
async fn i11_an_attempt_whose_caller_dies_with_its_instance_ends_and_is_counted_once() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let (mut alice, mut bob) = (one.client("alice").await, two.client("bob").await);
    let (_, far) = begin(&mut alice, &mut bob).await;
    one.crash();
    bob.send(trickle(&far, "203.0.113.8:6000")).await;
    ended(&mut bob, &far, "peer_gone").await;
    two.until_metric(VERDICTS, &[FAILED], |n| n == 1.0).await;
}

#[tokio::test]
async fn i12_attempts_of_an_instance_that_shuts_down_are_gone_on_with() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let (mut alice, mut bob) = (one.client("alice").await, two.client("bob").await);
    let (near, far) = begin(&mut alice, &mut bob).await;
    let resume = alice.resume(0);
    let leaving = async {
        alice.await_type("goaway").await;
        drop(alice);
        two.hello("alice", resume).await
    };
    let (clean, mut alice) = tokio::join!(one.drain(), leaving);
    assert!(clean);
    bob.send(trickle(&far, "203.0.113.8:6000")).await;
    assert_eq!(alice.await_type("candidate").await["candidate"]["address"], "203.0.113.8:6000");
    alice.send(trickle(&near, "203.0.113.7:5000")).await;
    assert_eq!(bob.await_type("candidate").await["candidate"]["address"], "203.0.113.7:5000");
}
