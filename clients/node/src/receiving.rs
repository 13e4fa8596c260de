//! What a peer sends: its streams told apart, and messages on their way to JavaScript.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use p2p_client::{Connection, Stream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::lock;
use crate::messages::{self, Message, Opening};
use crate::news::News;
use crate::sending::Outbox;
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
/// How long a peer that has said goodbye has to close the connection.
const GOODBYE_PATIENCE: Duration = Duration::from_millis(250);

/// What a peer has sent and JavaScript has not fetched.
#[derive(Clone)]
pub(crate) struct Arrivals {
    messages: Arc<Mutex<mpsc::Receiver<Received>>>,
    streams: Arc<Mutex<mpsc::Receiver<NativeStream>>>,
}

impl Arrivals {
    /// Starts the task that takes the peer's streams. Runs on the runtime.
    pub(crate) fn start(connection: Connection, outbox: Outbox, news: Arc<News>) -> Self {
        let (received, messages) = mpsc::channel(INBOX_MESSAGES);
        let (arrived, streams) = mpsc::channel(WAITING_STREAMS);
        let inbox = Inbox {
            received,
            space: Arc::new(Semaphore::new(INBOX_BYTES)),
            turn: Arc::new(Mutex::new(())),
        };
        tokio::spawn(accept(connection, Destinations { inbox, arrived, outbox, news }));
        Self { messages: Arc::new(Mutex::new(messages)), streams: Arc::new(Mutex::new(streams)) }
    }

    /// The next messages; `None` when there will be no more.
    pub(crate) async fn messages(&self) -> Option<Vec<ReceivedMessage>> {
        let mut waiting = self.messages.lock().await;
        let Received(first, _) = waiting.recv().await?;
        let mut bytes = first.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            let Ok(Received(message, _)) = waiting.try_recv() else { break };
            bytes += message.len();
            batch.push(message);
        }
        Some(batch)
    }

    /// The next stream of the peer's own; `None` when there will be no more.
    pub(crate) async fn stream(&self) -> Option<NativeStream> {
        self.streams.lock().await.recv().await
    }
}

/// A message for JavaScript and its place in the inbox.
struct Received(
    ReceivedMessage,
    #[allow(dead_code, reason = "held, not read")] OwnedSemaphorePermit,
);

/// A received message: one of both.
#[napi(object, object_from_js = false)]
pub struct ReceivedMessage {
    pub binary: Option<Buffer>,
    pub text: Option<String>,
}

impl ReceivedMessage {
    fn len(&self) -> usize {
        self.binary.as_ref().map_or(0, |bytes| bytes.len())
            + self.text.as_ref().map_or(0, String::len)
    }
}

/// Where what a peer sends goes.
#[derive(Clone)]
struct Destinations {
    inbox: Inbox,
    arrived: mpsc::Sender<NativeStream>,
    outbox: Outbox,
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
    let Destinations { inbox, arrived, outbox, news } = destinations;
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
            // The peer learns the same of this side.
            outbox.begin();
            drop(outbox);
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
