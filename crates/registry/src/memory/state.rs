//! Everything under the registry's lock: the apps, who may own what, and what is due when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use p2p_wire::client::Resume;
use p2p_wire::server::{PeerState, RoomChange};
use p2p_wire::{AppId, PeerId, SessionId};
use tokio::time::Instant;
use tracing::debug;
use uuid::Uuid;

use super::Settings;
use super::app::App;
use super::inbox::{Author, Inbox, SentLog};
use super::peer::{Peer, Presence};
use crate::claim::{Claim, Claimed, Ownership};
use crate::conflict::ConflictPolicy;
use crate::error::RegistryError;
use crate::link::End;
use crate::secret::SecretHash;
use crate::view::{Counts, Published};

#[derive(Default)]
pub(super) struct State {
    pub(super) apps: BTreeMap<AppId, App>,
    peers: usize,
    last_epoch: u64,
    pub(super) deadlines: BTreeMap<(Instant, u64), Due>,
    last_deadline: u64,
    /// The counters of apps that have no peers left.
    past: Counts,
}

/// What happens at a deadline.
pub(super) enum Due {
    /// A resume window closes, if the epoch is still the same.
    Window { app: AppId, peer: PeerId, epoch: u64 },
    /// Senders to this peer hear `queued`.
    Receipts { app: AppId, peer: PeerId },
}

impl State {
    pub(super) fn app(&mut self, app: &AppId) -> Result<&mut App, RegistryError> {
        self.apps.get_mut(app).ok_or(RegistryError::NotOwner)
    }

    /// Sets a deadline and says whether it is the next one.
    pub(super) fn set_deadline(&mut self, at: Instant, due: Due) -> bool {
        self.last_deadline += 1;
        let key = (at, self.last_deadline);
        self.deadlines.insert(key, due);
        self.deadlines.first_key_value().is_some_and(|(first, _)| *first == key)
    }

    pub(super) fn run_due(&mut self, now: Instant, settings: &Settings) {
        while let Some(entry) = self.deadlines.first_entry() {
            if entry.key().0 > now {
                return;
            }
            match entry.remove() {
                Due::Window { app, peer, epoch } => self.close_window(&app, &peer, epoch),
                Due::Receipts { app, peer } => self.tell_queued(app, peer, now, settings),
            }
        }
    }

    fn close_window(&mut self, app: &AppId, peer: &PeerId, epoch: u64) {
        let Some(there) = self.apps.get_mut(app) else { return };
        let current = there.get(peer).is_some_and(|p| p.epoch == epoch);
        if current {
            there.counts.expired += 1;
            self.remove(app, peer);
            debug!(%app, %peer, "session expired");
        }
    }

    fn tell_queued(&mut self, app: AppId, peer: PeerId, now: Instant, settings: &Settings) {
        let Some(there) = self.apps.get_mut(&app) else { return };
        let before = now.checked_sub(settings.receipt_patience).unwrap_or(now);
        if let Some(next) = there.tell_queued(&peer, before) {
            self.set_deadline(next + settings.receipt_patience, Due::Receipts { app, peer });
        }
    }

    pub(super) fn remove(&mut self, app: &AppId, peer: &PeerId) {
        let Some(there) = self.apps.get_mut(app) else { return };
        there.remove(peer);
        self.peers -= 1;
        if there.is_empty()
            && let Some(gone) = self.apps.remove(app)
        {
            self.past = add(self.past, gone.counts());
        }
    }

    pub(super) fn claim(
        &mut self,
        mut claim: Claim,
        settings: &Settings,
    ) -> Result<Claimed, RegistryError> {
        if claim.resume.is_none() {
            claim.resume = self.standing_session(&claim);
        }
        if let Some(resume) = &claim.resume {
            self.check_resume(&claim.app, &claim.peer, resume)?;
            return self.resume(claim);
        }
        let held = self.apps.get(&claim.app).and_then(|app| app.get(&claim.peer));
        match (held.map(Peer::state), claim.policy(&settings.conflict)) {
            (Some(PeerState::On), ConflictPolicy::Reject) | (Some(_), ConflictPolicy::Resume) => {
                return Err(RegistryError::PeerTaken);
            }
            (Some(_), _) => self.replace(&claim.app, &claim.peer),
            (None, _) if self.peers >= settings.max_peers => {
                return Err(RegistryError::Full(settings.max_peers));
            }
            (None, _) => {}
        }
        Ok(self.register(claim))
    }

    /// The session that a standing secret began, whichever it is.
    fn standing_session(&self, claim: &Claim) -> Option<Resume> {
        let secret = &claim.standing.as_ref()?.secret;
        let held = self.apps.get(&claim.app)?.get(&claim.peer)?;
        let session = held.author.session.clone();
        held.secret.matches(secret).then(|| Resume { session, secret: secret.clone(), last_seq: 0 })
    }

