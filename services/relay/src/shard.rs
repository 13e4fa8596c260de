//! One thread's share of the relay: its sockets, its state machine, and the loop between them.
//!
//! The loop decides nothing about TURN. It reads a bounded burst from each socket that has
//! something, asks the state machine where it goes, and sends it there. Payloads are never copied:
//! a datagram is read with room around it, and the header is written into the room.
//!
//! ```text
//!            ┌ HEADROOM ┐┌──── datagram from a peer ────┐┌ TAILROOM ┐
//! buffer     │     ▓▓▓▓▓││▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒││00        │
//!                  └──────────── sent to the client ──────┘
//! ```

mod clients;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use p2p_turn_core::{
    AllocationId, ClientAction, ClientAddr, Command, FreedAllocation, HEADROOM, ListenerId,
    ListenerLoad, Now, OpenError, PeerAddr, Server, TAILROOM,
};
use tracing::{debug, info};

use crate::handle::Request;
use crate::metrics::Published;
use crate::snapshot::{RelaySnapshot, RelayUsage, SocketDrops};
use crate::sockets;
use crate::streams::{Kind, Streams};
use crate::transport::Transport;

/// Datagrams read from one socket before the next one gets its turn.
const BURST: usize = 64;
const MAX_DATAGRAM: usize = 65_535;
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// Tokens: listeners from 0, then the waker, then relay sockets by allocation index, and far above
/// them connections by slot.
const WAKER: usize = 1 << 16;
const FIRST_RELAYED: usize = WAKER + 1;
const FIRST_CONNECTION: usize = 1 << 30;

pub(crate) struct Shard {
    poll: Poll,
    waker: Arc<Waker>,
    server: Server,
    listeners: Vec<Readable>,
    streams: Streams,
    /// By [`AllocationId::index`].
    relayed: Vec<Option<(AllocationId, Readable)>>,
    /// Sockets that may have more to read. The poll is edge-triggered: it names a socket again
    /// only after it has been read empty.
    ready: VecDeque<Token>,
    requests: mpsc::Receiver<Request>,
    usage: Option<tokio::sync::mpsc::Sender<RelayUsage>>,
    drops: SocketDrops,
    drain_until: Option<Instant>,
    stopping: bool,
    buffer: Box<[u8]>,
}

struct Readable {
    socket: UdpSocket,
    /// Is in [`Shard::ready`], once.
    queued: bool,
}

/// Whether a socket has been read empty.
#[derive(PartialEq, Eq)]
enum Burst {
    Emptied,
    Cut,
}

impl Shard {
    /// The token of the first connection over TCP or TLS.
    pub(crate) const FIRST_CONNECTION: usize = FIRST_CONNECTION;

