//! The nodes' TCP connections: what the client library does with real ones.

use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_traversal::{Input, PeerStreamCommand, PeerStreamId, frames};
use p2p_wire::{Mapping, TcpProfile};

use super::World;
use crate::network::{PEER_PORT, PeerIndex};
use crate::tcp::{Happened, TcpNat};

impl World {
    /// Everything that this peer has dialled, and when, since the world began.
    pub fn dialled_by(&self, peer: &str) -> Vec<(std::net::SocketAddr, Duration)> {
        let (index, now) = (self.index(peer), self.clock.now());
        let began = now.checked_sub(self.elapsed()).expect("the world began before");
        let of = self.tcp.dialled.iter().filter(|(by, ..)| *by == index);
        of.map(|(_, to, at)| (*to, *at - began)).collect()
    }

    /// Tells the peer that was added last how its network treats TCP, as it would have measured it.
    pub(super) fn begin_tcp(&mut self, tcp: Option<TcpNat>) {
        let index = PeerIndex(self.peers.len() - 1);
        let Some(tcp) = tcp else { return self.tcp.add_none() };
        let host = *self.network.host(index);
        let nat = host.nat.map(|_| tcp);
        let public = self.network.public(index);
        let public = self.tcp.add(nat, public, host.latency, host.loss, true);
        let mapping = match nat {
            Some(TcpNat { symmetric: true, .. }) => Mapping::AddressAndPortDependent,
            Some(_) | None => Mapping::EndpointIndependent,
        };
        let profile = TcpProfile { mapping, public_address: Some(public) };
        let now = self.clock.now();
        self.peers[index.0].node.set_tcp(Some((PEER_PORT, profile)), now);
    }

    /// Does what the node wants done with its connections.
    pub(super) fn do_tcp(&mut self, index: PeerIndex, now: Instant) {
        while let Some(command) = self.peers[index.0].node.poll_peer_stream_command() {
            match command {
                PeerStreamCommand::Dial { id, to } => self.tcp.dial((index, id), to, now),
                PeerStreamCommand::Send { id, datagram } => {
                    self.send_tcp(index, id, &datagram, now);
                }
                PeerStreamCommand::Close(id) => self.tcp.close((index, id), now),
            }
        }
    }

    pub(super) fn send_tcp(
        &mut self,
        from: PeerIndex,
        id: PeerStreamId,
        datagram: &Bytes,
        now: Instant,
    ) {
        if let Some(framed) = frames::frame(datagram) {
            self.tcp.send((from, id), framed, now);
        }
    }

    pub(super) fn run_tcp(&mut self, now: Instant) {
        let elapsed = self.elapsed();
        while let Some(happened) = self.tcp.happen(now) {
            let index = match happened {
                Happened::Opened((index, id)) => {
                    self.peers[index.0].node.peer_stream_opened(id, now);
                    index
                }
                Happened::Came { at, remote, dialler } => {
                    let id = self.peers[at.0].node.peer_stream_accepted(remote, now);
                    self.tcp.accepted(dialler, id.map(|id| (at, id)), now);
                    at
                }
                Happened::Bytes { to: (index, id), bytes } => {
                    let peer = &mut self.peers[index.0];
                    for input in peer.node.peer_stream_received(id, &bytes, now) {
                        if let Input::Streamed { attempt, payload } = input {
                            peer.receive_streamed(&attempt, payload, elapsed, now);
                        }
                    }
                    index
                }
                Happened::Closed((index, id)) => {
                    self.peers[index.0].node.peer_stream_closed(id, now);
                    index
                }
            };
            self.flush(index);
        }
    }
}
