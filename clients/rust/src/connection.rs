//! A connection to a peer: encrypted streams over whatever path there is at the moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_traversal::Path;
use p2p_wire::{AttemptId, PeerId, Report};
use tokio::sync::watch;

use crate::bench::{self, BenchReport};
use crate::error::Error;
use crate::incoming::Incoming;
use crate::ping::Pings;
use crate::stream::Stream;

/// How long a pong is waited for.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection. Clones are the same connection; it closes by [`Connection::close`], when the other
/// side closes it, or when nothing has been heard for the idle timeout.
#[derive(Debug, Clone)]
pub struct Connection {
    pub(crate) quic: quinn::Connection,
    pub(crate) attempt: AttemptId,
    pub(crate) peer: PeerId,
    pub(crate) started: Instant,
    pub(crate) path: watch::Receiver<Option<Path>>,
    pub(crate) report: watch::Receiver<Option<Report>>,
    pub(crate) pings: Arc<Pings>,
    pub(crate) incoming: Arc<Incoming>,
}

/// What a connection has carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionStats {
    /// Bytes in sent datagrams, QUIC's own included.
    pub bytes_sent: u64,
    /// Bytes in received datagrams.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub packets_sent: u64,
    /// Datagrams received.
    pub packets_received: u64,
    /// Packets found lost.
    pub packets_lost: u64,
    /// The smoothed round trip.
    pub rtt: Duration,
    /// Since the attempt began.
    pub age: Duration,
}

impl Connection {
    /// The other peer, as the coordinator named it and its key has proven.
    pub fn peer(&self) -> &PeerId {
        &self.peer
    }

    /// The attempt that this connection came of.
    pub fn attempt(&self) -> &AttemptId {
        &self.attempt
    }

    /// The path at the moment; `None` while one is being looked for.
    pub fn path(&self) -> Option<Path> {
        *self.path.borrow()
    }

    /// The path as it changes.
    pub fn paths(&self) -> watch::Receiver<Option<Path>> {
        self.path.clone()
    }

    /// The verdict so far: a relayed connection that turns direct gets a better one.
    pub fn verdict(&self) -> Option<Report> {
        self.report.borrow().clone()
    }

    /// When the attempt began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The smoothed round trip of the connection's packets.
    pub fn rtt(&self) -> Duration {
        self.quic.rtt()
    }

    /// Opens a stream. The other side gets it from [`Connection::accept_stream`].
    pub async fn open_stream(&self) -> Result<Stream, Error> {
        Stream::open(&self.quic).await
    }

    /// Waits for a stream that the other side opens. Several may wait at once, and each stream goes to
    /// one of them. Cancel-safe: whoever stops waiting, in a `select!` for example, loses no stream.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn accept_stream(&self) -> Result<Stream, Error> {
        self.incoming.next(&self.quic).await
    }

    /// Sends a ping and waits up to 5 s for the other side's client to answer.
    pub async fn ping(&self) -> Result<Duration, Error> {
        self.pings.ping(&self.quic, PING_TIMEOUT).await
    }

    /// Measures throughput for `time` in each direction, 60 s at the most, and round trips meanwhile.
    /// The other side has to allow it and to accept streams. Whatever else the connection carries
    /// shares the path with it.
    pub async fn bench(&self, time: Duration) -> Result<BenchReport, Error> {
        bench::run(&self.quic, &self.pings, time).await
    }

    /// Lets the other side measure: this side then sends data, 60 s at a time at the most, because it
    /// is asked to. Served while streams are accepted, one bench at a time.
    pub fn allow_bench(&self) {
        self.incoming.allow_bench();
    }

    /// What the connection has carried.
    pub fn stats(&self) -> ConnectionStats {
        let stats = self.quic.stats();
        ConnectionStats {
            bytes_sent: stats.udp_tx.bytes,
            bytes_received: stats.udp_rx.bytes,
            packets_sent: stats.udp_tx.datagrams,
            packets_received: stats.udp_rx.datagrams,
            packets_lost: stats.path.lost_packets,
            rtt: self.quic.rtt(),
            age: self.started.elapsed(),
        }
    }

    /// Waits for a direct path, for `timeout` at the most.
    pub async fn direct(&self, timeout: Duration) -> Option<Path> {
        let mut paths = self.path.clone();
        let direct = |path: &Option<Path>| {
            path.is_some_and(|path| path.kind == p2p_traversal::PathKind::Direct)
        };
        let found = tokio::time::timeout(timeout, paths.wait_for(direct)).await;
        found.ok()?.ok().and_then(|path| *path)
    }

    /// Waits for the connection's end and says why it ended.
    pub async fn closed(&self) -> Error {
        Error::closed(cause(&self.quic.closed().await))
    }

    /// Closes the connection; the other side is told why. Streams end with an error on both sides.
    pub fn close(&self, reason: &str) {
        self.quic.close(quinn::VarInt::from_u32(0), reason.as_bytes());
    }
}

/// Why a connection has ended, in words.
pub(crate) fn cause(error: &quinn::ConnectionError) -> String {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) if close.reason.is_empty() => {
            "closed by the other side".to_owned()
        }
        quinn::ConnectionError::ApplicationClosed(close) => {
            format!("closed by the other side: {}", String::from_utf8_lossy(&close.reason))
        }
        quinn::ConnectionError::LocallyClosed => "closed here".to_owned(),
        quinn::ConnectionError::TimedOut => "nothing was heard of the peer in time".to_owned(),
        other => other.to_string(),
    }
}
