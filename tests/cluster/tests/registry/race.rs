//! Many claims of few ids at once, from instances that know nothing of each other but Redis.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use p2p_cluster::Redis;
use p2p_registry::{Claim, Delivery, End, Feed, Link, Ownership, RedisRegistry, Registry};
use p2p_wire::{Meta, PeerId};

const INSTANCES: usize = 3;
const IDS: usize = 4;
const TASKS: usize = 24;
const CLAIMS_PER_TASK: usize = 4_200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_of_many_claims_at_once_each_id_has_one_owner_and_the_others_are_told() {
    let redis = Redis::start().await.unwrap();
    let mut instances = Vec::new();
    for _ in 0..INSTANCES {
        let instance = RedisRegistry::start(crate::settings(), redis.settings()).unwrap();
        instance.connected().await;
        instances.push(instance);
    }
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| tokio::spawn(claim_much(instances[task % INSTANCES].clone(), task)))
        .collect();
    let mut sessions: HashMap<PeerId, Vec<(Ownership, Feed)>> = HashMap::new();
    for task in tasks {
        for (owner, feed) in task.await.unwrap() {
            sessions.entry(owner.peer.clone()).or_default().push((owner, feed));
        }
    }
    for instance in &instances {
        instance.caught_up().await.unwrap();
    }
    assert_eq!(sessions.len(), IDS);
    for (peer, mut sessions) in sessions {
        assert_eq!(sessions.len(), TASKS * CLAIMS_PER_TASK / IDS);
        let epochs: HashSet<u64> = sessions.iter().map(|(owner, _)| owner.epoch).collect();
        assert_eq!(epochs.len(), sessions.len(), "two owners of {peer} have one epoch");
        sessions.sort_by_key(|(owner, _)| owner.epoch);
        let (last, mut its_feed) = sessions.pop().unwrap();
        for (owner, mut feed) in sessions {
            assert_eq!(feed.next().await, Delivery::End(End::Replaced), "{owner:?}");
            for instance in &instances {
                assert_eq!(instance.detach(&owner).await, Ok(false), "{owner:?} is not the owner");
            }
        }
        let mut reached = false;
        for instance in &instances {
            reached |= instance.signal(&last.app, &peer, "you".into()).await.unwrap();
        }
        assert!(reached);
        assert_eq!(its_feed.next().await, Delivery::Frame("you".into()));
    }
    let owned: usize = instances.iter().map(|instance| instance.counts().peers_on).sum();
    assert_eq!(owned, IDS);
}

async fn claim_much(instance: Arc<RedisRegistry>, task: usize) -> Vec<(Ownership, Feed)> {
    let mut sessions = Vec::new();
    for n in 0..CLAIMS_PER_TASK {
        let (link, feed) = Link::pair(8);
        let claim = Claim {
            app: "race".parse().unwrap(),
            peer: format!("peer-{}", (task + n) % IDS).parse().unwrap(),
            meta: Meta::default(),
            key: None,
            resume: None,
            standing: None,
            link,
        };
        sessions.push((instance.claim(claim).await.unwrap().ownership, feed));
    }
    sessions
}
