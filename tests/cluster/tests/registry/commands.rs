//! What instances ask of Redis: for messages as much with many of them as with few, and for what is
//! due as little as one instance would.

use std::sync::Arc;
use std::time::Duration;

use p2p_cluster::Redis;
use p2p_registry::{RedisRegistry, Registry};
use p2p_wire::RoomName;

use crate::Settings;
use crate::peer::Peer;

const PEERS: usize = 16;
const MESSAGES: usize = 800;
async fn instances(count: usize, redis: &Redis) -> Vec<Arc<RedisRegistry>> {
    let settings = Settings { resume_window: Duration::from_secs(3), ..crate::settings() };
    let mut instances = Vec::new();
    for _ in 0..count {
        let instance = RedisRegistry::start(settings.clone(), redis.settings()).unwrap();
        instance.connected().await;
        instances.push(instance);
    }
    instances
}

/// Scripts and publishings, those of the scripts included.
async fn commands(redis: &Redis) -> u64 {
    let stats = redis.ask("INFO commandstats").await.unwrap();
    let calls = stats.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let calls = rest.split(',').next()?.parse::<u64>().ok()?;
        ["evalsha", "eval", "publish"].contains(&name).then_some(calls)
    });
    calls.sum()
}

/// How many commands so many messages take, and the closing of a window.
async fn commands_with(count: usize) -> u64 {
    let redis = Redis::start().await.unwrap();
    let instances = instances(count, &redis).await;
    let mut peers = Vec::new();
    for n in 0..PEERS {
        peers.push(Peer::begin(&instances[n % count], &format!("p{n}")).await);
    }
    let room: RoomName = "room".parse().unwrap();
    for peer in &peers[..2] {
        peer.instance.join(&peer.owner, room.clone(), None).await.unwrap();
    }
    let before = commands(&redis).await;
    for n in 0..MESSAGES {
        let (from, to) = (n % PEERS, (n + 1) % PEERS);
        let to_whom = peers[to].owner.peer.clone();
        peers[from].sends(&format!("m{n}"), &to_whom).await.unwrap();
        let seq = u64::try_from(n / PEERS + 1).unwrap();
        peers[to].hears(&format!("{{\"type\":\"message\",\"seq\":{seq},")).await;
        peers[to].instance.ack(&peers[to].owner, seq).await.unwrap();
        peers[from].hears(&format!("{{\"type\":\"receipt\",\"id\":\"m{n}\"")).await;
    }
    // For as long as this takes, instances have nothing else to do than to wait.
    assert!(peers[1].instance.detach(&peers[1].owner).await.unwrap());
    let left = peers[0].hears("{\"type\":\"room\",\"room\":\"room\",\"event\":\"leave\"").await;
    assert!(left.contains("\"p1\""), "{left}");
    commands(&redis).await - before
}

#[tokio::test]
async fn eight_instances_ask_hardly_more_of_redis_than_two_for_the_same_messages() {
    let (two, eight) = tokio::join!(commands_with(2), commands_with(8));
    assert!(two >= MESSAGES as u64, "messages go through Redis: {two}");
    assert!(eight * 5 < two * 6, "{eight} commands with eight instances, {two} with two");
}

#[tokio::test]
async fn what_is_due_is_done_when_the_instance_on_duty_has_died() {
    let redis = Redis::start().await.unwrap();
    let mut instances = instances(2, &redis).await;
    let mut alice = Peer::begin(&instances[1], "alice").await;
    let bob = Peer::begin(&instances[1], "bob").await;
    let room: RoomName = "room".parse().unwrap();
    for owner in [&alice.owner, &bob.owner] {
        instances[1].join(owner, room.clone(), None).await.unwrap();
    }
    let duty = redis.ask("KEYS *:duty").await.unwrap();
    assert!(duty.contains(":duty"), "nobody is on duty: {duty}");
    drop(instances.remove(0));
    assert!(bob.instance.detach(&bob.owner).await.unwrap());
    let left = alice.hears("{\"type\":\"room\",\"room\":\"room\",\"event\":\"leave\"").await;
    assert!(left.contains("\"bob\""), "{left}");
}

/// Many windows that closed long ago, of peers that are not there any more, and behind them one that
/// closes now.
#[tokio::test]
async fn a_backlog_of_what_is_due_is_done_as_fast_as_redis_goes() {
    const BACKLOG: usize = 60_000;
    let redis = Redis::start().await.unwrap();
    let instances = instances(1, &redis).await;
    let mut alice = Peer::begin(&instances[0], "alice").await;
    let bob = Peer::begin(&instances[0], "bob").await;
    let room: RoomName = "room".parse().unwrap();
    for owner in [&alice.owner, &bob.owner] {
        instances[0].join(owner, room.clone(), None).await.unwrap();
    }
    let rooms = redis.ask("KEYS *:rooms:app").await.unwrap();
    let rooms = rooms.lines().find(|line| line.ends_with(":rooms:app")).unwrap();
    let due = rooms.replace(":rooms:app", ":due");
    for from in (0..BACKLOG).step_by(1000) {
        let entries: Vec<_> = (from..from + 1000).map(|n| format!("0 w/app/left-{n}")).collect();
        redis.ask(&format!("ZADD {due} {}", entries.join(" "))).await.unwrap();
    }
    assert!(bob.instance.detach(&bob.owner).await.unwrap());
    let left = alice.hears("{\"type\":\"room\",\"room\":\"room\",\"event\":\"leave\"").await;
    assert!(left.contains("\"bob\""), "{left}");
}

#[tokio::test]
async fn what_is_for_an_instance_that_never_was_goes_nowhere_and_makes_nobody_its_heir() {
    let redis = Redis::start().await.unwrap();
    let instances = instances(1, &redis).await;
    assert_eq!(instances[0].pass_on("made-up", "a text".into()).await, Ok(false));
    let heirs = redis.ask("KEYS *:heir:*").await.unwrap();
    assert!(!heirs.contains("made-up"), "{heirs}");
    let reaping = redis.ask("KEYS *:reaping:*").await.unwrap();
    assert!(!reaping.contains("made-up"), "{reaping}");
}
