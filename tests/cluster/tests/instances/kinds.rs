//! Redis behind Sentinel, and as a Cluster: another node takes over, and a slot moves, while sessions
//! go on.

use p2p_cluster::{Cluster, Sentinels};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::instance::{HANG, Instance};

/// Waits until `/readyz` says where Redis is.
async fn redis_is_at(instance: &Instance, place: &str) {
    let asking = async {
        while !instance.get("/readyz").await.1.contains(place) {
            sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(HANG, asking).await.unwrap_or_else(|_| panic!("Redis is not at {place}"));
}

/// Two peers of one instance, one of another, and one that is away, with whom everybody has
/// exchanged a message.
struct Peers {
    instances: [Instance; 2],
    alice: Client,
    carol: Client,
    /// The hello of the one that is away.
    back: Value,
}

impl Peers {
    async fn meet(url: &str) -> Self {
        let instances = [Instance::start_at(url).await, Instance::start_at(url).await];
        let [one, two] = &instances;
        let (mut alice, mut carol) = (one.client("alice").await, two.client("carol").await);
        let dave = two.client("dave").await;
        alice.join("lobby").await;
        carol.join("lobby").await;
        alice.await_type("room").await;
        exchange(&mut alice, &mut carol, "before").await;
        let back = dave.resume(0);
        drop(dave);
        // It waits in Redis, and nowhere else.
        let queued = async {
            alice.tell("dave", "waits").await;
            while alice.receipt().await != ("waits".to_owned(), "queued".to_owned()) {}
        };
        timeout(HANG, queued).await.expect("dave is away");
        Self { instances, alice, carol, back }
    }

    async fn go_on(self) {
        let Self { instances, mut alice, mut carol, back } = self;
        for instance in &instances {
            instance.registry_is("ok").await;
        }
        exchange(&mut alice, &mut carol, "after").await;
        exchange(&mut carol, &mut alice, "and back").await;
        // What waited still does, the room has its members, and each instance says its own again.
        let mut dave = instances[0].hello("dave", back).await;
        assert_eq!(dave.welcome["resumed"], true, "{}", dave.welcome);
        assert_eq!(dave.await_type("message").await["kind"], "waits");
        let members = dave.join("lobby").await["members"].as_array().unwrap().len();
        assert_eq!(members, 3);
        for instance in &instances {
            instance
                .until_metric("p2p_registry_peers_reasserted_total", &[], |count| count >= 1.0)
                .await;
        }
    }
}

/// One message there, acknowledged, and its receipt. Refused ones are sent again.
async fn exchange(from: &mut Client, to: &mut Client, id: &str) {
    let receiver = to.welcome["peer"].as_str().unwrap().to_owned();
    let mut arrived = false;
    let exchanging = async {
        from.tell(&receiver, id).await;
        loop {
            tokio::select! {
                frame = to.await_type("message"), if !arrived => {
                    assert_eq!(frame["kind"], id);
                    to.ack(frame["seq"].as_u64().unwrap()).await;
                    arrived = true;
                }
                (of, status) = from.receipt() => match status.as_str() {
                    "delivered" if of == id => return,
                    "rejected" => from.tell(&receiver, id).await,
                    _ => {}
                },
            }
        }
    };
    timeout(HANG, exchanging).await.unwrap_or_else(|_| panic!("{id} is not delivered"));
    assert!(arrived);
}

#[tokio::test]
async fn i6_when_the_master_dies_instances_follow_sentinel_to_the_next_and_say_their_peers_again() {
    let mut sentinels = Sentinels::start(1).await.unwrap();
    let peers = Peers::meet(&sentinels.url()).await;
    let master = sentinels.master().await.unwrap();
    for instance in &peers.instances {
        redis_is_at(instance, &format!("redis: sentinel registry at {}", sentinels.at(master)))
            .await;
    }
    sentinels.node(master).kill().unwrap();
    peers.instances[0].registry_is("degraded").await;
    redis_is_at(&peers.instances[0], "redis: sentinel registry, away").await;
    sentinels.until_master_is_not(master).await.unwrap();
    for instance in &peers.instances {
        redis_is_at(instance, &format!("redis: sentinel registry at {}", sentinels.at(1 - master)))
            .await;
    }
    peers.go_on().await;
}

#[tokio::test]
async fn i6_a_master_that_freezes_and_comes_back_as_a_replica_misleads_nobody() {
    let mut sentinels = Sentinels::start(1).await.unwrap();
    let peers = Peers::meet(&sentinels.url()).await;
    let master = sentinels.master().await.unwrap();
    sentinels.node(master).pause().unwrap();
    sentinels.until_master_is_not(master).await.unwrap();
    sentinels.node(master).go_on().unwrap();
    for instance in &peers.instances {
        redis_is_at(instance, &format!("redis: sentinel registry at {}", sentinels.at(1 - master)))
            .await;
    }
    peers.go_on().await;
}

#[tokio::test]
async fn i6_when_a_node_of_a_cluster_dies_its_replica_goes_on() {
    let mut cluster = Cluster::start(true).await.unwrap();
    let peers = Peers::meet(&cluster.url()).await;
    for instance in &peers.instances {
        redis_is_at(instance, "redis: cluster at ").await;
    }
    cluster.node(Cluster::REPLICATED).kill().unwrap();
    peers.instances[0].registry_is("degraded").await;
    cluster.until_master(Cluster::REPLICA).await.unwrap();
    for instance in &peers.instances {
        redis_is_at(instance, &cluster.at(Cluster::REPLICA)).await;
    }
    peers.go_on().await;
}

#[tokio::test]
async fn i2_a_slot_that_moves_to_another_node_takes_everything_with_it() {
    let cluster = Cluster::start(false).await.unwrap();
    let peers = Peers::meet(&cluster.url()).await;
    // The shard of the app that all of them are in.
    let (slot, from) = cluster.home_of("p2p:*:peers:default").await.unwrap();
    let to = (from + 1) % 3;
    cluster.begin_to_move(slot, from, to).await.unwrap();
    // Some of its keys would be here and some there.
    for instance in &peers.instances {
        instance.registry_is("degraded").await;
    }
    cluster.end_to_move(slot, from, to).await.unwrap();
    let (_, now) = cluster.home_of("p2p:*:peers:default").await.unwrap();
    assert_eq!(now, to);
    peers.go_on().await;
}
