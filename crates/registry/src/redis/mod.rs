//! The registry of many instances, in Redis 7 or Valkey.
//!
//! What must change together changes in one Lua script (`scripts`). Every instance has one channel:
//! whatever is for a session is published to the instance that serves it, and from there goes into
//! the session's link (`local`). A message is in its receiver's inbox before anybody is woken, so
//! what a channel loses is fetched again.
//!
//! **Redis in trouble.** Every command has a deadline. While Redis is away, calls fail at once with
//! [`RegistryError::Unavailable`], except for what can be done between sessions of this instance:
//! their messages and attempts go on. When Redis is back, the instance says again what it knows
//! (`supervisor`), with the epochs that its sessions have: a newer owner wins (I1).
//!
//! **Limits.** An app lives on one node of a cluster: rooms, inboxes and receipts change together
//! only there. [`crate::Counts`] speak of this instance.

mod awaiting;
mod call;
mod claiming;
mod due;
mod event;
mod leases;
mod local;
mod outage;
mod passing;
mod reply;
mod returning;
mod scripts;
mod sending;
mod supervisor;
mod watching;

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use p2p_redis::{Connection, Kind, Patience, Redis};
use p2p_wire::limits::{MAX_ROOM_MEMBERS, MAX_ROOMS_PER_PEER};
use p2p_wire::server::Member;
use p2p_wire::{AppId, AttemptId, Meta, PeerId, RoomName};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tracing::debug;
use uuid::Uuid;

use self::local::{Local, Table};
use self::outage::Outage;
use self::reply::{json, parsed, state, text, written_role};
use self::scripts::{Names, Scripts};
use crate::claim::{Claim, Claimed, Ownership};
use crate::error::RegistryError;
use crate::link::Frame;
use crate::memory::Settings;
use crate::notice::{Notice, Presence};
use crate::registry::{Answer, Prompt, Registry};
use crate::send::{Outgoing, Sent};
use crate::view::{Counts, Listing, Page, PeerView, Published, RoomSummary, RoomView};

/// Notices that wait to be taken.
const NOTICES: usize = 4096;

/// Where Redis is, and how patient to be with it.
#[derive(Clone)]
pub struct RedisSettings {
    /// One of [`p2p_redis::FORMS`].
    pub url: String,
    /// What all keys and channels begin with. `p2p`.
    pub prefix: String,
    /// How long one command may take. 2 s.
    pub deadline: Duration,
    /// How long an instance may be silent until others take its sessions for lost. 15 s.
    pub lease: Duration,
}

impl RedisSettings {
    /// Defaults for a Redis at this address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "p2p".to_owned(),
            deadline: Duration::from_secs(2),
            lease: Duration::from_secs(15),
        }
    }
}

/// The address may hold a password.
impl std::fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSettings")
            .field("prefix", &self.prefix)
            .field("deadline", &self.deadline)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// The registry of one instance among many.
pub struct RedisRegistry {
    shared: Arc<Shared>,
}

struct Shared {
    behaviour: Settings,
    settings: RedisSettings,
    redis: Redis,
    scripts: Scripts,
    names: Names,
    /// Another one at every start: an instance never takes itself for an earlier one.
    instance: String,
    table: Mutex<Table>,
    connection: Mutex<Option<Connection>>,
    /// Why Redis cannot be used; `None` is the good case.
    trouble: watch::Sender<Option<String>>,
    /// Redis is back, and hears the last of what passed it by: nothing more does. Changed under the
    /// table's lock.
    returning: watch::Sender<bool>,
    outage: Mutex<Outage>,
    /// A command found the connection broken.
    broken: Notify,
    closed: watch::Sender<bool>,
    /// The last probe that was sent, and the last that was heard over each channel.
    probes: AtomicU64,
    heard: watch::Sender<Vec<u64>>,
    suspects: Mutex<HashSet<String>>,
    /// What concerns the instance as a whole. The end to take from is given out once.
    notices: (mpsc::Sender<Notice>, Mutex<Option<mpsc::Receiver<Notice>>>),
}

