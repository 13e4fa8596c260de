//! Messages on their way out: what waits to be sent, and the stream that it goes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use napi::Result;
use p2p_client::{Connection, Stream};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};

use crate::failure::{closed, parts, usage};
use crate::messages::{HEADER_BYTES, MAX_MESSAGE_BYTES, Message, PREFACE};
use crate::news::News;

/// Bytes to send from which on `send` answers that it is enough.
const HIGH_WATER: usize = 1024 * 1024;
/// Bytes to send at which more is welcome again.
const LOW_WATER: usize = 256 * 1024;
/// Bytes to send that are accepted from a program that does not mind the answer.
const MOST_BUFFERED: usize = 64 * 1024 * 1024;

/// Takes what is to be sent over one connection; a task of its own writes it.
#[derive(Clone)]
pub(crate) struct Outbox {
    outgoing: mpsc::UnboundedSender<Outgoing>,
    buffer: Arc<SendBuffer>,
}

/// What waits to be sent.
#[derive(Default)]
struct SendBuffer {
    bytes: AtomicUsize,
    drain_wanted: AtomicBool,
}

enum Outgoing {
    /// Opens the stream for messages.
    Preface,
    Message(Message),
    Goodbye(String, oneshot::Sender<()>),
}

impl Outbox {
    /// Starts the writing task. Runs on the runtime.
    pub(crate) fn start(connection: Connection, news: Arc<News>) -> Self {
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let buffer = Arc::new(SendBuffer::default());
        tokio::spawn(write(connection, to_send, Arc::clone(&buffer), news));
        Self { outgoing, buffer }
    }

    /// Opens the stream for messages, whether or not there is one to send.
    pub(crate) fn begin(&self) {
        // A writer that is gone has no more to say.
        let _ = self.outgoing.send(Outgoing::Preface);
    }

    /// Queues a message; whether more is welcome.
    pub(crate) fn send(&self, message: Message) -> Result<bool> {
        let len = message.len();
        if len > MAX_MESSAGE_BYTES {
            let fix = "send it in parts, or over a stream: connection.openStream()";
            return Err(usage(
                format!("a message of {len} bytes is too long: at most {MAX_MESSAGE_BYTES}"),
                fix,
            ));
        }
        let bytes = len + HEADER_BYTES;
        let buffered = self.buffer.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let refused = |error| {
            self.buffer.bytes.fetch_sub(bytes, Ordering::AcqRel);
            Err(error)
        };
        if buffered > MOST_BUFFERED {
            let text = format!("{MOST_BUFFERED} bytes wait to be sent and the peer is slower");
            let fix = "when send() returns false, wait for 'drain'";
            return refused(parts("buffer_full", &text, fix));
        }
        let enough = buffered >= HIGH_WATER;
        if enough {
            // Before the message is handed over, so that its own departure finds the wish.
            self.buffer.drain_wanted.store(true, Ordering::Release);
        }
        if self.outgoing.send(Outgoing::Message(message)).is_err() {
            return refused(closed("the connection is closed"));
        }
        Ok(!enough)
    }

    /// Queues a goodbye behind all messages. The receiver resolves when the peer has it, with an
    /// error when there is nobody to tell.
    pub(crate) fn goodbye(&self, reason: String) -> oneshot::Receiver<()> {
        let (done, said) = oneshot::channel();
        // A writer that is gone drops `done`.
        let _ = self.outgoing.send(Outgoing::Goodbye(reason, done));
        said
    }

    /// Bytes that wait to be sent.
    pub(crate) fn buffered(&self) -> usize {
        self.buffer.bytes.load(Ordering::Acquire)
    }
}

/// Writes messages to a stream of their own, opened for the first of them, until the connection or
/// JavaScript's side of it ends.
async fn write(
    connection: Connection,
    mut to_send: mpsc::UnboundedReceiver<Outgoing>,
    buffer: Arc<SendBuffer>,
    news: Arc<News>,
) {
    let mut stream: Option<Stream> = None;
    while let Some(outgoing) = to_send.recv().await {
        let (message, done) = match outgoing {
            Outgoing::Preface => {
                if stream.is_none() {
                    stream = open_for_messages(&connection).await;
                }
                continue;
            }
            Outgoing::Message(message) => (message, None),
            Outgoing::Goodbye(reason, done) => {
                if stream.is_none() && !news.peer_reads_messages.load(Ordering::Acquire) {
                    // Dropping `done` says that there was nothing to wait for.
                    return;
                }
                (Message::Goodbye(reason), Some(done))
            }
        };
        let open = match &mut stream {
            Some(open) => open,
            None => match open_for_messages(&connection).await {
                Some(open) => stream.insert(open),
                None => return,
            },
        };
        let bytes = message.encode();
        if open.write_all(&bytes).await.is_err() {
            return;
        }
        if let Some(done) = done {
            open.finish();
            open.delivered().await;
            // Who asked may have stopped waiting.
            let _ = done.send(());
            return;
        }
        let left = buffer.bytes.fetch_sub(bytes.len(), Ordering::AcqRel) - bytes.len();
        if left <= LOW_WATER && buffer.drain_wanted.swap(false, Ordering::AcqRel) {
            news.tell_drain();
        }
    }
}

async fn open_for_messages(connection: &Connection) -> Option<Stream> {
    let mut stream = connection.open_stream().await.ok()?;
    stream.write_all(&PREFACE).await.ok()?;
    Some(stream)
}
