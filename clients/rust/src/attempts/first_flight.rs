//! The handshake begins with the request: its first flight travels to the callee with the word of the
//! attempt, whose answer is then the first thing to cross between the peers.
//!
//! The caller does not know the callee's key when it begins. It learns it with the attempt, and until
//! then takes no answer for the callee's. Nothing of the user's leaves before that answer has proven
//! the key.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use p2p_wire::limits::{MAX_FLIGHT_DATAGRAMS, MAX_FLIGHT_TEXT_BYTES};
use p2p_wire::{AttemptId, PeerId, PeerKey, Policy, RequestId};
use quinn::{ClientConfig, Connecting};

use super::Attempts;
use crate::accept::Arrival;
use crate::error::Error;
use crate::routes::Route;
use crate::socket::PathSocket;

/// What a handshake names instead of its attempt where that has no name yet.
const UNNAMED: &str = "unnamed";

/// How long the request waits for the first flight, which takes the time of a key exchange's half.
const FLIGHT_WITHIN: Duration = Duration::from_millis(50);

/// A request whose first flight is there, or not to be waited for.
pub(crate) struct Begun {
    pub(super) request: RequestId,
    pub(super) to: PeerId,
    pub(super) policy: Policy,
    pub(super) flight: Vec<String>,
}

/// A handshake without an attempt. Dropped, it is forgotten.
pub(crate) struct Handshake {
    connecting: Option<Connecting>,
    key: Arc<OnceLock<PeerKey>>,
    route: Arc<Route>,
    socket: Arc<PathSocket>,
}

impl Handshake {
    /// Gives it the attempt that it is for, and the key that the answer has to prove. `None` where the
    /// peer is known already by another address: packets of two addresses could not be told apart.
    pub(super) fn adopt(
        mut self,
        attempt: &AttemptId,
        key: &PeerKey,
        policy: Policy,
    ) -> Option<Connecting> {
        if !self.socket.routes.adopt(attempt, key, policy, self.route.virtual_addr) {
            return None;
        }
        // It was empty: an attempt adopts once.
        let _ = self.key.set(key.clone());
        self.connecting.take()
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.socket.routes.release(self.route.virtual_addr);
    }
}

impl Attempts {
    /// Begins a handshake, and tells of its first flight once that is there.
    pub(super) fn begin_handshake(
        &self,
        request: RequestId,
        to: PeerId,
        policy: Policy,
    ) -> Result<Handshake, Error> {
        let (key, route) = (Arc::new(OnceLock::new()), self.socket.routes.reserve());
        let mut handshake = Handshake {
            connecting: None,
            key: Arc::clone(&key),
            route: Arc::clone(&route),
            socket: Arc::clone(&self.socket),
        };
        let connecting = self.connecting(key, route.virtual_addr, UNNAMED)?;
        handshake.connecting = Some(connecting);
        let begun = self.begun.clone();
        tokio::spawn(async move {
            let waits = tokio::time::timeout(FLIGHT_WITHIN, route.waits()).await;
            let flight = waits.map(|()| written(&route.kept())).unwrap_or_default();
            let _ = begun.send(Begun { request, to, policy, flight }).await;
        });
        Ok(handshake)
    }

    /// A QUIC handshake with whoever is at this virtual address and holds this key.
    pub(super) fn connecting(
        &self,
        key: Arc<OnceLock<PeerKey>>,
        virtual_addr: SocketAddr,
        name: &str,
    ) -> Result<Connecting, Error> {
        let mut config = ClientConfig::new(Arc::new(self.identity.client(key)?));
        config.transport_config(Arc::clone(&self.transport));
        self.endpoint.connect_with(config, virtual_addr, name).map_err(Error::internal)
    }

    /// The callee's side: the first flight is as good as one that came from the peer's address.
    pub(super) fn take_flight(&self, attempt: &AttemptId, flight: &[String]) {
        let Some(route) = self.socket.routes.of(attempt) else { return };
        for datagram in flight.iter().take(MAX_FLIGHT_DATAGRAMS) {
            let datagram = URL_SAFE_NO_PAD.decode(datagram).unwrap_or_default();
            // Long headers alone begin a connection (RFC 9000 §17.2).
            if datagram.first().is_some_and(|first| first & 0xc0 == 0xc0) {
                self.socket.deliver(route.virtual_addr, Bytes::from(datagram));
            }
        }
    }

    /// The attempt that a connection which came in is for: the one it names, or of its key's the
    /// oldest that waits for a connection.
    pub(super) fn attempt_of(&self, arrival: &Arrival) -> Option<AttemptId> {
        if self.entries.contains_key(&arrival.attempt) {
            return Some(arrival.attempt.clone());
        }
        let waiting = self.entries.iter().filter(|(id, _)| self.waits_for(id, arrival));
        waiting.min_by_key(|(_, entry)| entry.started).map(|(id, _)| id.clone())
    }

    /// Whether an attempt may be what a connection without a name is for.
    pub(super) fn waits_for(&self, attempt: &AttemptId, arrival: &Arrival) -> bool {
        let Some(entry) = self.entries.get(attempt) else { return false };
        let waits = !entry.controlling && !entry.connected;
        // Those with another policy have another address.
        let there = self.socket.routes.of(attempt).map(|route| route.virtual_addr);
        arrival.attempt.as_str() == UNNAMED
            && entry.key == arrival.key
            && waits
            && there == Some(arrival.quic.remote_address())
    }
}

/// The flight as it goes into a request; empty where it does not fit one.
fn written(flight: &[Vec<u8>]) -> Vec<String> {
    let written: Vec<_> = flight.iter().map(|d| URL_SAFE_NO_PAD.encode(d)).collect();
    let fits = written.len() <= MAX_FLIGHT_DATAGRAMS
        && written.iter().all(|datagram| datagram.len() <= MAX_FLIGHT_TEXT_BYTES);
    if fits { written } else { Vec::new() }
}
