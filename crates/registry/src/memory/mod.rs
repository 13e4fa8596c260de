//! The registry of one instance: maps under one lock, and one task that watches the deadlines.
//!
//! No call waits while it holds the lock, and no call does work that grows with the number of
//! peers, except the counts.

mod app;
mod inbox;
mod peer;
mod receipts;
mod state;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use p2p_wire::limits::RESUME_WINDOW_MS;
use p2p_wire::server::{Member, RoomChange};
use p2p_wire::{AppId, Meta, PeerId, RoomName};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use self::peer::{Peer, Presence};
use self::state::{Due, State};
use crate::claim::{Claim, Claimed, Ownership};
use crate::conflict::Conflicts;
use crate::error::RegistryError;
use crate::link::Frame;
use crate::registry::{Answer, Prompt, Registry};
use crate::send::{Outgoing, Sent};
use crate::view::{Counts, Listing, Page, PeerView, Published, RoomSummary, RoomView};

/// How a registry behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a lost session can be resumed. 30 s.
    pub resume_window: Duration,
    /// How long a connected receiver has to acknowledge before its sender hears `queued`. 2 s.
    pub receipt_patience: Duration,
    /// Who keeps an id that two connections want, by app. The newer one.
    pub conflict: Conflicts,
    /// Peers of all apps together, connected or away. 250,000.
    pub max_peers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resume_window: Duration::from_millis(RESUME_WINDOW_MS),
            receipt_patience: Duration::from_secs(2),
            conflict: Conflicts::default(),
            max_peers: 250_000,
        }
    }
}

/// The registry of a single instance.
pub struct MemoryRegistry {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    state: Mutex<State>,
    /// Wakes the watch when a deadline comes to be the next one, and at the end.
    earlier: Notify,
    closed: AtomicBool,
}

impl MemoryRegistry {
    /// An empty registry and the task that watches its deadlines. The task ends with the registry.
    /// Must be called within a tokio runtime.
    pub fn start(settings: Settings) -> Arc<Self> {
        let shared = Arc::new(Shared {
            settings,
            state: Mutex::default(),
            earlier: Notify::new(),
            closed: AtomicBool::new(false),
        });
        tokio::spawn(watch(shared.clone()));
        Arc::new(Self { shared })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    fn send(&self, owner: &Ownership, message: &Outgoing) -> Result<Sent, RegistryError> {
        let now = Instant::now();
        let mut state = self.lock();
        let (sent, to_arm) = state.app(&owner.app)?.send(owner, message, now)?;
        for peer in to_arm {
            let due = Due::Receipts { app: owner.app.clone(), peer };
            self.set_deadline(&mut state, now + self.shared.settings.receipt_patience, due);
        }
        Ok(sent)
    }

    fn set_deadline(&self, state: &mut State, at: Instant, due: Due) {
        if state.set_deadline(at, due) {
            self.shared.earlier.notify_one();
        }
    }
}

impl Drop for MemoryRegistry {
    fn drop(&mut self) {
        self.shared.closed.store(true, Relaxed);
        self.shared.earlier.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the registry's lock")
    }
}

/// Sleeps until the next deadline and does what is due, for as long as the registry is there.
async fn watch(shared: Arc<Shared>) {
    while !shared.closed.load(Relaxed) {
        let next = shared.lock().deadlines.first_key_value().map(|((at, _), _)| *at);
        match next {
            Some(at) => {
                tokio::select! {
                    () = sleep_until(at) => shared.lock().run_due(Instant::now(), &shared.settings),
                    () = shared.earlier.notified() => {}
                }
            }
            None => shared.earlier.notified().await,
        }
    }
}

impl Registry for MemoryRegistry {
    fn claim(&self, claim: Claim) -> Answer<'_, Claimed> {
        Box::pin(async move { self.lock().claim(claim, &self.shared.settings) })
    }

