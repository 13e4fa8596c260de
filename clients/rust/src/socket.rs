//! The one UDP socket: what comes in is told apart and goes to the node or to QUIC, what QUIC sends
//! to a virtual address leaves by the path of the moment.
//!
//! QUIC's endpoint drives it: every datagram is read in [`AsyncUdpSocket::poll_recv`]. The node's
//! own datagrams are answered in the same call, so a check never waits for another task.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use p2p_traversal::traffic::Leg;
use p2p_traversal::{Event, Input, Node, PeerStreamId, StreamId, Via};
use p2p_wire::AttemptId;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::Notify;

use crate::peer_streams::PeerStreams;
use crate::relay_stream::RelayStreams;
use crate::routes::{Route, Routes};
use crate::strangers::Strangers;

/// Datagrams from relay and TCP that wait for QUIC to read them.
const MAX_WAITING: usize = 4096;

/// See the module.
pub struct PathSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    v4_only: bool,
    default_ip: IpAddr,
    node: Mutex<Node>,
    events: Mutex<VecDeque<Event>>,
    waiting: Mutex<VecDeque<(SocketAddr, Bytes)>>,
    strangers: Mutex<Strangers>,
    /// QUIC's reader: what a stream brings does not wake it otherwise.
    reader: AtomicWaker,
    pub(crate) streams: RelayStreams,
    pub(crate) peers: PeerStreams,
    dropped: AtomicU64,
    pub(crate) routes: Routes,
    /// Rung when the node has events or another deadline.
    pub(crate) bell: Notify,
    /// Rung when the host's addresses are others.
    pub(crate) moved: Arc<Notify>,
}

impl PathSocket {
    pub(crate) fn new(
        inner: Arc<dyn AsyncUdpSocket>,
        v4_only: bool,
        default_ip: IpAddr,
        node: Node,
        streams: RelayStreams,
        peers: PeerStreams,
        now: Instant,
    ) -> Self {
        Self {
            inner,
            v4_only,
            default_ip,
            node: Mutex::new(node),
            events: Mutex::default(),
            waiting: Mutex::default(),
            strangers: Mutex::default(),
            reader: AtomicWaker::new(),
            streams,
            peers,
            dropped: AtomicU64::new(0),
            routes: Routes::new(now),
            bell: Notify::new(),
            moved: Arc::default(),
        }
    }

