//! Every instance is replaced by another one, one after the other, while clients talk.

use std::collections::BTreeMap;
use std::time::Duration;

use p2p_cluster::Redis;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::client::Client;
use crate::instance::{HANG, Instance};

const CLIENTS: usize = 120;
const ROOM: usize = 10;
/// Between two messages of one client.
const PACE: Duration = Duration::from_millis(100);
/// Tries to be welcomed somewhere, each at another instance.
const TRIES: usize = 20;

/// What a client lived through.
#[derive(Debug, Default)]
struct Story {
    sent: Vec<String>,
    received: Vec<String>,
    resumed: usize,
    begun_anew: usize,
}

/// What all clients follow.
#[derive(Debug, Clone)]
struct Stage {
    instances: Vec<String>,
    /// Nothing more is to be said.
    over: bool,
    /// And all has arrived.
    done: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i12_a_rolling_restart_under_load_resumes_every_session_and_loses_no_message_and_no_room() {
    let redis = Redis::start().await.unwrap();
    let mut running = vec![Instance::start(&redis).await, Instance::start(&redis).await];
    let addresses =
        |running: &[Instance]| running.iter().map(|one| one.address().to_owned()).collect();
    let instances = addresses(&running);
    let stage = watch::Sender::new(Stage { instances, over: false, done: false });
    let (quiet, mut all_quiet) = mpsc::channel(CLIENTS);
    let mut travellers = Vec::new();
    for number in 0..CLIENTS {
        travellers.push(Traveller::begin(number, stage.subscribe()).await);
    }
    let mut clients = JoinSet::new();
    for traveller in travellers {
        clients.spawn(traveller.travel(quiet.clone()));
    }
    for _ in 0..running.len() {
        let next = Instance::start(&redis).await;
        let old = running.remove(0);
        running.push(next);
        stage.send_modify(|stage| stage.instances = addresses(&running));
        assert!(old.drain().await, "an instance ends well");
    }
    stage.send_modify(|stage| stage.over = true);
    for _ in 0..CLIENTS {
        timeout(HANG, all_quiet.recv()).await.expect("every message arrives").expect("a client");
    }
    stage.send_modify(|stage| stage.done = true);

    let mut stories = BTreeMap::new();
    while let Some(ended) = clients.join_next().await {
        let (number, story, mut client) = ended.expect("a client that saw nothing wrong");
        let joined = client.rejoin(number).await;
        assert_eq!(joined, ROOM, "everybody is still in the room of {number}");
        stories.insert(number, (story, client));
    }
    let moves: usize = stories.values().map(|(story, _)| story.resumed + story.begun_anew).sum();
    let begun_anew: usize = stories.values().map(|(story, _)| story.begun_anew).sum();
    assert!(moves >= CLIENTS, "only {moves} moves: nobody had to go");
    assert_eq!(begun_anew, 0, "of {moves} sessions that moved");
    for (number, (story, _)) in &stories {
        let (receiver, _) = &stories[&((number + 1) % CLIENTS)];
        assert_eq!(story.sent, receiver.received, "what {number} sent, in order and once");
    }
}

/// One client, which goes to wherever there is an instance.
struct Traveller {
    number: usize,
    client: Client,
    stage: watch::Receiver<Stage>,
    /// Sent, and without a final receipt.
    open: BTreeMap<usize, String>,
    last_seq: u64,
    story: Story,
}

impl Traveller {
    async fn begin(number: usize, mut stage: watch::Receiver<Stage>) -> Self {
        let hello = json!({ "type": "hello", "peer": name(number) });
        let address = stage.borrow_and_update().instances[number % 2].clone();
        let mut client = Client::hello(&address, &name(number), hello).await.expect("a welcome");
        client.send(json!({ "type": "join", "id": "j", "room": room(number) })).await;
        client.await_type("joined").await;
        let (open, story) = (BTreeMap::new(), Story::default());
        Self { number, client, stage, open, last_seq: 0, story }
    }

    /// Talks until all is over and everything that anybody said has arrived.
    async fn travel(mut self, quiet: mpsc::Sender<()>) -> (usize, Story, Self) {
        let mut pace = interval(PACE);
        let (mut over, mut told) = (false, false);
        loop {
            if over && self.open.is_empty() && !told {
                told = quiet.send(()).await.is_ok();
            }
            tokio::select! {
                frame = self.client.next() => match frame {
                    Some(frame) if frame["type"] == "goaway" => self.go().await,
                    Some(frame) => self.hear(&frame).await,
                    None => self.go().await,
                },
                _ = pace.tick(), if !over => self.say().await,
                changed = self.stage.changed() => {
                    changed.expect("the test goes on");
                    let stage = self.stage.borrow_and_update().clone();
                    over = stage.over;
                    if stage.done {
                        return (self.number, std::mem::take(&mut self.story), self);
                    }
                }
            }
        }
    }

    async fn say(&mut self) {
        let number = self.story.sent.len();
        let id = format!("m{number}");
        self.story.sent.push(id.clone());
        self.open.insert(number, id.clone());
        self.client.try_tell(&name((self.number + 1) % CLIENTS), &id).await;
    }

    async fn hear(&mut self, frame: &Value) {
        match frame["type"].as_str().unwrap() {
            "message" => {
                let seq = frame["seq"].as_u64().unwrap();
                if seq > self.last_seq {
                    self.last_seq = seq;
                    self.story.received.push(frame["kind"].as_str().unwrap().to_owned());
                }
                self.client.try_send(json!({ "type": "ack", "seq": seq })).await;
            }
            "receipt" => {
                let status = frame["status"].as_str().unwrap();
                assert!(["queued", "delivered"].contains(&status), "{frame}");
                if status == "delivered" {
                    let number = frame["id"].as_str().unwrap()[1..].parse().unwrap();
                    self.open.remove(&number);
                }
            }
            "room" => assert!(frame["event"] != "leave", "{frame}"),
            _ => {}
        }
    }

    /// Takes the session up at another instance, and says again what nobody has confirmed.
    async fn go(&mut self) {
        let hello = self.client.resume(self.last_seq);
        for attempt in 0..TRIES {
            let instances = self.stage.borrow().instances.clone();
            let address = &instances[(self.number + attempt) % instances.len()];
            let Some(client) = Client::hello(address, &name(self.number), hello.clone()).await
            else {
                // One that drains sends everybody away; the next one is named within moments.
                let _ = timeout(PACE, self.stage.changed()).await;
                continue;
            };
            match client.welcome["resumed"].as_bool() {
                Some(true) => self.story.resumed += 1,
                Some(false) | None => self.story.begun_anew += 1,
            }
            self.client = client;
            for id in self.open.values() {
                self.client.try_tell(&name((self.number + 1) % CLIENTS), id).await;
            }
            return;
        }
        panic!("no instance takes {}", self.number);
    }

    /// How many are in the room with this one.
    async fn rejoin(&mut self, number: usize) -> usize {
        self.client.send(json!({ "type": "join", "id": "again", "room": room(number) })).await;
        let joined = timeout(HANG, self.client.await_type("joined")).await.expect("an answer");
        joined["members"].as_array().map_or(0, Vec::len)
    }
}

fn name(number: usize) -> String {
    format!("peer-{number}")
}

fn room(number: usize) -> String {
    format!("room-{}", number / ROOM)
}
