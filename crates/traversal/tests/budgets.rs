//! What a plan gives each method is what is spent on a peer that never answers (I9), and the report says
//! where it ran out (I11). Time is moved by hand.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use p2p_traversal::{AttemptConfig, Event, Node, NodeConfig, PeerStreamCommand};
use p2p_wire::{
    Candidate, CandidateKind, IceCredentials, IcePair, Mapping, Method, NatProfile, Outcome,
    PlanStep, Policy, Report, Secret, TcpProfile, Transport,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const TIMEOUT: Duration = Duration::from_secs(30);

fn ice() -> IcePair {
    let side = |name: &str| IceCredentials {
        ufrag: format!("ufrag-{name}"),
        pwd: Secret::new(format!("a password of enough letters {name}")),
    };
    IcePair { local: side("a"), remote: side("b") }
}

fn node(rng: &mut StdRng, now: Instant) -> Node {
    let mut node = node_without_tcp(rng, now);
    node.set_tcp(Some((5000, tcp())), now);
    node
}

fn tcp() -> TcpProfile {
    let public_address = Some(SocketAddr::from(([198, 51, 100, 1], 5000)));
    TcpProfile { mapping: Mapping::EndpointIndependent, public_address }
}

fn node_without_tcp(rng: &mut StdRng, now: Instant) -> Node {
    let local_ips = (0..rng.random_range(1..4)).map(|n| IpAddr::from([192, 168, n, 2])).collect();
    let config = NodeConfig {
        local_port: 5000,
        local_ips,
        stun_servers: Vec::new(),
        relays: Vec::new(),
        keep_alive: Duration::from_secs(25),
    };
    Node::new(config, Box::new(StdRng::seed_from_u64(rng.random())), now)
}

/// What the peer offers, with the method that each address takes.
fn offer(rng: &mut StdRng) -> (Vec<Candidate>, BTreeMap<SocketAddr, Method>) {
    let (mut candidates, mut methods) = (Vec::new(), BTreeMap::new());
    let mut add = |candidate: Candidate, method| {
        candidates.push(candidate);
        methods.insert(candidate.address, method);
    };
    for n in 0..rng.random_range(1..6) {
        let host = SocketAddr::from(([10, 0, n, 1], 6000));
        add(Candidate::udp(CandidateKind::Host, host), Method::Direct);
        let tcp = SocketAddr::from(([10, 0, n, 1], 7000));
        let tcp =
            Candidate { transport: Transport::Tcp, ..Candidate::udp(CandidateKind::Host, tcp) };
        add(tcp, Method::TcpHolePunch);
    }
    for n in 0..rng.random_range(1..4) {
        let seen = SocketAddr::from(([203, 0, 113, 10 + n], 6000));
        add(Candidate::udp(CandidateKind::ServerReflexive, seen), Method::UdpHolePunch);
    }
    let relayed = SocketAddr::from(([203, 0, 113, 99], 50_000));
    add(Candidate::udp(CandidateKind::Relay, relayed), Method::Relay);
    (candidates, methods)
}

fn plan(rng: &mut StdRng) -> Vec<PlanStep> {
    let step =
        |method, packets| PlanStep { method, tactic: None, chance: 0.5, after_ms: 0, packets };
    Method::ALL.map(|method| step(method, rng.random_range(4..400))).into()
}

fn config(rng: &mut StdRng, remote: Vec<Candidate>, plan: &[PlanStep]) -> AttemptConfig {
    AttemptConfig {
        id: "an-attempt".parse().unwrap(),
        peer: "bob".parse().unwrap(),
        controlling: rng.random_bool(0.5),
        policy: Policy::Auto,
        ice: ice(),
        remote,
        remote_nat: None,
        plan: plan.to_vec(),
        timeout: TIMEOUT,
    }
}

struct Played {
    packets: BTreeMap<Method, u32>,
    report: Report,
    over_budget: u64,
}

/// Runs one attempt with a silent peer to its end. Every dial is refused at once.
fn play(seed: u64, plan: &[PlanStep], rng: &mut StdRng) -> Played {
    let start = Instant::now();
    let mut node = node(rng, start);
    let (remote, methods) = offer(rng);
    let config = config(rng, remote, plan);
    assert!(node.start_attempt(config, start));
    let (mut packets, mut report, mut now) = (BTreeMap::<_, u32>::new(), None, start);
    while report.is_none() {
        assert!(now <= start + TIMEOUT, "seed {seed}: it does not end");
        while let Some(transmit) = node.poll_transmit() {
            let method = methods.get(&transmit.to);
            let method =
                method.unwrap_or_else(|| panic!("seed {seed}: a packet to {}", transmit.to));
            *packets.entry(*method).or_default() += 1;
        }
        while let Some(command) = node.poll_peer_stream_command() {
            if let PeerStreamCommand::Dial { id, to } = command {
                assert_eq!(methods.get(&to), Some(&Method::TcpHolePunch), "seed {seed}: {to}");
                if now < start + Duration::from_secs(10) {
                    *packets.entry(Method::TcpHolePunch).or_default() += 2;
                }
                node.peer_stream_closed(id, now + Duration::from_millis(1));
            }
        }
        while let Some(event) = node.poll_event() {
            if let Event::Verdict(told) = event {
                report = Some(told);
            }
        }
        now = now.max(node.poll_timeout());
        node.handle_timeout(now);
    }
    Played { packets, report: report.unwrap(), over_budget: node.over_budget() }
}

#[test]
fn i9_no_method_spends_more_than_its_plan_on_a_peer_that_never_answers() {
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let plan = plan(&mut rng);
        let played = play(seed, &plan, &mut rng);
        assert_eq!(played.report.outcome, Outcome::Failed);
        for step in &plan {
            let spent = played.packets.get(&step.method).copied().unwrap_or_default();
            assert!(spent <= step.packets, "seed {seed}: {spent} packets, of {step:?}");
            assert!(spent > 0 || step.method == Method::Relay, "seed {seed}: {step:?} was tried");
        }
    }
}

