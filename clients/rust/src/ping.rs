//! Pings over a connection: QUIC datagrams that the other side's client answers by itself, so a
//! pong tells the path's round trip and not the application's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorCode};

const PING: u8 = 0x01;
const PONG: u8 = 0x02;
/// Pings that may be under way at once.
const MAX_WAITING: usize = 1024;
/// Between two pings that may be discarded: the first round trips of a connection are guesses.
const LEAST_PATIENCE: Duration = Duration::from_millis(20);

/// The pings of one connection that wait for their pong.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    waiting: Mutex<HashMap<u64, (Instant, oneshot::Sender<Duration>)>>,
}

impl Pings {
    /// Sends one ping and waits for its pong, for `timeout` at the most.
    ///
    /// Until the peer has confirmed the handshake it discards what comes in ahead of the
    /// handshake's last flight (RFC 9001 §5.7), as happens where the path changes between the two.
    /// A ping sent so early is therefore sent again until one gets through.
    pub(crate) async fn ping(
        &self,
        connection: &quinn::Connection,
        timeout: Duration,
    ) -> Result<Duration, Error> {
        let pong = tokio::time::timeout(timeout, async {
            if may_be_discarded(connection) {
                self.insist(connection).await
            } else {
                self.send(connection)?.await.map_err(|_| ended())
            }
        });
        pong.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorCode::Timeout,
                format!("no pong within {} ms", timeout.as_millis()),
                "the path may be changing: ping again",
            ))
        })
    }

    /// Sends pings, each with a nonce of its own so that its pong tells its own round trip, until
    /// the first pong.
    async fn insist(&self, connection: &quinn::Connection) -> Result<Duration, Error> {
        let mut pongs = FuturesUnordered::new();
        loop {
            pongs.push(self.send(connection)?);
            if !may_be_discarded(connection) {
                break;
            }
            let patience = (2 * connection.rtt()).max(LEAST_PATIENCE);
            if let Ok(Some(pong)) = tokio::time::timeout(patience, pongs.next()).await {
                return pong.map_err(|_| ended());
            }
        }
        pongs.next().await.expect("one was sent").map_err(|_| ended())
    }

    fn send(&self, connection: &quinn::Connection) -> Result<oneshot::Receiver<Duration>, Error> {
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
        Ok(pong)
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

/// Whether the peer may not have completed the handshake yet: only the side that is connected to
/// knows that it has, and tells the other one (RFC 9001 §4.1.2).
fn may_be_discarded(connection: &quinn::Connection) -> bool {
    connection.side().is_client() && connection.stats().frame_rx.handshake_done == 0
}

fn ended() -> Error {
    Error::closed("the connection has ended")
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
    use std::net::SocketAddr;

    use futures_util::FutureExt as _;
    use quinn::{ClientConfig, Endpoint, ServerConfig};
    use tokio::net::UdpSocket;

    use super::*;
    use crate::identity::Identity;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn a_frame_reads_back_and_garbage_does_not() {
        assert_eq!(parse(&frame(PING, 77)), Some((PING, 77)));
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[PING; 5]), None);
    }

    /// Carries datagrams between one client and the server. What the client says of the handshake
    /// after its first datagram is held back until the release, and the rest goes ahead of it: what
    /// a change to a shorter path does.
    async fn overtake(server: SocketAddr, release: oneshot::Receiver<()>) -> SocketAddr {
        let inner = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let outer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        outer.connect(server).await.unwrap();
        let addr = inner.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut there, mut back) = ([0; 2048], [0; 2048]);
            let (mut client, mut held) = (None, Some(Vec::new()));
            let mut release = release.fuse();
            loop {
                tokio::select! {
                    Ok((length, from)) = inner.recv_from(&mut there) => {
                        let datagram = &there[..length];
                        // The header form (RFC 9000 §17): long ones are the handshake's.
                        let handshake = datagram[0] & 0x80 != 0;
                        match &mut held {
                            Some(held) if client.is_some() && handshake => {
                                held.push(datagram.to_vec());
                            }
                            _ => drop(outer.send(datagram).await.unwrap()),
                        }
                        client = Some(from);
                    }
                    Ok(length) = outer.recv(&mut back) => {
                        let client = client.expect("the server only answers");
                        inner.send_to(&back[..length], client).await.unwrap();
                    }
                    Ok(()) = &mut release => for late in held.take().unwrap() {
                        outer.send(&late).await.unwrap();
                    }
                }
            }
        });
        addr
    }

    #[tokio::test]
    async fn a_ping_that_overtakes_the_handshake_is_answered() {
        let (near, far) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let server = ServerConfig::with_crypto(Arc::new(far.server().unwrap()));
        let server = Endpoint::server(server, any).unwrap();
        let (release, released) = oneshot::channel();
        let addr = overtake(server.local_addr().unwrap(), released).await;
        tokio::spawn(async move {
            let connection = server.accept().await.unwrap().await.unwrap();
            serve(connection, Arc::default()).await;
        });

        let client = Endpoint::client(any).unwrap();
        let config = ClientConfig::new(Arc::new(
            near.client(Arc::new(far.public().clone().into())).unwrap(),
        ));
        let connection = client.connect_with(config, addr, "peer").unwrap().await.unwrap();
        let pings = Arc::new(Pings::default());
        tokio::spawn(serve(connection.clone(), Arc::clone(&pings)));
        let sent = async {
            // The second ping says that nobody has answered the first.
            while connection.stats().frame_tx.datagram < 2 {
                tokio::task::yield_now().await;
            }
            release.send(()).unwrap();
        };
        let both = async { tokio::join!(pings.ping(&connection, LIMIT), sent) };
        let (pong, ()) = tokio::time::timeout(LIMIT, both).await.expect("a second ping is sent");
        pong.expect("one of the pings gets through");
    }
}
