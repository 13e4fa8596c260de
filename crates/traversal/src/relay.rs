//! The leg to the relay: one TURN allocation, kept alive for all attempts (RFC 8656).
//!
//! `rtc-turn` speaks the protocol. This file keeps what a client needs around it: packets wait while
//! their permission is on its way, an allocation that the relay has forgotten is made again, and all
//! of it is bounded.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use p2p_wire::Secret;
use rtc_shared::error::Error;
use rtc_shared::{TransportContext, TransportMessage};
use rtc_turn::client::{Client, ClientConfig, Event as TurnEvent};
use rtc_turn::crypto::providers::AwsLcRsProvider;
use sansio::Protocol;

use crate::stale::OpenRequests;
use crate::stun::{self, TransactionId};
use crate::transmit::Transmit;

/// Peers with a permission; a TURN server has a bound too.
const MAX_PEERS: usize = 256;
/// Packets that wait for one peer's permission. Checks and first flights fit; the rest is lost, as
/// on any network.
const MAX_WAITING: usize = 16;
/// The first retransmission of a TURN request.
const RTO_MS: u64 = 200;
/// The wait before an allocation is asked for again.
const RETRY: Duration = Duration::from_secs(5);
/// The same where the relay is there and has merely forgotten.
const REMAKE: Duration = Duration::from_millis(250);
/// How often the allocation is refreshed at least: well inside its lifetime, so that a lost or stale
/// refresh leaves time for another.
const REFRESH: Duration = Duration::from_secs(120);

/// Which relay, as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// The relay's address.
    pub server: SocketAddr,
    /// The TURN username.
    pub username: String,
    /// The TURN password.
    pub password: Secret,
}

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
    open: OpenRequests,
    /// Requests that go out once more.
    again: VecDeque<Bytes>,
    changed: bool,
    /// An answer to a refresh is awaited.
    verifying: bool,
    /// Packets dropped because a bound was reached or the relay was not ready.
    dropped: u64,
}

enum Permission {
    Asked(VecDeque<Bytes>),
    Granted,
    Denied,
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
            open: OpenRequests::default(),
            again: VecDeque::new(),
            changed: false,
            verifying: false,
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

