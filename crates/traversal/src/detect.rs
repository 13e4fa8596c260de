//! NAT detection: Binding requests from the one socket to several servers, and what their answers
//! say together (RFC 5780 §4.3).
//!
//! A server that names a second address is asked there too, so that one server is enough to learn
//! the mapping. What takes sockets that have never sent there (§4.4) is a [`Task`] for the caller,
//! who opens them and runs a [`Probe`](crate::behaviour::Probe).
//!
//! A round is repeated at the keep-alive interval. That keeps the NAT's mapping of the socket, and
//! notices when the network has changed. One that nobody answers says little: a moment without a
//! network looks the same as one that lets no UDP through. So it is repeated soon, and what was known
//! before is in force until then.

mod round;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use p2p_nat::classify::{Behaviour, Observations, classify};
use p2p_wire::{Filtering, NatProfile};
use rand::RngCore;

use crate::behaviour::Task;
use crate::stun;
use crate::transmit::Transmit;
use round::Round;

/// Servers that are asked; more tell nothing more about the mapping.
pub const MAX_SERVERS: usize = 8;
/// Rounds in which a second address may stay silent before it is asked no more (I9).
const MAX_SILENT_ROUNDS: u8 = 3;
/// The least time between two rounds (I9).
const LEAST_GAP: Duration = Duration::from_secs(2);
/// How often one network's filtering is tried to be measured.
const MAX_TASKS: u8 = 3;

const BEING_MEASURED: &str = "it is being measured, which takes less than a second";
const SECOND_ADDRESS_SILENT: &str = "the STUN server's second address does not answer";

/// Measures, again and again, what is between the socket and the servers.
#[derive(Debug)]
pub struct Detector {
    servers: Vec<SocketAddr>,
    local_port: u16,
    local_ips: Vec<IpAddr>,
    repeat: Duration,
    second: SecondAddress,
    network: Network,
    seen: Observations,
    task: Option<Task>,
    /// The last round was answered by nobody.
    silent: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Measuring(Round),
    Waiting { ended: Instant, next: Instant },
}

/// The second address of the first server that has named one.
#[derive(Debug, Clone, Copy)]
enum SecondAddress {
    Unknown,
    Known(Second),
    /// It was named, and never answered.
    GivenUp,
}

/// A server and its other address, which has another port as well.
#[derive(Debug, Clone, Copy)]
struct Second {
    server: SocketAddr,
    other: SocketAddr,
    silent_rounds: u8,
}

