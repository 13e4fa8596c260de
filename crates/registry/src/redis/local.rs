//! The sessions that this instance serves: their links, and what it must be able to say again when
//! Redis has lost it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use p2p_telemetry::metrics::SIGNALING_RECEIPTS;
use p2p_wire::limits::MAX_INBOX_MESSAGES;
use p2p_wire::server::{PeerState, ReceiptStatus};
use p2p_wire::{AppId, Meta, PeerId, PeerKey, RequestId, RoomName, SessionId};
use tokio::time::Instant;

use super::awaiting::Awaiting;
use super::event::{Event, Mail};
use crate::claim::Ownership;
use crate::link::{End, Frame, Link, NotPushed};
use crate::secret::SecretHash;
use crate::view::{Counts, PeerView, Published};

pub(super) type Key = (AppId, PeerId);

/// Events kept for a peer while its claim is on its way. More are fetched from its inbox.
const MAX_EARLY: usize = 2 * MAX_INBOX_MESSAGES;

/// How far apart the numbers of messages are that pass Redis by. Redis counts by one, so that the
/// lower part of such a number says how much of the inbox came before it, and whoever presents the
/// number later has seen that much and no more. (`ROUND` of the scripts.)
pub(super) const ROUND: u64 = 1 << 32;

/// A session served here.
pub(super) struct Local {
    pub(super) owner: Ownership,
    pub(super) link: Link,
    pub(super) secret: SecretHash,
    pub(super) meta: Meta,
    pub(super) key: Option<PeerKey>,
    pub(super) published: Published,
    /// Role, and the version of the last event of it.
    pub(super) rooms: BTreeMap<RoomName, (Option<String>, u64)>,
    /// The number of the last message given to the link.
    pub(super) last: u64,
    /// The number of the last of those that came from Redis.
    pub(super) synced: u64,
    /// What the client has acknowledged.
    pub(super) acked: u64,
    /// What it has not acknowledged, or Redis has not heard that it has.
    pub(super) inbox: VecDeque<Held>,
    /// What it acknowledged of late of what came from Redis, oldest first: a Redis that went back to
    /// older data gives the same numbers to other messages.
    pub(super) settled: VecDeque<(u64, SessionId, RequestId)>,
    /// What was passed to it past Redis, so that what was on its way to Redis all the same is known.
    pub(super) here: VecDeque<(SessionId, RequestId)>,
    /// What it sent while Redis was away.
    pub(super) sent: VecDeque<(RequestId, ReceiptStatus)>,
    /// Before then, what it sends may be a repetition that only Redis can tell: it said it before at
    /// another connection.
    pub(super) repeats_until: Option<Instant>,
    /// What it has put into inboxes, without a final receipt yet.
    pub(super) awaiting: Awaiting,
    /// Redis has not heard of a change.
    pub(super) stale: bool,
    /// Messages are being fetched; `true` where more came meanwhile.
    pub(super) fetching: Option<bool>,
}

/// A message that was given to a link.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) seq: u64,
    pub(super) mail: Mail,
    /// It never was in Redis.
    pub(super) here_only: bool,
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) sessions: HashMap<Key, Local>,
    claims: HashMap<Key, Claiming>,
    away: HashMap<Key, Instant>,
    pub(super) counts: Counts,
}

/// A claim on its way, and the events that overtook its answer.
#[derive(Default)]
struct Claiming {
    claims: usize,
    early: VecDeque<Early>,
}

enum Early {
    Frame(u64, Frame),
    Message(u64, u64, Mail),
    Replaced(u64),
}

impl Early {
    fn epoch(&self) -> u64 {
        match self {
            Self::Frame(epoch, _) | Self::Message(epoch, ..) | Self::Replaced(epoch) => *epoch,
        }
    }
}

impl Table {
    pub(super) fn begin_claim(&mut self, key: Key) {
        self.claims.entry(key).or_default().claims += 1;
    }

    pub(super) fn end_claim(&mut self, key: &Key) {
        if let Some(claiming) = self.claims.get_mut(key) {
            claiming.claims -= 1;
            if claiming.claims == 0 {
                self.claims.remove(key);
            }
        }
    }

    pub(super) fn is_claiming(&self, key: &Key) -> bool {
        self.claims.contains_key(key)
    }

    /// Begins to serve a session. What came before goes to its link first. Says whether messages
    /// must be fetched.
    pub(super) fn register(&mut self, key: &Key, mut local: Local) -> bool {
        self.away.remove(key);
        let epoch = local.owner.epoch;
        if let Some(other) = self.sessions.get_mut(key) {
            if other.owner.epoch > epoch {
                local.link.end(End::Replaced);
                return false;
            }
            other.link.end(End::Replaced);
            self.counts.replaced += 1;
        }
        if let Some(older) = self.sessions.insert(key.clone(), local) {
            self.lose_here(older);
        }
        let early = match self.claims.get_mut(key) {
            Some(claiming) => std::mem::take(&mut claiming.early),
            None => VecDeque::new(),
        };
        let mut fetch = false;
        let (mine, others): (VecDeque<_>, _) =
            early.into_iter().partition(|event| event.epoch() == epoch);
        if let Some(claiming) = self.claims.get_mut(key) {
            claiming.early = others;
        }
        for event in mine {
            match event {
                Early::Frame(_, frame) => self.push(key, epoch, frame),
                Early::Message(_, seq, mail) => fetch |= self.deliver(key, epoch, seq, mail),
                Early::Replaced(_) => self.replaced(key, epoch),
            }
        }
        fetch
    }

