//! An instance whose Redis was away, and what it says when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use p2p_cluster::Redis;
use p2p_cluster::proxy::{Proxy, Way};
use p2p_registry::{RedisRegistry, RedisSettings};
use p2p_wire::RoomName;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::peer::{HANG, Peer};
use crate::{Registry as _, Sent, settings};

/// Pairs of peers that write to each other all the time.
const PAIRS: usize = 12;
/// How much later what Redis answers arrives: each pair goes on several times meanwhile.
const LATE: Duration = Duration::from_millis(20);

/// An instance whose Redis is behind a proxy.
async fn behind_a_proxy(redis: &Redis) -> (Proxy, Arc<RedisRegistry>) {
    let proxy = Proxy::start(&redis.socket()).await.unwrap();
    let instance = RedisRegistry::start(settings(), RedisSettings::new(proxy.url())).unwrap();
    instance.connected().await;
    (proxy, instance)
}

/// Takes Redis away from an instance.
async fn lose(proxy: &Proxy, instance: &RedisRegistry) {
    proxy.set(Way::Blackhole);
    proxy.cut();
    let losing = async {
        while instance.trouble().is_none() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(HANG, losing).await.expect("it notices that Redis is away");
}

/// One writes to the other until it is told to stop. Each message that is taken arrives once, in its
/// turn, and its receipt says so.
async fn write(mut from: Peer, mut to: Peer, begun: Arc<Barrier>, stop: Arc<AtomicBool>) {
    let mut first = true;
    for n in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        sleep(Duration::from_millis(1)).await;
        let id = format!("m{n}");
        match from.sends(&id, &to.owner.peer).await {
            Ok(Sent::OnItsWay { .. }) => {}
            Ok(Sent::Receipt { .. }) | Err(_) => continue,
        }
        let message = to.hears("{\"type\":\"message\"").await;
        assert!(message.contains(&format!("\"kind\":\"{id}\"")), "{id} is next: {message}");
        let message: serde_json::Value = serde_json::from_str(&message).unwrap();
        to.instance.ack(&to.owner, message["seq"].as_u64().unwrap()).await.unwrap();
        from.hears(&format!("{{\"type\":\"receipt\",\"id\":\"{id}\",\"status\":\"delivered\""))
            .await;
        if std::mem::take(&mut first) {
            begun.wait().await;
        }
    }
}

#[tokio::test]
async fn i6_messages_between_an_instance_s_own_peers_do_not_keep_it_away_from_redis() {
    let redis = Redis::start().await.unwrap();
    let (proxy, instance) = behind_a_proxy(&redis).await;
    let mut pairs = Vec::new();
    for n in 0..PAIRS {
        let from = Peer::begin(&instance, &format!("from-{n}")).await;
        pairs.push((from, Peer::begin(&instance, &format!("to-{n}")).await));
    }
    lose(&proxy, &instance).await;
    let (begun, stop) = (Arc::new(Barrier::new(PAIRS + 1)), Arc::new(AtomicBool::new(false)));
    let mut writing = JoinSet::new();
    for (from, to) in pairs {
        writing.spawn(write(from, to, begun.clone(), stop.clone()));
    }
    timeout(HANG, begun.wait()).await.expect("each pair writes while Redis is away");
    proxy.set(Way::Delayed(LATE));
    timeout(HANG, instance.connected()).await.expect("Redis is back, and it is not used");
    proxy.set(Way::Open);
    stop.store(true, Relaxed);
    timeout(HANG, writing.join_all()).await.unwrap();
}

#[tokio::test]
async fn what_a_peer_calls_itself_while_redis_is_away_is_told_with_a_version_when_it_is_back() {
    let redis = Redis::start().await.unwrap();
    let (proxy, one) = behind_a_proxy(&redis).await;
    let two = RedisRegistry::start(settings(), redis.settings()).unwrap();
    two.connected().await;
    let (alice, mut bob) = (Peer::begin(&one, "alice").await, Peer::begin(&two, "bob").await);
    let room: RoomName = "room".parse().unwrap();
    one.join(&alice.owner, room.clone(), None).await.unwrap();
    let before = two.join(&bob.owner, room, None).await.unwrap().version;
    lose(&proxy, &one).await;
    let meta = serde_json::from_value(serde_json::json!({ "name": "another" })).unwrap();
    one.set_meta(&alice.owner, meta).await.unwrap();
    proxy.set(Way::Open);
    let told = bob.hears("{\"type\":\"room\",\"room\":\"room\",\"event\":\"meta\"").await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["peer"], &told["meta"]["name"]), (&"alice".into(), &"another".into()));
    assert_eq!(told["version"].as_u64(), Some(before + 1), "{told}");
}