    fn detach<'a>(&'a self, owner: &'a Ownership) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut state = self.lock();
            let Ok(app) = state.app(&owner.app) else { return Ok(false) };
            let Ok(peer) = app.owned(owner) else { return Ok(false) };
            // Once: its window is open already.
            if matches!(peer.presence, Presence::Away) {
                return Ok(true);
            }
            peer.presence = Presence::Away;
            app.announce(&owner.peer, RoomChange::Away, None);
            // What was on its way is now queued.
            app.tell_queued(&owner.peer, Instant::now());
            let due = Due::Window {
                app: owner.app.clone(),
                peer: owner.peer.clone(),
                epoch: owner.epoch,
            };
            let at = Instant::now() + self.shared.settings.resume_window;
            self.set_deadline(&mut state, at, due);
            Ok(true)
        })
    }

    fn release<'a>(&'a self, owner: &'a Ownership) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut state = self.lock();
            let current = state.app(&owner.app).is_ok_and(|app| app.owned(owner).is_ok());
            if current {
                state.remove(&owner.app, &owner.peer);
            }
            Ok(current)
        })
    }

    fn publish<'a>(&'a self, owner: &'a Ownership, published: Published) -> Answer<'a, ()> {
        Box::pin(async move {
            self.lock().app(&owner.app)?.acting(owner)?.published = published;
            Ok(())
        })
    }

    fn set_meta<'a>(&'a self, owner: &'a Ownership, meta: Meta) -> Answer<'a, usize> {
        Box::pin(async move {
            let mut state = self.lock();
            let app = state.app(&owner.app)?;
            app.acting(owner)?.meta = meta.clone();
            Ok(app.announce(&owner.peer, RoomChange::Meta, Some(&meta)))
        })
    }

    fn join<'a>(
        &'a self,
        owner: &'a Ownership,
        room: RoomName,
        role: Option<String>,
    ) -> Answer<'a, RoomView> {
        Box::pin(async move { self.lock().app(&owner.app)?.join(owner, &room, role) })
    }

    fn leave<'a>(&'a self, owner: &'a Ownership, room: &'a RoomName) -> Answer<'a, ()> {
        Box::pin(async move { self.lock().app(&owner.app)?.leave(owner, room) })
    }

    fn send<'a>(&'a self, owner: &'a Ownership, message: &'a Outgoing) -> Prompt<'a, Sent> {
        Prompt::now(self.send(owner, message))
    }

    fn ack<'a>(&'a self, owner: &'a Ownership, seq: u64) -> Prompt<'a, ()> {
        Prompt::now(self.lock().app(&owner.app).and_then(|app| app.ack(owner, seq)))
    }

    fn signal<'a>(&'a self, app: &'a AppId, peer: &'a PeerId, frame: Frame) -> Answer<'a, bool> {
        Box::pin(async move {
            Ok(self.lock().apps.get_mut(app).is_some_and(|app| app.push(peer, frame)))
        })
    }

    fn peer<'a>(&'a self, app: &'a AppId, peer: &'a PeerId) -> Answer<'a, Option<PeerView>> {
        Box::pin(async move {
            Ok(self.lock().apps.get(app).and_then(|app| app.get(peer)).map(Peer::view))
        })
    }

    fn peers<'a>(
        &'a self,
        app: &'a AppId,
        page: Page<PeerId>,
    ) -> Answer<'a, Listing<PeerId, Member>> {
        Box::pin(async move {
            Ok(self.lock().apps.get(app).map_or_else(Listing::empty, |app| app.peers(&page)))
        })
    }

    fn room<'a>(&'a self, app: &'a AppId, room: &'a RoomName) -> Answer<'a, Option<RoomView>> {
        Box::pin(async move { Ok(self.lock().apps.get(app).and_then(|app| app.room(room))) })
    }

    fn rooms<'a>(
        &'a self,
        app: &'a AppId,
        page: Page<RoomName>,
    ) -> Answer<'a, Listing<RoomName, RoomSummary>> {
        Box::pin(async move {
            Ok(self.lock().apps.get(app).map_or_else(Listing::empty, |app| app.rooms(&page)))
        })
    }

    fn counts(&self) -> Counts {
        let state = self.lock();
        state.counts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conflict::ConflictPolicy;
    use crate::conformance;

    macro_rules! conforms {
        ($($name:ident),* $(,)?) => {$(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                let settings = Settings::default();
                conformance::$name(&*MemoryRegistry::start(settings.clone()), &settings).await;
            }
        )*};
    }

    conformance::suite!(conforms);

    #[tokio::test(start_paused = true)]
    async fn each_policy_holds() {
        for policy in [ConflictPolicy::Takeover, ConflictPolicy::Reject, ConflictPolicy::Resume] {
            let settings = Settings { conflict: policy.into(), ..Settings::default() };
            let registry = MemoryRegistry::start(settings.clone());
            conformance::a_policy_holds(&*registry, &settings, policy).await;
        }
    }

    #[tokio::test]
    async fn i5_the_registry_has_a_bound() {
        let registry = MemoryRegistry::start(Settings { max_peers: 1, ..Settings::default() });
        let _first = conformance::Session::begin(&*registry, "alice").await;
        let refused = conformance::claim(&*registry, "bob").await.unwrap_err();
        assert_eq!(refused, RegistryError::Full(1));
    }

    #[tokio::test]
    async fn the_watch_ends_with_the_registry() {
        let registry = MemoryRegistry::start(Settings::default());
        let shared = Arc::downgrade(&registry.shared);
        tokio::task::yield_now().await;
        drop(registry);
        while shared.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