    fn check_resume(
        &self,
        app: &AppId,
        peer: &PeerId,
        resume: &Resume,
    ) -> Result<(), RegistryError> {
        self.apps
            .get(app)
            .and_then(|app| app.get(peer))
            .filter(|held| held.author.session == resume.session)
            .filter(|held| {
                let mut secrets = [Some(held.secret), held.earlier].into_iter().flatten();
                secrets.any(|secret| secret.matches(&resume.secret))
            })
            .map(|_| ())
            .ok_or(RegistryError::SessionExpired)
    }

    /// Ends the session that held the id.
    fn replace(&mut self, app: &AppId, peer: &PeerId) {
        if let Some(there) = self.apps.get_mut(app)
            && let Some(Peer { presence: Presence::On(link), .. }) = there.get_mut(peer)
        {
            link.end(End::Replaced);
            there.counts.replaced += 1;
        }
        self.remove(app, peer);
    }

    /// A new session for an id that nobody holds.
    fn register(&mut self, claim: Claim) -> Claimed {
        let (secret, hash) = claim.secret();
        let ownership = Ownership {
            app: claim.app.clone(),
            peer: claim.peer.clone(),
            epoch: self.next_epoch(),
            session: SessionId::new(Uuid::new_v4().simple().to_string())
                .expect("32 hexadecimal digits are an id"),
        };
        let peer = Peer {
            epoch: ownership.epoch,
            author: Arc::new(Author {
                peer: ownership.peer.clone(),
                session: ownership.session.clone(),
            }),
            secret: hash,
            earlier: None,
            presence: Presence::On(claim.link),
            meta: claim.meta,
            key: claim.key,
            published: Published::default(),
            rooms: BTreeSet::new(),
            inbox: Inbox::default(),
            sent: SentLog::default(),
        };
        self.apps.entry(claim.app).or_default().insert(claim.peer, peer);
        self.peers += 1;
        Claimed { ownership, secret, resumed: false, replay: Vec::new() }
    }

    /// The same session behind another WebSocket. What `last_seq` covers has arrived.
    fn resume(&mut self, claim: Claim) -> Result<Claimed, RegistryError> {
        let epoch = self.next_epoch();
        let last_seq = claim.resume.as_ref().map_or(0, |resume| resume.last_seq);
        let presented = claim.resume.as_ref().map(|resume| SecretHash::of(&resume.secret));
        let app = self.app(&claim.app)?;
        let peer = app.get_mut(&claim.peer).ok_or(RegistryError::SessionExpired)?;
        let (secret, hash) = claim.secret();
        peer.epoch = epoch;
        peer.secret = hash;
        peer.key = claim.key;
        let was_away = match std::mem::replace(&mut peer.presence, Presence::On(claim.link)) {
            Presence::Away => true,
            Presence::On(mut link) => {
                link.end(End::Replaced);
                false
            }
        };
        let ownership = Ownership {
            app: claim.app.clone(),
            peer: claim.peer.clone(),
            epoch,
            session: peer.author.session.clone(),
        };
        let meta_changed = peer.meta != claim.meta;
        peer.meta = claim.meta.clone();
        app.counts.resumed += 1;
        app.counts.replaced += u64::from(!was_away);
        app.ack(&ownership, last_seq)?;
        app.owned(&ownership)?.earlier = presented;
        let replay = app.owned(&ownership)?.inbox.entries().map(|e| e.frame.clone()).collect();
        // The one who comes back hears it too: the versions tell it which rooms changed meanwhile.
        if was_away {
            app.announce(&claim.peer, RoomChange::Back, None);
        }
        if meta_changed {
            app.announce(&claim.peer, RoomChange::Meta, Some(&claim.meta));
        }
        Ok(Claimed { ownership, secret, resumed: true, replay })
    }

    pub(super) fn counts(&self) -> Counts {
        self.apps.values().map(App::counts).fold(self.past, add)
    }

    fn next_epoch(&mut self) -> u64 {
        self.last_epoch += 1;
        self.last_epoch
    }
}

fn add(a: Counts, b: Counts) -> Counts {
    Counts {
        peers_on: a.peers_on + b.peers_on,
        peers_away: a.peers_away + b.peers_away,
        rooms: a.rooms + b.rooms,
        queued_messages: a.queued_messages + b.queued_messages,
        replaced: a.replaced + b.replaced,
        lagging: a.lagging + b.lagging,
        inbox_full: a.inbox_full + b.inbox_full,
        resumed: a.resumed + b.resumed,
        expired: a.expired + b.expired,
    }
}
