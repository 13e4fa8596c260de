//! Between signaling and the store (invariant I7): a bounded queue and one task that writes batches,
//! into the store itself or into the stream that leads there.
//!
//! Handing over a record never waits. What the queue has no place for, and what the store refuses
//! for good, is counted and named. While the store is away the writer keeps its batch and tries
//! again, and the queue fills; nothing else is lost before the queue is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use p2p_telemetry::metrics::{RECORDER_DROPPED, RECORDER_QUEUE, RECORDER_WRITTEN};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::error::StatsError;
use crate::event::Event;
use crate::network::AddressDetail;
use crate::outage::Outage;
use crate::store::Store;
use crate::stream::{Appended, Stream};

/// The most records that one transaction takes.
const BATCH: usize = 256;
/// How often a batch is tried again while the store is busy. With the pauses between, about 6 s on
/// top of the store's own wait for its lock.
const RETRIES: u32 = 6;
/// The first pause before a retry; each next one doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause: how much later than the store itself the recorder is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a store may stay away while the recorder shuts down.
const LAST_PATIENCE: Duration = Duration::from_secs(6);

/// Where records are handed over. Clones share one queue; the writer ends when all are dropped and
/// the queue is empty.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Command>,
    counts: Arc<Counts>,
    addresses: AddressDetail,
    stream: Option<Arc<Stream>>,
    /// Tells the writer that its time is limited, past a queue that may be full.
    stopping: Arc<watch::Sender<bool>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("queued", &self.queued()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
}

enum Command {
    Record(Box<Event>),
    Flush(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

impl Recorder {
    /// Starts the writer; at most `capacity` records wait for it. Must be called within a Tokio
    /// runtime.
    pub fn new(store: Arc<dyn Store>, capacity: usize) -> Self {
        Self::into(Sink::Store(store), Outage::none(), capacity)
    }

    /// The same, into a stream, from which others write into the store.
    pub fn to_stream(stream: Arc<Stream>, capacity: usize) -> Self {
        let mut recorder =
            Self::into(Sink::Stream(stream.clone()), Outage::none_before_the_database(), capacity);
        recorder.stream = Some(stream);
        recorder
    }

    fn into(sink: Sink, outage: Outage, capacity: usize) -> Self {
        let (queue, commands) = mpsc::channel(capacity.max(1));
        let counts = Arc::new(Counts::default());
        let (stopping, watched) = watch::channel(false);
        let writer = Writer {
            sink,
            commands,
            counts: Arc::clone(&counts),
            stopping: watched,
            give_up_at: None,
            outage,
        };
        tokio::spawn(writer.run());
        let addresses = AddressDetail::default();
        Self { queue, counts, addresses, stream: None, stopping: Arc::new(stopping) }
    }

    /// A handle of the same recorder that keeps no more of addresses than this.
    #[must_use]
    pub fn with_addresses(mut self, detail: AddressDetail) -> Self {
        self.addresses = detail;
        self
    }

    /// Hands over a record. Never waits: where the queue is full, or the recorder has shut down, the
    /// record is dropped and counted.
    pub fn record(&self, record: impl Into<Event>) {
        let event = record.into().with_addresses(self.addresses);
        let reason = match self.queue.try_send(Command::Record(Box::new(event))) {
            Ok(()) => return RECORDER_QUEUE.get().set(self.queued() as f64),
            Err(TrySendError::Full(_)) => "queue_full",
            Err(TrySendError::Closed(_)) => "stopped",
        };
        self.counts.lose(1, reason);
    }

    /// Resolves when every record handed over before is written or counted as dropped. Where the
    /// store is away, that is when it is back.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Command::Flush(done)).await.is_ok() {
            // An error means that the writer is gone, and it leaves nothing behind.
            let _ = flushed.await;
        }
    }

    /// Writes what waits and stops; records that come later are dropped and counted. So is what a
    /// store that is away does not take within seconds.
    pub async fn shutdown(&self) {
        self.stopping.send_replace(true);
        let (done, stopped) = oneshot::channel();
        if self.queue.send(Command::Stop(done)).await.is_ok() {
            let _ = stopped.await;
        }
    }

    /// Records that were not kept, since the start.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Relaxed)
    }

    /// Records written to the store or to the stream, since the start.
    pub fn written(&self) -> u64 {
        self.counts.written.load(Relaxed)
    }

    /// The stream that records go to, where they do not go straight to the store.
    pub fn stream(&self) -> Option<&Stream> {
        self.stream.as_deref()
    }

    /// Records that wait in this process.
    pub fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

impl Counts {
    fn lose(&self, records: u64, reason: &'static str) {
        self.dropped.fetch_add(records, Relaxed);
        RECORDER_DROPPED.with([reason]).increment(records);
    }
}

/// Where records go.
enum Sink {
    Store(Arc<dyn Store>),
    Stream(Arc<Stream>),
}