    /// Lets the node act, then sends what it wants sent and keeps what it has to tell.
    pub(crate) fn with_node<T>(&self, act: impl FnOnce(&mut Node, Instant) -> T) -> T {
        let mut node = self.node.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut node, Instant::now());
        self.pump(node);
        result
    }

    /// When the node wants to act again.
    pub(crate) fn deadline(&self) -> Instant {
        self.node.lock().unwrap_or_else(PoisonError::into_inner).poll_timeout()
    }

    /// What the node has told since this was asked last.
    pub(crate) fn take_events(&self) -> VecDeque<Event> {
        std::mem::take(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Datagrams that had nowhere to go or came from nobody known, but for the latest few.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Takes in what a stream to the relay has brought.
    pub(crate) fn receive_stream(&self, id: StreamId, bytes: &[u8]) {
        self.take_in(self.with_node(|node, now| node.stream_received(id, bytes, now)));
    }

    /// Takes in what a TCP connection with a peer has brought.
    pub(crate) fn receive_peer_stream(&self, id: PeerStreamId, bytes: &[u8]) {
        self.take_in(self.with_node(|node, now| node.peer_stream_received(id, bytes, now)));
    }

    fn take_in(&self, inputs: Vec<Input>) {
        if inputs.is_empty() {
            return;
        }
        for input in inputs {
            self.keep_for_reader(input);
        }
        self.reader.wake();
    }

    fn pump(&self, mut node: MutexGuard<'_, Node>) {
        let (mut again, mut early) = (Vec::new(), Vec::new());
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(event) = node.poll_event() {
            // Routes change here and not in the task that reads the events, and before anything is
            // sent: an answer that goes out now may bring the peer's next packet at once.
            match &event {
                Event::Path(attempt, path) => again.extend(self.routes.set_path(attempt, *path)),
                Event::Answered(attempt) => again.extend(self.routes.of(attempt)),
                Event::Sources(attempt, sources) => {
                    self.routes.set_sources(attempt, sources);
                    self.admit(attempt, sources);
                }
                Event::Early(attempt, ways) => early.push((attempt.clone(), ways.clone())),
                Event::Detected(_)
                | Event::Unmeasured(_)
                | Event::Candidates(_)
                | Event::Relay(_)
                | Event::Verdict(_) => {}
            }
            events.push_back(event);
        }
        drop(events);
        for route in again {
            self.say_again(&route, &mut node);
        }
        self.transmit(&mut node);
        // Behind the checks, which open the way and show where what follows comes from.
        for (attempt, ways) in early {
            self.begin_early(&attempt, &ways, &mut node);
        }
        // A goodbye is written before its stream is closed.
        while let Some(command) = node.poll_stream_command() {
            self.streams.execute(command);
        }
        while let Some(command) = node.poll_peer_stream_command() {
            if !self.peers.execute(command) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        drop(node);
        self.bell.notify_one();
    }

    /// Sends what the node wants sent.
    fn transmit(&self, node: &mut Node) {
        while let Some(transmit) = node.poll_transmit() {
            self.send(transmit.from, transmit.to, &transmit.payload);
        }
        while let Some((id, message)) = node.poll_stream_write() {
            if !self.streams.write(id, message) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What left last may have been lost with the way it took, or while that was silent, and QUIC would
    /// wait for an answer to it ever longer (RFC 9002 §6.2.1). Over a way that answers, the answer comes
    /// at once and names all that is missing. A handshake that is under way goes first, lest it be overtaken. A peer that has
    /// them already discards the copies (RFC 9000 §12.3).
    fn say_again(&self, route: &Route, node: &mut Node) {
        let Some((via, remote)) = route.hop() else { return };
        for datagram in route.kept() {
            match via {
                Via::Socket(local) => self.send(Some(local), remote, &datagram),
                Via::Relay => node.send_relayed(remote, &datagram, Instant::now()),
                // Where TCP has lost something it says it again by itself.
                Via::Stream(id) => {
                    self.peers.send(id, &datagram);
                }
            }
        }
    }

    /// Sends what waits for a path the ways that are likely to become one.
    fn begin_early(&self, attempt: &AttemptId, ways: &[(Via, SocketAddr)], node: &mut Node) {
        let Some(route) = self.routes.set_early(attempt, ways) else { return };
        for datagram in route.kept() {
            self.send_early(ways, &datagram, node, Instant::now());
        }
        self.transmit(node);
    }

    fn send_early(
        &self,
        ways: &[(Via, SocketAddr)],
        datagram: &[u8],
        node: &mut Node,
        now: Instant,
    ) {
        for (via, remote) in ways {
            match via {
                Via::Socket(local) => self.send(Some(*local), *remote, datagram),
                Via::Relay => node.send_relayed(*remote, datagram, now),
                // There is none before it is a path.
                Via::Stream(_) => {}
            }
        }
    }

    /// Hands QUIC a datagram that has come another way than by the network.
    pub(crate) fn deliver(&self, from: SocketAddr, datagram: Bytes) {
        self.keep(from, datagram);
        self.reader.wake();
    }

    fn keep(&self, from: SocketAddr, datagram: Bytes) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_WAITING {
            waiting.push_back((from, datagram));
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands on what came from these addresses before they were known to be the attempt's.
    fn admit(&self, attempt: &AttemptId, sources: &[SocketAddr]) {
        let now = Instant::now();
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = strangers.take(sources, now);
        drop(strangers);
        let Some(route) = self.routes.of(attempt).filter(|_| !theirs.is_empty()) else { return };
        for (leg, source, datagram) in theirs {
            self.routes.note_received(&route, leg, Some(source), now);
            self.keep(route.virtual_addr, datagram);
        }
        self.reader.wake();
    }

    /// Keeps what comes from an address that is nobody's yet.
    fn keep_stranger(&self, leg: Leg, source: SocketAddr, datagram: Bytes) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped = strangers.keep(leg, source, datagram, Instant::now());
        drop(strangers);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    fn send(&self, from: Option<IpAddr>, to: SocketAddr, payload: &[u8]) {
        let transmit = Transmit {
            destination: self.outward(to),
            ecn: None,
            contents: payload,
            segment_size: None,
            src_ip: from.filter(|ip| !ip.is_unspecified()),
        };
        // A full buffer or a dead route loses the datagram, as a network would.
        if self.inner.try_send(&transmit).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The form in which the socket takes an address.
    fn outward(&self, addr: SocketAddr) -> SocketAddr {
        match addr {
            SocketAddr::V4(v4) if !self.v4_only => {
                SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()))
            }
            SocketAddr::V4(_) | SocketAddr::V6(_) => addr,
        }
    }

    /// Reads one received buffer, which may hold several datagrams of one sender. What is QUIC's
    /// stays in it, moved to the front; the rest is the node's. Returns what is left for QUIC.
    fn sort(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let remote = canonical(meta.addr);
        let local = meta.dst_ip.map_or(self.default_ip, |ip| ip.to_canonical());
        let (len, stride) = (meta.len, meta.stride.max(1));
        let mut kept = 0;
        let mut start = 0;
        while start < len {
            let end = len.min(start + stride);
            // Nearly every datagram of a connection is QUIC's: those do not take the node's lock.
            let quic = buffer[start] >= 80;
            let data = quic
                || self.with_node(|node, now| {
                    let input = node.handle_datagram(local, remote, &buffer[start..end], now);
                    self.keep_for_reader(input)
                });
            if data {
                buffer.copy_within(start..end, kept);
                kept += end - start;
            }
            start = end;
        }
        meta.len = kept;
        if kept == 0 {
            return;
        }
        match self.routes.from(Leg::Socket, remote, begins(&buffer[..kept])) {
            Some((route, others)) => {
                self.routes.note_received(&route, Leg::Socket, Some(remote), Instant::now());
                for datagram in buffer[..kept].chunks(stride) {
                    self.offer(&others, Leg::Socket, remote, datagram);
                }
                meta.addr = route.virtual_addr;
                meta.dst_ip = None;
            }
            None => {
                for datagram in buffer[..kept].chunks(stride) {
                    self.keep_stranger(Leg::Socket, remote, Bytes::copy_from_slice(datagram));
                }
                meta.len = 0;
            }
        }
    }

    /// Puts data that did not come straight to the socket where QUIC finds it; returns whether the
    /// datagram itself is QUIC's.
    fn keep_for_reader(&self, input: Input) -> bool {
        let (owners, leg, source, payload) = match input {
            Input::Data => return true,
            Input::Consumed => return false,
            Input::Relayed { peer, payload } => {
                let owners = self.routes.from(Leg::Relay, peer, begins(&payload));
                (owners, Leg::Relay, Some(peer), payload)
            }
            // It is a direct way like those through the UDP socket.
            Input::Streamed { attempt, payload } => {
                let owner = self.routes.of(&attempt).map(|route| (route, Vec::new()));
                (owner, Leg::Socket, None, payload)
            }
        };
        let Some((route, others)) = owners else {
            match source {
                Some(source) => self.keep_stranger(leg, source, payload),
                None => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            return false;
        };
        if let Some(source) = source {
            self.offer(&others, leg, source, &payload);
        }
        self.routes.note_received(&route, leg, source, Instant::now());
        self.keep(route.virtual_addr, payload);
        false
    }

    /// Lets QUIC look whether a datagram is one of these.
    fn offer(&self, routes: &[Arc<Route>], leg: Leg, source: SocketAddr, datagram: &[u8]) {
        for route in routes {
            self.routes.note_received(route, leg, Some(source), Instant::now());
            self.keep(route.virtual_addr, Bytes::copy_from_slice(datagram));
        }
    }

    fn take_waiting(&self, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> usize {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for (buffer, meta) in bufs.iter_mut().zip(meta) {
            let Some((addr, payload)) = waiting.pop_front() else { break };
            let len = payload.len().min(buffer.len());
            buffer[..len].copy_from_slice(&payload[..len]);
            *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
            count += 1;
        }
        count
    }
}

impl AsyncUdpSocket for PathSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let route = self.routes.to(transmit.destination);
        let Some(route) = route else {
            // QUIC retransmits; an error would end the endpoint.
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let Some((via, remote)) = route.hop() else {
            for datagram in transmit.contents.chunks(size) {
                route.keep_for_path(datagram, Instant::now());
                let early = route.early();
                if !early.is_empty() {
                    self.with_node(|node, now| self.send_early(&early, datagram, node, now));
                }
            }
            return Ok(());
        };
        let now = Instant::now();
        self.routes.note_sent(&route, now);
        route.keep_last(transmit.contents.chunks(size), now);
        match via {
            Via::Socket(local) => self.inner.try_send(&Transmit {
                destination: self.outward(remote),
                ecn: transmit.ecn,
                contents: transmit.contents,
                segment_size: transmit.segment_size,
                src_ip: Some(local),
            }),
            Via::Relay => {
                self.with_node(|node, now| {
                    for datagram in transmit.contents.chunks(size) {
                        node.send_relayed(remote, datagram, now);
                    }
                });
                Ok(())
            }
            Via::Stream(id) => {
                for datagram in transmit.contents.chunks(size) {
                    if !self.peers.send(id, datagram) {
                        self.dropped.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(())
            }
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.reader.register(cx.waker());
        loop {
            let count = self.take_waiting(bufs, meta);
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            let count = ready!(self.inner.poll_recv(cx, bufs, meta))?;
            let mut any = false;
            for (buffer, meta) in bufs.iter_mut().zip(meta.iter_mut()).take(count) {
                self.sort(buffer, meta);
                any |= meta.len > 0;
            }
            if any {
                return Poll::Ready(Ok(count));
            }
        }
    }

    /// An IPv6 address whatever the socket is: QUIC is to take virtual addresses, which are IPv6.
    fn local_addr(&self) -> io::Result<SocketAddr> {
        let port = self.inner.local_addr()?.port();
        Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl std::fmt::Debug for PathSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PathSocket").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

/// Whether a datagram may begin a connection: long headers do (RFC 9000 §17.2).
fn begins(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0x80 != 0)
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// The address that packets without a known destination are taken to have come to.
pub(crate) fn default_ip(local_ips: &[IpAddr]) -> IpAddr {
    local_ips.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}