/// More than Redis remembers of those that have their receipts.
#[tokio::test]
async fn i2_however_many_messages_wait_each_receipt_that_an_outage_hid_is_told_after_it() {
    const RECEIVERS: u64 = 2;
    const EACH: u64 = 200;
    let redis = Redis::start().await.unwrap();
    let (proxy, one) = behind_a_proxy(&redis).await;
    let two = RedisRegistry::start(settings(), redis.settings()).unwrap();
    two.connected().await;
    let mut alice = Peer::begin(&one, "alice").await;
    let mut receivers = Vec::new();
    for n in 0..RECEIVERS {
        let receiver = Peer::begin(&two, &format!("to-{n}")).await;
        for m in 0..EACH {
            let id = format!("m{}", n * EACH + m);
            let sent = alice.sends(&id, &receiver.owner.peer).await;
            assert_eq!(sent, Ok(Sent::OnItsWay { receivers: 1 }));
        }
        receivers.push(receiver);
    }
    lose(&proxy, &one).await;
    let channel = format!("PUBSUB NUMSUB p2p:i:{}", one.instance().unwrap());
    let ending = async {
        while !redis.ask(&channel).await.unwrap().trim().ends_with(":0") {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(HANG, ending).await.expect("nobody hears what is for its peers");
    for receiver in &receivers {
        two.ack(&receiver.owner, EACH).await.unwrap();
    }
    proxy.set(Way::Open);
    for m in 0..RECEIVERS * EACH {
        let receipt = format!("{{\"type\":\"receipt\",\"id\":\"m{m}\",\"status\":\"delivered\"");
        alice.hears(&receipt).await;
    }
}

/// Makes Redis forget the numbers that it gave to a peer's messages, and that there were any: what a
/// master does to its replica that dies before that has them.
async fn forget_messages_to(redis: &Redis, peer: &str) {
    let script = format!(
        "local key = redis.call('KEYS', 'p2p:*:p:app/{peer}')[1] \
         local base = string.gsub(key, ':p:app/{peer}$', '') \
         redis.call('HSET', key, 'seq', 0) \
         redis.call('DEL', base .. ':in:app/{peer}', base .. ':o:app/alice', base .. ':oo:app/alice') \
         return 'forgotten'"
    );
    let answer = redis.ask(&format!("EVAL \"{script}\" 0")).await.unwrap();
    assert!(answer.contains("forgotten"), "{answer}");
}

#[tokio::test]
async fn i2_what_gets_a_number_for_the_second_time_is_delivered_and_not_only_said_to_be() {
    let redis = Redis::start().await.unwrap();
    let (proxy, one) = behind_a_proxy(&redis).await;
    let two = RedisRegistry::start(settings(), redis.settings()).unwrap();
    two.connected().await;
    let (mut alice, mut bob) = (Peer::begin(&two, "alice").await, Peer::begin(&one, "bob").await);
    for seq in 1..=3 {
        alice.sends(&format!("m{seq}"), &bob.owner.peer).await.unwrap();
        bob.hears(&format!("{{\"type\":\"message\",\"seq\":{seq},")).await;
        one.ack(&bob.owner, seq).await.unwrap();
        alice
            .hears(&format!("{{\"type\":\"receipt\",\"id\":\"m{seq}\",\"status\":\"delivered\""))
            .await;
    }
    lose(&proxy, &one).await;
    forget_messages_to(&redis, "bob").await;
    // A retry of what bob has, and four that he has not: Redis counts past what he has seen.
    for id in ["m3", "m4", "m5", "m6", "m7"] {
        let sent = alice.sends(id, &bob.owner.peer).await;
        assert_eq!(sent, Ok(Sent::OnItsWay { receivers: 1 }), "{id}");
    }
    proxy.set(Way::Open);
    for seq in 4..=7 {
        let message = bob.hears("{\"type\":\"message\"").await;
        let expected = format!("{{\"type\":\"message\",\"seq\":{seq},");
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.contains(&format!("\"kind\":\"m{seq}\"")), "{message}");
    }
    one.ack(&bob.owner, 7).await.unwrap();
    for id in ["m3", "m4", "m5", "m6", "m7"] {
        alice
            .hears(&format!("{{\"type\":\"receipt\",\"id\":\"{id}\",\"status\":\"delivered\""))
            .await;
    }
}
