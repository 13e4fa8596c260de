//! One connection: messages in and out, the user's streams, the path, the end.
//!
//! ```text
//! accept ── stream ──▶ sort ──▶ messages ──▶ JavaScript     waits where JavaScript is slow, and so
//!                        └────▶ streams  ──▶ JavaScript     does the peer, by QUIC's flow control
//! JavaScript ──▶ outgoing ──▶ write ──▶ the stream for messages
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use napi::bindgen_prelude::{Buffer, PromiseRaw, Uint8Array};
use napi::{Env, Result};
use napi_derive::napi;
use p2p_client::{Connection, Path, PathKind, Stream};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::failure::{closed, parts, thrown, usage};
use crate::lock;
use crate::messages::{self, MAX_MESSAGE_BYTES, Message, Opening, PREFACE};
use crate::stream::NativeStream;

/// Received bytes that wait for JavaScript.
const INBOX_BYTES: usize = 4 * 1024 * 1024;
/// Received messages that wait for JavaScript.
const INBOX_MESSAGES: usize = 1024;
/// Messages that JavaScript is given at once, or as many as have this size together.
const BATCH_MESSAGES: usize = 64;
const BATCH_BYTES: usize = 1024 * 1024;
/// The peer's streams that wait for JavaScript.
const WAITING_STREAMS: usize = 16;
/// The peer's streams whose first bytes are waited for.
const SORTED_AT_ONCE: usize = 256;
/// Bytes to send from which on `send` answers that it is enough.
const HIGH_WATER: usize = 1024 * 1024;
/// Bytes to send at which more is welcome again.
const LOW_WATER: usize = 256 * 1024;
/// How long a peer that has said goodbye has to close the connection.
const GOODBYE_PATIENCE: Duration = Duration::from_millis(250);
/// Bytes to send that are accepted from a program that does not mind the answer.
const MOST_BUFFERED: usize = 64 * 1024 * 1024;

/// A connection.
#[napi]
pub struct NativeConnection {
    /// Gone when JavaScript has let go of it, and with it what the connection holds.
    connection: std::sync::Mutex<Option<Connection>>,
    peer: String,
    attempt: String,
    runtime: Handle,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    buffer: Arc<SendBuffer>,
    inbox: Arc<Mutex<mpsc::Receiver<Received>>>,
    streams: Arc<Mutex<mpsc::Receiver<NativeStream>>>,
    news: Arc<News>,
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

/// A message for JavaScript and its place in the inbox.
struct Received(
    ReceivedMessage,
    #[allow(dead_code, reason = "held, not read")] OwnedSemaphorePermit,
);

/// What has happened since JavaScript asked last. Levels, not a queue: nothing piles up.
#[derive(Default)]
struct News {
    path: AtomicBool,
    drain: AtomicBool,
    closed: std::sync::Mutex<Option<String>>,
    /// Why the peer has said goodbye.
    goodbye: std::sync::Mutex<Option<String>>,
    /// Whether the peer reads messages, so that a goodbye means something to it.
    peer_reads_messages: AtomicBool,
    bell: Notify,
}

/// What has happened to a connection.
#[napi(object, object_from_js = false)]
pub struct ConnectionNews {
    /// The path is another one.
    pub path: bool,
    /// More may be sent again.
    pub drain: bool,
    /// Why the connection has ended; the last news.
    pub closed: Option<String>,
}

/// A received message: one of both.
#[napi(object, object_from_js = false)]
pub struct ReceivedMessage {
    pub binary: Option<Buffer>,
    pub text: Option<String>,
}

/// The path of a connection.
#[napi(object, object_from_js = false)]
pub struct PathInfo {
    pub kind: String,
    pub method: String,
    pub remote: String,
    /// Milliseconds.
    pub rtt: f64,
}

/// What a connection has carried.
#[napi(object, object_from_js = false)]
pub struct ConnectionFigures {
    pub bytes_sent: f64,
    pub bytes_received: f64,
    pub packets_sent: f64,
    pub packets_received: f64,
    pub packets_lost: f64,
    /// Milliseconds.
    pub rtt: f64,
    /// Milliseconds since the attempt began.
    pub age: f64,
    pub buffered: f64,
}

impl NativeConnection {
    /// Takes a connection that was asked for into service. Runs on the runtime.
    pub(crate) fn asked_for(connection: Connection) -> Self {
        Self::new(connection)
    }

