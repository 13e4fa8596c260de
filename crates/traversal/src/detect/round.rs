//! One round of Binding requests: who is asked when, and who has answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_nat::classify::Observation;
use rand::RngCore;

use crate::stun::{self, TransactionId};
use crate::transmit::Transmit;

/// When each request of a probe goes out, from its start. RFC 8489's 39.5 s of retries would keep a
/// person waiting; a server that is there answers one of five.
pub(super) const SENDS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(150),
    Duration::from_millis(450),
    Duration::from_millis(1_000),
    Duration::from_millis(1_800),
];
/// When a silent server counts as unreachable.
const GIVE_UP: Duration = Duration::from_millis(2_500);
/// How long a round waits for slower servers once one has answered.
const STRAGGLERS: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Round {
    started: Instant,
    /// When the first answer came.
    first_answer: Option<Instant>,
    /// The shortest time between a request and its answer.
    rtt: Option<Duration>,
    probes: Vec<Probe>,
}

#[derive(Debug)]
struct Probe {
    server: SocketAddr,
    id: TransactionId,
    started: Instant,
    sent: usize,
    mapped: Option<SocketAddr>,
}

impl Round {
    pub(super) fn new(servers: &[SocketAddr], now: Instant, rng: &mut dyn RngCore) -> Self {
        let mut round = Self { started: now, first_answer: None, rtt: None, probes: Vec::new() };
        round.add(servers, now, rng);
        round
    }

    /// Asks these as well, unless they are being asked.
    pub(super) fn add(&mut self, servers: &[SocketAddr], now: Instant, rng: &mut dyn RngCore) {
        for server in servers {
            if self.probes.iter().all(|probe| probe.server != *server) {
                let mut id = [0; 12];
                rng.fill_bytes(&mut id);
                let probe = Probe { server: *server, id, started: now, sent: 0, mapped: None };
                self.probes.push(probe);
            }
        }
    }

    /// Takes an answer: `None` if it is to none of the probes, else whether it told anything.
    pub(super) fn answer(
        &mut self,
        id: TransactionId,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Option<bool> {
        let probe = self.probes.iter_mut().find(|probe| probe.id == id)?;
        // An answer from elsewhere than was asked says nothing that can be trusted.
        if probe.server != from || probe.mapped.is_some() {
            return Some(false);
        }
        probe.mapped = stun::mapped_address(datagram);
        let took = now.saturating_duration_since(probe.started);
        self.rtt = Some(self.rtt.map_or(took, |rtt| rtt.min(took)));
        self.first_answer.get_or_insert(now);
        Some(probe.mapped.is_some())
    }

    pub(super) fn due(&mut self, now: Instant) -> Vec<Transmit> {
        let mut out = Vec::new();
        for probe in self.probes.iter_mut().filter(|p| p.mapped.is_none()) {
            let age = now.saturating_duration_since(probe.started);
            if SENDS.get(probe.sent).is_some_and(|due| *due <= age) {
                // After a pause only the latest of the missed sends is worth a packet.
                probe.sent = SENDS.iter().filter(|due| **due <= age).count();
                let payload = Bytes::copy_from_slice(&stun::binding_request(probe.id));
                out.push(Transmit { from: None, to: probe.server, payload });
            }
        }
        out
    }

    pub(super) fn answers(&self) -> Vec<Observation> {
        self.probes
            .iter()
            .filter_map(|p| p.mapped.map(|mapped| Observation { server: p.server, mapped }))
            .collect()
    }

    /// The shortest round trip seen.
    pub(super) fn rtt(&self) -> Duration {
        self.rtt.unwrap_or_default()
    }

    pub(super) fn next_send(&self) -> Instant {
        let unanswered = self.probes.iter().filter(|p| p.mapped.is_none());
        let next = unanswered.filter_map(|p| Some(p.started + *SENDS.get(p.sent)?)).min();
        next.unwrap_or_else(|| self.ends())
    }

    pub(super) fn ends(&self) -> Instant {
        if self.probes.iter().all(|p| p.mapped.is_some()) {
            return self.first_answer.unwrap_or(self.started);
        }
        let give_up = self.started + GIVE_UP;
        // A second address is asked when the first has answered: one round trip later.
        let patience = STRAGGLERS.max(2 * self.rtt());
        self.first_answer.map_or(give_up, |first| give_up.min(first + patience))
    }
}
