//! Several registries over one Redis that take turns, as one registry.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use p2p_registry::{
    Answer, Counts, Listing, PeerView, Prompt, RedisRegistry, RedisSettings, Registry, RoomSummary,
    RoomView,
};
use p2p_wire::server::Member;
use p2p_wire::{AppId, Meta, PeerId, RoomName};

use crate::{Claim, Claimed, Frame, Outgoing, Ownership, Page, Published, Sent, Settings};

/// A claim goes to the next instance, and what its owner does to the same one. What an act
/// published is in the links before the act returns, as the suite expects.
pub(crate) struct Several {
    instances: Vec<Arc<RedisRegistry>>,
    next: AtomicUsize,
    homes: Mutex<HashMap<u64, usize>>,
}

impl Several {
    pub(crate) async fn start(count: usize, redis: RedisSettings) -> Self {
        Self::start_with(count, redis, &crate::settings()).await
    }

    pub(crate) async fn start_with(
        count: usize,
        redis: RedisSettings,
        settings: &Settings,
    ) -> Self {
        Self::start_under(count, redis, settings, "p2p").await
    }

    /// Instances whose keys begin with this.
    pub(crate) async fn start_under(
        count: usize,
        redis: RedisSettings,
        settings: &Settings,
        prefix: &str,
    ) -> Self {
        let mut instances = Vec::new();
        for _ in 0..count {
            let there = RedisSettings { prefix: prefix.to_owned(), ..redis.clone() };
            let instance = RedisRegistry::start(settings.clone(), there).unwrap();
            instance.connected().await;
            instances.push(instance);
        }
        Self { instances, next: AtomicUsize::new(0), homes: Mutex::default() }
    }

    fn next(&self) -> usize {
        self.next.fetch_add(1, Relaxed) % self.instances.len()
    }

    fn any(&self) -> &RedisRegistry {
        &self.instances[self.next()]
    }

    fn home(&self, owner: &Ownership) -> &RedisRegistry {
        &self.instances[self.homes.lock().unwrap()[&owner.epoch]]
    }

    fn settled<'a, T: Send + 'a>(&'a self, act: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(async move {
            let result = act.await;
            for instance in &self.instances {
                instance.caught_up().await.unwrap();
            }
            result
        })
    }
}

impl Registry for Several {
    fn claim(&self, claim: Claim) -> Answer<'_, Claimed> {
        let home = self.next();
        self.settled(Box::pin(async move {
            let claimed = self.instances[home].claim(claim).await?;
            self.homes.lock().unwrap().insert(claimed.ownership.epoch, home);
            Ok(claimed)
        }))
    }

    fn detach<'a>(&'a self, owner: &'a Ownership) -> Answer<'a, bool> {
        self.settled(self.home(owner).detach(owner))
    }

    fn release<'a>(&'a self, owner: &'a Ownership) -> Answer<'a, bool> {
        self.settled(self.home(owner).release(owner))
    }

    fn publish<'a>(&'a self, owner: &'a Ownership, published: Published) -> Answer<'a, ()> {
        self.settled(self.home(owner).publish(owner, published))
    }

    fn set_meta<'a>(&'a self, owner: &'a Ownership, meta: Meta) -> Answer<'a, usize> {
        self.settled(self.home(owner).set_meta(owner, meta))
    }

    fn join<'a>(
        &'a self,
        owner: &'a Ownership,
        room: RoomName,
        role: Option<String>,
    ) -> Answer<'a, RoomView> {
        self.settled(self.home(owner).join(owner, room, role))
    }

    fn leave<'a>(&'a self, owner: &'a Ownership, room: &'a RoomName) -> Answer<'a, ()> {
        self.settled(self.home(owner).leave(owner, room))
    }

    fn send<'a>(&'a self, owner: &'a Ownership, message: &'a Outgoing) -> Prompt<'a, Sent> {
        Prompt::Later(self.settled(Box::pin(self.home(owner).send(owner, message))))
    }

    fn ack<'a>(&'a self, owner: &'a Ownership, seq: u64) -> Prompt<'a, ()> {
        Prompt::Later(self.settled(Box::pin(self.home(owner).ack(owner, seq))))
    }

    fn signal<'a>(&'a self, app: &'a AppId, peer: &'a PeerId, frame: Frame) -> Answer<'a, bool> {
        self.settled(self.any().signal(app, peer, frame))
    }

    fn peer<'a>(&'a self, app: &'a AppId, peer: &'a PeerId) -> Answer<'a, Option<PeerView>> {
        self.any().peer(app, peer)
    }

    fn peers<'a>(
        &'a self,
        app: &'a AppId,
        page: Page<PeerId>,
    ) -> Answer<'a, Listing<PeerId, Member>> {
        self.any().peers(app, page)
    }

    fn room<'a>(&'a self, app: &'a AppId, room: &'a RoomName) -> Answer<'a, Option<RoomView>> {
        self.any().room(app, room)
    }

    fn rooms<'a>(
        &'a self,
        app: &'a AppId,
        page: Page<RoomName>,
    ) -> Answer<'a, Listing<RoomName, RoomSummary>> {
        self.any().rooms(app, page)
    }

    fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for counts in self.instances.iter().map(|instance| instance.counts()) {
            sum.peers_on += counts.peers_on;
            sum.lagging += counts.lagging;
            sum.inbox_full += counts.inbox_full;
            sum.expired += counts.expired;
        }
        sum
    }
}