    /// Takes a connection that the peer has asked for into service. Runs on the runtime.
    pub(crate) fn accepted(connection: Connection) -> Self {
        let accepted = Self::new(connection);
        // A receiver that is gone belongs to a connection that has ended.
        let _ = accepted.outgoing.send(Outgoing::Preface);
        accepted
    }

    fn new(connection: Connection) -> Self {
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let (received, inbox) = mpsc::channel(INBOX_MESSAGES);
        let (arrived, streams) = mpsc::channel(WAITING_STREAMS);
        let (buffer, news) = (Arc::new(SendBuffer::default()), Arc::new(News::default()));
        let writing = write(connection.clone(), to_send, Arc::clone(&buffer), Arc::clone(&news));
        tokio::spawn(writing);
        let destinations = Destinations {
            inbox: Inbox {
                received,
                space: Arc::new(Semaphore::new(INBOX_BYTES)),
                turn: Arc::new(Mutex::new(())),
            },
            arrived,
            outgoing: outgoing.clone(),
            news: Arc::clone(&news),
        };
        tokio::spawn(accept(connection.clone(), destinations));
        tokio::spawn(watch(connection.clone(), Arc::clone(&news)));
        Self {
            peer: connection.peer().to_string(),
            attempt: connection.attempt().to_string(),
            connection: std::sync::Mutex::new(Some(connection)),
            runtime: Handle::current(),
            outgoing,
            buffer,
            inbox: Arc::new(Mutex::new(inbox)),
            streams: Arc::new(Mutex::new(streams)),
            news,
        }
    }

    fn held(&self) -> Result<Connection> {
        lock(&self.connection).clone().ok_or_else(|| closed("the connection is closed"))
    }

    fn queue(&self, message: Message) -> Result<bool> {
        let len = message.len();
        if len > MAX_MESSAGE_BYTES {
            let fix = "send it in parts, or over a stream: connection.openStream()";
            return Err(usage(
                format!("a message of {len} bytes is too long: at most {MAX_MESSAGE_BYTES}"),
                fix,
            ));
        }
        let bytes = len + messages::HEADER_BYTES;
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
            self.buffer.drain_wanted.store(true, Ordering::Release);
        }
        if self.outgoing.send(Outgoing::Message(message)).is_err() {
            return refused(closed("the connection is closed"));
        }
        Ok(!enough)
    }
}

#[napi]
impl NativeConnection {
    /// The other peer.
    #[napi(getter)]
    pub fn peer(&self) -> String {
        self.peer.clone()
    }

    /// The attempt that it came of.
    #[napi(getter)]
    pub fn attempt(&self) -> String {
        self.attempt.clone()
    }

    /// The path at the moment.
    #[napi]
    pub fn path(&self) -> Option<PathInfo> {
        let connection = self.held().ok()?;
        connection.path().map(|path| info(&path, connection.rtt()))
    }

    /// The verdict so far, as `p2p.v1` has it.
    #[napi]
    pub fn verdict(&self) -> Option<serde_json::Value> {
        self.held().ok()?.verdict().and_then(|report| serde_json::to_value(report).ok())
    }

    /// What it has carried.
    #[napi]
    pub fn stats(&self) -> Result<ConnectionFigures> {
        let stats = self.held()?.stats();
        Ok(ConnectionFigures {
            bytes_sent: stats.bytes_sent as f64,
            bytes_received: stats.bytes_received as f64,
            packets_sent: stats.packets_sent as f64,
            packets_received: stats.packets_received as f64,
            packets_lost: stats.packets_lost as f64,
            rtt: millis(stats.rtt),
            age: millis(stats.age),
            buffered: self.buffer.bytes.load(Ordering::Acquire) as f64,
        })
    }

    /// Queues a binary message; whether more is welcome.
    #[napi]
    pub fn send_binary(&self, bytes: Uint8Array) -> Result<bool> {
        self.queue(Message::Binary(bytes.to_vec()))
    }

    /// Queues a text message; whether more is welcome.
    #[napi]
    pub fn send_text(&self, text: String) -> Result<bool> {
        self.queue(Message::Text(text))
    }