impl RedisRegistry {
    /// A registry, and the task that connects it and keeps it connected. The task ends with the
    /// registry. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The address is not one.
    pub fn start(behaviour: Settings, settings: RedisSettings) -> Result<Arc<Self>, RegistryError> {
        let redis = Redis::open(&settings.url)
            .map_err(|error| RegistryError::Unavailable(error.to_string()))?;
        let names = Names::new(&settings.prefix, *redis.kind() == Kind::Cluster);
        let instance = Uuid::new_v4().simple().to_string();
        let channels = names.channels_of(&instance).len();
        let (noticing, noticed) = mpsc::channel(NOTICES);
        let shared = Arc::new(Shared {
            behaviour,
            names,
            settings,
            redis,
            scripts: Scripts::new(),
            instance,
            table: Mutex::default(),
            connection: Mutex::default(),
            trouble: watch::Sender::new(Some("connecting".to_owned())),
            returning: watch::Sender::new(false),
            outage: Mutex::default(),
            broken: Notify::new(),
            closed: watch::Sender::new(false),
            probes: AtomicU64::new(0),
            heard: watch::Sender::new(vec![0; channels]),
            suspects: Mutex::default(),
            notices: (noticing, Mutex::new(Some(noticed))),
        });
        tokio::spawn(supervisor::run(shared.clone()));
        Ok(Arc::new(Self { shared }))
    }

    /// Resolves when Redis can be used.
    pub async fn connected(&self) {
        self.shared.connected().await;
    }

    /// Resolves when what others published to this instance before this call is in the links.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn caught_up(&self) -> Result<(), RegistryError> {
        self.shared.probe(&self.shared.connection()?).await
    }
}

impl Drop for RedisRegistry {
    fn drop(&mut self) {
        self.shared.closed.send_replace(true);
    }
}

impl RedisSettings {
    fn patience(&self) -> Patience {
        Patience { connect: self.deadline, answer: self.deadline }
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no code panics while it holds the registry's lock")
    }

    async fn ack(self: &Arc<Self>, owner: &Ownership, seq: u64) -> Result<(), RegistryError> {
        let told = self.owned(&self.scripts.ack, owner, |call| {
            call.arg(seq);
        });
        match told.await {
            Ok(_) => {
                if let Some(local) = self.table().owned(owner) {
                    local.acknowledged(seq);
                }
                Ok(())
            }
            // Redis hears of it when it is back.
            Err(RegistryError::Unavailable(_)) if self.table().ack_here(owner, seq) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn detach(self: &Arc<Self>, owner: &Ownership) -> Result<bool, RegistryError> {
        let window = self.behaviour.resume_window;
        let served = self.table().end_here(owner);
        let told = self.owned(&self.scripts.detach, owner, |call| {
            call.arg(window.as_millis() as u64);
        });
        let ended = self.ended(owner, served, told.await)?;
        if ended {
            let until = Instant::now() + window;
            self.table().went_away(owner, until, self.behaviour.max_peers);
        }
        Ok(ended)
    }

    async fn release(self: &Arc<Self>, owner: &Ownership) -> Result<bool, RegistryError> {
        let served = self.table().end_here(owner);
        let told = self.owned(&self.scripts.release, owner, |_| {}).await;
        self.ended(owner, served, told)
    }

    fn ended(
        &self,
        owner: &Ownership,
        served: bool,
        told: Result<reply::Reply, RegistryError>,
    ) -> Result<bool, RegistryError> {
        match told {
            Ok(_) => Ok(true),
            Err(RegistryError::NotOwner) => Ok(false),
            // Redis still has it here; when it is back, it hears that it is not.
            Err(error) if served => {
                debug!(peer = %owner.peer, %error, "Redis hears later that a peer has gone");
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}

impl Registry for RedisRegistry {
    fn claim(&self, claim: Claim) -> Answer<'_, Claimed> {
        Box::pin(self.shared.claim(claim))
    }

    fn detach<'a>(&'a self, owner: &'a Ownership) -> Answer<'a, bool> {
        Box::pin(self.shared.detach(owner))
    }

    fn release<'a>(&'a self, owner: &'a Ownership) -> Answer<'a, bool> {
        Box::pin(self.shared.release(owner))
    }

    fn publish<'a>(&'a self, owner: &'a Ownership, published: Published) -> Answer<'a, ()> {
        Box::pin(async move {
            let written = write_published(&published);
            let shared = &self.shared;
            shared.change(owner, |local| local.published = published);
            let told = shared.owned_or_returned(&shared.scripts.publish, owner, &written);
            shared.said_or_stale(owner, told.await).map(drop)
        })
    }

    fn set_meta<'a>(&'a self, owner: &'a Ownership, meta: Meta) -> Answer<'a, usize> {
        Box::pin(async move {
            let shared = &self.shared;
            let written = to_json(&meta);
            shared.change(owner, |local| local.meta = meta);
            let told = shared.owned_or_returned(&shared.scripts.set_meta, owner, &written);
            match shared.said_or_stale(owner, told.await)? {
                Some(mut reply) => Ok(reply.number()? as usize),
                None => Ok(0),
            }
        })
    }

    fn join<'a>(
        &'a self,
        owner: &'a Ownership,
        room: RoomName,
        role: Option<String>,
    ) -> Answer<'a, RoomView> {
        Box::pin(async move {
            let shared = &self.shared;
            let mut reply = shared
                .owned(&shared.scripts.join, owner, |call| {
                    call.arg(room.as_str())
                        .arg(written_role(role.as_deref()))
                        .arg(MAX_ROOMS_PER_PEER)
                        .arg(MAX_ROOM_MEMBERS);
                })
                .await?;
            let view = read_room(&mut reply)?;
            if let Some(local) = shared.table().owned(owner) {
                local.rooms.entry(room).or_insert((role, view.version)).1 = view.version;
            }
            Ok(view)
        })
    }

    fn leave<'a>(&'a self, owner: &'a Ownership, room: &'a RoomName) -> Answer<'a, ()> {
        Box::pin(async move {
            let shared = &self.shared;
            let member = shared.change(owner, |local| local.rooms.remove(room)).flatten();
            let told = shared.owned(&shared.scripts.leave, owner, |call| {
                call.arg(room.as_str());
            });
            let told = told.await.map(drop);
            if let (Err(RegistryError::Unavailable(_)), Some(member)) = (&told, member) {
                shared.change(owner, |local| local.rooms.insert(room.clone(), member));
            }
            told
        })
    }

