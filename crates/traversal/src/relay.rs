//! The leg to the relay: one TURN allocation, kept alive for all attempts (RFC 8656).
//!
//! `rtc-turn` speaks the protocol. This file keeps what a client needs around it: the first packets
//! to a peer go right behind the request for its permission, an allocation that the relay has
//! forgotten is made again, one that the relay no longer answers for is not counted on, and all of it
//! is bounded.

mod config;
mod doubt;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use p2p_wire::Secret;
use rtc_shared::error::Error;
use rtc_shared::{TransportContext, TransportMessage, TransportProtocol};
use rtc_turn::client::{Client, ClientConfig, Event as TurnEvent};
use rtc_turn::crypto::providers::AwsLcRsProvider;
use sansio::Protocol;

use crate::renewals::{self, Answer, Renewals, Signer};
use crate::stale::OpenRequests;
use crate::stun::{self, TransactionId};
use crate::transmit::Transmit;

pub use config::{RelayConfig, RelayTransport};

/// Peers that may be wanted at once: some addresses for each attempt. A TURN server has a bound too.
const MAX_PEERS: usize = 1024;
/// Peers that one allocation may meet. `rtc-turn` forgets none of them and numbers their channels, so
/// after this many the allocation is made again.
const MAX_PEERS_EVER: usize = 4096;
/// Packets that may go to one peer before its permission is confirmed. Checks and first flights fit;
/// the rest is lost, as on any network.
const MAX_UNCONFIRMED: usize = 16;
/// The first retransmission of a TURN request.
const RTO_MS: u64 = 200;
/// The wait before an allocation is asked for again.
const RETRY: Duration = Duration::from_secs(5);
/// The same where the relay is there and has forgotten, more than once in [`REMAKE_AGAIN`]. The first
/// time there is nothing to wait for: data may be standing still.
const REMAKE: Duration = Duration::from_millis(250);
const REMAKE_AGAIN: Duration = Duration::from_secs(5);
/// How often the allocation is refreshed at least: well inside its lifetime, so that a lost or stale
/// refresh leaves time for another.
const REFRESH: Duration = Duration::from_secs(120);

/// The allocation, as far as it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allocation {
    /// Asked for.
    Pending,
    /// Made: peers reach this client at this address.
    Ready(SocketAddr),
    /// Refused or unanswered; asked for again at the given time.
    Failed {
        /// What the relay said.
        reason: String,
        /// When it is tried again.
        retry: Instant,
    },
}

/// What came out of the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromPeer {
    /// The peer that sent it, as the relay saw it.
    pub peer: SocketAddr,
    /// What it sent.
    pub payload: Bytes,
}

/// One client's allocation at one relay.
pub struct RelayLeg {
    config: RelayConfig,
    client: Client,
    allocation: Allocation,
    peers: HashMap<SocketAddr, Permission>,
    /// Which peer each open CreatePermission is for.
    asks: HashMap<TransactionId, SocketAddr>,
    renewals: Renewals,
    /// Peers that `rtc-turn` has been asked to permit.
    met: usize,
    open: OpenRequests,
    /// Requests that go out once more.
    again: VecDeque<Bytes>,
    /// Send indications so far: their numbers.
    indications: u64,
    /// When the relay had forgotten last.
    remade: Option<Instant>,
    /// The refresh whose answer is awaited.
    refresh: Option<TransactionId>,
    /// Requests in a row that the relay has left unanswered.
    unanswered: u8,
    /// The allocation that the relay does not answer for, and may still hold: it is asked for that
    /// one, because it makes no second for the same addresses (RFC 8656 §7.2).
    doubted: Option<SocketAddr>,
    /// What the next allocation is made with: this one keeps the user that it was made by (RFC 8656
    /// §5).
    next_credentials: Option<(String, Secret)>,
    /// Packets dropped because a bound was reached or the relay was not ready.
    dropped: u64,
}

