//! One connection: messages in and out, the user's streams, the path, the end.
//!
//! ```text
//! the peer ──▶ receiving ──▶ messages ──▶ JavaScript     waits where JavaScript is slow, and so
//!                   └──────▶ streams  ──▶ JavaScript     does the peer, by QUIC's flow control
//! JavaScript ──▶ sending ──▶ the stream for messages ──▶ the peer
//! path, drain, the end ──▶ news ──▶ JavaScript
//! ```

use std::sync::Arc;
use std::time::Duration;

use napi::bindgen_prelude::{PromiseRaw, Uint8Array};
use napi::{Env, Result};
use napi_derive::napi;
use p2p_client::{Connection, Path, PathKind};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::failure::{closed, thrown};
use crate::lock;
use crate::messages::Message;
use crate::news::{ConnectionNews, News, watch};
use crate::receiving::{Arrivals, ReceivedMessage};
use crate::sending::Outbox;
use crate::stream::NativeStream;

/// A connection.
#[napi]
pub struct NativeConnection {
    /// Gone when JavaScript has let go of it, and with it what the connection holds.
    connection: std::sync::Mutex<Option<Connection>>,
    peer: String,
    attempt: String,
    runtime: Handle,
    outbox: Outbox,
    arrivals: Arrivals,
    news: Arc<News>,
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
        accepted.outbox.begin();
        accepted
    }

    fn new(connection: Connection) -> Self {
        let news = Arc::new(News::default());
        let outbox = Outbox::start(connection.clone(), Arc::clone(&news));
        let arrivals = Arrivals::start(connection.clone(), outbox.clone(), Arc::clone(&news));
        tokio::spawn(watch(connection.clone(), Arc::clone(&news)));
        Self {
            peer: connection.peer().to_string(),
            attempt: connection.attempt().to_string(),
            connection: std::sync::Mutex::new(Some(connection)),
            runtime: Handle::current(),
            outbox,
            arrivals,
            news,
        }
    }

    fn held(&self) -> Result<Connection> {
        lock(&self.connection).clone().ok_or_else(|| closed("the connection is closed"))
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
            buffered: self.outbox.buffered() as f64,
        })
    }

    /// Queues a binary message; whether more is welcome.
    #[napi]
    pub fn send_binary(&self, bytes: Uint8Array) -> Result<bool> {
        self.outbox.send(Message::Binary(bytes.to_vec()))
    }

    /// Queues a text message; whether more is welcome.
    #[napi]
    pub fn send_text(&self, text: String) -> Result<bool> {
        self.outbox.send(Message::Text(text))
    }

    /// The next messages; `null` when there will be no more.
    #[napi(ts_return_type = "Promise<Array<ReceivedMessage> | null>")]
    pub fn messages<'env>(
        &self,
        env: &'env Env,
    ) -> Result<PromiseRaw<'env, Option<Vec<ReceivedMessage>>>> {
        let arrivals = self.arrivals.clone();
        env.spawn_future(async move { Ok(arrivals.messages().await) })
    }

    /// The next stream of the peer's; `null` when there will be no more.
    #[napi(ts_return_type = "Promise<NativeStream | null>")]
    pub fn next_stream<'env>(
        &self,
        env: &'env Env,
    ) -> Result<PromiseRaw<'env, Option<NativeStream>>> {
        let arrivals = self.arrivals.clone();
        env.spawn_future(async move { Ok(arrivals.stream().await) })
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
        let connection = self.held()?;
        let said = self.outbox.goodbye(reason);
        env.spawn_future(async move {
            let patience = Duration::from_millis(within_ms.into());
            tokio::select! {
                _ = timeout(patience, said) => {}
                _ = connection.closed() => {}
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
