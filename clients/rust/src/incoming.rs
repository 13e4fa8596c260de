//! Streams that the other side opens, told apart by their first byte.
//!
//! The byte may come later than the stream: it was lost, or its opener holds it back. Meanwhile the
//! stream stays here, so that whoever stops waiting loses none, and none holds up those behind it.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Mutex;

use crate::bench::{self, Bench};
use crate::error::Error;
use crate::stream::{self, Stream};

/// Streams that a peer may have open at once, those that wait here among them: QUIC allows it no more
/// (RFC 9000 §4.6).
pub(crate) const MAX_STREAMS: u32 = 1024;

/// A stream, and its first byte if it had one.
type Opened = (std::io::Result<u8>, SendStream, RecvStream);

/// What one connection's peer has opened and nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    bench: Arc<Bench>,
    /// Streams without their first byte. Held by who waits, and left to the next one.
    waiting: Mutex<FuturesUnordered<BoxFuture<'static, Opened>>>,
}

impl Incoming {
    /// Lets the peer measure.
    pub(crate) fn allow_bench(&self) {
        self.bench.allow();
    }

    /// The next stream for the user: in the order in which they were opened, except that one without
    /// its first byte waits and others do not. Streams of a kind that this version does not know are
    /// refused. Cancel-safe.
    pub(crate) async fn next(&self, connection: &quinn::Connection) -> Result<Stream, Error> {
        let mut waiting = self.waiting.lock().await;
        loop {
            let opened = tokio::select! {
                biased;
                Some(opened) = waiting.next() => opened,
                accepted = connection.accept_bi() => match accepted {
                    Ok((send, recv)) => {
                        waiting.push(Box::pin(first_byte(send, recv)));
                        continue;
                    }
                    // What has come whole is handed out all the same; nothing else can come.
                    Err(error) => match waiting.next().await {
                        Some(opened) => opened,
                        None => return Err(Error::closed(error.to_string())),
                    },
                },
            };
            if let Some(stream) = self.sort(opened) {
                return Ok(stream);
            }
        }
    }

    fn sort(&self, (kind, send, mut recv): Opened) -> Option<Stream> {
        match kind {
            Ok(stream::DATA) => return Some(Stream::new(send, recv)),
            Ok(bench::KIND) => {
                let bench = Arc::clone(&self.bench);
                tokio::spawn(async move { bench.serve(send, recv).await });
            }
            Ok(_) | Err(_) => {
                // A stream that has ended by itself needs no refusal.
                let _ = recv.stop(VarInt::from_u32(1));
            }
        }
        None
    }
}