enum Permission {
    Asked(Asked),
    Granted,
    Denied,
}

/// A request that waits for its answer, and what was sent behind it. A relay takes what comes from a
/// client in order, so the packets have passed where the request has, and are sent again where that
/// took more than one try.
struct Asked {
    since: Instant,
    repeated: bool,
    sent: VecDeque<Bytes>,
}

impl RelayLeg {
    /// Asks for an allocation.
    pub fn new(config: RelayConfig, now: Instant) -> Self {
        let client = client(&config);
        let mut leg = Self {
            config,
            client,
            allocation: Allocation::Pending,
            peers: HashMap::new(),
            asks: HashMap::new(),
            renewals: Renewals::default(),
            met: 0,
            open: OpenRequests::default(),
            again: VecDeque::new(),
            indications: 0,
            remade: None,
            refresh: None,
            unanswered: 0,
            doubted: None,
            next_credentials: None,
            dropped: 0,
        };
        leg.allocate(now);
        leg
    }

    /// The relay's address.
    pub fn server(&self) -> SocketAddr {
        self.config.server
    }

    /// The allocation, as far as it is there.
    pub fn allocation(&self) -> &Allocation {
        &self.allocation
    }

    /// Where peers reach this client, if anywhere.
    pub fn relayed(&self) -> Option<SocketAddr> {
        match self.allocation {
            Allocation::Ready(addr) => Some(addr),
            Allocation::Pending | Allocation::Failed { .. } => None,
        }
    }

    /// Packets that were not sent: no allocation, no permission, or a bound reached.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes fresh credentials, for when the next allocation is made or the relay will not have those
    /// of this one any more.
    pub fn renew_credentials(&mut self, username: &str, password: &Secret, now: Instant) {
        if self.config.username == username && self.config.password == *password {
            self.next_credentials = None;
            return;
        }
        self.next_credentials = Some((username.to_owned(), password.clone()));
        match self.allocation {
            Allocation::Ready(_) => {}
            Allocation::Failed { .. } if self.doubted.is_some() => self.keep_asking(now),
            Allocation::Pending | Allocation::Failed { .. } => self.allocate(now),
        }
    }

    /// Asks for permission to exchange packets with a peer, ahead of the first packet.
    pub fn permit(&mut self, peer: SocketAddr, now: Instant) {
        let Some(relayed) = self.relayed() else { return };
        if self.peers.contains_key(&peer) {
            return;
        }
        if self.peers.len() >= MAX_PEERS {
            self.dropped += 1;
            return;
        }
        let asked = Asked { since: now, repeated: false, sent: VecDeque::new() };
        self.peers.insert(peer, Permission::Asked(asked));
        self.ask(relayed, peer, now);
    }

    /// Forgets the peers that nobody wants to reach: their permissions run out.
    pub fn retain(&mut self, mut wanted: impl FnMut(&SocketAddr) -> bool, now: Instant) {
        self.peers.retain(|peer, _| wanted(peer));
        if self.met > MAX_PEERS_EVER {
            self.close(now);
            self.flush();
            let goodbye = std::mem::take(&mut self.again);
            self.forgotten(now);
            self.again = goodbye;
        }
    }

    /// Sends to a peer through the relay, also while the request for its permission is on its way:
    /// a round trip to the relay is worth more than the packets that it may refuse.
    pub fn send(&mut self, peer: SocketAddr, payload: &[u8], now: Instant) {
        let Some(relayed) = self.relayed() else {
            self.dropped += 1;
            return;
        };
        self.permit(peer, now);
        match self.peers.get_mut(&peer) {
            Some(Permission::Granted) => {
                let sent =
                    self.client.relay(relayed).and_then(|mut r| r.send_to(now, payload, peer));
                self.dropped += u64::from(sent.is_err());
            }
            Some(Permission::Asked(asked)) if asked.sent.len() < MAX_UNCONFIRMED => {
                asked.sent.push_back(Bytes::copy_from_slice(payload));
                // The request first.
                self.flush();
                self.indications += 1;
                self.again.extend(stun::send_indication(self.indications, peer, payload));
            }
            Some(Permission::Asked(_) | Permission::Denied) | None => self.dropped += 1,
        }
    }