#[test]
fn i9_a_flood_of_addresses_to_dial_stops_at_the_plan_s_packets() {
    let mut rng = StdRng::seed_from_u64(2);
    let start = Instant::now();
    let mut node = node(&mut rng, start);
    let plan = vec![PlanStep {
        method: Method::TcpHolePunch,
        tactic: None,
        chance: 0.5,
        after_ms: 0,
        packets: 64,
    }];
    let config = config(&mut rng, Vec::new(), &plan);
    let id = config.id.clone();
    assert!(node.start_attempt(config, start));
    let (mut dials, mut now) = (0, start);
    for n in 0..2_000_u16 {
        let to = SocketAddr::from(([203, 0, 113, (n % 250) as u8], 7000 + n));
        let tcp =
            Candidate { transport: Transport::Tcp, ..Candidate::udp(CandidateKind::Host, to) };
        node.add_remote_candidate(&id, &tcp, now);
        now += Duration::from_millis(4);
        node.handle_timeout(now);
        while let Some(command) = node.poll_peer_stream_command() {
            dials += usize::from(matches!(command, PeerStreamCommand::Dial { .. }));
        }
    }
    assert_eq!(dials, 32, "two packets each");
}

#[test]
fn i9_tcp_that_is_told_of_after_the_plan_is_dialled_within_a_budget_and_not_where_it_is_ruled_out()
{
    let told = Some(NatProfile { tcp: Some(tcp()), ..NatProfile::default() });
    // Which side had told of its TCP when the plan was made, and what may be used.
    for (near, far, policy, dialled) in [
        (false, false, Policy::Auto, true),
        (false, true, Policy::Direct, true),
        (true, false, Policy::Auto, true),
        (true, true, Policy::Auto, false),
        (false, false, Policy::Relay, false),
    ] {
        let (mut rng, start) = (StdRng::seed_from_u64(3), Instant::now());
        let mut node = if near { node(&mut rng, start) } else { node_without_tcp(&mut rng, start) };
        let (remote, methods) = offer(&mut rng);
        let over_tcp = |candidate: &Candidate| candidate.transport == Transport::Tcp;
        let (late, early): (Vec<_>, Vec<_>) =
            remote.into_iter().partition(|candidate| !far && over_tcp(candidate));
        let remote_nat = told.clone().filter(|_| far);
        let config = AttemptConfig { policy, remote_nat, ..config(&mut rng, early, &[]) };
        let id = config.id.clone();
        assert!(node.start_attempt(config, start));
        assert_eq!(node.poll_peer_stream_command(), None);
        let (mut dials, mut now) = (0, start + Duration::from_millis(700));
        node.set_tcp(Some((5000, tcp())), now);
        for candidate in late {
            node.add_remote_candidate(&id, &candidate, now);
        }
        while now < start + Duration::from_secs(10) {
            now = now.max(node.poll_timeout());
            node.handle_timeout(now);
            while let Some(command) = node.poll_peer_stream_command() {
                if let PeerStreamCommand::Dial { id, to } = command {
                    assert_eq!(methods.get(&to), Some(&Method::TcpHolePunch));
                    dials += 1;
                    node.peer_stream_closed(id, now + Duration::from_millis(1));
                }
            }
        }
        assert_eq!(dials > 0, dialled, "{near} {far} {policy:?}");
        assert!(dials <= 32, "two packets each: {dials}");
    }
}

#[test]
fn i11_a_budget_that_was_spent_is_counted_and_named() {
    let mut rng = StdRng::seed_from_u64(1);
    let few = Method::ALL.map(|method| PlanStep {
        method,
        tactic: None,
        chance: 0.5,
        after_ms: 0,
        packets: 6,
    });
    let played = play(1, &few, &mut rng);
    assert!(played.over_budget > 0);
    for method in [Method::Direct, Method::UdpHolePunch, Method::TcpHolePunch] {
        let step = played.report.steps.iter().find(|step| step.method == method).unwrap();
        assert!(step.detail.contains("budget"), "{step:?}");
    }
}