    /// Takes an event in. Names the sessions that must fetch messages.
    pub(super) fn take_in(&mut self, event: Event<'_>) -> Vec<Ownership> {
        let mut fetch = Vec::new();
        match event {
            Event::Frame { app, room, to, frame } => {
                let frame = Frame::from(frame);
                for (peer, epoch) in to {
                    let key = (app.clone(), peer);
                    if let Some((room, version)) = &room
                        && let Some(local) = self.sessions.get_mut(&key)
                        && let Some((_, seen)) = local.rooms.get_mut(room)
                    {
                        *seen = (*seen).max(*version);
                    }
                    self.push(&key, epoch, frame.clone());
                }
            }
            Event::Message { app, to, mail } => {
                for (peer, epoch, seq) in to {
                    let key = (app.clone(), peer);
                    if self.deliver(&key, epoch, seq, mail.clone())
                        && let Some(local) = self.sessions.get(&key)
                    {
                        fetch.push(local.owner.clone());
                    }
                }
            }
            Event::Receipt { app, to: (peer, epoch), id, status, frame } => {
                SIGNALING_RECEIPTS.with([receipt_name(status)]).increment(1);
                let key = (app, peer);
                if status != "queued"
                    && let Some(local) = self.sessions.get_mut(&key)
                {
                    local.awaiting.end(&id);
                }
                self.push(&key, epoch, frame.into());
            }
            Event::Replaced { app, peer, epoch } => self.replaced(&(app, peer), epoch),
            Event::Side { .. } | Event::Probe(..) | Event::AreYouThere | Event::PassedOn(_) => {}
        }
        fetch
    }

    /// The session, if it is served here under this ownership.
    pub(super) fn owned(&mut self, owner: &Ownership) -> Option<&mut Local> {
        let key = (owner.app.clone(), owner.peer.clone());
        self.sessions.get_mut(&key).filter(|local| local.owner.epoch == owner.epoch)
    }

    /// Ends to serve a session.
    pub(super) fn forget(&mut self, owner: &Ownership) -> Option<Local> {
        self.owned(owner)?;
        self.sessions.remove(&(owner.app.clone(), owner.peer.clone()))
    }

    /// Counts a session as away until its window closes or it comes back here.
    pub(super) fn went_away(&mut self, owner: &Ownership, until: Instant, most: usize) {
        if self.away.len() >= most {
            let now = Instant::now();
            self.away.retain(|_, until| *until > now);
        }
        if self.away.len() < most {
            self.away.insert((owner.app.clone(), owner.peer.clone()), until);
        }
    }

    fn replaced(&mut self, key: &Key, epoch: u64) {
        match self.sessions.get_mut(key) {
            Some(local) if local.owner.epoch == epoch => {
                local.link.end(End::Replaced);
                self.counts.replaced += 1;
                if let Some(local) = self.sessions.remove(key) {
                    self.lose_here(local);
                }
            }
            _ => self.keep_early(key, Early::Replaced(epoch)),
        }
    }

    /// Hands a frame to a session.
    pub(super) fn push(&mut self, key: &Key, epoch: u64, frame: Frame) {
        match self.sessions.get_mut(key) {
            Some(local) if local.owner.epoch == epoch => {
                if local.link.push(frame) == Err(NotPushed::Overflow) {
                    self.counts.lagging += 1;
                }
            }
            _ => self.keep_early(key, Early::Frame(epoch, frame)),
        }
    }

    /// A receiver of this instance has a message.
    fn is_seen(&mut self, app: &AppId, from: &PeerId, session: &SessionId, id: &RequestId) {
        let sender = self.sessions.get_mut(&(app.clone(), from.clone()));
        if let Some(sender) = sender.filter(|sender| sender.owner.session == *session) {
            sender.awaiting.is_seen(id);
        }
    }

    /// Hands a message to a session, in its turn. Says whether earlier ones must be fetched first.
    pub(super) fn deliver(&mut self, key: &Key, epoch: u64, seq: u64, mail: Mail) -> bool {
        match self.sessions.get_mut(key) {
            Some(local) if local.owner.epoch == epoch => {
                if local.is_ahead() {
                    local.stale = true;
                    return false;
                }
                if let Some(more) = &mut local.fetching {
                    *more = true;
                    return false;
                }
                if seq > local.last + 1 {
                    local.fetching = Some(false);
                    return true;
                }
                if seq == local.last + 1 {
                    let Mail { from, session, id, .. } = mail.clone();
                    if local.give(seq, mail) == Err(NotPushed::Overflow) {
                        self.counts.lagging += 1;
                    }
                    self.is_seen(&key.0, &from, &session, &id);
                }
                false
            }
            _ => {
                self.keep_early(key, Early::Message(epoch, seq, mail));
                false
            }
        }
    }

