//! The scripts against a model: the registry in memory. Whatever sessions do, and in whatever order
//! their acts interleave, outdated owners and wrong secrets included, both say the same to everybody.
//!
//! A script runs at once or not at all, so any schedule of many instances is one of these orders.

use std::time::Duration;

use p2p_cluster::Redis;
use p2p_registry::MemoryRegistry;
use p2p_wire::client::Resume;
use p2p_wire::{Meta, Payload, PeerId, RoomName, Secret};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::several::Several;
use crate::{
    Claim, Delivery, Feed, Link, Outgoing, Ownership, Page, Registry, RegistryError, Settings,
    Target,
};

const SEEDS: u64 = 12;
const ACTS: usize = 120;
const PEERS: usize = 4;
const ROOMS: usize = 2;

/// One session, as each of the two knows it.
struct Session {
    peer: usize,
    owners: [Ownership; 2],
    secrets: [Secret; 2],
    feeds: [Feed; 2],
    last_seq: u64,
}

/// What a session may do.
#[derive(Debug, Clone)]
enum Act {
    Claim { peer: usize },
    Resume { session: usize, guess: bool },
    Detach { session: usize },
    Release { session: usize },
    Join { session: usize, room: usize },
    Leave { session: usize, room: usize },
    Tell { session: usize, to: usize, id: u32 },
    TellRoom { session: usize, room: usize, id: u32 },
    Ack { session: usize, seq: u64 },
    Rename { session: usize, name: u32 },
    Look,
}

#[tokio::test]
async fn the_scripts_do_what_the_model_does_in_any_order_of_acts() {
    let redis = Redis::start().await.unwrap();
    // Nothing is due while this runs: time is no part of the model.
    let settings = Settings {
        resume_window: Duration::from_secs(3600),
        receipt_patience: Duration::from_secs(3600),
        ..Settings::default()
    };
    for seed in 0..SEEDS {
        // Each seed has keys of its own.
        let prefix = format!("seed-{seed}");
        let real = Several::start_under(2, redis.settings(), &settings, &prefix).await;
        let model = MemoryRegistry::start(settings.clone());
        agree(&real, &*model, seed).await;
    }
}

async fn agree(real: &dyn Registry, model: &dyn Registry, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut sessions: Vec<Session> = Vec::new();
    let mut story = Vec::new();
    for _ in 0..ACTS {
        let act = choose(&mut random, &sessions);
        story.push(act.clone());
        let said = perform([real, model], &act, &mut sessions).await;
        assert_eq!(said[0], said[1], "seed {seed}, at the end of {story:#?}");
        for session in &mut sessions {
            let [real, model] = &mut session.feeds;
            let heard = [drain(real).await, drain(model).await];
            assert_eq!(heard[0], heard[1], "seed {seed}, at the end of {story:#?}");
            for frame in &heard[0] {
                let frame: serde_json::Value = serde_json::from_str(frame).unwrap_or_default();
                session.last_seq = session.last_seq.max(frame["seq"].as_u64().unwrap_or(0));
            }
        }
    }
}

fn choose(random: &mut StdRng, sessions: &[Session]) -> Act {
    if sessions.is_empty() || random.random_range(0..12) == 0 {
        return Act::Claim { peer: random.random_range(0..PEERS) };
    }
    // Mostly one of the newest; now and then one whose peer has long been somebody else's.
    let oldest = if random.random_range(0..5) == 0 { 0 } else { sessions.len().saturating_sub(4) };
    let session = random.random_range(oldest..sessions.len());
    let (room, id) = (random.random_range(0..ROOMS), random.random_range(0..40));
    match random.random_range(0..20) {
        0 => Act::Detach { session },
        1 => Act::Release { session },
        2 | 3 => Act::Resume { session, guess: random.random_range(0..6) == 0 },
        4..=6 => Act::Join { session, room },
        7 => Act::Leave { session, room },
        8..=12 => Act::Tell { session, to: random.random_range(0..PEERS), id },
        13 | 14 => Act::TellRoom { session, room, id },
        15..=17 => Act::Ack { session, seq: random.random_range(0..=sessions[session].last_seq) },
        18 => Act::Rename { session, name: id },
        _ => Act::Look,
    }
}

/// What each of the two says to it, in words that do not depend on names which they made up.
async fn perform(both: [&dyn Registry; 2], act: &Act, sessions: &mut Vec<Session>) -> [String; 2] {
    match act {
        Act::Claim { peer } => claim(both, *peer, [None, None], sessions).await,
        Act::Resume { session, guess } => {
            let known = &sessions[*session];
            let peer = known.peer;
            let resume = |which: usize| {
                let secret =
                    if *guess { Secret::new("guess") } else { known.secrets[which].clone() };
                let session = known.owners[which].session.clone();
                Some(Resume { session, secret, last_seq: known.last_seq })
            };
            let resumes = [resume(0), resume(1)];
            claim(both, peer, resumes, sessions).await
        }
        act => {
            let mut said = [String::new(), String::new()];
            for (which, registry) in both.into_iter().enumerate() {
                said[which] = act_of(registry, which, act, sessions).await;
            }
            said
        }
    }
}

