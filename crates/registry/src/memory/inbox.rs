//! What waits for a peer's acknowledgement, and what the senders are told about it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use p2p_wire::limits::MAX_INBOX_MESSAGES;
use p2p_wire::server::{Message, Receipt, ReceiptStatus};
use p2p_wire::{PeerId, RequestId, RoomName, ServerMessage, SessionId};
use tokio::time::Instant;

use crate::link::Frame;
use crate::send::{Outgoing, Sent};

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
        from: &PeerId,
        room: Option<&RoomName>,
        message: &Outgoing,
        parcel: Arc<Parcel>,
        now: Instant,
    ) -> Frame {
        self.last_seq += 1;
        let text = ServerMessage::Message(Message {
            seq: self.last_seq,
            from: from.clone(),
            kind: message.kind.clone(),
            payload: message.payload.clone(),
            room: room.cloned(),
        })
        .to_text();
        let frame = Frame::from(text);
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

/// One `send`, in one inbox or in those of a whole room. It is decided when every receiver has
/// acknowledged it or is gone.
pub(super) struct Parcel {
    pub(super) sender: PeerId,
    pub(super) session: SessionId,
    id: RequestId,
    to_room: bool,
    receivers: usize,
    waiting: AtomicUsize,
    reached: AtomicUsize,
    told_queued: AtomicBool,
}

impl Parcel {
    pub(super) fn new(
        sender: PeerId,
        session: SessionId,
        message: &Outgoing,
        to_room: bool,
        receivers: usize,
        waiting: usize,
    ) -> Self {
        Self {
            sender,
            session,
            id: message.id.clone(),
            to_room,
            receivers,
            waiting: AtomicUsize::new(waiting),
            reached: AtomicUsize::new(0),
            told_queued: AtomicBool::new(false),
        }
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

    /// The name of that in a receipt, for metrics.
    pub(super) fn status_name(&self) -> &'static str {
        match self.receipt_status() {
            ReceiptStatus::Delivered => "delivered",
            ReceiptStatus::Queued => "queued",
            ReceiptStatus::Gone => "gone",
            ReceiptStatus::Rejected => "rejected",
        }
    }

    fn receipt_status(&self) -> ReceiptStatus {
        match (self.waiting.load(Relaxed), self.reached.load(Relaxed)) {
            (0, 0) => ReceiptStatus::Gone,
            (0, _) => ReceiptStatus::Delivered,
            _ => ReceiptStatus::Queued,
        }
    }

    /// How many of a room it reached.
    fn reason(&self) -> Option<String> {
        let reached = self.reached.load(Relaxed);
        self.to_room.then(|| format!("{reached} of {} members", self.receivers))
    }

    fn receipt(&self) -> Frame {
        let (status, reason) = (self.receipt_status(), self.reason());
        ServerMessage::Receipt(Receipt { id: self.id.clone(), status, reason }).to_text().into()
    }
}

/// The messages that a session sent of late, so that one sent again is recognised.
#[derive(Default)]
pub(super) struct SentLog {
    by_id: HashMap<RequestId, Arc<Parcel>>,
    order: VecDeque<RequestId>,
}

impl SentLog {
    pub(super) fn get(&self, id: &RequestId) -> Option<&Arc<Parcel>> {
        self.by_id.get(id)
    }

    pub(super) fn insert(&mut self, id: RequestId, parcel: Arc<Parcel>) {
        if self.order.len() >= MAX_INBOX_MESSAGES
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.by_id.insert(id, parcel);
    }
}