/// The network that the behaviour was measured of.
#[derive(Debug, Default)]
struct Network {
    public_ip: Option<IpAddr>,
    tasks: u8,
    behaviour: Behaviour,
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
        Self {
            servers,
            local_port,
            local_ips,
            repeat,
            second: SecondAddress::Unknown,
            network: Network::default(),
            seen: Observations::default(),
            task: None,
            silent: false,
            state,
        }
    }

    /// Whether this datagram answers one of the probes; if so it is used up.
    pub fn handle_response(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
        rng: &mut dyn RngCore,
    ) -> bool {
        let describes_axes = self.describes_the_axes(from);
        let State::Measuring(round) = &mut self.state else { return false };
        let Some((stun::Class::Response, id)) = stun::peek(datagram) else { return false };
        let Some(answered) = round.answer(id, from, datagram, now) else { return false };
        if answered
            && matches!(self.second, SecondAddress::Unknown)
            && describes_axes
            && let Some(other) = stun::other_address(datagram)
            && is_plausible(from, other)
        {
            let second = Second { server: from, other, silent_rounds: 0 };
            self.second = SecondAddress::Known(second);
            round.add(&second_targets(from, other), now, rng);
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
        if let State::Waiting { next, .. } = self.state {
            if now < next {
                return None;
            }
            let mut round = Round::new(&self.servers, now, rng);
            if let SecondAddress::Known(Second { server, other, .. }) = self.second {
                round.add(&second_targets(server, other), now, rng);
            }
            self.state = State::Measuring(round);
        }
        let State::Measuring(round) = &mut self.state else { return None };
        out.extend(round.due(now));
        if now < round.ends() {
            return None;
        }
        let (answers, rtt) = (round.answers(), round.rtt());
        let silent = answers.is_empty() && !self.servers.is_empty();
        let was_silent = std::mem::replace(&mut self.silent, silent);
        let first_silence = silent && !was_silent;
        let pause = if first_silence { LEAST_GAP } else { self.repeat };
        self.state = State::Waiting { ended: now, next: now + pause.min(self.repeat) };
        if first_silence && !self.seen.answers.is_empty() {
            return None;
        }
        self.seen = Observations {
            local_port: self.local_port,
            local_ips: self.local_ips.clone(),
            asked: self.servers.len(),
            answers,
            behaviour: Behaviour::default(),
        };
        self.plan_task(rtt);
        Some(self.profile())
    }

    /// What fresh sockets are to find out, once after each round that makes it necessary.
    pub fn take_task(&mut self) -> Option<Task> {
        self.task.take()
    }

    /// Takes the outcome of a task in and returns the fuller profile.
    pub fn learn(&mut self, behaviour: Behaviour) -> NatProfile {
        self.network.behaviour = behaviour;
        self.profile()
    }

    /// Measures again at once, unless that has just been done: the network may be another.
    pub fn measure_again(&mut self, now: Instant) {
        if let State::Waiting { ended, next } = &mut self.state {
            *next = (*next).min(now.max(*ended + LEAST_GAP));
        }
    }

    /// When [`Detector::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Instant {
        match &self.state {
            State::Waiting { next, .. } => *next,
            State::Measuring(round) => round.next_send().min(round.ends()),
        }
    }

    fn profile(&mut self) -> NatProfile {
        self.seen.behaviour = self.network.behaviour.clone();
        classify(&self.seen)
    }

    /// Behaviour is measured once for each network, which the public address stands for, and a few
    /// times more if that came to nothing.
    fn plan_task(&mut self, rtt: Duration) {
        let SecondAddress::Known(second) = &mut self.second else { return };
        let Second { server, other, .. } = *second;
        let answer = |of: SocketAddr| self.seen.answers.iter().find(|a| a.server == of);
        let mapped = answer(server).map(|answer| answer.mapped);
        let other_lives = self.seen.answers.iter().any(|a| a.server.ip() == other.ip());
        let Some(mapped) = mapped else { return };
        if self.network.public_ip != Some(mapped.ip()) {
            self.network = Network { public_ip: Some(mapped.ip()), ..Network::default() };
        }
        second.silent_rounds = if other_lives { 0 } else { second.silent_rounds + 1 };
        if second.silent_rounds >= MAX_SILENT_ROUNDS {
            self.second = SecondAddress::GivenUp;
        }
        let network = &mut self.network;
        let known = network.behaviour.filtering != Filtering::Unknown;
        if known || network.tasks >= MAX_TASKS {
            return;
        }
        if !other_lives {
            network.behaviour.filtering_unknown_because = Some(SECOND_ADDRESS_SILENT);
            return;
        }
        network.tasks += 1;
        network.behaviour.filtering_unknown_because = Some(BEING_MEASURED);
        let translated = !self.local_ips.contains(&mapped.ip());
        self.task = Some(Task {
            server,
            other,
            rtt,
            translated,
            sample_ports: translated && mapped.port() != self.local_port,
        });
    }

    /// The axes describe IPv4 where there is any.
    fn describes_the_axes(&self, server: SocketAddr) -> bool {
        server.is_ipv4() || self.servers.iter().all(SocketAddr::is_ipv6)
    }
}

/// Where a server's second address is asked: on both ports, to tell by which the mapping changes.
pub(crate) fn second_targets(server: SocketAddr, other: SocketAddr) -> [SocketAddr; 2] {
    [SocketAddr::new(other.ip(), server.port()), other]
}

/// Whether a server may send this client to its other address (I9): both parts differ, as RFC 5780
/// §6.1 has it, and it is no way into a network that the server itself is not in.
pub(crate) fn is_plausible(server: SocketAddr, other: SocketAddr) -> bool {
    server.is_ipv4() == other.is_ipv4()
        && server.ip() != other.ip()
        && server.port() != other.port()
        && other.port() != 0
        && reach(other.ip()).is_some_and(|of_other| reach(server.ip()) == Some(of_other))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Host,
    Private,
    Global,
}