impl Sink {
    /// Takes events in, and says for how many there was no room.
    async fn take(&self, events: &[Event]) -> Result<Appended, StatsError> {
        match self {
            Self::Store(store) => store.record_events(events).await.map(|()| Appended::Refused(0)),
            Self::Stream(stream) => stream.append(events).await,
        }
    }
}

struct Writer {
    sink: Sink,
    commands: mpsc::Receiver<Command>,
    counts: Arc<Counts>,
    stopping: watch::Receiver<bool>,
    /// When a store that is away is given up, once the recorder stops.
    give_up_at: Option<Instant>,
    outage: Outage,
}

impl Writer {
    async fn run(mut self) {
        let mut commands = Vec::with_capacity(BATCH);
        let mut records = Vec::with_capacity(BATCH);
        let mut stopping = Vec::new();
        while self.commands.recv_many(&mut commands, BATCH).await > 0 {
            RECORDER_QUEUE.get().set(self.commands.len() as f64);
            for command in commands.drain(..) {
                match command {
                    Command::Record(record) => records.push(*record),
                    Command::Flush(done) => {
                        self.write(&mut records).await;
                        let _ = done.send(());
                    }
                    Command::Stop(done) => {
                        // What is in the queue still comes out; nothing new gets in.
                        self.commands.close();
                        stopping.push(done);
                    }
                }
            }
            self.write(&mut records).await;
        }
        for done in stopping {
            let _ = done.send(());
        }
    }

    /// Writes a batch and leaves it empty. A batch that the store refuses is written one by one, so
    /// that one bad record does not take the others with it.
    async fn write(&mut self, records: &mut Vec<Event>) {
        if records.is_empty() {
            return;
        }
        if self.outage.is_on() && self.is_out_of_patience() {
            self.give_up(records.len(), &StatsError::Away(sqlx::Error::PoolTimedOut));
            return records.clear();
        }
        match self.try_write(records).await {
            Ok(appended) => self.count(records.len(), appended),
            Err(error) if error.is_transient() || records.len() == 1 => {
                self.give_up(records.len(), &error);
            }
            Err(_) => {
                for record in records.iter() {
                    match self.try_write(std::slice::from_ref(record)).await {
                        Ok(appended) => self.count(1, appended),
                        Err(error) => self.give_up(1, &error),
                    }
                }
            }
        }
        records.clear();
    }

    async fn try_write(&mut self, records: &[Event]) -> Result<Appended, StatsError> {
        let mut pause = FIRST_PAUSE;
        let mut retries = 0;
        loop {
            let error = match self.sink.take(records).await {
                Err(error) if error.is_transient() => error,
                result => {
                    self.back();
                    return result;
                }
            };
            if error.is_away() {
                self.gone(&error);
                if self.is_out_of_patience() {
                    return Err(error);
                }
            } else if retries == RETRIES {
                return Err(error);
            } else {
                retries += 1;
                tracing::debug!(%error, "the statistics store is busy; trying again");
            }
            self.rest(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits for a while, and not on when the recorder begins to stop.
    async fn rest(&mut self, pause: Duration) {
        if self.give_up_at.is_some() {
            return tokio::time::sleep(pause).await;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // An error means that every recorder is dropped: that is the end as well.
            _ = self.stopping.wait_for(|stopping| *stopping) => {
                self.give_up_at = Some(Instant::now() + LAST_PATIENCE);
            }
        }
    }

    /// Whether the recorder stops and has waited for an absent store as long as it does.
    fn is_out_of_patience(&self) -> bool {
        self.give_up_at.is_some_and(|end| Instant::now() >= end)
    }

    fn gone(&mut self, error: &StatsError) {
        if self.outage.gone() {
            tracing::warn!(
                code = error.code(),
                fix = error.fix(),
                "statistics wait in memory: {error}"
            );
        }
    }

    fn back(&mut self) {
        if self.outage.over() {
            tracing::info!(waiting = self.commands.len(), "statistics are written again");
        }
    }

    fn count(&self, records: usize, appended: Appended) {
        let refused = match appended {
            Appended::Refused(refused) => refused,
            Appended::Unread => {
                self.counts.lose(records as u64, "no_writer");
                return tracing::debug!(records, "no instance keeps statistics in a database");
            }
        };
        let written = records as u64 - refused;
        self.counts.written.fetch_add(written, Relaxed);
        if refused > 0 {
            self.counts.lose(refused, "stream_full");
            tracing::warn!(refused, "statistics lost: the stream is full");
        }
        // What is in the stream is counted by whoever writes it into the store.
        if matches!(self.sink, Sink::Store(_)) {
            RECORDER_WRITTEN.get().increment(written);
        }
    }

    fn give_up(&self, records: usize, error: &StatsError) {
        self.counts.lose(records as u64, "store");
        tracing::warn!(records, code = error.code(), fix = error.fix(), "statistics lost: {error}");
    }
}
