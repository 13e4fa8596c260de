//! What instances ask of Redis: for messages as much with many of them as with few, and for what is
//! due as little as one instance would.

use std::sync::Arc;
use std::time::Duration;

use p2p_cluster::Redis;
use p2p_registry::{Delivery, Feed, Link, Outgoing, Ownership, RedisRegistry, Registry, Target};
use p2p_wire::{Meta, Payload, RoomName};

use crate::{Claim, Settings};

const PEERS: usize = 16;
const MESSAGES: usize = 800;
/// Longer than anything here takes; only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

/// A peer at one of the instances.
struct Peer {
    instance: Arc<RedisRegistry>,
    owner: Ownership,
    feed: Feed,
}

impl Peer {
    async fn begin(instance: &Arc<RedisRegistry>, name: &str) -> Self {
        let (link, feed) = Link::pair(64);
        let claim = Claim {
            app: "app".parse().unwrap(),
            peer: name.parse().unwrap(),
            meta: Meta::default(),
            key: None,
            resume: None,
            link,
        };
        let owner = instance.claim(claim).await.unwrap().ownership;
        Self { instance: instance.clone(), owner, feed }
    }

    /// The next frame that begins like this; what comes before is passed over.
    async fn hears(&mut self, beginning: &str) -> String {
        let hearing = async {
            loop {
                match self.feed.next().await {
                    Delivery::Frame(frame) if frame.starts_with(beginning) => {
                        return frame.to_string();
                    }
                    Delivery::Frame(_) => {}
                    Delivery::End(end) => panic!("{} has ended: {end:?}", self.owner.peer),
                }
            }
        };
        tokio::time::timeout(HANG, hearing).await.expect(beginning)
    }
}

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
        let message = Outgoing {
            id: format!("m{n}").parse().unwrap(),
            target: Target::Peer(peers[to].owner.peer.clone()),
            kind: "test".to_owned(),
            payload: Payload::default(),
        };
        peers[from].instance.send(&peers[from].owner, &message).await.unwrap();
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