    /// Reads a datagram of the relay's.
    pub fn handle_datagram(&mut self, datagram: &[u8], now: Instant) -> Option<FromPeer> {
        let message = TransportMessage {
            now,
            transport: TransportContext {
                peer_addr: self.config.server,
                transport_protocol: protocol(self.config.transport),
                ..Default::default()
            },
            message: BytesMut::from(datagram),
        };
        let (username, password) = (&self.config.username, self.config.password.expose());
        if let Some(again) = self.open.again(datagram, username, password) {
            if renewals::is_request(&again) {
                self.renewals.learn(&again);
                for permission in self.peers.values_mut() {
                    if let Permission::Asked(asked) = permission {
                        asked.repeated = true;
                    }
                }
            }
            self.again.push_back(again);
            // The client learns the fresh nonce from the answer to a refresh.
            self.verify(now);
            return None;
        }
        if let Some(answer) = self.renewals.answer(datagram) {
            self.on_renewal(answer, now);
            return None;
        }
        let read = self.client.handle_read(message);
        // Where several refreshes are open, one speaks for all.
        let awaited = self.refresh.is_some_and(|id| stun::is_answer_to(datagram, id));
        match stun::refresh_answer(datagram).filter(|_| awaited) {
            // The client has taken the fresh nonce and would use it with its next refresh. That
            // may be too late: only the answer to this one says whether there is an allocation.
            Some(stun::RefreshAnswer::StaleNonce) => {
                self.refresh = None;
                self.ask_refresh(now);
            }
            Some(stun::RefreshAnswer::Success) => self.confirmed(now),
            Some(stun::RefreshAnswer::Refused(code)) => {
                self.refresh = None;
                let reason = read.as_ref().err().map(ToString::to_string).unwrap_or_default();
                self.refused(code, &reason, now);
            }
            None => {}
        }
        if read.is_err() {
            return None;
        }
        self.drain(now)
    }