    /// Whether the allocation came or went since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Packets that were not sent: no allocation, no permission, or a bound reached.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes fresh credentials; the allocation stays.
    pub fn renew_credentials(&mut self, username: &str, password: &Secret, now: Instant) {
        if self.config.username == username && self.config.password == *password {
            return;
        }
        username.clone_into(&mut self.config.username);
        self.config.password = password.clone();
        if matches!(self.allocation, Allocation::Ready(_)) {
            if let Err(error) =
                self.client.update_credentials(username.to_owned(), password.expose().to_owned())
            {
                self.fail(&error.to_string(), now);
            }
        } else {
            self.client = client(&self.config);
            self.allocate(now);
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
        self.peers.insert(peer, Permission::Asked(VecDeque::new()));
        self.ask(relayed, peer, now);
    }

    /// Sends to a peer through the relay. Waits for the permission where it is on its way.
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
            Some(Permission::Asked(waiting)) if waiting.len() < MAX_WAITING => {
                waiting.push_back(Bytes::copy_from_slice(payload));
            }
            Some(Permission::Asked(_) | Permission::Denied) | None => self.dropped += 1,
        }
    }

    /// Reads a datagram of the relay's.
    pub fn handle_datagram(&mut self, datagram: &[u8], now: Instant) -> Option<FromPeer> {
        let message = TransportMessage {
            now,
            transport: TransportContext { peer_addr: self.config.server, ..Default::default() },
            message: BytesMut::from(datagram),
        };
        let (username, password) = (&self.config.username, self.config.password.expose());
        if let Some(again) = self.open.again(datagram, username, password) {
            self.again.push_back(again);
            // The client learns the fresh nonce from the answer to a refresh.
            self.verify(now);
            return None;
        }
        let refresh = stun::refresh_answer(datagram);
        self.verifying &= refresh.is_none();
        let read = self.client.handle_read(message);
        if refresh == Some(stun::RefreshAnswer::StaleNonce) {
            // The client has taken the fresh nonce and would use it with its next refresh. That
            // may be too late: only the answer to this one says whether there is an allocation.
            let _ = self.client.refresh_allocations(now);
        }
        if let Err(error) = read {
            // 437: the relay knows no such allocation, so there is none.
            if error.to_string().contains("437") {
                self.forgotten(now);
            }
            return None;
        }
        self.drain(now)
    }

    /// Retransmits, refreshes, and asks again for what failed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Allocation::Failed { retry, .. } = self.allocation {
            if now >= retry {
                self.client = client(&self.config);
                self.allocate(now);
            }
            return;
        }
        // The only error is a bug of the client's own, and the next timeout repeats the work.
        let _ = self.client.handle_timeout(now);
        let from_peer = self.drain(now);
        debug_assert!(from_peer.is_none(), "a timeout brings no data");
    }

    /// When [`RelayLeg::handle_timeout`] is due.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        match self.allocation {
            Allocation::Failed { retry, .. } => Some(retry),
            Allocation::Pending | Allocation::Ready(_) => self.client.poll_timeout(),
        }
    }

    /// The next datagram for the relay.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let to = self.config.server;
        if let Some(payload) = self.again.pop_front() {
            return Some(Transmit { from: None, to, payload });
        }
        let payload = self.client.poll_write()?.message.freeze();
        self.open.sent(&payload);
        Some(Transmit { from: None, to, payload })
    }

    /// Asks the relay whether the allocation is still there: nothing comes through it.
    pub fn verify(&mut self, now: Instant) {
        if self.relayed().is_some() && !self.verifying {
            self.verifying = true;
            // What cannot be sent is sent again with the next refresh.
            let _ = self.client.refresh_allocations(now);
        }
    }

    /// Gives the allocation back (RFC 8656 §8: a lifetime of zero).
    pub fn close(&mut self, now: Instant) {
        if let Some(relayed) = self.relayed() {
            // What cannot be given back expires by itself.
            let _ = self.client.relay(relayed).and_then(|mut relay| relay.close(now));
        }
    }

    fn allocate(&mut self, now: Instant) {
        self.allocation = Allocation::Pending;
        if let Err(error) = self.client.allocate(now) {
            self.fail(&error.to_string(), now);
        }
    }

    fn forgotten(&mut self, now: Instant) {
        self.fail("the relay has dropped the allocation", now);
        if let Allocation::Failed { retry, .. } = &mut self.allocation {
            *retry = now + REMAKE;
        }
    }

    fn fail(&mut self, reason: &str, now: Instant) {
        self.changed |= self.relayed().is_some();
        self.peers.clear();
        self.asks.clear();
        self.open = OpenRequests::default();
        self.again.clear();
        self.verifying = false;
        self.allocation = Allocation::Failed { reason: reason.to_owned(), retry: now + RETRY };
    }

    fn ask(&mut self, relayed: SocketAddr, peer: SocketAddr, now: Instant) {
        match self.client.relay(relayed).and_then(|mut r| r.create_permission(now, peer)) {
            Ok(Some(id)) => {
                self.asks.insert(id.0, peer);
            }
            Ok(None) => {}
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
                    self.changed = true;
                }
                TurnEvent::AllocateError(_, error) => self.fail(&error.to_string(), now),
                TurnEvent::TransactionTimeout(id) => {
                    self.verifying = false;
                    self.open.forget(&id.0);
                    if self.allocation == Allocation::Pending {
                        self.fail("the relay does not answer", now);
                    } else if let Some(peer) = self.asks.remove(&id.0) {
                        self.peers.insert(peer, Permission::Denied);
                    }
                }
                TurnEvent::CreatePermissionResponse(id, peer) => {
                    self.asks.remove(&id.0);
                    self.granted(peer, now);
                }
                TurnEvent::CreatePermissionError(id, error) => self.denied(id.0, &error, now),
                TurnEvent::DataIndicationOrChannelData(_, peer, data) => {
                    from_peer = Some(FromPeer { peer, payload: data.freeze() });
                }
                _ => {}
            }
        }
        from_peer
    }

    fn granted(&mut self, peer: SocketAddr, now: Instant) {
        let Some(Permission::Asked(waiting)) = self.peers.insert(peer, Permission::Granted) else {
            return;
        };
        for payload in waiting {
            self.send(peer, &payload, now);
        }
    }

    /// The relay's last word on a peer; what it says of stale nonces was dealt with before.
    fn denied(&mut self, id: TransactionId, error: &Error, now: Instant) {
        let Some(peer) = self.asks.remove(&id) else { return };
        if error.to_string().contains("437") {
            self.forgotten(now);
        } else {
            self.peers.insert(peer, Permission::Denied);
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
        rto_in_ms: RTO_MS,
        allocation_refresh_interval_cap: Some(REFRESH),
        ..ClientConfig::default()
    };
    Client::new(config, Arc::new(AwsLcRsProvider::new())).expect("the server is a literal address")
}
