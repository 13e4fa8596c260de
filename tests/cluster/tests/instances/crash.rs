//! An instance that is gone from one moment to the next.

use p2p_cluster::Redis;

use crate::instance::Instance;

#[tokio::test]
async fn i2_peers_of_a_crashed_instance_resume_elsewhere_and_miss_nothing() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let (mut alice, mut bob) = (one.client("alice").await, two.client("bob").await);
    alice.join("lobby").await;
    bob.join("lobby").await;
    assert_eq!(alice.expect("room").await["event"], "join");
    for n in 1..=5 {
        alice.tell("bob", &format!("m{n}")).await;
    }
    for n in 1..=5 {
        assert_eq!(bob.message().await, (format!("m{n}"), n));
    }
    bob.ack(2).await;
    for n in 1..=2 {
        let receipt = alice.receipt().await;
        assert_eq!(receipt, (format!("m{n}"), "delivered".to_owned()));
    }

    two.crash();
    assert!(bob.next().await.is_none());
    // Whoever sends to it finds out; nobody waits for the lease.
    alice.tell("bob", "m6").await;
    let mut queued = Vec::new();
    loop {
        let frame = alice.next().await.unwrap();
        match frame["type"].as_str().unwrap() {
            "room" => {
                assert_eq!(frame["event"], "away", "{frame}");
                break;
            }
            _ => queued.push(frame),
        }
    }
    assert!(queued.iter().all(|frame| frame["status"] == "queued"), "{queued:?}");

    // Five messages have arrived, and three of them nobody has acknowledged.
    let mut bob = one.hello("bob", bob.resume(5)).await;
    assert_eq!(bob.welcome["resumed"], true);
    assert_eq!(bob.message().await, ("m6".to_owned(), 6));
    assert_eq!(bob.await_type("room").await["event"], "back");
    bob.ack(6).await;
    let mut delivered = Vec::new();
    while delivered.len() < 4 {
        let frame = alice.next().await.unwrap();
        match frame["type"].as_str().unwrap() {
            "receipt" if frame["status"] == "delivered" => {
                delivered.push(frame["id"].as_str().unwrap().to_owned());
            }
            "receipt" => assert_eq!(frame["status"], "queued", "{frame}"),
            _ => assert_eq!(frame["event"], "back", "{frame}"),
        }
    }
    assert_eq!(delivered, ["m3", "m4", "m5", "m6"]);
    bob.expect_silence().await;
}

#[tokio::test]
async fn i12_sessions_of_a_drained_instance_resume_elsewhere() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let (mut alice, mut bob) = (one.client("alice").await, two.client("bob").await);
    let draining = two.drain();
    let leaving = async {
        bob.expect("goaway").await;
        while bob.next().await.is_some() {}
        bob
    };
    let (clean, bob) = tokio::join!(draining, leaving);
    assert!(clean, "the instance ends well");
    alice.tell("bob", "m1").await;
    assert_eq!(alice.receipt().await, ("m1".to_owned(), "queued".to_owned()));
    let mut bob = one.hello("bob", bob.resume(0)).await;
    assert_eq!(bob.welcome["resumed"], true);
    assert_eq!(bob.message().await, ("m1".to_owned(), 1));
}

#[tokio::test]
async fn a_crash_that_nobody_stumbles_over_is_noticed_by_the_lease() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let (mut alice, mut bob) = (one.client("alice").await, two.client("bob").await);
    alice.join("lobby").await;
    bob.join("lobby").await;
    assert_eq!(alice.expect("room").await["event"], "join");
    two.crash();
    let event = alice.expect("room").await;
    assert_eq!((&event["event"], &event["peer"]), (&"away".into(), &"bob".into()));
}
