//! How fast a connection's path is at the moment: data one way, then the other, and pings before and
//! meanwhile.
//!
//! The peer has to allow it ([`Connection::allow_bench`](crate::Connection::allow_bench)): it sends
//! data because somebody asked for it. A bench is a stream of its own kind, so the peer's program
//! does not see it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::error::{Error, ErrorCode};
use crate::ping::Pings;

/// The first byte of a bench's stream.
pub(crate) const KIND: u8 = 0x02;
/// How long data flows one way at the most.
pub const MAX_FLOW: Duration = Duration::from_secs(60);

const UP: u8 = 1;
const DOWN: u8 = 2;
/// Bytes of one write.
const CHUNK: usize = 64 * 1024;
/// Pings before there is any load.
const IDLE_PINGS: usize = 20;
/// Between two pings under load.
const PING_EVERY: Duration = Duration::from_millis(50);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the peer may take to answer, beyond the flow itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BenchReport {
    /// From here to the peer.
    pub up: Flow,
    /// From the peer to here.
    pub down: Flow,
    /// Round trips before the flows.
    pub idle: Latency,
    /// Round trips during both.
    pub loaded: Latency,
}

/// Data in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Bytes that arrived, without QUIC's own.
    pub bytes: u64,
    /// In what time.
    pub took: Duration,
}

impl Flow {
    /// Megabits a second.
    pub fn mbit_per_s(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e6 / self.took.as_secs_f64().max(1e-6)
    }
}

/// Round trips, in order of their length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latency {
    sorted: Vec<Duration>,
    /// Pings without a pong.
    pub lost: usize,
}

impl Latency {
    /// The round trip that this share of them, from 0 to 1, is not longer than. `None` without pongs.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (self.sorted.len() as f64 * share).ceil() as usize;
        self.sorted.get(rank.clamp(1, self.sorted.len().max(1)) - 1).copied()
    }

    /// Pongs.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    fn take(&mut self, ping: &Result<Duration, Error>) {
        match ping {
            Ok(rtt) => {
                let place = self.sorted.partition_point(|other| other <= rtt);
                self.sorted.insert(place, *rtt);
            }
            Err(_) => self.lost += 1,
        }
    }
}

/// Whether this side serves benches on a connection, and whether it does so now.
#[derive(Debug, Default)]
pub(crate) struct Bench {
    allowed: AtomicBool,
    busy: AtomicBool,
}

impl Bench {
    /// From here on benches are served.
    pub(crate) fn allow(&self) {
        self.allowed.store(true, Ordering::Relaxed);
    }

    /// Serves one, if that is allowed and none is under way.
    pub(crate) async fn serve(&self, mut send: SendStream, mut recv: RecvStream) {
        if !self.allowed.load(Ordering::Relaxed) || self.busy.swap(true, Ordering::Relaxed) {
            // Refused, and the asker reads why.
            let _ = send.reset(VarInt::from_u32(1));
            let _ = recv.stop(VarInt::from_u32(1));
            return;
        }
        // A peer that goes away in the middle has no use for an error.
        let _ = timeout(MAX_FLOW + PATIENCE, serve(&mut send, &mut recv)).await;
        // Who reads the end may ask for the other direction at once.
        self.busy.store(false, Ordering::Relaxed);
        let _ = send.finish();
        // Dropped before everything has arrived, the stream would be cut.
        let _ = timeout(PATIENCE, send.stopped()).await;
    }
}

async fn serve(send: &mut SendStream, recv: &mut RecvStream) -> std::io::Result<()> {
    let direction = recv.read_u8().await?;
    let time = Duration::from_millis(recv.read_u32().await?.into()).min(MAX_FLOW);
    if direction == DOWN {
        pour(send, time).await?;
    } else {
        let flow = drain(recv).await?;
        send.write_u64(flow.bytes).await?;
        send.write_u64(u64::try_from(flow.took.as_micros()).unwrap_or(u64::MAX)).await?;
    }
    Ok(())
}

