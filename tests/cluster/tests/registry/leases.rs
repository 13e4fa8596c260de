//! Instances that are taken for dead, or say so themselves, and live.

use std::sync::Arc;
use std::time::Duration;

use p2p_cluster::Redis;
use p2p_cluster::proxy::{Proxy, Way};
use p2p_registry::{RedisRegistry, RedisSettings};
use p2p_wire::RoomName;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::peer::{HANG, Peer};
use crate::{Delivery, Registry as _, settings};

async fn instance(redis: RedisSettings) -> Arc<RedisRegistry> {
    let instance = RedisRegistry::start(settings(), redis).unwrap();
    instance.connected().await;
    instance
}

fn room() -> RoomName {
    "room".parse().unwrap()
}

/// Names of all instances that have a lease which lasts.
async fn leases(redis: &Redis) -> Vec<String> {
    let leases = redis.ask("ZRANGEBYSCORE p2p:leases (0 +inf").await.unwrap();
    let names = leases.lines().filter(|line| !line.starts_with(['*', '$']));
    names.map(|name| name.trim().to_owned()).collect()
}

/// What it hears until a peer of this name joins its room.
async fn hears_until_joined(peer: &mut Peer, name: &str) -> Vec<String> {
    let mut heard = Vec::new();
    let hearing = async {
        loop {
            match peer.feed.next().await {
                Delivery::Frame(frame) => heard.push(frame.to_string()),
                Delivery::End(end) => panic!("{} has ended: {end:?}", peer.owner.peer),
            }
            let last = heard.last().unwrap();
            if last.contains("\"join\"") && last.contains(&format!("\"{name}\"")) {
                break;
            }
        }
    };
    timeout(HANG, hearing).await.expect("an event of the room");
    heard
}

#[tokio::test]
async fn a_peer_that_was_put_away_by_one_that_died_over_it_is_said_again() {
    let redis = Redis::start().await.unwrap();
    let one = instance(redis.settings()).await;
    let (alice, mut bob) = (Peer::begin(&one, "alice").await, Peer::begin(&one, "bob").await);
    for owner in [&alice.owner, &bob.owner] {
        one.join(owner, room(), None).await.unwrap();
    }
    // As far as another instance came that took this one for dead.
    let name = one.instance().unwrap();
    redis.ask(&format!("ZADD p2p:leases 0 {name}")).await.unwrap();
    let keys = redis.ask("KEYS *:p:app/alice").await.unwrap();
    let key = keys.lines().find(|line| line.ends_with("/alice")).unwrap();
    redis.ask(&format!("HSET {key} st away until 1")).await.unwrap();
    let back = bob.hears("{\"type\":\"room\",\"room\":\"room\",\"event\":\"back\"").await;
    assert!(back.contains("\"alice\""), "{back}");
}

#[tokio::test]
async fn a_step_of_redis_clock_that_ends_all_leases_at_once_puts_nobody_away() {
    const INSTANCES: usize = 4;
    let redis = Redis::start().await.unwrap();
    let mut peers = Vec::new();
    for n in 0..INSTANCES {
        let one = instance(redis.settings()).await;
        let peer = Peer::begin(&one, &format!("p{n}")).await;
        one.join(&peer.owner, room(), None).await.unwrap();
        peers.push(peer);
    }
    // One that is dead, and looked after: whoever has just connected waits with that.
    redis.ask("ZADD p2p:leases 0 dead").await.unwrap();
    let looking = async {
        while redis.ask("ZSCORE p2p:leases dead").await.unwrap().trim() != "$-1" {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HANG, looking).await.expect("the dead one is found");
    let live = leases(&redis).await;
    assert_eq!(live.len(), INSTANCES);
    let ended: Vec<_> = live.iter().map(|name| format!("0 {name}")).collect();
    redis.ask(&format!("ZADD p2p:leases {}", ended.join(" "))).await.unwrap();
    let renewing = async {
        while leases(&redis).await.len() < INSTANCES {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HANG, renewing).await.expect("every instance renews its lease");
    let keys = redis.ask("KEYS *:reaping:*").await.unwrap();
    let reaped = live.iter().find(|name| keys.contains(*name));
    assert_eq!(reaped, None, "nobody looks after one that lives: {keys}");
    let late = Peer::begin(&peers[0].instance, "late").await;
    late.instance.join(&late.owner, room(), None).await.unwrap();
    for peer in &mut peers {
        let heard = hears_until_joined(peer, "late").await;
        let away = heard.iter().find(|frame| frame.contains("\"away\""));
        assert_eq!(away, None, "{heard:#?}");
    }
}

#[tokio::test]
async fn an_instance_that_takes_long_to_say_its_peers_again_is_not_taken_for_dead() {
    /// Ten times as many as it says at once.
    const PEERS: usize = 640;
    let redis = Redis::start().await.unwrap();
    let lease = Duration::from_secs(3);
    let proxy = Proxy::start(&redis.socket()).await.unwrap();
    let one = instance(RedisSettings { lease, ..RedisSettings::new(proxy.url()) }).await;
    let two = instance(RedisSettings { lease, ..redis.settings() }).await;
    let mut claiming = JoinSet::new();
    for n in 0..PEERS {
        let one = one.clone();
        claiming.spawn(async move { Peer::begin(&one, &format!("p{n}")).await });
    }
    let peers = claiming.join_all().await;
    let mut bob = Peer::begin(&two, "bob").await;
    two.join(&bob.owner, room(), None).await.unwrap();
    one.join(&peers[0].owner, room(), None).await.unwrap();
    let forget = "EVAL \"for _, k in ipairs(redis.call('KEYS', '*:p:app/p*')) do \
                  redis.call('HSET', k, 'pub', 'unsaid') end return 0\" 0";
    redis.ask(forget).await.unwrap();
    // Each answer takes so long that all of them take longer than the lease.
    proxy.set(Way::Delayed(Duration::from_millis(200)));
    redis.ask(&format!("ZREM p2p:leases {}", one.instance().unwrap())).await.unwrap();
    let unsaid = "EVAL \"local n = 0 for _, k in ipairs(redis.call('KEYS', '*:p:app/p*')) do \
         if redis.call('HGET', k, 'pub') == 'unsaid' then n = n + 1 end end return n\" 0";
    timeout(HANG, async {
        while redis.ask(unsaid).await.unwrap().trim() != ":0" {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("all are said again");
    proxy.set(Way::Open);
    let late = Peer::begin(&two, "late").await;
    two.join(&late.owner, room(), None).await.unwrap();
    let heard = hears_until_joined(&mut bob, "late").await;
    let away = heard.iter().find(|frame| frame.contains("\"away\""));
    assert_eq!(away, None, "{heard:#?}");
}
