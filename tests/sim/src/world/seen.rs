//! What is so in a world, for tests to look at.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_traversal::relay::Allocation;
use p2p_traversal::{Path, PathKind};
use p2p_turn_core::Server;
use p2p_wire::{Candidate, IcePair, NatProfile, Policy};

use super::World;
use crate::coordinator::Call;
use crate::network::{PEER_PORT, Sender};
use crate::peer::Connection;

impl World {
    /// Time since the world began.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// One side of a call.
    ///
    /// # Panics
    /// The attempt has not begun there.
    pub fn side(&self, peer: &str, call: &Call) -> &Connection {
        let connection = self.side_if_begun(peer, call);
        connection.unwrap_or_else(|| panic!("{} has not begun at {peer}", call.id.as_str()))
    }

    /// The path of the moment on one side of a call.
    pub fn path(&self, peer: &str, call: &Call) -> Option<Path> {
        self.side_if_begun(peer, call).and_then(Connection::path)
    }

    /// Whether this side uses a path without a relay.
    pub fn has_direct_path(&self, peer: &str, call: &Call) -> bool {
        self.path(peer, call).is_some_and(|path| path.kind == PathKind::Direct)
    }

    /// Whether data that this peer sent has arrived at the call's other side.
    pub fn has_arrived(&self, from: &str, call: &Call, text: &str) -> bool {
        let other = if call.caller == from { &call.callee } else { &call.caller };
        let received = &self.side(other, call).received;
        received.iter().any(|r| r.payload[1..] == *text.as_bytes())
    }

    /// What the peer found out about its network.
    pub fn profile(&self, peer: &str) -> Option<&NatProfile> {
        self.peers[self.index(peer).0].profile.as_ref()
    }

    /// Every set of candidates that the peer has told of.
    pub fn candidates(&self, peer: &str) -> &[Vec<Candidate>] {
        &self.peers[self.index(peer).0].candidates
    }

    /// Every state of its allocation that the peer has told of.
    pub fn allocations(&self, peer: &str) -> &[Allocation] {
        &self.peers[self.index(peer).0].allocations
    }

    /// Allocations that the relay holds.
    pub fn allocations_at_relay(&self) -> usize {
        self.relay.allocations()
    }

    /// The relay's core, to look at its counters.
    pub fn relay(&self) -> &Server {
        self.relay.server()
    }

    /// Data that reached the peer from an address that its node had not named.
    pub fn unexpected(&self, peer: &str) -> u64 {
        self.peers[self.index(peer).0].unexpected
    }

    /// The address of a peer's socket on its host.
    pub fn socket(&self, peer: &str) -> SocketAddr {
        SocketAddr::new(self.network.local(self.index(peer)), PEER_PORT)
    }

    /// The address that the world sees of a peer's network.
    pub fn public_ip(&self, peer: &str) -> std::net::IpAddr {
        self.network.public(self.index(peer))
    }

    /// How many packets the peer's socket sent to each destination.
    pub fn sent_by(&self, peer: &str) -> Vec<(SocketAddr, u64)> {
        self.network.sent_by(Sender::Peer(self.index(peer))).collect()
    }

    /// What allocations have sent: relayed address and destination.
    pub fn relayed(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.network.sent_by_allocations().collect()
    }

    /// Whose packets reached the peer's host.
    pub fn heard_by(&self, peer: &str) -> Vec<SocketAddr> {
        self.network.heard_by(self.index(peer)).collect()
    }

    /// The policy the peer asks for.
    pub fn policy(&self, peer: &str) -> Policy {
        self.network.host(self.index(peer)).policy
    }

    /// The caller's credentials for a call, as somebody on the path of signaling would know them.
    pub fn credentials(&self, call: &Call) -> Option<&IcePair> {
        self.coordinator.credentials.get(call.id.as_str())
    }
}
