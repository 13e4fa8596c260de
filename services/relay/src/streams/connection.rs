//! One client's TCP connection, with or without TLS in it.
//!
//! rustls does no I/O of its own: here its records meet the socket, which never blocks.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::time::Instant;

use mio::net::TcpStream;
use p2p_turn_core::{ClientAddr, ListenerId, StreamReader};
use rustls::{ServerConfig, ServerConnection};

use super::output::{Full, Kind, Output};
use crate::transport::Transport;

/// Bytes that are encrypted ahead of the socket: none of them can be dropped for a newer message.
const ENCRYPTED: usize = 16 * 1024;

/// What reading brought.
#[derive(Debug)]
pub(crate) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Empty,
    /// The client has closed its side, properly or not.
    Closed,
    /// The client does not speak TLS, or not so that both understand.
    BadTls(rustls::Error),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) listener: ListenerId,
    pub(crate) client: ClientAddr,
    pub(crate) reader: StreamReader,
    /// When it was accepted, or when its last whole message came.
    pub(crate) active: Instant,
    /// Is in the shard's queue of what may be read, once.
    pub(crate) queued: bool,
    /// Is in the list of what has something to write, once.
    pub(super) dirty: bool,
    pub(super) stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    output: Output,
}

impl Connection {
    pub(super) fn new(
        (listener, client): (ListenerId, ClientAddr),
        stream: TcpStream,
        tls: Option<&Arc<ServerConfig>>,
        output_limit: usize,
        now: Instant,
    ) -> Result<Self, rustls::Error> {
        let tls = tls.map(|config| ServerConnection::new(Arc::clone(config)).map(Box::new));
        Ok(Self {
            listener,
            client,
            reader: StreamReader::default(),
            active: now,
            queued: false,
            dirty: false,
            stream,
            tls: tls.transpose()?,
            output: Output::new(output_limit),
        })
    }

    pub(crate) fn transport(&self) -> Transport {
        if self.tls.is_some() { Transport::Tls } else { Transport::Tcp }
    }

    /// Whether the client can say anything yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Read {
        loop {
            let Some(tls) = &mut self.tls else { return read(self.stream.read(buffer)) };
            match tls.reader().read(buffer) {
                // What is in there has all been read, and more may come.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return read(outcome),
            }
            match read(tls.read_tls(&mut self.stream)) {
                Read::Bytes(_) => {}
                other => return other,
            }
            if let Err(error) = tls.process_new_packets() {
                // It is told why, if it listens.
                let _ = tls.write_tls(&mut self.stream);
                return Read::BadTls(error);
            }
        }
    }

    /// Queues a message; says how many were dropped for it.
    pub(super) fn push(&mut self, kind: Kind, message: &[u8]) -> Result<u64, Full> {
        self.output.push(kind, message)
    }

    /// Writes what the socket takes. An error ends the connection.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self.write_all() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            outcome => outcome,
        }
    }

    /// Says goodbye, as far as the socket takes it at once.
    pub(super) fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        let _ = self.flush();
    }

    fn write_all(&mut self) -> io::Result<()> {
        loop {
            match &mut self.tls {
                Some(tls) if tls.wants_write() => {
                    tls.write_tls(&mut self.stream)?;
                }
                _ if self.output.is_empty() => return Ok(()),
                // What is written now would wait for the handshake, in a buffer of its own.
                Some(tls) if tls.is_handshaking() => return Ok(()),
                Some(tls) => {
                    let taken = encrypt(tls, &self.output)?;
                    self.output.advance(taken);
                }
                None => {
                    let taken = self.stream.write_vectored(&self.output.slices())?;
                    self.output.advance(taken);
                }
            }
        }
    }
}

/// Encrypts what is written at once, and says how many bytes those are. Each message gets a record of
/// its own: some clients, coturn's among them, take a record for a message.
fn encrypt(tls: &mut ServerConnection, output: &Output) -> io::Result<usize> {
    let mut taken = 0;
    for message in output.slices() {
        if taken > 0 && taken + message.len() > ENCRYPTED {
            break;
        }
        let written = tls.writer().write(&message)?;
        taken += written;
        if written < message.len() {
            break;
        }
    }
    Ok(taken)
}

fn read(outcome: io::Result<usize>) -> Read {
    match outcome {
        Ok(0) => Read::Closed,
        Ok(length) => Read::Bytes(length),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
        {
            Read::Empty
        }
        Err(_) => Read::Closed,
    }
}
