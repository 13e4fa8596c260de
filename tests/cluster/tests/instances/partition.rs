//! One instance that cannot reach a Redis which the others use.

use p2p_cluster::Redis;
use p2p_cluster::proxy::{Proxy, Way};

use crate::client::Client;
use crate::instance::Instance;

/// An instance whose Redis is behind a proxy.
async fn behind_a_proxy(redis: &Redis) -> (Proxy, Instance) {
    let proxy = Proxy::start(&redis.socket()).await.unwrap();
    let instance = Instance::start_at(&proxy.url()).await;
    (proxy, instance)
}

#[tokio::test]
async fn i2_a_receipt_that_is_lost_with_a_subscription_is_told_when_redis_is_back() {
    let redis = Redis::start().await.unwrap();
    let (proxy, one) = behind_a_proxy(&redis).await;
    let two = Instance::start(&redis).await;
    let (mut alice, mut bob) = (one.client("alice").await, two.client("bob").await);
    alice.tell("bob", "m1").await;
    assert_eq!(bob.message().await, ("m1".to_owned(), 1));
    // Redis says it to a subscription that nobody reads any more.
    proxy.set(Way::Blackhole);
    bob.ack(1).await;
    bob.expect_silence().await;
    proxy.cut();
    proxy.set(Way::Open);
    assert_eq!(alice.receipt().await, ("m1".to_owned(), "delivered".to_owned()));
}

#[tokio::test]
async fn i2_an_acknowledgement_of_what_passed_redis_by_covers_nothing_that_waits_there() {
    let redis = Redis::start().await.unwrap();
    let (proxy, one) = behind_a_proxy(&redis).await;
    let two = Instance::start(&redis).await;
    let (mut alice, mut bob) = (one.client("alice").await, one.client("bob").await);
    let mut carol = two.client("carol").await;
    proxy.set(Way::Blackhole);
    carol.tell("bob", "theirs").await;
    carol.expect_silence().await;
    proxy.cut();
    one.registry_is("degraded").await;
    alice.tell("bob", "ours").await;
    let (kind, ours) = bob.message().await;
    assert_eq!(kind, "ours");
    bob.ack(ours).await;
    assert_eq!(alice.receipt().await, ("ours".to_owned(), "delivered".to_owned()));
    proxy.set(Way::Open);
    let (kind, theirs) = bob.message().await;
    assert_eq!(kind, "theirs");
    assert!(theirs > ours);
    bob.ack(theirs).await;
    delivered(&mut carol, "theirs").await;
}

#[tokio::test]
async fn i2_who_moves_away_from_a_partitioned_instance_gets_what_waits_in_redis() {
    let redis = Redis::start().await.unwrap();
    let (proxy, one) = behind_a_proxy(&redis).await;
    let two = Instance::start(&redis).await;
    let (mut alice, mut bob) = (one.client("alice").await, one.client("bob").await);
    let mut carol = two.client("carol").await;
    proxy.set(Way::Blackhole);
    carol.tell("bob", "theirs").await;
    carol.expect_silence().await;
    proxy.cut();
    one.registry_is("degraded").await;
    alice.tell("bob", "ours").await;
    let (_, ours) = bob.message().await;
    // All that bob knows is the number of a message that Redis never had.
    let mut bob = two.hello("bob", bob.resume(ours)).await;
    assert_eq!(bob.welcome["resumed"], true);
    let (kind, theirs) = bob.message().await;
    assert_eq!(kind, "theirs");
    assert!(theirs > ours);
    bob.ack(theirs).await;
    delivered(&mut carol, "theirs").await;
    carol.tell("bob", "next").await;
    assert_eq!(bob.message().await, ("next".to_owned(), theirs + 1));
}

/// Hears that it is, and at most that it was queued before.
async fn delivered(client: &mut Client, message: &str) {
    loop {
        let (id, status) = client.receipt().await;
        assert_eq!(id, message);
        if status == "delivered" {
            return;
        }
        assert_eq!(status, "queued");
    }
}

#[tokio::test]
async fn i2_a_redis_that_comes_back_with_older_data_swallows_no_message() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let (mut alice, mut bob) = (one.client("alice").await, two.client("bob").await);
    for (number, kind) in [(1, "m1"), (2, "m2")] {
        alice.tell("bob", kind).await;
        assert_eq!(bob.message().await, (kind.to_owned(), number));
        bob.ack(number).await;
        delivered(&mut alice, kind).await;
    }
    let keys = redis.ask("KEYS *:p:*/bob").await.unwrap();
    let peer = keys.lines().find(|line| line.ends_with("/bob")).unwrap();
    redis.ask(&format!("HSET {peer} seq 0")).await.unwrap();
    let inbox = peer.replace(":p:", ":in:");
    redis.ask(&format!("DEL {inbox}")).await.unwrap();
    // Its number is one that bob has seen.
    alice.tell("bob", "m3").await;
    while !redis.ask(&format!("XLEN {inbox}")).await.unwrap().starts_with(":1") {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    redis.ask("CLIENT KILL TYPE normal SKIPME yes").await.unwrap();
    for (number, kind) in [(3, "m3"), (4, "m4")] {
        if kind == "m4" {
            alice.tell("bob", kind).await;
        }
        assert_eq!(bob.message().await, (kind.to_owned(), number));
        bob.ack(number).await;
        delivered(&mut alice, kind).await;
    }
}