/// Measures for `time` in each direction.
pub(crate) async fn run(
    connection: &Connection,
    pings: &Pings,
    time: Duration,
) -> Result<BenchReport, Error> {
    let time = time.min(MAX_FLOW);
    let mut idle = Latency::default();
    for _ in 0..IDLE_PINGS {
        idle.take(&pings.ping(connection, PING_TIMEOUT).await);
    }
    let mut loaded = Latency::default();
    let up = under_pings(connection, pings, &mut loaded, flow(connection, UP, time)).await?;
    let down = under_pings(connection, pings, &mut loaded, flow(connection, DOWN, time)).await?;
    Ok(BenchReport { up, down, idle, loaded })
}

/// Pings while the flow goes on.
async fn under_pings(
    connection: &Connection,
    pings: &Pings,
    latency: &mut Latency,
    flow: impl Future<Output = Result<Flow, Error>>,
) -> Result<Flow, Error> {
    let mut flow = std::pin::pin!(flow);
    let mut ticks = interval(PING_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ping = async {
            ticks.tick().await;
            pings.ping(connection, PING_TIMEOUT).await
        };
        tokio::select! {
            flow = &mut flow => return flow,
            ping = ping => latency.take(&ping),
        }
    }
}

async fn flow(connection: &Connection, direction: u8, time: Duration) -> Result<Flow, Error> {
    let asked = async {
        let (mut send, mut recv) = connection.open_bi().await?;
        send.write_all(&[KIND, direction]).await?;
        send.write_u32(u32::try_from(time.as_millis()).unwrap_or(u32::MAX)).await?;
        if direction == DOWN {
            return drain(&mut recv).await;
        }
        pour(&mut send, time).await?;
        let _ = send.finish();
        let (bytes, micros) = (recv.read_u64().await?, recv.read_u64().await?);
        Ok(Flow { bytes, took: Duration::from_micros(micros) })
    };
    let answer: Result<std::io::Result<Flow>, _> = timeout(time + PATIENCE, asked).await;
    match answer {
        Ok(Ok(flow)) => Ok(flow),
        Ok(Err(_)) if connection.close_reason().is_none() => Err(Error::new(
            ErrorCode::Usage,
            "the peer does not serve the bench",
            "run `p2p listen` there, of this version, and one bench at a time",
        )),
        Ok(Err(error)) => Err(Error::closed(error.to_string())),
        Err(_) => Err(Error::new(
            ErrorCode::Timeout,
            "the peer does not answer the bench in time",
            "the path may be changing: run it again",
        )),
    }
}

/// Sends for a time.
async fn pour(send: &mut SendStream, time: Duration) -> std::io::Result<()> {
    // Not zeros: somebody between might compress them.
    let chunk = Bytes::from_iter((0..CHUNK).map(|index| ((index * 31) >> 3) as u8));
    let until = Instant::now() + time;
    while Instant::now() < until {
        // A path that stands still must not keep it.
        match tokio::time::timeout_at(until.into(), send.write_chunk(chunk.clone())).await {
            Ok(written) => written?,
            Err(_) => break,
        }
    }
    Ok(())
}

/// Counts what comes, from its first byte on.
async fn drain(recv: &mut RecvStream) -> std::io::Result<Flow> {
    let mut began = None;
    let mut bytes = 0;
    while let Some(chunk) = recv.read_chunk(usize::MAX, true).await? {
        began.get_or_insert_with(Instant::now);
        bytes += chunk.bytes.len() as u64;
    }
    Ok(Flow { bytes, took: began.map_or(Duration::ZERO, |began| began.elapsed()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_came_back() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile(0.5), None);
        for ms in [5, 1, 4, 2, 3] {
            latency.take(&Ok(Duration::from_millis(ms)));
        }
        latency.take(&Err(Error::closed("gone")));
        let quantile = |share| latency.quantile(share).unwrap().as_millis();
        assert_eq!([0.0, 0.5, 0.95, 1.0].map(quantile), [1, 3, 5, 5]);
        assert_eq!((latency.count(), latency.lost), (5, 1));
    }

    #[test]
    fn a_flow_is_told_in_megabits() {
        let flow = Flow { bytes: 1_000_000, took: Duration::from_secs(2) };
        assert_eq!(flow.mbit_per_s(), 4.0);
    }
}
