//! Pings over a connection: QUIC datagrams that the other side's client answers by itself, so a
//! pong tells the path's round trip and not the application's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::oneshot;

use crate::error::{Error, ErrorCode};

const PING: u8 = 0x01;
const PONG: u8 = 0x02;
/// Pings that may be under way at once.
const MAX_WAITING: usize = 1024;

/// The pings of one connection that wait for their pong.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    waiting: Mutex<HashMap<u64, (Instant, oneshot::Sender<Duration>)>>,
}

impl Pings {
    /// Sends one ping and waits for its pong, for `timeout` at the most.
    pub(crate) async fn ping(
        &self,
        connection: &quinn::Connection,
        timeout: Duration,
    ) -> Result<Duration, Error> {
        let (reply, pong) = oneshot::channel();
        let nonce: u64 = rand::random();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.retain(|_, (_, reply)| !reply.is_closed());
            if waiting.len() >= MAX_WAITING {
                let fix = "wait for pongs before sending more pings";
                return Err(Error::new(ErrorCode::Usage, "too many pings are under way", fix));
            }
            waiting.insert(nonce, (Instant::now(), reply));
        }
        connection
            .send_datagram(frame(PING, nonce))
            .map_err(|error| Error::closed(error.to_string()))?;
        match tokio::time::timeout(timeout, pong).await {
            Ok(Ok(rtt)) => Ok(rtt),
            Ok(Err(_)) => Err(Error::closed("the connection has ended")),
            Err(_) => Err(Error::new(
                ErrorCode::Timeout,
                format!("no pong within {} ms", timeout.as_millis()),
                "the path may be changing: ping again",
            )),
        }
    }

    fn pong(&self, nonce: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((sent, reply)) = waiting.remove(&nonce) {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(sent.elapsed());
        }
    }
}

/// Answers pings and takes pongs until the connection ends.
pub(crate) async fn serve(connection: quinn::Connection, pings: Arc<Pings>) {
    while let Ok(datagram) = connection.read_datagram().await {
        match parse(&datagram) {
            // A full buffer loses the pong; the next ping gets another.
            Some((PING, nonce)) => drop(connection.send_datagram(frame(PONG, nonce))),
            Some((PONG, nonce)) => pings.pong(nonce),
            Some(_) | None => {}
        }
    }
}

fn frame(kind: u8, nonce: u64) -> Bytes {
    let mut bytes = BytesMut::with_capacity(9);
    bytes.put_u8(kind);
    bytes.put_u64(nonce);
    bytes.freeze()
}

fn parse(datagram: &[u8]) -> Option<(u8, u64)> {
    let (kind, nonce) = datagram.split_first()?;
    Some((*kind, u64::from_be_bytes(nonce.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_and_garbage_does_not() {
        assert_eq!(parse(&frame(PING, 77)), Some((PING, 77)));
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[PING; 5]), None);
    }
}
