//! A registry that takes its time over acknowledgements, as one behind a network does.

use std::sync::{Arc, Mutex};

use p2p_registry::{
    Answer, Claim, Claimed, Counts, Frame, Listing, MemoryRegistry, Outgoing, Ownership, Page,
    PeerView, Prompt, Published, Registry, RoomSummary, RoomView, Sent, Settings,
};
use p2p_signaling::Signaling;
use p2p_stats::SqliteStore;
use p2p_wire::server::Member;
use p2p_wire::{AppId, Meta, PeerId, RoomName};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{World, config};

/// One in memory that takes an acknowledgement only once it may.
struct SlowRegistry {
    inner: Arc<MemoryRegistry>,
    may_take: Semaphore,
    asked: Mutex<Vec<u64>>,
}

impl SlowRegistry {
    fn asked(&self) -> Vec<u64> {
        self.asked.lock().unwrap().clone()
    }
}

impl Registry for SlowRegistry {
    fn claim(&self, claim: Claim) -> Answer<'_, Claimed> {
        self.inner.claim(claim)
    }

    fn detach<'a>(&'a self, owner: &'a Ownership) -> Answer<'a, bool> {
        self.inner.detach(owner)
    }

    fn release<'a>(&'a self, owner: &'a Ownership) -> Answer<'a, bool> {
        self.inner.release(owner)
    }

    fn publish<'a>(&'a self, owner: &'a Ownership, published: Published) -> Answer<'a, ()> {
        self.inner.publish(owner, published)
    }

    fn set_meta<'a>(&'a self, owner: &'a Ownership, meta: Meta) -> Answer<'a, usize> {
        self.inner.set_meta(owner, meta)
    }

    fn join<'a>(
        &'a self,
        owner: &'a Ownership,
        room: RoomName,
        role: Option<String>,
    ) -> Answer<'a, RoomView> {
        self.inner.join(owner, room, role)
    }

    fn leave<'a>(&'a self, owner: &'a Ownership, room: &'a RoomName) -> Answer<'a, ()> {
        self.inner.leave(owner, room)
    }

    fn send<'a>(&'a self, owner: &'a Ownership, message: &'a Outgoing) -> Prompt<'a, Sent> {
        Registry::send(&*self.inner, owner, message)
    }

    fn ack<'a>(&'a self, owner: &'a Ownership, seq: u64) -> Prompt<'a, ()> {
        Prompt::Later(Box::pin(async move {
            self.asked.lock().unwrap().push(seq);
            self.may_take.acquire().await.unwrap().forget();
            self.inner.ack(owner, seq).await
        }))
    }

    fn signal<'a>(&'a self, app: &'a AppId, peer: &'a PeerId, frame: Frame) -> Answer<'a, bool> {
        self.inner.signal(app, peer, frame)
    }

    fn peer<'a>(&'a self, app: &'a AppId, peer: &'a PeerId) -> Answer<'a, Option<PeerView>> {
        self.inner.peer(app, peer)
    }

    fn peers<'a>(
        &'a self,
        app: &'a AppId,
        page: Page<PeerId>,
    ) -> Answer<'a, Listing<PeerId, Member>> {
        self.inner.peers(app, page)
    }

    fn room<'a>(&'a self, app: &'a AppId, room: &'a RoomName) -> Answer<'a, Option<RoomView>> {
        self.inner.room(app, room)
    }

    fn rooms<'a>(
        &'a self,
        app: &'a AppId,
        page: Page<RoomName>,
    ) -> Answer<'a, Listing<RoomName, RoomSummary>> {
        self.inner.rooms(app, page)
    }

    fn counts(&self) -> Counts {
        self.inner.counts()
    }
}

async fn slow_world() -> (World, Arc<SlowRegistry>) {
    let registry = Arc::new(SlowRegistry {
        inner: MemoryRegistry::start(Settings::default()),
        may_take: Semaphore::new(0),
        asked: Mutex::default(),
    });
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let signaling = Signaling::bind(config(), registry.clone(), store).await.unwrap();
    (World { signaling: signaling.start() }, registry)
}

#[tokio::test]
async fn an_acknowledgement_holds_up_nothing_and_those_behind_it_are_told_together() {
    let (world, registry) = slow_world().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    for n in 1..=4 {
        alice
            .send(json!({ "type": "send", "id": format!("m{n}"), "to": "bob", "kind": "x" }))
            .await;
        assert_eq!(bob.expect("message").await["seq"], n);
        bob.send(json!({ "type": "ack", "seq": n })).await;
        // The answer to what comes behind it.
        bob.send(json!({ "type": "ping", "id": format!("p{n}") })).await;
        assert_eq!(bob.expect("pong").await["id"], format!("p{n}"));
    }
    assert_eq!(registry.asked(), [1]);
    registry.may_take.add_permits(1);
    assert_eq!(alice.expect("receipt").await["id"], "m1");
    registry.may_take.add_permits(1);
    for n in 2..=4 {
        let receipt = alice.expect("receipt").await;
        assert_eq!(receipt["id"], format!("m{n}"));
        assert_eq!(receipt["status"], "delivered");
    }
    assert_eq!(registry.asked(), [1, 4]);
}

#[tokio::test]
async fn what_was_acknowledged_before_a_goodbye_counts_as_delivered() {
    let (world, registry) = slow_world().await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    for n in 1..=3 {
        alice
            .send(json!({ "type": "send", "id": format!("m{n}"), "to": "bob", "kind": "x" }))
            .await;
        bob.expect("message").await;
        bob.send(json!({ "type": "ack", "seq": n })).await;
    }
    bob.send(json!({ "type": "ping" })).await;
    bob.expect("pong").await;
    let goodbye = tokio::spawn(bob.goodbye());
    registry.may_take.add_permits(2);
    for n in 1..=3 {
        let receipt = alice.expect("receipt").await;
        assert_eq!(receipt["id"], format!("m{n}"));
        assert_eq!(receipt["status"], "delivered");
    }
    goodbye.await.unwrap();
    assert_eq!(registry.asked(), [1, 3]);
}