    fn send<'a>(&'a self, owner: &'a Ownership, message: &'a Outgoing) -> Prompt<'a, Sent> {
        Prompt::Later(Box::pin(self.shared.send(owner, message)))
    }

    fn ack<'a>(&'a self, owner: &'a Ownership, seq: u64) -> Prompt<'a, ()> {
        Prompt::Later(Box::pin(self.shared.ack(owner, seq)))
    }

    fn signal<'a>(&'a self, app: &'a AppId, peer: &'a PeerId, frame: Frame) -> Answer<'a, bool> {
        Box::pin(async move {
            let shared = &self.shared;
            let key = (app.clone(), peer.clone());
            {
                let mut table = shared.table();
                if let Some(epoch) = table.sessions.get(&key).map(|local| local.owner.epoch) {
                    table.push(&key, epoch, frame);
                    return Ok(true);
                }
            }
            let reply = shared
                .call(&shared.scripts.signal, app, |call| {
                    call.arg(peer.as_str()).arg(&*frame);
                })
                .await?;
            Ok(reply.word == "ok")
        })
    }

    fn peer<'a>(&'a self, app: &'a AppId, peer: &'a PeerId) -> Answer<'a, Option<PeerView>> {
        Box::pin(async move {
            let key = (app.clone(), peer.clone());
            if let Some(local) = self.shared.table().sessions.get(&key) {
                return Ok(Some(local.view()));
            }
            self.shared.peer(app, peer).await
        })
    }

    fn peers<'a>(
        &'a self,
        app: &'a AppId,
        page: Page<PeerId>,
    ) -> Answer<'a, Listing<PeerId, Member>> {
        Box::pin(async move {
            let shared = &self.shared;
            let mut reply = shared
                .call(&shared.scripts.peers, app, |call| {
                    call.arg(page.after.as_ref().map_or("", PeerId::as_str)).arg(page.limit + 1);
                })
                .await?;
            let (mut values, mut items) = (reply.list()?, Vec::new());
            while let Some(peer) = values.next() {
                let mut next = || text(values.next().unwrap_or_default());
                items.push(Member {
                    peer: parsed(&text(peer)?)?,
                    meta: json(&next()?)?,
                    state: state(&next()?),
                    role: None,
                });
            }
            Ok(listing(items, page.limit, |member: &Member| member.peer.clone()))
        })
    }

    fn room<'a>(&'a self, app: &'a AppId, room: &'a RoomName) -> Answer<'a, Option<RoomView>> {
        Box::pin(async move {
            let shared = &self.shared;
            let mut reply = shared
                .call(&shared.scripts.room, app, |call| {
                    call.arg(room.as_str());
                })
                .await?;
            if reply.word == "nobody" {
                return Ok(None);
            }
            read_room(&mut reply).map(Some)
        })
    }

    fn rooms<'a>(
        &'a self,
        app: &'a AppId,
        page: Page<RoomName>,
    ) -> Answer<'a, Listing<RoomName, RoomSummary>> {
        Box::pin(async move {
            let shared = &self.shared;
            let mut reply = shared
                .call(&shared.scripts.rooms, app, |call| {
                    call.arg(page.after.as_ref().map_or("", RoomName::as_str)).arg(page.limit + 1);
                })
                .await?;
            let (mut values, mut items) = (reply.list()?, Vec::new());
            while let Some(room) = values.next() {
                let members = reply::number(values.next().unwrap_or_default())? as usize;
                items.push(RoomSummary { room: parsed(&text(room)?)?, members });
            }
            Ok(listing(items, page.limit, |summary: &RoomSummary| summary.room.clone()))
        })
    }

    fn counts(&self) -> Counts {
        self.shared.table().counts()
    }

    fn instance(&self) -> Option<&str> {
        Some(&self.shared.instance)
    }

    fn pass_on<'a>(&'a self, instance: &'a str, text: Frame) -> Answer<'a, bool> {
        Box::pin(async move { self.shared.pass_on(instance, &text).await })
    }

    fn watch<'a>(
        &'a self,
        app: &'a AppId,
        attempt: &'a AttemptId,
        sides: [&'a PeerId; 2],
        known: Frame,
    ) -> Answer<'a, [Presence; 2]> {
        Box::pin(async move { self.shared.watch(app, attempt, sides, &known).await })
    }

    fn unwatch<'a>(
        &'a self,
        app: &'a AppId,
        attempt: &'a AttemptId,
        sides: [&'a PeerId; 2],
    ) -> Answer<'a, ()> {
        Box::pin(self.shared.unwatch(app, attempt, sides))
    }

    fn notices(&self) -> Option<mpsc::Receiver<Notice>> {
        self.shared.notices.1.lock().expect("an end is taken without panic").take()
    }

    fn retire(&self) -> Answer<'_, ()> {
        Box::pin(self.shared.retire())
    }

    fn trouble(&self) -> Option<String> {
        self.shared.trouble.borrow().clone()
    }

    fn backend(&self) -> Option<String> {
        let kind = self.shared.redis.kind();
        let connection = self.shared.connection().ok();
        Some(match connection {
            Some(connection) => format!("{kind} at {}", connection.place()),
            None => format!("{kind}, away"),
        })
    }
}

