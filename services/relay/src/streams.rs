//! Clients that come over TCP and TLS: their listeners and connections, and the bounds on both.
//!
//! Nothing here knows TURN. A connection is found by its 5-tuple, as the state machine names
//! clients; what it said and what it is to be told goes through the shard.

mod connection;
mod output;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use p2p_turn_core::{ClientAddr, ListenerId};
use rustls::ServerConfig;
use tracing::debug;

pub(crate) use connection::{Connection, Read};
pub(crate) use output::Kind;

use crate::sockets;
use crate::transport::Transport;

/// Connections accepted from one listener before others get their turn.
const ACCEPTED_AT_ONCE: usize = 64;

/// Bounds on connections over TCP and TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamLimits {
    /// Connections in all; more are closed at once.
    pub connections: usize,
    /// Connections of one IPv4 address or IPv6 /64.
    pub connections_per_source: u32,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a connection may be without an allocation and without a whole message.
    pub idle: Duration,
    /// Bytes that wait for one client; older packets are dropped for newer ones.
    pub output: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            connections: 8192,
            connections_per_source: 512,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            output: 256 * 1024,
        }
    }
}

/// Why a connection was closed by the relay, or what did not reach a client. Each has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StreamCounts {
    pub(crate) connection_limit: u64,
    pub(crate) connections_per_source: u64,
    pub(crate) accept_failed: u64,
    pub(crate) tls_failed: u64,
    pub(crate) tls_handshake_timeout: u64,
    pub(crate) idle_timeout: u64,
    pub(crate) not_stun: u64,
    pub(crate) message_too_long: u64,
    pub(crate) client_does_not_read: u64,
    /// Packets for a client that reads too slowly, or is gone.
    pub(crate) output_dropped: u64,
}

impl StreamCounts {
    pub(crate) fn named(self) -> [(&'static str, u64); 10] {
        [
            ("connection_limit", self.connection_limit),
            ("connections_per_source", self.connections_per_source),
            ("accept_failed", self.accept_failed),
            ("tls_failed", self.tls_failed),
            ("tls_handshake_timeout", self.tls_handshake_timeout),
            ("connection_idle_timeout", self.idle_timeout),
            ("stream_not_stun", self.not_stun),
            ("stream_message_too_long", self.message_too_long),
            ("client_does_not_read", self.client_does_not_read),
            ("stream_output_dropped", self.output_dropped),
        ]
    }
}

/// A bound TCP socket, with what is spoken over it.
#[derive(Debug)]
pub(crate) struct StreamListener {
    pub(crate) id: ListenerId,
    pub(crate) socket: TcpListener,
    /// Present where it is TLS.
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Streams {
    listeners: Vec<StreamListener>,
    /// The operating system had no descriptor for a connection that waits.
    stalled: Vec<usize>,
    connections: Vec<Option<Box<Connection>>>,
    vacant: Vec<usize>,
    by_client: HashMap<(ListenerId, ClientAddr), usize>,
    by_source: HashMap<u64, u32>,
    dirty: Vec<usize>,
    /// Have to go; see [`Streams::take_doomed`].
    doomed: Vec<usize>,
    limits: StreamLimits,
    /// The token of the first connection; the others follow by slot.
    first_token: usize,
    pub(crate) counts: StreamCounts,
}

impl Streams {
    pub(crate) fn new(
        listeners: Vec<StreamListener>,
        limits: StreamLimits,
        first_token: usize,
    ) -> Self {
        Self {
            listeners,
            stalled: Vec::new(),
            connections: Vec::new(),
            vacant: Vec::new(),
            by_client: HashMap::new(),
            by_source: HashMap::new(),
            dirty: Vec::new(),
            doomed: Vec::new(),
            limits,
            first_token,
            counts: StreamCounts::default(),
        }
    }

    /// Registers the listeners, each under its number.
    pub(crate) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        for listener in &mut self.listeners {
            let token = Token(usize::from(listener.id.0));
            registry.register(&mut listener.socket, token, Interest::READABLE)?;
        }
        Ok(())
    }

    pub(crate) fn listener_ids(&self) -> impl Iterator<Item = ListenerId> + '_ {
        self.listeners.iter().map(|listener| listener.id)
    }

    /// The listeners of one transport.
    pub(crate) fn listeners_of(&self, transport: Transport) -> impl Iterator<Item = ListenerId> {
        let tls = transport == Transport::Tls;
        let of = move |l: &&StreamListener| l.tls.is_some() == tls && transport != Transport::Udp;
        self.listeners.iter().filter(of).map(|listener| listener.id)
    }

    /// Open connections over a transport.
    pub(crate) fn count(&self, transport: Transport) -> usize {
        self.connections.iter().flatten().filter(|c| c.transport() == transport).count()
    }

    pub(crate) fn has_listener(&self, number: usize) -> bool {
        self.index_of(number).is_some()
    }

    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<&mut Connection> {
        self.connections.get_mut(slot)?.as_deref_mut()
    }

