//! What waits for a peer's acknowledgement, and what the senders are told about it.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use p2p_wire::limits::MAX_INBOX_MESSAGES;
use p2p_wire::server::{ReceiptFrame, ReceiptStatus};
use p2p_wire::{PeerId, RequestId, SessionId};
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

    /// Takes out what is acknowledged by `seq`: mostly it is one. Numbers that were never given are
    /// ignored.
    pub(super) fn acknowledge(&mut self, seq: u64) -> impl Iterator<Item = Arc<Parcel>> + use<> {
        let first = self.entries.pop_front_if(|entry| entry.seq <= seq);
        let count = self.entries.partition_point(|entry| entry.seq <= seq);
        let rest: Vec<_> = self.entries.drain(..count).collect();
        first.into_iter().chain(rest).map(|entry| entry.parcel)
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

    /// Whether it has ever been in an inbox.
    pub(super) fn is_somewhere(&self) -> bool {
        self.receivers.load(Relaxed) > 0
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

    /// What is known by now, of a message that was put into so many inboxes at this moment.
    pub(super) fn status(&self, receivers: usize) -> Sent {
        Sent::Receipt { receivers, status: self.receipt_status(), reason: self.reason() }
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
        ReceiptFrame { id: &self.id, status, reason: reason.as_deref() }.to_text().into()
    }
}

/// The messages that a session sent of late, oldest first, so that one sent again is recognised.
///
/// Each has a hash of its id in a row of their own: to go through so few of these takes less than a
/// map of the ids, most of which are looked for once and never again.
#[derive(Default)]
pub(super) struct SentLog {
    hashes: VecDeque<u32>,
    recent: VecDeque<Arc<Parcel>>,
    hasher: RandomState,
}

/// Where an id belongs in a [`SentLog`].
#[derive(Clone, Copy)]
pub(super) struct LogHash(u32);

impl SentLog {
    pub(super) fn hash(&self, id: &RequestId) -> LogHash {
        LogHash(self.hasher.hash_one(id) as u32)
    }

    pub(super) fn get(&self, hash: LogHash, id: &RequestId) -> Option<&Parcel> {
        let (front, back) = self.hashes.as_slices();
        if !holds(front, hash.0) && !holds(back, hash.0) {
            return None;
        }
        self.recent.iter().rev().find(|parcel| parcel.id == *id).map(|parcel| &**parcel)
    }

    /// Remembers a message that it does not know.
    pub(super) fn insert(&mut self, hash: LogHash, parcel: Arc<Parcel>) {
        // One more than may wait: whoever takes the newest one back has lost none.
        if self.recent.len() > MAX_INBOX_MESSAGES {
            self.hashes.pop_front();
            self.recent.pop_front();
        }
        self.hashes.push_back(hash.0);
        self.recent.push_back(parcel);
    }

    /// Takes back the one that was remembered last.
    pub(super) fn forget_last(&mut self) {
        self.hashes.pop_back();
        self.recent.pop_back();
    }
}

/// Whether one of the hashes is this one. Without a way out of its blocks it compares several at
/// once.
fn holds(hashes: &[u32], hash: u32) -> bool {
    let any = |block: &[u32]| block.iter().fold(false, |found, other| found | (*other == hash));
    let (blocks, rest) = hashes.as_chunks::<32>();
    any(rest) || blocks.iter().any(|block| any(block))
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_wire::Payload;

    fn parcel(id: &str) -> Arc<Parcel> {
        let author = Author { peer: "alice".parse().unwrap(), session: "s".parse().unwrap() };
        let message = Outgoing {
            id: id.parse().unwrap(),
            target: Target::Peer("bob".parse().unwrap()),
            kind: "x".to_owned(),
            payload: Payload::default(),
        };
        Arc::new(Parcel::new(Arc::new(author), &message))
    }

    #[test]
    fn what_was_sent_of_late_is_known_and_what_was_sent_long_ago_is_not() {
        let mut log = SentLog::default();
        let known = |log: &SentLog, number: usize| {
            let id = number.to_string().parse().unwrap();
            log.get(log.hash(&id), &id).is_some()
        };
        for number in 0..1000 {
            assert!(!known(&log, number));
            let parcel = parcel(&number.to_string());
            log.insert(log.hash(&parcel.id), parcel);
            assert!(known(&log, number));
            assert!(known(&log, number.saturating_sub(MAX_INBOX_MESSAGES - 1)));
        }
        log.forget_last();
        assert!(!known(&log, 999));
        assert!((999 - MAX_INBOX_MESSAGES..999).all(|number| known(&log, number)));
        assert!(!known(&log, 0));
    }
}