/// From how far an address can be reached; `None` for what is no single host's.
fn reach(ip: IpAddr) -> Option<Reach> {
    if ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    let private = match ip {
        IpAddr::V4(ip) if ip.is_broadcast() => return None,
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    Some(match (ip.is_loopback(), private) {
        (true, _) => Reach::Host,
        (false, true) => Reach::Private,
        (false, false) => Reach::Global,
    })
}

#[cfg(test)]
mod tests {
    use p2p_wire::{Mapping, NatType};
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use stun_types::attribute::{MappedSocketAddr, XorMappedAddress};
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
            self.answer_naming(request, from, mapped, None)
        }

        fn answer_naming(
            &mut self,
            request: &Transmit,
            from: SocketAddr,
            mapped: &str,
            other: Option<&str>,
        ) -> bool {
            let request = Message::from_bytes(&request.payload).unwrap();
            let mut response = Message::builder_success(&request, MessageWriteVec::new());
            let mapped = XorMappedAddress::new(mapped.parse().unwrap(), request.transaction_id());
            response.add_attribute(&mapped).unwrap();
            if let Some(other) = other {
                let other = MappedSocketAddr::new(other.parse().unwrap());
                response.add_attribute(&other.to_raw(0x802c.into())).unwrap();
            }
            self.detector.handle_response(from, &response.finish(), self.now, &mut self.rng)
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
        assert_eq!(sent, round::SENDS.len());
        assert_eq!(profile.nat_type, NatType::UdpBlocked);
    }

    /// A round that nobody answers.
    fn silent_round(bench: &mut Bench) -> Option<NatProfile> {
        loop {
            bench.now = bench.now.max(bench.detector.poll_timeout());
            let (_, profile) = bench.step();
            if profile.is_some() || matches!(bench.detector.state, State::Waiting { .. }) {
                return profile;
            }
        }
    }

    #[test]
    fn a_round_without_an_answer_is_repeated_soon_and_believed_the_second_time() {
        let mut bench = Bench::new(&["203.0.113.1:3478"]);
        let (sent, _) = bench.step();
        bench.answer(&sent[0], sent[0].to, "203.0.113.11:5000");
        assert_ne!(bench.step().1.unwrap().nat_type, NatType::UdpBlocked);

        assert_eq!(silent_round(&mut bench), None, "what was known stays in force");
        assert_eq!(bench.detector.poll_timeout(), bench.now + LEAST_GAP);
        let profile = silent_round(&mut bench).unwrap();
        assert_eq!(profile.nat_type, NatType::UdpBlocked);
        assert_eq!(bench.detector.poll_timeout(), bench.now + Duration::from_secs(25));

        bench.now = bench.detector.poll_timeout();
        let (sent, _) = bench.step();
        bench.answer(&sent[0], sent[0].to, "203.0.113.11:5000");
        assert_ne!(bench.step().1.unwrap().nat_type, NatType::UdpBlocked);
        assert_eq!(silent_round(&mut bench), None, "an answer counts for the next one");
    }

    #[test]
    fn the_first_round_is_told_whatever_it_is_and_repeated_soon_if_nobody_answered() {
        let mut bench = Bench::new(&["203.0.113.1:3478"]);
        assert_eq!(silent_round(&mut bench).unwrap().nat_type, NatType::UdpBlocked);
        assert_eq!(bench.detector.poll_timeout(), bench.now + LEAST_GAP);
        bench.now = bench.detector.poll_timeout();
        let (sent, _) = bench.step();
        bench.answer(&sent[0], sent[0].to, "203.0.113.11:5000");
        assert_ne!(bench.step().1.unwrap().nat_type, NatType::UdpBlocked);
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

    const SERVER: &str = "203.0.113.1:3478";
    const OTHER: &str = "203.0.113.2:3479";

    /// Plays a whole round with a server that names a second address, and that address.
    fn round_with_second(bench: &mut Bench, mapped: [&str; 3]) -> NatProfile {
        let (sent, _) = bench.step();
        assert!(bench.answer_naming(&sent[0], sent[0].to, mapped[0], Some(OTHER)));
        let (mut more, _) = bench.step();
        more.extend(sent.into_iter().skip(1));
        let targets: Vec<_> = more.iter().map(|t| t.to.to_string()).collect();
        assert_eq!(targets, ["203.0.113.2:3478", OTHER]);
        for (request, mapped) in more.iter().zip(&mapped[1..]) {
            assert!(bench.answer(request, request.to, mapped));
        }
        bench.step().1.unwrap()
    }

    #[test]
    fn one_server_with_a_second_address_is_enough_to_tell_the_mapping() {
        for (mapped, mapping) in [
            ([5000, 5000, 5000], Mapping::EndpointIndependent),
            ([5000, 6000, 6000], Mapping::AddressDependent),
            ([5000, 6000, 7000], Mapping::AddressAndPortDependent),
        ] {
            let mapped = mapped.map(|port| format!("203.0.113.11:{port}"));
            let mut bench = Bench::new(&[SERVER]);
            let profile =
                round_with_second(&mut bench, std::array::from_fn(|i| mapped[i].as_str()));
            assert_eq!(profile.mapping, mapping);
            assert!(!profile.unknown_because.contains_key("mapping_port"));
        }
    }

    #[test]
    fn what_fresh_sockets_find_out_completes_the_profile_until_the_network_changes() {
        let mut bench = Bench::new(&[SERVER]);
        let profile = round_with_second(&mut bench, ["203.0.113.11:5000"; 3]);
        assert!(profile.unknown_because["filtering"].contains("being measured"));
        let task = bench.detector.take_task().unwrap();
        assert_eq!(
            (task.server.to_string(), task.other.to_string()),
            (SERVER.into(), OTHER.into())
        );
        let filtering = Filtering::AddressDependent;
        let profile = bench.detector.learn(Behaviour { filtering, ..Behaviour::default() });
        assert_eq!(profile.nat_type, NatType::RestrictedCone);

        for (public, expected) in [
            ("203.0.113.11:5001", NatType::RestrictedCone),
            ("203.0.113.12:5001", NatType::PortRestrictedCone),
        ] {
            bench.now = bench.detector.poll_timeout();
            let (sent, _) = bench.step();
            assert_eq!(sent.len(), 3, "the second address is known and asked at once");
            for request in &sent {
                bench.answer(request, request.to, public);
            }
            assert_eq!(bench.step().1.unwrap().nat_type, expected);
            let measured_again = bench.detector.take_task().is_some();
            assert_eq!(measured_again, expected == NatType::PortRestrictedCone);
        }
    }

    #[test]
    fn a_second_address_that_is_silent_is_given_up_on_and_said_to_be() {
        let mut bench = Bench::new(&[SERVER]);
        let (sent, _) = bench.step();
        bench.answer_naming(&sent[0], sent[0].to, "203.0.113.11:5000", Some(OTHER));
        let profile = loop {
            if let Some(profile) = bench.step().1 {
                break profile;
            }
            bench.now = bench.detector.poll_timeout();
        };
        assert_eq!(profile.mapping, Mapping::Unknown);
        assert!(profile.unknown_because["filtering"].contains("does not answer"));
        assert_eq!(bench.detector.take_task(), None);

        let mut to_second = 0;
        for _ in 0..10 {
            bench.now = bench.detector.poll_timeout();
            let profile = loop {
                let (sent, profile) = bench.step();
                for request in &sent {
                    if request.to == SERVER.parse().unwrap() {
                        bench.answer_naming(request, request.to, "203.0.113.11:5000", Some(OTHER));
                    } else {
                        to_second += 1;
                    }
                }
                if let Some(profile) = profile {
                    break profile;
                }
                bench.now = bench.now.max(bench.detector.poll_timeout());
            };
            assert!(profile.unknown_because["filtering"].contains("does not answer"));
        }
        assert!((1..=20).contains(&to_second), "{to_second} packets to a silent address");
    }

    #[test]
    fn i9_a_server_sends_the_client_nowhere_but_to_an_address_of_its_own_reach() {
        let server = SERVER.parse().unwrap();
        let plausible = |other: &str| is_plausible(server, other.parse().unwrap());
        assert!(plausible(OTHER));
        for other in [
            "192.168.1.1:3479",
            "127.0.0.1:3479",
            "224.0.0.1:3479",
            "255.255.255.255:3479",
            "0.0.0.0:3479",
            "203.0.113.2:3478",
            "203.0.113.1:3479",
            "203.0.113.2:0",
            "[2001:db8::2]:3479",
        ] {
            assert!(!plausible(other), "{other}");
        }
    }
}
