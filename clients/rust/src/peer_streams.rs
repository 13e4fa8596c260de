//! TCP connections with peers: dialled from the client's one TCP port, or taken at it.
//!
//! The node says whom to dial and what to send; here are the connections. A simultaneous open ends as a
//! dial that has succeeded. What a connection does not take is dropped whole, as a datagram would be,
//! and never waited for.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use p2p_traversal::{PeerStreamCommand, PeerStreamId, frames};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::relay_stream::{self, WAITING};
use crate::socket::PathSocket;
use crate::tcp_port::TcpPort;

/// How long a dial may take: the kernel sends a second SYN after a second, and would send a third.
const CONNECT: Duration = Duration::from_millis(2_500);
/// How long the last bytes have before a connection is closed without a goodbye. With one its addresses
/// would be taken for a minute, and the peer could not be dialled again.
const FLUSH: Duration = Duration::from_millis(200);
/// The wait after a connection could not be taken, for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Bytes of one read.
const READ: usize = 32 * 1024;

/// The connections that are open or being dialled.
#[derive(Debug)]
pub(crate) struct PeerStreams {
    writers: Mutex<HashMap<PeerStreamId, mpsc::Sender<Bytes>>>,
    dials: mpsc::UnboundedSender<Dial>,
}

/// A connection that is to be made. It ends when its queue does.
#[derive(Debug)]
pub(crate) struct Dial {
    id: PeerStreamId,
    to: SocketAddr,
    queue: mpsc::Receiver<Bytes>,
}

impl PeerStreams {
    /// The connections, and those that [`run`] is to make. The node has a bound on them.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Dial>) {
        let (dials, dialling) = mpsc::unbounded_channel();
        (Self { writers: Mutex::default(), dials }, dialling)
    }

    /// Does what the node wants done; `false` where a datagram is dropped.
    pub(crate) fn execute(&self, command: PeerStreamCommand) -> bool {
        match command {
            PeerStreamCommand::Dial { id, to } => {
                let queue = self.insert(id);
                // Without the task the client is about to end.
                let _ = self.dials.send(Dial { id, to, queue });
                true
            }
            PeerStreamCommand::Send { id, datagram } => self.send(id, &datagram),
            PeerStreamCommand::Close(id) => {
                self.remove(id);
                true
            }
        }
    }

    /// Queues a datagram; `false` where it is dropped.
    pub(crate) fn send(&self, id: PeerStreamId, datagram: &[u8]) -> bool {
        let writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(writer) = writers.get(&id) else { return false };
        frames::frame(datagram).is_some_and(|framed| writer.try_send(framed).is_ok())
    }

    fn insert(&self, id: PeerStreamId) -> mpsc::Receiver<Bytes> {
        let (writer, queue) = mpsc::channel(WAITING);
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).insert(id, writer);
        queue
    }

    /// Its task writes what waits, and then sees the end.
    fn remove(&self, id: PeerStreamId) {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// Dials and takes connections until cancelled.
pub(crate) async fn run(
    socket: Arc<PathSocket>,
    port: Arc<TcpPort>,
    mut dialling: mpsc::UnboundedReceiver<Dial>,
    cancel: CancellationToken,
) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            dial = dialling.recv() => {
                let Some(dial) = dial else { return };
                let (socket, port) = (Arc::clone(&socket), Arc::clone(&port));
                tokio::spawn(until(cancel.clone(), self::dial(socket, port, dial)));
            }
            accepted = port.accept() => match accepted {
                Ok((stream, remote)) => {
                    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
                    let id = socket.with_node(|node, now| node.peer_stream_accepted(remote, now));
                    let Some(id) = id else { continue };
                    let queue = socket.peers.insert(id);
                    tokio::spawn(until(cancel.clone(), serve(Arc::clone(&socket), id, stream, queue)));
                }
                Err(error) => {
                    tracing::debug!(%error, "no TCP connection could be taken");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
}

async fn until(cancel: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = cancel.cancelled() => {}
    }
}

async fn dial(socket: Arc<PathSocket>, port: Arc<TcpPort>, dial: Dial) {
    let Dial { id, to, mut queue } = dial;
    let connected = tokio::select! {
        connected = tokio::time::timeout(CONNECT, port.connect(to)) => connected,
        // Nothing is sent before it is there: it is not wanted any more.
        _ = queue.recv() => return,
    };
    match connected {
        Ok(Ok(stream)) => {
            socket.with_node(|node, now| node.peer_stream_opened(id, now));
            serve(socket, id, stream, queue).await;
        }
        failed => {
            let error = failed.map(|result| result.map(drop));
            tracing::trace!(?error, "a peer was not reached over TCP");
            end(&socket, id);
        }
    }
}

async fn serve(
    socket: Arc<PathSocket>,
    id: PeerStreamId,
    mut stream: TcpStream,
    queue: mpsc::Receiver<Bytes>,
) {
    relay_stream::tune(&stream);
    let (mut read, mut write) = stream.split();
    tokio::select! {
        error = read_all(&socket, id, &mut read) => {
            tracing::debug!(?error, "a TCP connection with a peer has ended");
        }
        () = relay_stream::write_all(&mut write, queue) => tokio::time::sleep(FLUSH).await,
    }
    // A socket that is gone already needs none.
    let _ = stream.set_zero_linger();
    drop(stream);
    end(&socket, id);
}

fn end(socket: &PathSocket, id: PeerStreamId) {
    socket.peers.remove(id);
    socket.with_node(|node, now| node.peer_stream_closed(id, now));
}

async fn read_all(
    socket: &PathSocket,
    id: PeerStreamId,
    read: &mut ReadHalf<'_>,
) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    loop {
        match read.read(&mut buffer).await? {
            0 => return Ok(()),
            length => socket.receive_peer_stream(id, &buffer[..length]),
        }
    }
}