async fn first_byte(send: SendStream, mut recv: RecvStream) -> Opened {
    (recv.read_u8().await, send, recv)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::net::SocketAddr;
    use std::pin::pin;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::identity::Identity;

    const LIMIT: Duration = Duration::from_secs(20);

    struct Pair {
        near: Connection,
        far: Connection,
        _endpoints: [Endpoint; 2],
    }

    async fn pair() -> Pair {
        let (near, far) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let server = ServerConfig::with_crypto(Arc::new(far.server().unwrap()));
        let server = Endpoint::server(server, any).unwrap();
        let client = Endpoint::client(any).unwrap();
        let config = near.client(Arc::new(far.public().clone().into())).unwrap();
        let config = ClientConfig::new(Arc::new(config));
        let addr = server.local_addr().unwrap();
        let connecting = client.connect_with(config, addr, "peer").unwrap();
        let (near, far) = tokio::join!(connecting, async { server.accept().await.unwrap().await });
        Pair { near: near.unwrap(), far: far.unwrap(), _endpoints: [server, client] }
    }

    /// Opens a stream of this kind with a text; the other side sees it at once.
    async fn open(connection: &Connection, bytes: &[u8]) -> (SendStream, RecvStream) {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        (send, recv)
    }

    /// Opens a stream and says nothing. The other side hears of it with a later one (RFC 9000 §3.2).
    async fn open_without_kind(connection: &Connection) -> (SendStream, RecvStream) {
        connection.open_bi().await.unwrap()
    }

    async fn text(stream: &mut Stream, length: usize) -> Vec<u8> {
        let mut text = vec![0; length];
        tokio::time::timeout(LIMIT, stream.read_exact(&mut text)).await.unwrap().unwrap();
        text
    }

    async fn next(incoming: &Incoming, connection: &Connection) -> Result<Stream, Error> {
        let next = incoming.next(connection);
        tokio::time::timeout(LIMIT, next).await.expect("a stream, or the connection's end")
    }

    #[tokio::test]
    async fn a_stream_without_its_first_byte_holds_up_none_behind_it() {
        let Pair { near, far, _endpoints } = pair().await;
        let incoming = Incoming::default();
        let (mut late, _back) = open_without_kind(&near).await;
        let _prompt = open(&near, b"\x01prompt").await;
        let mut first = next(&incoming, &far).await.unwrap();
        assert_eq!(text(&mut first, 6).await, b"prompt");
        late.write_all(b"\x01late").await.unwrap();
        let mut second = next(&incoming, &far).await.unwrap();
        assert_eq!(text(&mut second, 4).await, b"late");
    }

    #[tokio::test]
    async fn who_stops_waiting_loses_no_stream_whose_first_byte_is_still_on_its_way() {
        let Pair { near, far, _endpoints } = pair().await;
        let incoming = Incoming::default();
        let (mut late, mut answer) = open_without_kind(&near).await;
        let mut behind = open(&near, b"\x01").await;
        // Both streams are there once the second one is.
        drop(next(&incoming, &far).await.unwrap());
        {
            let mut waits = pin!(incoming.next(&far));
            let polled = waits.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
        }
        late.write_all(b"\x01kept").await.unwrap();
        let mut stream = next(&incoming, &far).await.unwrap();
        assert_eq!(text(&mut stream, 4).await, b"kept");
        stream.write_all(b"heard").await.unwrap();
        let mut heard = [0; 5];
        tokio::time::timeout(LIMIT, answer.read_exact(&mut heard)).await.unwrap().unwrap();
        assert_eq!(&heard, b"heard");
        behind.0.finish().unwrap();
    }

    #[tokio::test]
    async fn streams_come_in_the_order_in_which_they_were_opened() {
        let Pair { near, far, _endpoints } = pair().await;
        let incoming = Incoming::default();
        let mut open_ones = Vec::new();
        for number in 0..20_u8 {
            open_ones.push(open(&near, &[stream::DATA, number]).await);
        }
        for number in 0..20_u8 {
            let mut stream = next(&incoming, &far).await.unwrap();
            assert_eq!(text(&mut stream, 1).await, [number]);
        }
    }

    #[tokio::test]
    async fn the_end_of_the_connection_is_told_though_a_stream_waits() {
        let Pair { near, far, _endpoints } = pair().await;
        let incoming = Incoming::default();
        let _silent = open_without_kind(&near).await;
        let _prompt = open(&near, b"\x01").await;
        drop(next(&incoming, &far).await.unwrap());
        near.close(VarInt::from_u32(0), b"done");
        assert!(next(&incoming, &far).await.is_err());
        assert!(next(&incoming, &far).await.is_err());
    }

    #[tokio::test]
    async fn a_stream_of_an_unknown_kind_is_refused_and_the_next_one_taken() {
        let Pair { near, far, _endpoints } = pair().await;
        let incoming = Incoming::default();
        let (strange, _back) = open(&near, b"\xffwhat").await;
        let _known = open(&near, b"\x01known").await;
        let mut stream = next(&incoming, &far).await.unwrap();
        assert_eq!(text(&mut stream, 5).await, b"known");
        let stopped = tokio::time::timeout(LIMIT, strange.stopped()).await.unwrap();
        assert_eq!(stopped.unwrap(), Some(VarInt::from_u32(1)));
    }
}
