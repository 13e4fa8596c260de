//! NAT detection: Binding requests from the one socket to several servers, and what their answers
//! say together (RFC 5780 §4.3).
//!
//! A round is repeated at the keep-alive interval. That keeps the NAT's mapping of the socket, and
//! notices when the network has changed.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_nat::classify::{Observation, Observations, classify};
use p2p_wire::{Filtering, NatProfile};
use rand::RngCore;

use crate::stun::{self, TransactionId};
use crate::transmit::Transmit;

/// Servers that are asked; more tell nothing more about the mapping.
pub const MAX_SERVERS: usize = 8;
/// When each request of a probe goes out, from the round's start. RFC 8489's 39.5 s of retries would
/// keep a person waiting; a server that is there answers one of five.
const SENDS: [Duration; 5] = [
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

/// Measures, again and again, what is between the socket and the servers.
#[derive(Debug)]
pub struct Detector {
    servers: Vec<SocketAddr>,
    local_port: u16,
    local_ips: Vec<IpAddr>,
    repeat: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    Measuring(Round),
    Waiting { next: Instant },
}

#[derive(Debug)]
struct Round {
    started: Instant,
    first_answer: Option<Instant>,
    probes: Vec<Probe>,
}

#[derive(Debug)]
struct Probe {
    server: SocketAddr,
    id: TransactionId,
    sent: usize,
    mapped: Option<SocketAddr>,
}

impl Detector {
    /// Starts measuring. `local_ips` are the host's own addresses: seeing one of them from outside
    /// means that there is no NAT.
    pub fn new(
        servers: &[SocketAddr],
        local_port: u16,
        local_ips: Vec<IpAddr>,
        repeat: Duration,
        now: Instant,
        rng: &mut dyn RngCore,
    ) -> Self {
        let servers: Vec<_> = servers.iter().copied().take(MAX_SERVERS).collect();
        let state = State::Measuring(Round::new(&servers, now, rng));
        Self { servers, local_port, local_ips, repeat, state }
    }

    /// Whether this datagram answers one of the probes; if so it is used up.
    pub fn handle_response(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) -> bool {
        let State::Measuring(round) = &mut self.state else { return false };
        let Some((stun::Class::Response, id)) = stun::peek(datagram) else { return false };
        let Some(probe) = round.probes.iter_mut().find(|p| p.id == id) else { return false };
        // An answer from elsewhere than was asked says nothing that can be trusted.
        if probe.server == from && probe.mapped.is_none() {
            probe.mapped = stun::mapped_address(datagram);
            round.first_answer.get_or_insert(now);
        }
        true
    }

    /// Sends what is due and returns the profile when a round has ended.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        rng: &mut dyn RngCore,
        out: &mut impl Extend<Transmit>,
    ) -> Option<NatProfile> {
        if let State::Waiting { next } = self.state {
            if now < next {
                return None;
            }
            self.state = State::Measuring(Round::new(&self.servers, now, rng));
        }
        let State::Measuring(round) = &mut self.state else { return None };
        out.extend(round.due(now));
        if now < round.ends() {
            return None;
        }
        let profile = classify(&Observations {
            local_port: self.local_port,
            local_ips: self.local_ips.clone(),
            asked: round.probes.len(),
            answers: round.answers(),
            filtering: Filtering::Unknown,
        });
        self.state = State::Waiting { next: now + self.repeat };
        Some(profile)
    }

    /// When [`Detector::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Instant {
        match &self.state {
            State::Waiting { next } => *next,
            State::Measuring(round) => round.next_send().min(round.ends()),
        }
    }
}

impl Round {
    fn new(servers: &[SocketAddr], now: Instant, rng: &mut dyn RngCore) -> Self {
        let probe = |server: &SocketAddr| {
            let mut id = [0; 12];
            rng.fill_bytes(&mut id);
            Probe { server: *server, id, sent: 0, mapped: None }
        };
        Self { started: now, first_answer: None, probes: servers.iter().map(probe).collect() }
    }

    fn due(&mut self, now: Instant) -> Vec<Transmit> {
        let age = now.saturating_duration_since(self.started);
        let mut out = Vec::new();
        for probe in self.probes.iter_mut().filter(|p| p.mapped.is_none()) {
            if SENDS.get(probe.sent).is_some_and(|due| *due <= age) {
                // After a pause only the latest of the missed sends is worth a packet.
                probe.sent = SENDS.iter().filter(|due| **due <= age).count();
                let payload = Bytes::copy_from_slice(&stun::binding_request(probe.id));
                out.push(Transmit { from: None, to: probe.server, payload });
            }
        }
        out
    }

