//! Streams to the relay, for networks that let no UDP through: TCP, with TLS where it is asked for.
//!
//! The node says which to open and what to write; here are the connections. What a stream does not
//! take is dropped whole, as a datagram would be, and never waited for.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use p2p_traversal::{StreamCommand, StreamId};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::socket::PathSocket;
use crate::tls::Wire;

/// How long connecting may take, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// How long what was sent may stay without an answer of the other end's kernel.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// Messages that wait for a stream: more would only come late, and QUIC is to notice.
pub(crate) const WAITING: usize = 256;
/// Messages that one write takes together.
const BATCH: usize = 64;
/// Bytes of one read.
const READ: usize = 32 * 1024;

/// The streams that are open or being opened.
#[derive(Debug)]
pub(crate) struct RelayStreams {
    writers: Mutex<HashMap<StreamId, mpsc::Sender<Bytes>>>,
    open: mpsc::UnboundedSender<Open>,
}

/// A stream that is to be opened. It ends when its queue does.
#[derive(Debug)]
pub(crate) struct Open {
    id: StreamId,
    server: SocketAddr,
    tls: Option<String>,
    queue: mpsc::Receiver<Bytes>,
}

impl RelayStreams {
    /// The streams, and those that [`run`] is to open. The node has a bound on them.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Open>) {
        let (open, opening) = mpsc::unbounded_channel();
        (Self { writers: Mutex::default(), open }, opening)
    }

    pub(crate) fn execute(&self, command: StreamCommand) {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        match command {
            StreamCommand::Open { id, server, tls } => {
                let (writer, queue) = mpsc::channel(WAITING);
                writers.insert(id, writer);
                // Without the task the client is about to end.
                let _ = self.open.send(Open { id, server, tls, queue });
            }
            // Its task writes what waits, and then sees the end.
            StreamCommand::Close(id) => drop(writers.remove(&id)),
        }
    }

    /// Queues a message; `false` where it is dropped.
    pub(crate) fn write(&self, id: StreamId, message: Bytes) -> bool {
        let writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.get(&id).is_some_and(|writer| writer.try_send(message).is_ok())
    }
}

/// Opens streams until cancelled.
pub(crate) async fn run(
    socket: Arc<PathSocket>,
    mut opening: mpsc::UnboundedReceiver<Open>,
    tls: Arc<ClientConfig>,
    cancel: CancellationToken,
) {
    loop {
        let open = tokio::select! {
            () = cancel.cancelled() => return,
            open = opening.recv() => open,
        };
        let Some(open) = open else { return };
        tokio::spawn(serve(Arc::clone(&socket), open, Arc::clone(&tls), cancel.clone()));
    }
}

async fn serve(
    socket: Arc<PathSocket>,
    open: Open,
    tls: Arc<ClientConfig>,
    cancel: CancellationToken,
) {
    let Open { id, server, tls: name, mut queue } = open;
    let connected = tokio::select! {
        connected = connect(server, name.as_deref(), tls) => connected,
        // Nothing is written before it is open: it is not wanted any more.
        _ = queue.recv() => return,
        () = cancel.cancelled() => return,
    };
    let reason = match connected {
        Ok(stream) => {
            let (mut read, write) = tokio::io::split(stream);
            socket.with_node(|node, now| node.stream_opened(id, now));
            // It goes on for a goodbye after the reader has been cancelled.
            tokio::spawn(write_and_close(write, queue));
            tokio::select! {
                reason = read_all(&socket, id, &mut read) => reason,
                () = cancel.cancelled() => return,
            }
        }
        Err(reason) => reason,
    };
    socket.streams.execute(StreamCommand::Close(id));
    socket.with_node(|node, now| node.stream_closed(id, &reason, now));
}

/// Connects; the error is a phrase.
pub(crate) async fn connect(
    server: SocketAddr,
    name: Option<&str>,
    tls: Arc<ClientConfig>,
) -> Result<Box<dyn Wire>, String> {
    let connecting = async {
        let stream = TcpStream::connect(server).await.map_err(|error| phrase(&error))?;
        tune(&stream);
        let Some(name) = name else { return Ok(Box::new(stream) as Box<dyn Wire>) };
        let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(tls).connect(name, stream).await;
        let stream = stream.map_err(|error| format!("no TLS: {error}"))?;
        Ok(Box::new(stream) as Box<dyn Wire>)
    };
    let connected = tokio::time::timeout(CONNECT, connecting).await;
    connected.unwrap_or_else(|_| Err(format!("no connection within {} s", CONNECT.as_secs())))
}

async fn read_all(
    socket: &PathSocket,
    id: StreamId,
    stream: &mut (impl AsyncRead + Unpin),
) -> String {
    let mut buffer = vec![0; READ];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return "the relay has closed the connection".to_owned(),
            Ok(length) => socket.receive_stream(id, &buffer[..length]),
            Err(error) => return phrase(&error),
        }
    }
}

async fn write_and_close(mut stream: WriteHalf<Box<dyn Wire>>, queue: mpsc::Receiver<Bytes>) {
    write_all(&mut stream, queue).await;
    let _ = stream.shutdown().await;
}

/// Writes until the queue ends or the stream does.
pub(crate) async fn write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    mut queue: mpsc::Receiver<Bytes>,
) {
    let mut messages = Vec::with_capacity(BATCH);
    let mut bytes = BytesMut::new();
    while queue.recv_many(&mut messages, BATCH).await > 0 {
        bytes.clear();
        messages.drain(..).for_each(|message| bytes.extend_from_slice(&message));
        // The reader sees the end too, and tells it.
        if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// Packets leave at once, and a dead path is noticed.
pub(crate) fn tune(stream: &TcpStream) {
    // Without either it still works, later and slower.
    let _ = stream.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (SockRef::from(stream), UNACKNOWLEDGED);
}

fn phrase(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        _ => error.to_string(),
    }
}