    pub(crate) fn new(
        server: Server,
        listeners: Vec<UdpSocket>,
        mut streams: Streams,
        requests: mpsc::Receiver<Request>,
        usage: Option<tokio::sync::mpsc::Sender<RelayUsage>>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Token(WAKER))?);
        let mut registered = Vec::with_capacity(listeners.len());
        for (index, mut socket) in listeners.into_iter().enumerate() {
            poll.registry().register(&mut socket, Token(index), Interest::READABLE)?;
            registered.push(Readable { socket, queued: false });
        }
        streams.register(poll.registry())?;
        Ok(Self {
            poll,
            waker,
            server,
            listeners: registered,
            streams,
            relayed: Vec::new(),
            ready: VecDeque::new(),
            requests,
            usage,
            drops: SocketDrops::default(),
            drain_until: None,
            stopping: false,
            buffer: vec![0; HEADROOM + MAX_DATAGRAM + TAILROOM].into_boxed_slice(),
        })
    }

    pub(crate) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Serves until it is told to stop, and returns its last words.
    pub(crate) fn run(mut self) -> RelaySnapshot {
        let published = Published::new();
        let mut publish_at = Instant::now();
        let mut events = Events::with_capacity(1024);
        while !self.is_done() {
            self.wait(&mut events, publish_at);
            let now = now();
            if self.server.poll_timeout().is_some_and(|due| due <= now.instant) {
                self.server.handle_timeout(now);
                self.execute_commands(now);
            }
            self.answer_requests(now);
            self.serve_each_ready_socket_once(now);
            if publish_at <= now.instant {
                self.sweep_connections(now);
                self.publish(&published);
                publish_at = now.instant + PUBLISH_EVERY.min(self.streams.patience());
            }
            self.settle_connections(now);
        }
        let last = self.snapshot();
        self.streams.close_all(self.poll.registry());
        // What they have carried is told, however the relay comes to its end.
        self.server.free_all(now());
        self.execute_commands(now());
        self.publish(&published);
        info!(allocations = last.allocations, "relay has stopped");
        last
    }

    fn is_done(&self) -> bool {
        let drained = self
            .drain_until
            .is_some_and(|until| self.server.allocation_count() == 0 || until <= Instant::now());
        self.stopping || drained
    }

    /// Waits for a socket, a request or the next deadline.
    fn wait(&mut self, events: &mut Events, publish_at: Instant) {
        let deadline = [self.server.poll_timeout(), self.drain_until]
            .into_iter()
            .flatten()
            .fold(publish_at, Instant::min);
        let timeout = if self.ready.is_empty() {
            deadline.saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        };
        if let Err(error) = self.poll.poll(events, Some(timeout)) {
            // A signal; the next turn asks again.
            debug!(%error, "poll was interrupted");
            return;
        }
        for event in events.iter() {
            let token = event.token();
            if let Some(slot) = token.0.checked_sub(FIRST_CONNECTION)
                && event.is_writable()
            {
                self.streams.want_flush(slot);
            }
            if self.streams.has_listener(token.0) {
                // Listeners are read empty unless many wait: they are rarely in here twice.
                if !self.ready.contains(&token) {
                    self.ready.push_back(token);
                }
            } else if let Some(queued) = self.queued(token)
                && !*queued
            {
                *queued = true;
                self.ready.push_back(token);
            }
        }
    }

    fn answer_requests(&mut self, now: Now) {
        loop {
            match self.requests.try_recv() {
                Ok(Request::Snapshot(answer)) => {
                    // The asker may have gone.
                    let _ = answer.send(self.snapshot());
                }
                Ok(Request::FreeUser(user, answer)) => {
                    let freed = self.server.free_user(&user, now);
                    self.execute_commands(now);
                    let _ = answer.send(freed);
                }
                Ok(Request::Drain { until }) => {
                    info!(allocations = self.server.allocation_count(), "relay drains");
                    self.server.begin_drain();
                    self.drain_until = Some(until);
                }
                Ok(Request::Shutdown) => self.stopping = true,
                Err(mpsc::TryRecvError::Empty | mpsc::TryRecvError::Disconnected) => break,
            }
        }
    }

    /// Fairness: a socket with a flood waits behind the others after each burst.
    fn serve_each_ready_socket_once(&mut self, now: Now) {
        for _ in 0..self.ready.len() {
            let Some(token) = self.ready.pop_front() else { break };
            let burst = if token.0 >= FIRST_CONNECTION {
                self.read_connection(token.0 - FIRST_CONNECTION, now)
            } else if token.0 > WAKER {
                self.read_peers(token.0 - FIRST_RELAYED, now)
            } else if token.0 < self.listeners.len() {
                self.read_clients(token.0, now)
            } else {
                self.accept_clients(token.0, now.instant)
            };
            let is_listener = self.streams.has_listener(token.0);
            match (burst, self.queued(token)) {
                (Burst::Cut, Some(_)) => self.ready.push_back(token),
                (Burst::Emptied, Some(queued)) => *queued = false,
                (Burst::Cut, None) if is_listener => self.ready.push_back(token),
                (Burst::Cut | Burst::Emptied, None) => {}
            }
        }
    }

    fn read_clients(&mut self, listener: usize, now: Now) -> Burst {
        let id = ListenerId(listener as u16);
        for _ in 0..BURST {
            let received = self.listeners[listener].socket.recv_from(&mut self.buffer);
            let (length, client) = match received {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Burst::Emptied,
                Err(error) => {
                    self.receive_failed(&error);
                    continue;
                }
            };
            let datagram = &self.buffer[..length];
            match self.server.handle_client(id, ClientAddr(client), datagram, now) {
                ClientAction::Relay { allocation, peer, payload } => {
                    if let Some(Some((_, relayed))) = self.relayed.get(allocation.index()) {
                        let sent = relayed.socket.send_to(&self.buffer[payload], peer.0);
                        self.drops.count(sent);
                    }
                }
                ClientAction::Done => self.execute_commands(now),
            }
        }
        Burst::Cut
    }

    fn read_peers(&mut self, index: usize, now: Now) -> Burst {
        for _ in 0..BURST {
            let Some(Some((id, relayed))) = self.relayed.get(index) else { return Burst::Emptied };
            let room = &mut self.buffer[HEADROOM..HEADROOM + MAX_DATAGRAM];
            let (length, peer) = match relayed.socket.recv_from(room) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Burst::Emptied,
                Err(error) => {
                    self.receive_failed(&error);
                    continue;
                }
            };
            let Some(route) = self.server.handle_peer(*id, PeerAddr(peer), length, now) else {
                continue;
            };
            let start = HEADROOM - route.header().len();
            let end = HEADROOM + length + route.padding();
            self.buffer[start..HEADROOM].copy_from_slice(route.header());
            // What an earlier datagram left there is not this client's business (CVE-2020-4067).
            self.buffer[HEADROOM + length..end].fill(0);
            let message = &self.buffer[start..end];
            if let Some(listener) = self.listeners.get(usize::from(route.listener.0)) {
                self.drops.count(listener.socket.send_to(message, route.client.0));
            } else {
                self.streams.send(route.listener, route.client, Kind::Data, message);
            }
        }
        Burst::Cut
    }

    fn execute_commands(&mut self, now: Now) {
        while let Some(command) = self.server.poll_command() {
            match command {
                Command::SendToClient { listener, client, datagram } => {
                    if let Some(listener) = self.listeners.get(usize::from(listener.0)) {
                        self.drops.count(listener.socket.send_to(&datagram, client.0));
                    } else {
                        self.streams.send(listener, client, Kind::Answer, &datagram);
                    }
                }
                Command::CreateAllocation { allocation, relayed } => {
                    let outcome = self.open_relayed(allocation, relayed.0);
                    self.server.allocation_opened(allocation, outcome, now);
                }
                Command::FreeAllocation(freed) => self.free(&freed),
                // For a kernel fast path; sockets need no telling.
                Command::BindChannel(route) => {
                    debug!(number = route.number.get(), peer = ?route.peer, "channel bound");
                }
                Command::UnbindChannel(route) => {
                    debug!(number = route.number.get(), peer = ?route.peer, "channel unbound");
                }
            }
        }
    }

    fn open_relayed(&mut self, id: AllocationId, addr: SocketAddr) -> Result<(), OpenError> {
        let index = id.index();
        let opened = sockets::relayed(addr).and_then(|mut socket| {
            let token = Token(FIRST_RELAYED + index);
            self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
            Ok(socket)
        });
        match opened {
            Ok(socket) => {
                if self.relayed.len() <= index {
                    self.relayed.resize_with(index + 1, || None);
                }
                self.relayed[index] = Some((id, Readable { socket, queued: false }));
                debug!(allocation = ?id, port = addr.port(), "relay socket opened");
                Ok(())
            }
            Err(error) => {
                debug!(allocation = ?id, port = addr.port(), %error, "relay socket refused");
                Err(match error.kind() {
                    io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => {
                        OpenError::PortTaken
                    }
                    _ => OpenError::Exhausted,
                })
            }
        }
    }

    fn free(&mut self, freed: &FreedAllocation) {
        let slot = self.relayed.get_mut(freed.allocation.index());
        if let Some(slot) = slot
            && matches!(slot, Some((id, _)) if *id == freed.allocation)
            && let Some((_, mut relayed)) = slot.take()
        {
            // Closing deregisters it too; what could go wrong here changes nothing.
            let _ = self.poll.registry().deregister(&mut relayed.socket);
        }
        debug!(allocation = ?freed.allocation, end = ?freed.end, "allocation ended");
        self.report_usage(freed);
    }

    fn report_usage(&mut self, freed: &FreedAllocation) {
        let Some(usage) = &self.usage else { return };
        let report = RelayUsage {
            user: freed.user.name().to_owned(),
            end: freed.end,
            lived: freed.lived,
            client_to_peer: freed.usage.client_to_peer,
            peer_to_client: freed.usage.peer_to_client,
        };
        if usage.try_send(report).is_err() {
            self.drops.usage_report += 1;
        }
    }

    fn receive_failed(&mut self, error: &io::Error) {
        self.drops.receive_error += 1;
        debug!(%error, "a socket failed to receive");
    }

    /// Whether a socket waits in [`Self::ready`]; `None` for what is not read, or is gone.
    fn queued(&mut self, token: Token) -> Option<&mut bool> {
        if let Some(slot) = token.0.checked_sub(FIRST_CONNECTION) {
            return self.streams.get_mut(slot).map(|connection| &mut connection.queued);
        }
        if token.0 < WAKER {
            return self.listeners.get_mut(token.0).map(|readable| &mut readable.queued);
        }
        // The waker's token is below the first relayed one and has no socket.
        let index = token.0.checked_sub(FIRST_RELAYED)?;
        self.relayed.get_mut(index)?.as_mut().map(|(_, readable)| &mut readable.queued)
    }

    fn publish(&self, published: &Published) {
        published.publish(self.server.counters(), self.drops, self.streams.counts);
        for transport in Transport::ALL {
            published.publish_transport(
                transport,
                self.connections(transport),
                self.load(transport),
            );
        }
    }

    /// What the clients of one transport hold.
    fn load(&self, transport: Transport) -> ListenerLoad {
        let udp = (0..self.listeners.len()).map(|index| ListenerId(index as u16));
        let udp = udp.filter(|_| transport == Transport::Udp);
        let mut sum = ListenerLoad::default();
        for listener in udp.chain(self.streams.listeners_of(transport)) {
            let load = self.server.load(listener);
            sum.allocations += load.allocations;
            sum.allocations_created += load.allocations_created;
        }
        sum
    }

    fn connections(&self, transport: Transport) -> usize {
        if transport == Transport::Udp { 0 } else { self.streams.count(transport) }
    }

    fn snapshot(&self) -> RelaySnapshot {
        let mut snapshot = RelaySnapshot::of(&self.server, self.drops, self.drain_until.is_some());
        snapshot.connections = self.connections(Transport::Tcp) + self.connections(Transport::Tls);
        let named = self.streams.counts.named();
        snapshot.drops.extend(named.into_iter().filter(|&(_, count)| count > 0));
        snapshot
    }
}

impl SocketDrops {
    /// A datagram that is not taken is gone, like any other in a network; the reason is counted.
    fn count(&mut self, sent: io::Result<usize>) {
        match sent.map_err(|error| error.kind()) {
            Ok(_) => {}
            Err(io::ErrorKind::WouldBlock) => self.send_buffer_full += 1,
            Err(_) => self.send_error += 1,
        }
    }
}

fn now() -> Now {
    // By a clock before 1970 no credential can be judged: treat them all as expired.
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |d| d.as_secs());
    Now { instant: Instant::now(), unix }
}