    fn answers(&self) -> Vec<Observation> {
        self.probes
            .iter()
            .filter_map(|p| p.mapped.map(|mapped| Observation { server: p.server, mapped }))
            .collect()
    }

    fn next_send(&self) -> Instant {
        let unanswered = self.probes.iter().filter(|p| p.mapped.is_none());
        let next = unanswered.filter_map(|p| SENDS.get(p.sent)).min();
        next.map_or(self.ends(), |after| self.started + *after)
    }

    fn ends(&self) -> Instant {
        if self.probes.iter().all(|p| p.mapped.is_some()) {
            return self.first_answer.unwrap_or(self.started);
        }
        let give_up = self.started + GIVE_UP;
        self.first_answer.map_or(give_up, |first| give_up.min(first + STRAGGLERS))
    }
}

#[cfg(test)]
mod tests {
    use p2p_wire::{Mapping, NatType};
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use stun_types::attribute::XorMappedAddress;
    use stun_types::message::{Message, MessageWrite, MessageWriteExt, MessageWriteVec};

    use super::*;

    struct Bench {
        detector: Detector,
        rng: StdRng,
        now: Instant,
    }

    impl Bench {
        fn new(servers: &[&str]) -> Self {
            let servers: Vec<SocketAddr> = servers.iter().map(|s| s.parse().unwrap()).collect();
            let (now, mut rng) = (Instant::now(), StdRng::seed_from_u64(1));
            let local = vec!["192.168.1.2".parse().unwrap()];
            let repeat = Duration::from_secs(25);
            let detector = Detector::new(&servers, 5000, local, repeat, now, &mut rng);
            Self { detector, rng, now }
        }

        fn step(&mut self) -> (Vec<Transmit>, Option<NatProfile>) {
            let mut out = Vec::new();
            let profile = self.detector.handle_timeout(self.now, &mut self.rng, &mut out);
            (out, profile)
        }

        fn answer(&mut self, request: &Transmit, from: SocketAddr, mapped: &str) -> bool {
            let request = Message::from_bytes(&request.payload).unwrap();
            let mut response = Message::builder_success(&request, MessageWriteVec::new());
            let mapped = XorMappedAddress::new(mapped.parse().unwrap(), request.transaction_id());
            response.add_attribute(&mapped).unwrap();
            self.detector.handle_response(from, &response.finish(), self.now)
        }
    }

    #[test]
    fn two_answers_end_the_round_at_once() {
        let mut bench = Bench::new(&["203.0.113.1:3478", "203.0.113.2:3478"]);
        let (sent, _) = bench.step();
        assert_eq!(sent.len(), 2);
        for request in &sent {
            assert!(bench.answer(request, request.to, "203.0.113.11:5000"));
        }
        let profile = bench.step().1.unwrap();
        assert_eq!(profile.mapping, Mapping::EndpointIndependent);
        assert_eq!(bench.detector.poll_timeout(), bench.now + Duration::from_secs(25));
    }

    #[test]
    fn a_silent_server_is_asked_again_and_then_given_up() {
        let mut bench = Bench::new(&["203.0.113.1:3478"]);
        let mut sent = 0;
        let profile = loop {
            let (out, profile) = bench.step();
            sent += out.len();
            if let Some(profile) = profile {
                break profile;
            }
            bench.now = bench.detector.poll_timeout();
        };
        assert_eq!(sent, SENDS.len());
        assert_eq!(profile.nat_type, NatType::UdpBlocked);
    }

    #[test]
    fn an_answer_from_a_stranger_is_not_believed() {
        let mut bench = Bench::new(&["203.0.113.1:3478"]);
        let (sent, _) = bench.step();
        bench.answer(&sent[0], "198.51.100.66:3478".parse().unwrap(), "203.0.113.99:1");
        assert!(bench.step().1.is_none());
        bench.answer(&sent[0], sent[0].to, "203.0.113.11:5000");
        let profile = bench.step().1.unwrap();
        assert_eq!(profile.public_address, Some("203.0.113.11:5000".parse().unwrap()));
    }

    #[test]
    fn no_servers_end_the_round_without_a_packet() {
        let mut bench = Bench::new(&[]);
        let (sent, profile) = bench.step();
        assert!(sent.is_empty());
        assert_eq!(profile.unwrap().nat_type, NatType::Unknown);
    }
}
