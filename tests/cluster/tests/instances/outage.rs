//! Redis away, back, and back without what it knew.

use p2p_cluster::Redis;

use crate::client::Client;
use crate::instance::Instance;

async fn delivered(alice: &mut Client, bob: &mut Client, id: &str) {
    alice.tell("bob", id).await;
    let (kind, seq) = bob.message().await;
    assert_eq!(kind, id);
    bob.ack(seq).await;
    told_delivered(alice, id).await;
}

/// The last receipt for this message; those for earlier ones and `queued` come before it.
async fn told_delivered(alice: &mut Client, id: &str) {
    loop {
        let (of, status) = alice.receipt().await;
        if of == id && status == "delivered" {
            return;
        }
        assert!(["delivered", "queued"].contains(&&*status), "{of} is {status}");
    }
}

#[tokio::test]
async fn i6_losing_redis_degrades_and_heals_by_itself_even_if_it_forgot_everything() {
    let mut redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let (mut alice, mut bob) = (one.client("alice").await, one.client("bob").await);
    let mut carol = two.client("carol").await;
    alice.join("lobby").await;
    carol.join("lobby").await;
    assert_eq!(alice.expect("room").await["event"], "join");
    alice.tell("bob", "before").await;
    assert_eq!(bob.message().await, ("before".to_owned(), 1));

    redis.kill().unwrap();
    one.registry_is("degraded").await;
    assert_eq!(one.get("/livez").await, (200, "ok\n".to_owned()));
    // Peers of one instance still reach each other, and numbers go on.
    alice.tell("bob", "during").await;
    let (kind, during) = bob.message().await;
    assert_eq!(kind, "during");
    assert!(during > 1);
    alice.tell("carol", "lost").await;
    assert_eq!(alice.receipt().await, ("lost".to_owned(), "rejected".to_owned()));
    bob.ack(during).await;
    assert_eq!(alice.receipt().await, ("during".to_owned(), "delivered".to_owned()));

    redis.start_again().await.unwrap();
    one.registry_is("ok").await;
    two.registry_is("ok").await;
    // What was not acknowledged in Redis before is settled by what the instance remembers.
    assert_eq!(alice.receipt().await, ("before".to_owned(), "delivered".to_owned()));
    delivered(&mut alice, &mut bob, "after").await;
    alice.tell("carol", "m1").await;
    assert_eq!(carol.await_type("message").await["kind"], "m1");
    // The rooms are there, too.
    let mut dave = two.client("dave").await;
    let joined = dave.join("lobby").await;
    assert_eq!(joined["members"].as_array().unwrap().len(), 3, "{joined}");
    // And a session that Redis had forgotten can be resumed elsewhere.
    let resume = bob.resume(3);
    drop(bob);
    let bob = two.hello("bob", resume).await;
    assert_eq!(bob.welcome["resumed"], true);
}

#[tokio::test]
async fn i6_a_redis_that_falls_silent_is_an_answer_and_no_hang() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let (mut alice, mut bob) = (one.client("alice").await, one.client("bob").await);
    let mut carol = two.client("carol").await;
    redis.pause().unwrap();
    // On its way to Redis when the silence is noticed, and then passed on without it.
    alice.tell("bob", "m0").await;
    let (kind, seq) = bob.message().await;
    assert_eq!(kind, "m0");
    bob.ack(seq).await;
    told_delivered(&mut alice, "m0").await;
    alice.tell("carol", "m1").await;
    let told = alice.receipt().await;
    assert_eq!(told, ("m1".to_owned(), "rejected".to_owned()));
    alice.tell("bob", "m2").await;
    assert_eq!(bob.message().await.0, "m2");
    redis.go_on().unwrap();
    one.registry_is("ok").await;
    two.registry_is("ok").await;
    // It may have been put into the inbox before the silence was noticed: it arrives once.
    alice.tell("carol", "m1").await;
    assert_eq!(carol.message().await.0, "m1");
    carol.ack(1).await;
    told_delivered(&mut alice, "m1").await;
    carol.expect_silence().await;
    delivered(&mut alice, &mut bob, "m3").await;
}