    /// The next messages; `null` when there will be no more.
    #[napi(ts_return_type = "Promise<Array<ReceivedMessage> | null>")]
    pub fn messages<'env>(
        &self,
        env: &'env Env,
    ) -> Result<PromiseRaw<'env, Option<Vec<ReceivedMessage>>>> {
        let inbox = Arc::clone(&self.inbox);
        env.spawn_future(async move {
            let mut inbox = inbox.lock().await;
            let Some(Received(first, _)) = inbox.recv().await else { return Ok(None) };
            let mut bytes = first.len();
            let mut batch = vec![first];
            while batch.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
                let Ok(Received(message, _)) = inbox.try_recv() else { break };
                bytes += message.len();
                batch.push(message);
            }
            Ok(Some(batch))
        })
    }

    /// The next stream of the peer's; `null` when there will be no more.
    #[napi(ts_return_type = "Promise<NativeStream | null>")]
    pub fn next_stream<'env>(
        &self,
        env: &'env Env,
    ) -> Result<PromiseRaw<'env, Option<NativeStream>>> {
        let streams = Arc::clone(&self.streams);
        env.spawn_future(async move { Ok(streams.lock().await.recv().await) })
    }

    /// Opens a stream.
    #[napi(ts_return_type = "Promise<NativeStream>")]
    pub fn open_stream<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, NativeStream>> {
        let connection = self.held()?;
        env.spawn_future(async move {
            let stream = connection.open_stream().await.map_err(|error| thrown(&error))?;
            Ok(NativeStream::new(stream, Vec::new()))
        })
    }

    /// What has happened since this was asked last; waits until something has.
    #[napi(ts_return_type = "Promise<ConnectionNews>")]
    pub fn news<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, ConnectionNews>> {
        let news = Arc::clone(&self.news);
        env.spawn_future(async move { Ok(news.next().await) })
    }

    /// A round trip to the other side's client, in milliseconds.
    #[napi(ts_return_type = "Promise<number>")]
    pub fn ping<'env>(&self, env: &'env Env) -> Result<PromiseRaw<'env, f64>> {
        let connection = self.held()?;
        env.spawn_future(async move {
            connection.ping().await.map(millis).map_err(|error| thrown(&error))
        })
    }

    /// Tells a peer that reads messages why the connection is about to be closed. Resolves when it
    /// has that and all messages before it, or after this many milliseconds.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn goodbye<'env>(
        &self,
        env: &'env Env,
        reason: String,
        within_ms: u32,
    ) -> Result<PromiseRaw<'env, ()>> {
        let (done, said) = oneshot::channel();
        let connection = self.held()?;
        let asked = self.outgoing.send(Outgoing::Goodbye(reason, done)).is_ok();
        env.spawn_future(async move {
            if asked {
                let patience = Duration::from_millis(within_ms.into());
                tokio::select! {
                    _ = timeout(patience, said) => {}
                    _ = connection.closed() => {}
                }
            }
            Ok(())
        })
    }

    /// Closes the connection at once; the peer is told why.
    #[napi]
    pub fn close(&self, reason: String) {
        if let Ok(connection) = self.held() {
            // From a task, QUIC's own task runs next and tells the peer before the client forgets
            // the way to it.
            self.runtime.spawn(async move { connection.close(&reason) });
        }
    }

    /// Lets go of a connection that has ended.
    #[napi]
    pub fn release(&self) {
        lock(&self.connection).take();
    }
}

impl Drop for NativeConnection {
    fn drop(&mut self) {
        // The program's environment is gone, a worker's for example.
        self.close("the program has ended".to_owned());
    }
}

impl News {
    async fn next(&self) -> ConnectionNews {
        loop {
            let news = ConnectionNews {
                path: self.path.swap(false, Ordering::AcqRel),
                drain: self.drain.swap(false, Ordering::AcqRel),
                closed: lock(&self.closed).take(),
            };
            if news.path || news.drain || news.closed.is_some() {
                return news;
            }
            self.bell.notified().await;
        }
    }
}

impl ReceivedMessage {
    fn len(&self) -> usize {
        self.binary.as_ref().map_or(0, |bytes| bytes.len())
            + self.text.as_ref().map_or(0, String::len)
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
            news.drain.store(true, Ordering::Release);
            news.bell.notify_one();
        }
    }
}

async fn open_for_messages(connection: &Connection) -> Option<Stream> {
    let mut stream = connection.open_stream().await.ok()?;
    stream.write_all(&PREFACE).await.ok()?;
    Some(stream)
}

/// Where what a peer sends goes.
#[derive(Clone)]
struct Destinations {
    inbox: Inbox,
    arrived: mpsc::Sender<NativeStream>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    news: Arc<News>,
}