impl Shared {
    async fn peer(
        self: &Arc<Self>,
        app: &AppId,
        peer: &PeerId,
    ) -> Result<Option<PeerView>, RegistryError> {
        let mut reply = self
            .call(&self.scripts.peer, app, |call| {
                call.arg(peer.as_str());
            })
            .await?;
        if reply.word == "nobody" {
            return Ok(None);
        }
        let state = state(&reply.text()?);
        let meta = json(&reply.text()?)?;
        let key = reply.text()?;
        let key = if key.is_empty() { None } else { Some(json(&key)?) };
        let published = read_published(&reply.text()?)?;
        Ok(Some(PeerView { state, meta, key, published }))
    }

    /// Changes what is known of a session before Redis is told: a session that is said again while
    /// Redis is being told must not bring back what was.
    fn change<T>(&self, owner: &Ownership, change: impl FnOnce(&mut Local) -> T) -> Option<T> {
        self.table().owned(owner).map(change)
    }

    /// What Redis answered to a change; nothing where it hears of it when it is back.
    fn said_or_stale(
        &self,
        owner: &Ownership,
        told: Result<reply::Reply, RegistryError>,
    ) -> Result<Option<reply::Reply>, RegistryError> {
        match (told, self.table().owned(owner)) {
            (Err(RegistryError::Unavailable(_)), Some(local)) => {
                local.stale = true;
                Ok(None)
            }
            (told, _) => told.map(Some),
        }
    }
}

fn read_room(reply: &mut reply::Reply) -> Result<RoomView, RegistryError> {
    match reply.word.as_str() {
        "ok" => {}
        word => return Err(refused(word)),
    }
    let version = reply.number()?;
    Ok(RoomView::in_one_frame(reply.members()?, version))
}

fn listing<Id, T>(mut items: Vec<T>, limit: usize, id: impl Fn(&T) -> Id) -> Listing<Id, T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(id) } else { None };
    Listing { items, next }
}

fn write_published(published: &Published) -> String {
    to_json(&(&published.nat, &published.candidates, &published.region))
}

fn read_published(text: &str) -> Result<Published, RegistryError> {
    if text.is_empty() {
        return Ok(Published::default());
    }
    let (nat, candidates, region) = json(text)?;
    Ok(Published { nat, candidates, region })
}

fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("protocol types have string keys and finite numbers")
}

/// What a script's word means for the caller.
fn refused(word: &str) -> RegistryError {
    match word {
        "not_owner" | "unknown" => RegistryError::NotOwner,
        "room_not_found" => RegistryError::RoomNotFound,
        "room_full" => RegistryError::RoomFull,
        "too_many_rooms" => RegistryError::TooManyRooms,
        other => RegistryError::Unavailable(format!("a script of another version said {other}")),
    }
}