    /// Retransmits, refreshes, and asks again for what failed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Allocation::Failed { retry, .. } = self.allocation {
            match self.doubted {
                None if now >= retry => return self.allocate(now),
                None => return,
                Some(_) if now >= retry => self.keep_asking(now),
                Some(_) => {}
            }
        }
        // The only error is a bug of the client's own, and the next timeout repeats the work.
        let _ = self.client.handle_timeout(now);
        let from_peer = self.drain(now);
        debug_assert!(from_peer.is_none(), "a timeout brings no data");
        let (again, unanswered) = self.renewals.handle_timeout(now);
        self.again.extend(again);
        if !unanswered.is_empty() {
            self.not_answered(now);
        }
        for peer in unanswered {
            self.unanswered(peer);
        }
        if self.renewals.take_due(now) {
            let granted = |(peer, state): (&SocketAddr, &Permission)| {
                matches!(state, Permission::Granted).then_some(*peer)
            };
            let peers: Vec<_> = self.peers.iter().filter_map(granted).collect();
            self.renew(peers, now);
        }
    }

    /// When [`RelayLeg::handle_timeout`] is due.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let retry = match self.allocation {
            Allocation::Failed { retry, .. } if self.doubted.is_none() => return Some(retry),
            Allocation::Failed { retry, .. } => self.refresh.is_none().then_some(retry),
            Allocation::Pending | Allocation::Ready(_) => None,
        };
        let work = self.client.poll_timeout().into_iter().chain(self.renewals.poll_timeout());
        work.chain(retry).min()
    }

    /// The next datagram for the relay.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.flush();
        let payload = self.again.pop_front()?;
        Some(Transmit { from: None, to: self.config.server, payload })
    }

    /// Gives the allocation back (RFC 8656 §8: a lifetime of zero).
    pub fn close(&mut self, now: Instant) {
        if let Some(relayed) = self.relayed().or(self.doubted) {
            // What cannot be given back expires by itself.
            let _ = self.client.relay(relayed).and_then(|mut relay| relay.close(now));
        }
    }

    fn adopt_credentials(&mut self) {
        if let Some((username, password)) = self.next_credentials.take() {
            self.config.username = username;
            self.config.password = password;
        }
    }

    /// Moves what `rtc-turn` wants to send to what is sent, without its renewals of permissions.
    fn flush(&mut self) {
        while let Some(message) = self.client.poll_write() {
            let payload = message.message.freeze();
            if renewals::is_request(&payload) {
                let asked = stun::peek(&payload).is_some_and(|(_, id)| self.asks.contains_key(&id));
                if !asked {
                    continue;
                }
                self.renewals.learn(&payload);
            } else if let Some(id) = stun::refresh_request(&payload) {
                self.refresh.get_or_insert(id);
            }
            self.open.sent(&payload);
            self.again.push_back(payload);
        }
    }

    fn renew(&mut self, peers: impl IntoIterator<Item = SocketAddr>, now: Instant) {
        let (username, password) = (&self.config.username, self.config.password.expose());
        for request in self.renewals.ask(peers, Signer { username, password }, now) {
            self.open.sent(&request);
            self.again.push_back(request);
        }
    }

    fn on_renewal(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Granted(peers) => {
                for ip in peers.iter().map(SocketAddr::ip) {
                    self.granted(ip, now);
                }
            }
            Answer::Refused(peers) if peers.len() > 1 => {
                for peer in peers {
                    self.renew([peer], now);
                }
            }
            Answer::Refused(peers) => {
                for (peer, permission) in &mut self.peers {
                    if peers.iter().any(|refused| refused.ip() == peer.ip()) {
                        *permission = Permission::Denied;
                    }
                }
            }
            Answer::NoAllocation => self.forgotten(now),
        }
    }

    /// The relay has said nothing about this peer: the next packet asks again.
    fn unanswered(&mut self, peer: SocketAddr) {
        if let Some(Permission::Asked(asked)) = self.peers.get(&peer) {
            self.dropped += asked.sent.len() as u64;
            self.peers.remove(&peer);
        }
    }

    fn allocate(&mut self, now: Instant) {
        self.adopt_credentials();
        self.client = client(&self.config);
        self.allocation = Allocation::Pending;
        if let Err(error) = self.client.allocate(now) {
            self.fail(&error.to_string(), now);
        }
    }

    fn forgotten(&mut self, now: Instant) {
        self.fail("the relay has dropped the allocation", now);
        let again = self.remade.is_some_and(|at| now.saturating_duration_since(at) < REMAKE_AGAIN);
        if let Allocation::Failed { retry, .. } = &mut self.allocation {
            *retry = if again { now + REMAKE } else { now };
        }
        self.remade = Some(now);
    }

    fn fail(&mut self, reason: &str, now: Instant) {
        self.peers.clear();
        self.asks.clear();
        self.renewals = Renewals::default();
        self.met = 0;
        self.open = OpenRequests::default();
        self.again.clear();
        self.refresh = None;
        self.unanswered = 0;
        self.doubted = None;
        self.allocation = Allocation::Failed { reason: reason.to_owned(), retry: now + RETRY };
    }

    fn ask(&mut self, relayed: SocketAddr, peer: SocketAddr, now: Instant) {
        match self.client.relay(relayed).and_then(|mut r| r.create_permission(now, peer)) {
            Ok(Some(id)) => {
                self.met += 1;
                self.asks.insert(id.0, peer);
            }
            // It was granted once and let go: `rtc-turn` still counts on it.
            Ok(None) => self.renew([peer], now),
            Err(_) => {
                self.peers.insert(peer, Permission::Denied);
            }
        }
    }

    fn drain(&mut self, now: Instant) -> Option<FromPeer> {
        let mut from_peer = None;
        while let Some(event) = self.client.poll_event() {
            match event {
                TurnEvent::AllocateResponse(_, relayed) => {
                    self.allocation = Allocation::Ready(relayed);
                }
                TurnEvent::AllocateError(_, error) => self.fail(&error.to_string(), now),
                TurnEvent::TransactionTimeout(id) => {
                    self.open.forget(&id.0);
                    if self.allocation == Allocation::Pending {
                        self.fail("the relay does not answer", now);
                        continue;
                    }
                    if let Some(peer) = self.asks.remove(&id.0) {
                        self.unanswered(peer);
                    }
                    if self.refresh == Some(id.0) {
                        self.refresh = None;
                    }
                    self.not_answered(now);
                }
                TurnEvent::CreatePermissionResponse(id, peer) => {
                    self.asks.remove(&id.0);
                    self.renewals.begin(now);
                    self.permitted(peer, now);
                }
                TurnEvent::CreatePermissionError(id, error) => self.denied(id.0, &error, now),
                TurnEvent::DataIndicationOrChannelData(_, peer, data) => {
                    if self.doubted.is_some() {
                        self.keep_asking(now);
                    }
                    from_peer = Some(FromPeer { peer, payload: data.freeze() });
                }
                _ => {}
            }
        }
        from_peer
    }

    /// The relay passes packets on to and from this address.
    fn granted(&mut self, ip: IpAddr, now: Instant) {
        let peers: Vec<_> = self.peers.keys().filter(|peer| peer.ip() == ip).copied().collect();
        for peer in peers {
            self.permitted(peer, now);
        }
    }

    fn permitted(&mut self, peer: SocketAddr, now: Instant) {
        // Nobody may want it any more.
        let Some(permission) = self.peers.get_mut(&peer) else { return };
        let before = std::mem::replace(permission, Permission::Granted);
        let Permission::Asked(asked) = before else { return };
        let took = now.saturating_duration_since(asked.since);
        if asked.repeated || took >= Duration::from_millis(RTO_MS) {
            for payload in asked.sent {
                self.send(peer, &payload, now);
            }
        }
    }

    /// The relay's last word on a peer; what it says of stale nonces was dealt with before.
    fn denied(&mut self, id: TransactionId, error: &Error, now: Instant) {
        let Some(peer) = self.asks.remove(&id) else { return };
        if error.to_string().contains("437") {
            self.forgotten(now);
        } else if let Some(permission) = self.peers.get_mut(&peer) {
            *permission = Permission::Denied;
        }
    }
}

impl std::fmt::Debug for RelayLeg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayLeg")
            .field("config", &self.config)
            .field("allocation", &self.allocation)
            .field("peers", &self.peers.len())
            .finish_non_exhaustive()
    }
}

/// Over a stream a request is sent once (RFC 8489 §6.2.2), with or without TLS around it.
fn protocol(transport: RelayTransport) -> TransportProtocol {
    match transport {
        RelayTransport::Udp => TransportProtocol::UDP,
        RelayTransport::Tcp | RelayTransport::Tls => TransportProtocol::TCP,
    }
}

fn client(config: &RelayConfig) -> Client {
    let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let config = ClientConfig {
        turn_serv_addr: config.server.to_string(),
        local_addr: if config.server.is_ipv4() {
            local
        } else {
            "[::]:0".parse().expect("an address")
        },
        username: config.username.clone(),
        password: config.password.expose().to_owned(),
        transport_protocol: protocol(config.transport),
        rto_in_ms: RTO_MS,
        allocation_refresh_interval_cap: Some(REFRESH),
        ..ClientConfig::default()
    };
    Client::new(config, Arc::new(AwsLcRsProvider::new())).expect("the server is a literal address")
}