/// Where messages go.
#[derive(Clone)]
struct Inbox {
    received: mpsc::Sender<Received>,
    space: Arc<Semaphore>,
    /// One stream of messages at a time: a second one waits, so that messages keep their order.
    turn: Arc<Mutex<()>>,
}

/// Takes the peer's streams until the connection ends. The inbox closes, and tells JavaScript so,
/// when the last of what came is in it.
async fn accept(connection: Connection, destinations: Destinations) {
    let mut sorting = JoinSet::new();
    while let Ok(stream) = connection.accept_stream().await {
        if sorting.len() >= SORTED_AT_ONCE {
            sorting.join_next().await;
        }
        while sorting.try_join_next().is_some() {}
        sorting.spawn(sort(connection.clone(), stream, destinations.clone()));
    }
    drop(destinations);
    while sorting.join_next().await.is_some() {}
}

/// Finds out what a stream is for. The user gets its own streams, and messages from the others.
async fn sort(connection: Connection, mut stream: Stream, destinations: Destinations) {
    let Destinations { inbox, arrived, outgoing, news } = destinations;
    let ended = match messages::opening(&mut stream).await {
        Err(_) => return,
        Ok(Opening::Own(seen)) => {
            drop(inbox);
            tokio::select! {
                biased;
                _ = arrived.send(NativeStream::new(stream, seen)) => {}
                // There is no place, and after the end there is nobody to make one.
                _ = connection.closed() => {}
            }
            return;
        }
        Ok(Opening::Messages) => {
            news.peer_reads_messages.store(true, Ordering::Release);
            // The peer learns the same of this side; a writer that is gone has no more to say.
            let _ = outgoing.send(Outgoing::Preface);
            drop(outgoing);
            receive(&mut stream, inbox).await
        }
    };
    match ended {
        Ok(Some(reason)) => {
            *lock(&news.goodbye) = Some(reason);
            // The peer waits for the acknowledgement of its goodbye, and closes then.
            if timeout(GOODBYE_PATIENCE, connection.closed()).await.is_err() {
                connection.close("goodbye");
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            connection.close(&error.to_string());
        }
        Ok(None) | Err(_) => {}
    }
}

/// Passes messages on; the reason if the last one is a goodbye.
async fn receive(stream: &mut Stream, inbox: Inbox) -> std::io::Result<Option<String>> {
    let _turn = inbox.turn.lock().await;
    while let Some(message) = messages::read(stream).await? {
        let message = match message {
            Message::Binary(bytes) => ReceivedMessage { binary: Some(bytes.into()), text: None },
            Message::Text(text) => ReceivedMessage { binary: None, text: Some(text) },
            Message::Goodbye(reason) => return Ok(Some(reason)),
        };
        let bytes = message.len().clamp(1, INBOX_BYTES);
        let bytes = u32::try_from(bytes).expect("the inbox has less than 4 GiB");
        let space = Arc::clone(&inbox.space).acquire_many_owned(bytes).await;
        let space = space.expect("the semaphore is never closed");
        if inbox.received.send(Received(message, space)).await.is_err() {
            break;
        }
    }
    Ok(None)
}

/// Tells of changes of the path, and of the end.
async fn watch(connection: Connection, news: Arc<News>) {
    let mut paths = connection.paths();
    let cause = loop {
        tokio::select! {
            end = connection.closed() => break end.cause,
            changed = paths.changed() => match changed {
                Ok(()) => {
                    news.path.store(true, Ordering::Release);
                    news.bell.notify_one();
                }
                // The attempt is over, and so will the connection be in a moment.
                Err(_) => break connection.closed().await.cause,
            }
        }
    };
    let goodbye = lock(&news.goodbye).take();
    let cause = match goodbye {
        Some(reason) if reason.is_empty() => "closed by the other side".to_owned(),
        Some(reason) => format!("closed by the other side: {reason}"),
        None => cause,
    };
    *lock(&news.closed) = Some(cause);
    news.bell.notify_one();
}

fn info(path: &Path, rtt: Duration) -> PathInfo {
    PathInfo {
        kind: match path.kind {
            PathKind::Direct => "direct",
            PathKind::Relay => "relay",
        }
        .to_owned(),
        method: path.method.to_string(),
        remote: path.remote.to_string(),
        rtt: millis(if path.rtt.is_zero() { rtt } else { path.rtt }),
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