    /// Takes new connections in, within the limits. `false`: others wait.
    pub(crate) fn accept(&mut self, number: usize, registry: &Registry, now: Instant) -> bool {
        let Some(index) = self.index_of(number) else { return true };
        for _ in 0..ACCEPTED_AT_ONCE {
            match self.listeners[index].socket.accept() {
                Ok((stream, client)) => {
                    if let Err(error) = self.admit(index, stream, client, registry, now) {
                        self.counts.accept_failed += 1;
                        debug!(%error, "a connection could not be set up");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // The client was faster: the next may be there.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Out of descriptors: it would be so again at once. The next sweep tries again.
                    self.counts.accept_failed += 1;
                    debug!(%error, "no connection could be accepted");
                    if !self.stalled.contains(&number) {
                        self.stalled.push(number);
                    }
                    return true;
                }
            }
        }
        false
    }

    /// Queues a message for a client; without a connection it is lost.
    pub(crate) fn send(
        &mut self,
        listener: ListenerId,
        client: ClientAddr,
        kind: Kind,
        message: &[u8],
    ) {
        let slot = self.by_client.get(&(listener, client)).copied();
        let Some(slot) = slot else {
            self.counts.output_dropped += 1;
            return;
        };
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return };
        match connection.push(kind, message) {
            Ok(dropped) => self.counts.output_dropped += dropped,
            Err(output::Full) => {
                self.counts.client_does_not_read += 1;
                self.doomed.push(slot);
            }
        }
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(slot);
        }
    }

    /// The socket has room again, or the handshake has something to say.
    pub(crate) fn want_flush(&mut self, slot: usize) {
        if let Some(Some(connection)) = self.connections.get_mut(slot)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Writes what has been queued since the last time.
    pub(crate) fn flush(&mut self) {
        for slot in std::mem::take(&mut self.dirty) {
            let Some(Some(connection)) = self.connections.get_mut(slot) else { continue };
            connection.dirty = false;
            if let Err(error) = connection.flush() {
                debug!(client = ?connection.client, %error, "a connection broke");
                self.doomed.push(slot);
            }
        }
    }

    /// Connections that are to be closed.
    pub(crate) fn take_doomed(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.doomed)
    }

    /// Looks for those that take too long, and for listeners that could not accept. `holds` tells
    /// whether a client has an allocation; then its lifetime counts, and not the connection's.
    pub(crate) fn sweep(
        &mut self,
        now: Instant,
        holds: impl Fn(ListenerId, ClientAddr) -> bool,
    ) -> Vec<usize> {
        for (slot, connection) in self.connections.iter().enumerate() {
            let Some(connection) = connection else { continue };
            let quiet = now.saturating_duration_since(connection.active);
            if connection.is_handshaking() {
                if quiet >= self.limits.handshake {
                    self.counts.tls_handshake_timeout += 1;
                    self.doomed.push(slot);
                }
            } else if quiet >= self.limits.idle && !holds(connection.listener, connection.client) {
                self.counts.idle_timeout += 1;
                self.doomed.push(slot);
            }
        }
        std::mem::take(&mut self.stalled)
    }

    /// When the next sweep is due at the latest to keep the limits.
    pub(crate) fn patience(&self) -> Duration {
        self.limits.handshake.min(self.limits.idle)
    }

    /// Closes a connection; returns whose it was.
    pub(crate) fn close(
        &mut self,
        slot: usize,
        registry: &Registry,
    ) -> Option<(ListenerId, ClientAddr)> {
        let mut connection = self.connections.get_mut(slot)?.take()?;
        connection.finish();
        // Closing deregisters it too; what could go wrong here changes nothing.
        let _ = registry.deregister(&mut connection.stream);
        let client = (connection.listener, connection.client);
        self.by_client.remove(&client);
        let source = source(connection.client.0.ip());
        if let Some(count) = self.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
        self.vacant.push(slot);
        // The slot's next connection is not to pay for this one.
        self.doomed.retain(|&doomed| doomed != slot);
        Some(client)
    }

    /// Says goodbye to everybody.
    pub(crate) fn close_all(&mut self, registry: &Registry) {
        for slot in 0..self.connections.len() {
            self.close(slot, registry);
        }
    }

    fn admit(
        &mut self,
        index: usize,
        mut stream: TcpStream,
        addr: SocketAddr,
        registry: &Registry,
        now: Instant,
    ) -> io::Result<()> {
        let source = source(addr.ip());
        if self.by_client.len() >= self.limits.connections {
            self.counts.connection_limit += 1;
            return Ok(());
        }
        if self.by_source.get(&source).is_some_and(|&n| n >= self.limits.connections_per_source) {
            self.counts.connections_per_source += 1;
            return Ok(());
        }
        sockets::tune_stream(&stream);
        let (listener, client) = (self.listeners[index].id, ClientAddr(addr));
        let slot = self.vacant.last().copied().unwrap_or(self.connections.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(self.first_token + slot), interest)?;
        let tls = self.listeners[index].tls.as_ref();
        let connection = Connection::new((listener, client), stream, tls, self.limits.output, now)
            .map_err(io::Error::other)?;
        if self.vacant.pop().is_some() {
            self.connections[slot] = Some(Box::new(connection));
        } else {
            self.connections.push(Some(Box::new(connection)));
        }
        self.by_client.insert((listener, client), slot);
        *self.by_source.entry(source).or_default() += 1;
        Ok(())
    }

    fn index_of(&self, number: usize) -> Option<usize> {
        self.listeners.iter().position(|listener| usize::from(listener.id.0) == number)
    }
}

/// An IPv6 host has a /64 of addresses at its disposal.
fn source(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}
