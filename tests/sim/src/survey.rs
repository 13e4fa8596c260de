//! Fresh sockets of a peer's: what the client library opens for
//! [`Event::Unmeasured`](p2p_traversal::Event::Unmeasured).

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use p2p_nat::classify::Behaviour;
use p2p_traversal::behaviour::Outgoing;
use p2p_traversal::behaviour::{Probe, Task};
use rand::rngs::StdRng;

use crate::network::PeerIndex;

/// One probe at work.
pub(crate) struct Survey {
    pub(crate) peer: PeerIndex,
    local: IpAddr,
    ports: Vec<u16>,
    probe: Probe,
}

impl Survey {
    /// On the ports from `first` on.
    pub(crate) fn new(
        peer: PeerIndex,
        task: Task,
        local: IpAddr,
        first: u16,
        now: Instant,
        rng: &mut StdRng,
    ) -> Self {
        let ports: Vec<u16> = (first..).take(task.sockets()).collect();
        let probe = Probe::new(task, &ports, now, rng);
        Self { peer, local, ports, probe }
    }

    /// The first port that is free behind it.
    pub(crate) fn end_of_ports(&self) -> u16 {
        self.ports.last().map_or(0, |port| port + 1)
    }

    /// Takes a datagram if it is for one of the sockets.
    pub(crate) fn receive(
        &mut self,
        to: SocketAddr,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
        rng: &mut StdRng,
    ) {
        if let Some(socket) = self.ports.iter().position(|port| *port == to.port()) {
            self.probe.handle_datagram(socket, from, datagram, now, rng);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.probe.poll_timeout()
    }

    /// What is to be sent, with the source address.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<(SocketAddr, Outgoing)> {
        let outgoing = self.probe.handle_timeout(now);
        let source = |socket: usize| SocketAddr::new(self.local, self.ports[socket]);
        outgoing.into_iter().map(|outgoing| (source(outgoing.socket), outgoing)).collect()
    }

    pub(crate) fn outcome(&self) -> Option<Behaviour> {
        self.probe.outcome()
    }
}