async fn act_of(registry: &dyn Registry, which: usize, act: &Act, sessions: &[Session]) -> String {
    let owner = |session: &usize| &sessions[*session].owners[which];
    match act {
        Act::Detach { session } => format!("{:?}", registry.detach(owner(session)).await),
        Act::Release { session } => format!("{:?}", registry.release(owner(session)).await),
        Act::Join { session, room } => {
            format!("{:?}", registry.join(owner(session), room_name(*room), None).await)
        }
        Act::Leave { session, room } => {
            format!("{:?}", registry.leave(owner(session), &room_name(*room)).await)
        }
        Act::Tell { session, to, id } => {
            let message = message(*id, Target::Peer(peer_id(*to)));
            format!("{:?}", registry.send(owner(session), &message).await)
        }
        Act::TellRoom { session, room, id } => {
            let message = message(*id, Target::Room(room_name(*room)));
            format!("{:?}", registry.send(owner(session), &message).await)
        }
        Act::Ack { session, seq } => format!("{:?}", registry.ack(owner(session), *seq).await),
        Act::Rename { session, name } => {
            format!("{:?}", registry.set_meta(owner(session), meta(*name)).await)
        }
        _ => look(registry).await,
    }
}

/// Everything that can be read.
async fn look(registry: &dyn Registry) -> String {
    let app = "default".parse().unwrap();
    let mut said = format!("{:?}", registry.peers(&app, Page { after: None, limit: 50 }).await);
    for peer in 0..PEERS {
        said += &format!("\n{:?}", registry.peer(&app, &peer_id(peer)).await);
    }
    for room in 0..ROOMS {
        said += &format!("\n{:?}", registry.room(&app, &room_name(room)).await);
    }
    said + &format!("\n{:?}", registry.rooms(&app, Page { after: None, limit: 50 }).await)
}

async fn claim(
    both: [&dyn Registry; 2],
    peer: usize,
    resumes: [Option<Resume>; 2],
    sessions: &mut Vec<Session>,
) -> [String; 2] {
    let mut said = [String::new(), String::new()];
    let mut granted = Vec::new();
    for (which, (registry, resume)) in both.into_iter().zip(resumes).enumerate() {
        let (link, feed) = Link::pair(1024);
        let claim = Claim {
            app: "default".parse().unwrap(),
            peer: peer_id(peer),
            meta: Meta::default(),
            key: None,
            resume,
            standing: None,
            link,
        };
        match registry.claim(claim).await {
            Ok(claimed) => {
                said[which] = format!("resumed: {}, {:?}", claimed.resumed, claimed.replay);
                granted.push((claimed.ownership, claimed.secret, feed, claimed.replay));
            }
            Err(error) => said[which] = format!("{error:?}"),
        }
    }
    if let (Some(model), Some(real)) = (granted.pop(), granted.pop()) {
        let seq = |frame: &str| {
            let frame: serde_json::Value = serde_json::from_str(frame).unwrap();
            frame["seq"].as_u64().unwrap()
        };
        let last_seq = real.3.iter().map(|frame| seq(frame)).max().unwrap_or(0);
        sessions.push(Session {
            peer,
            owners: [real.0, model.0],
            secrets: [real.1, model.1],
            feeds: [real.2, model.2],
            last_seq,
        });
    }
    said
}

/// What waits in a feed. The order of rooms in which one change is told is nobody's promise.
async fn drain(feed: &mut Feed) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        tokio::select! {
            biased;
            // A task that has had its turn would find nothing in a feed that is full.
            delivery = tokio::task::unconstrained(feed.next()) => match delivery {
                Delivery::Frame(frame) => heard.push(in_one_spelling(&frame)),
                Delivery::End(end) => {
                    heard.push(format!("{end:?}"));
                    break;
                }
            },
            () = std::future::ready(()) => break,
        }
    }
    heard.sort();
    heard
}

/// The fields of a frame in the order of their names.
fn in_one_spelling(frame: &str) -> String {
    serde_json::from_str::<serde_json::Value>(frame).unwrap().to_string()
}

fn message(id: u32, target: Target) -> Outgoing {
    let id = format!("m{id}");
    let payload = Payload::default();
    Outgoing { id: id.parse().unwrap(), target, kind: id, payload }
}

fn meta(name: u32) -> Meta {
    serde_json::from_value(serde_json::json!({ "name": name })).unwrap()
}

fn peer_id(peer: usize) -> PeerId {
    format!("peer-{peer}").parse().unwrap()
}

fn room_name(room: usize) -> RoomName {
    format!("room-{room}").parse().unwrap()
}

/// What both must say of a session that is over.
#[tokio::test]
async fn an_outdated_owner_is_one_in_the_model_too() {
    let model = MemoryRegistry::start(Settings::default());
    let mut sessions = Vec::new();
    let both: [&dyn Registry; 2] = [&*model, &*model];
    claim(both, 0, [None, None], &mut sessions).await;
    let older = &sessions[0].owners[0];
    assert_eq!(model.ack(older, 0).await, Err(RegistryError::NotOwner));
}