    fn keep_early(&mut self, key: &Key, event: Early) {
        if let Some(claiming) = self.claims.get_mut(key)
            && claiming.early.len() < MAX_EARLY
        {
            claiming.early.push_back(event);
        }
    }

    /// Takes in what was fetched. Says whether to fetch again.
    pub(super) fn fetched(&mut self, owner: &Ownership, mail: Vec<(u64, Mail)>) -> bool {
        let Some(local) = self.owned(owner) else { return false };
        let more = local.fetching.take() == Some(true);
        if local.is_ahead() {
            local.stale = true;
            return false;
        }
        let mut overflow = 0;
        let mut seen = Vec::with_capacity(mail.len());
        for (seq, mail) in mail {
            // A number that is left out was rejected or trimmed; the inbox has no others.
            if seq > local.last {
                seen.push((mail.from.clone(), mail.session.clone(), mail.id.clone()));
                overflow += u64::from(local.give(seq, mail) == Err(NotPushed::Overflow));
            }
        }
        if more {
            local.fetching = Some(false);
        }
        self.counts.lagging += overflow;
        for (from, session, id) in seen {
            self.is_seen(&owner.app, &from, &session, &id);
        }
        more
    }

    pub(super) fn counts(&self) -> Counts {
        let now = Instant::now();
        let rooms: std::collections::HashSet<_> = self
            .sessions
            .iter()
            .flat_map(|((app, _), local)| local.rooms.keys().map(move |room| (app, room)))
            .collect();
        Counts {
            peers_on: self.sessions.len(),
            peers_away: self.away.values().filter(|until| **until > now).count(),
            rooms: rooms.len(),
            queued_messages: self.sessions.values().map(|local| local.inbox.len()).sum(),
            ..self.counts
        }
    }
}

impl Local {
    pub(super) fn new(owner: Ownership, link: Link, secret: SecretHash) -> Self {
        Self {
            owner,
            link,
            secret,
            meta: Meta::default(),
            key: None,
            published: Published::default(),
            rooms: BTreeMap::new(),
            last: 0,
            synced: 0,
            acked: 0,
            inbox: VecDeque::new(),
            settled: VecDeque::new(),
            here: VecDeque::new(),
            sent: VecDeque::new(),
            repeats_until: None,
            awaiting: Awaiting::default(),
            stale: false,
            fetching: None,
        }
    }

    /// Gives a message of the inbox to the link.
    pub(super) fn give(&mut self, seq: u64, mail: Mail) -> Result<(), NotPushed> {
        let frame = Held::frame(seq, &mail);
        self.hold(seq, mail);
        self.link.push(frame)
    }

    /// Remembers a message that is in the inbox.
    pub(super) fn hold(&mut self, seq: u64, mail: Mail) {
        self.last = seq;
        self.synced = seq;
        self.inbox.push_back(Held { seq, mail, here_only: false });
    }

    /// Whether it has numbers that Redis does not know. Then Redis may mean something else by the
    /// same ones, until it has heard of them and has given its own new numbers.
    pub(super) fn is_ahead(&self) -> bool {
        self.last > self.synced
    }

    /// Forgets what Redis knows to be acknowledged.
    pub(super) fn acknowledged(&mut self, seq: u64) {
        self.acked = self.acked.max(seq.min(self.last));
        while let Some(held) = self.inbox.pop_front_if(|held| held.seq <= self.acked) {
            if held.here_only {
                continue;
            }
            if self.settled.len() >= MAX_INBOX_MESSAGES {
                self.settled.pop_front();
            }
            self.settled.push_back((held.seq, held.mail.session, held.mail.id));
        }
    }

    pub(super) fn view(&self) -> PeerView {
        PeerView {
            state: PeerState::On,
            meta: self.meta.clone(),
            key: self.key.clone(),
            published: self.published.clone(),
        }
    }
}

impl Held {
    pub(super) fn frame(seq: u64, mail: &Mail) -> Frame {
        format!("{{\"type\":\"message\",\"seq\":{seq}{}", mail.rest).into()
    }
}

fn receipt_name(status: &str) -> &'static str {
    match status {
        "delivered" => "delivered",
        "queued" => "queued",
        "gone" => "gone",
        _ => "rejected",
    }
}

pub(super) fn status_name(status: ReceiptStatus) -> &'static str {
    match status {
        ReceiptStatus::Delivered => "delivered",
        ReceiptStatus::Queued => "queued",
        ReceiptStatus::Gone => "gone",
        ReceiptStatus::Rejected => "rejected",
    }
}
