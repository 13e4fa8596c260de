//! What waits for a peer's acknowledgement, and what the senders are told about it.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use p2p_wire::limits::MAX_INBOX_MESSAGES;
use p2p_wire::server::{Receipt, ReceiptStatus};
use p2p_wire::{PeerId, RequestId, ServerMessage, SessionId};
use tokio::time::Instant;

use crate::link::Frame;
use crate::send::{Outgoing, Sent, Target};

/// The messages of one session that are not acknowledged, oldest first.
#[derive(Default)]
pub(super) struct Inbox {
    last_seq: u64,
    entries: VecDeque<Entry>,
    /// Whether a deadline for `queued` receipts is set.
    pub(super) armed: bool,
}

pub(super) struct Entry {
    seq: u64,
    pub(super) frame: Frame,
    pub(super) parcel: Arc<Parcel>,
    pub(super) since: Instant,
}

impl Inbox {
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_INBOX_MESSAGES
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Numbers a message and keeps it. The frame is made here because it holds the number.
    pub(super) fn append(
        &mut self,
        message: &Outgoing,
        parcel: Arc<Parcel>,
        now: Instant,
    ) -> Frame {
        self.last_seq += 1;
        let from = &parcel.author.peer;
        let frame = Frame::from(message.frame(self.last_seq, from).to_text());
        self.entries.push_back(Entry {
            seq: self.last_seq,
            frame: frame.clone(),
            parcel,
            since: now,
        });
        frame
    }

    /// Takes out what is acknowledged by `seq`. Numbers that were never given are ignored.
    pub(super) fn acknowledge(&mut self, seq: u64) -> Vec<Arc<Parcel>> {
        let count = self.entries.partition_point(|entry| entry.seq <= seq);
        self.entries.drain(..count).map(|entry| entry.parcel).collect()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn into_parcels(self) -> impl Iterator<Item = Arc<Parcel>> {
        self.entries.into_iter().map(|entry| entry.parcel)
    }
}

/// Who sends: a session of a peer. Shared by all that it sent.
pub(super) struct Author {
    pub(super) peer: PeerId,
    pub(super) session: SessionId,
}

/// One `send`, in one inbox or in those of a whole room. It is decided when every receiver has
/// acknowledged it or is gone.
pub(super) struct Parcel {
    pub(super) author: Arc<Author>,
    id: RequestId,
    to_room: bool,
    receivers: AtomicUsize,
    waiting: AtomicUsize,
    reached: AtomicUsize,
    told_queued: AtomicBool,
}

impl Parcel {
    pub(super) fn new(author: Arc<Author>, message: &Outgoing) -> Self {
        Self {
            author,
            id: message.id.clone(),
            to_room: matches!(message.target, Target::Room(_)),
            receivers: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            reached: AtomicUsize::new(0),
            told_queued: AtomicBool::new(false),
        }
    }

    /// It is in the inboxes of so many of its receivers.
    pub(super) fn await_from(&self, waiting: usize, receivers: usize) {
        self.waiting.store(waiting, Relaxed);
        self.receivers.store(receivers, Relaxed);
    }

    /// One receiver acknowledged it or is gone. The receipt, if that was the last one.
    pub(super) fn settle(&self, reached: bool) -> Option<Frame> {
        if reached {
            self.reached.fetch_add(1, Relaxed);
        }
        (self.waiting.fetch_sub(1, Relaxed) == 1).then(|| self.receipt())
    }

    /// The `queued` receipt, the first time it is asked for.
    pub(super) fn tell_queued(&self) -> Option<Frame> {
        (!self.told_queued.swap(true, Relaxed)).then(|| self.receipt())
    }

    /// What is known by now.
    pub(super) fn status(&self) -> Sent {
        Sent::Receipt { status: self.receipt_status(), reason: self.reason() }
    }

    pub(super) fn receipt_status(&self) -> ReceiptStatus {
        match (self.waiting.load(Relaxed), self.reached.load(Relaxed)) {
            (0, 0) => ReceiptStatus::Gone,
            (0, _) => ReceiptStatus::Delivered,
            _ => ReceiptStatus::Queued,
        }
    }

    /// How many of a room it reached.
    fn reason(&self) -> Option<String> {
        let reached = self.reached.load(Relaxed);
        let receivers = self.receivers.load(Relaxed);
        self.to_room.then(|| format!("{reached} of {receivers} members"))
    }

    fn receipt(&self) -> Frame {
        let (status, reason) = (self.receipt_status(), self.reason());
        ServerMessage::Receipt(Receipt { id: self.id.clone(), status, reason }).to_text().into()
    }
}

/// The messages that a session sent of late, oldest first, so that one sent again is recognised.
///
/// Each has a hash of its id beside it: to go through so few of these takes less than a map of the
/// ids, most of which are looked for once and never again.
#[derive(Default)]
pub(super) struct SentLog {
    recent: VecDeque<(u64, Arc<Parcel>)>,
    hasher: RandomState,
}

impl SentLog {
    pub(super) fn get(&self, id: &RequestId) -> Option<&Parcel> {
        let hash = self.hasher.hash_one(id);
        let of_the_id = |(of, parcel): &&(u64, Arc<Parcel>)| *of == hash && parcel.id == *id;
        self.recent.iter().rev().find(of_the_id).map(|(_, parcel)| &**parcel)
    }

    pub(super) fn insert(&mut self, parcel: Arc<Parcel>) {
        if self.recent.len() >= MAX_INBOX_MESSAGES {
            self.recent.pop_front();
        }
        self.recent.push_back((self.hasher.hash_one(&parcel.id), parcel));
    }
}
