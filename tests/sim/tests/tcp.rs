//! Paths over TCP: who gets one, in what time and with how many dials, and that nobody is dialled who
//! was not offered.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use p2p_sim::coordinator::ATTEMPT_TIMEOUT;
use p2p_sim::seed::{cases, seed};
use p2p_sim::{Call, Host, Nat, TcpNat, World};
use p2p_wire::{Method, Outcome, Policy, StepResult, Transport};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const SIDES: [&str; 2] = ["alice", "bob"];
const DROPS: TcpNat = TcpNat { symmetric: false, resets: false };
const RESETS: TcpNat = TcpNat { symmetric: false, resets: true };
const SYMMETRIC: TcpNat = TcpNat { symmetric: true, resets: false };
/// What a plan gives a TCP punch, and what a dial takes of that.
const PACKETS: usize = 64;
const PACKETS_PER_DIAL: usize = 2;

fn blocked(tcp: TcpNat) -> Host {
    Host::behind(Nat::udp_blocked()).with_tcp(tcp)
}

fn called(seed: u64, alice: Host, bob: Host) -> (World, Call) {
    let mut world = World::new(seed).peer("alice", alice).peer("bob", bob);
    world.settle();
    let call = world.connect("alice", "bob");
    (world, call)
}

fn method(world: &World, side: &str, call: &Call) -> Option<Method> {
    world.path(side, call).map(|path| path.method)
}

#[test]
fn a_host_without_udp_meets_over_tcp_whoever_keeps_a_port_or_can_be_dialled() {
    let others = [Nat::full_cone(), Nat::address_restricted(), Nat::port_restricted()];
    let others = others.map(|nat| Host::behind(nat).with_tcp(DROPS));
    let more = [Host::open().with_tcp(DROPS), blocked(DROPS), blocked(RESETS)];
    for (number, other) in others.into_iter().chain(more).enumerate() {
        for near in [DROPS, RESETS] {
            let (mut world, call) = called(seed(number as u64), blocked(near), other);
            let met = world.run_until(Duration::from_secs(5), |world| {
                SIDES.iter().all(|side| world.has_direct_path(side, &call))
            });
            assert!(met, "number {number}, {near:?}");
            world.talk(&call, Duration::from_millis(50));
            world.run_for(Duration::from_secs(2));
            for side in SIDES {
                assert_eq!(method(&world, side, &call), Some(Method::TcpHolePunch), "{number}");
                let connection = world.side(side, &call);
                assert_eq!(connection.outcome(), Some(Outcome::Direct));
                assert!(connection.received.iter().all(|r| r.streamed));
                assert!(connection.received.len() > 30, "{}", connection.received.len());
                let verdict = &connection.reports.last().unwrap().verdict;
                assert!(verdict.contains("no UDP leaves") && verdict.contains("TCP"), "{verdict}");
            }
        }
    }
}

#[test]
fn where_syns_that_nobody_asked_for_are_dropped_one_try_is_enough() {
    let (mut world, call) = called(seed(1), blocked(DROPS), blocked(DROPS));
    world.run_for(Duration::from_secs(5));
    for side in SIDES {
        let connection = world.side(side, &call);
        // L + 1.5 Rd of which L is over when the attempt begins at the later side: 20 ms lines.
        let took = connection.first(p2p_traversal::PathKind::Direct).unwrap() - connection.started;
        assert!(took <= Duration::from_millis(130), "{side} took {took:?}");
        let public = world
            .dialled_by(side)
            .iter()
            .filter(|(to, _)| to.ip().to_string().starts_with("198"))
            .count();
        assert_eq!(public, 1, "{side} dialled {:?}", world.dialled_by(side));
    }
}

#[test]
fn a_symmetric_side_without_udp_fails_and_the_reason_names_its_tcp_mapping() {
    let (mut world, call) = called(seed(2), blocked(DROPS), blocked(SYMMETRIC));
    world.run_for(ATTEMPT_TIMEOUT + Duration::from_secs(1));
    let report = &world.side("alice", &call).reports[0];
    assert_eq!(report.outcome, Outcome::Failed);
    assert!(report.verdict.contains("bob's TCP mapping changes per destination"), "{report:?}");
    let tcp = report.steps.iter().find(|step| step.method == Method::TcpHolePunch).unwrap();
    assert_eq!(tcp.result, StepResult::Failed);
    assert!(tcp.detail.contains("dials"), "{tcp:?}");
}

#[test]
fn a_tcp_connection_beside_udp_is_a_spare_that_carries_on() {
    let cone = || Host::behind(Nat::port_restricted()).with_tcp(DROPS).without_relay();
    let (mut world, call) = called(seed(3), cone(), cone());
    world.run_for(Duration::from_secs(2));
    for side in SIDES {
        assert_eq!(method(&world, side, &call), Some(Method::UdpHolePunch));
    }
    world.talk(&call, Duration::from_millis(50));
    world.run_for(Duration::from_secs(2));
    world.cut("alice", "bob");
    world.run_for(Duration::from_secs(4));
    for side in SIDES {
        assert_eq!(method(&world, side, &call), Some(Method::TcpHolePunch), "{side} moved");
    }
    let before = SIDES.map(|side| world.side(side, &call).received.len());
    world.run_for(Duration::from_secs(2));
    for (side, before) in SIDES.into_iter().zip(before) {
        assert!(world.side(side, &call).received.len() >= before + 35, "data goes on at {side}");
    }
    world.heal("alice", "bob");
    let back = world.run_until(Duration::from_secs(60), |world| {
        SIDES.iter().all(|side| method(world, side, &call) == Some(Method::UdpHolePunch))
    });
    assert!(back, "UDP is better");
}

#[test]
fn i9_where_the_policy_hides_addresses_nobody_is_dialled() {
    let host = || Host::open().with_tcp(DROPS);
    let (mut world, _) = called(seed(4), host().policy(Policy::Relay), host());
    world.run_for(ATTEMPT_TIMEOUT);
    for side in SIDES {
        assert!(world.dialled_by(side).is_empty());
    }
}

#[test]
fn i11_a_report_tells_of_every_method_that_was_planned() {
    let (mut world, call) = called(
        seed(5),
        Host::behind(Nat::port_restricted()).with_tcp(SYMMETRIC),
        Host::behind(Nat::symmetric()).with_tcp(SYMMETRIC),
    );
    world.run_for(ATTEMPT_TIMEOUT);
    for side in SIDES {
        let report = world.side(side, &call).reports.last().unwrap();
        assert_eq!(report.outcome, Outcome::Relay);
        let methods: BTreeSet<_> = report.steps.iter().map(|step| step.method).collect();
        let planned = [Method::UdpHolePunch, Method::TcpHolePunch, Method::Relay];
        assert_eq!(methods, BTreeSet::from(planned), "{report:?}");
        for step in &report.steps {
            let works = step.method == Method::Relay;
            assert_eq!(step.result == StepResult::Ok, works, "{step:?}");
            assert_eq!(step.detail.is_empty(), works, "{step:?}");
            assert!(step.tactic.is_some(), "{step:?}");
        }
    }
}

fn random_host(rng: &mut StdRng) -> Host {
    let nats = [
        None,
        Some(Nat::full_cone()),
        Some(Nat::address_restricted()),
        Some(Nat::port_restricted()),
        Some(Nat::symmetric()),
        Some(Nat::udp_blocked()),
        Some(Nat::udp_blocked()),
    ];
    let host = nats.choose(rng).expect("some").map_or_else(Host::open, Host::behind);
    let host = host
        .latency(Duration::from_millis(rng.random_range(1..=200)))
        .loss(rng.random_range(0.0..=0.1));
    let policies = [Policy::Auto, Policy::Auto, Policy::Direct, Policy::Relay];
    let host = host.policy(*policies.choose(rng).expect("some"));
    let host = if rng.random_bool(0.2) { host.without_relay() } else { host };
    let tcp = TcpNat { symmetric: rng.random_bool(0.3), resets: rng.random_bool(0.5) };
    if rng.random_bool(0.9) { host.with_tcp(tcp) } else { host }
}

/// The addresses at which a peer has said that it takes connections.
fn offered(world: &World, peer: &str) -> BTreeSet<SocketAddr> {
    let all = world.candidates(peer).iter().flatten();
    all.filter(|c| c.transport == Transport::Tcp).map(|c| c.address).collect()
}

#[test]
fn i9_i11_with_tcp_every_attempt_ends_and_dials_only_what_was_offered_within_its_budget() {
    let seed = seed(9_000);
    for seed in (seed..).take(cases(60) as usize) {
        let mut rng = StdRng::seed_from_u64(seed);
        let hosts = [random_host(&mut rng), random_host(&mut rng)];
        let name = format!("P2P_SEED={seed} P2P_CASES=1: {hosts:?}");
        let mut world = World::new(seed).peer("alice", hosts[0]).peer("bob", hosts[1]);
        world.run_for(Duration::from_millis(rng.random_range(0..6_000)));
        let call = world.connect("alice", "bob");
        world.run_for(ATTEMPT_TIMEOUT + Duration::from_secs(2));
        for (side, other) in [("alice", "bob"), ("bob", "alice")] {
            let connection = world.side(side, &call);
            let reports = &connection.reports;
            assert!(connection.has_ended_once(), "{name}: {side} reported {reports:?}");
            assert!(connection.reports.iter().all(|r| !r.steps.is_empty()), "{name}");
            let allowed = offered(&world, other);
            let dialled = world.dialled_by(side);
            for (to, _) in &dialled {
                assert!(allowed.contains(to), "{name}: {side} dialled {to}");
            }
            let window = connection.started + Duration::from_secs(10);
            let early = dialled.iter().filter(|(_, at)| *at < window).count();
            assert!(early * PACKETS_PER_DIAL <= PACKETS, "{name}: {side} dialled {early} times");
            assert!(dialled.len() <= early + 30, "{name}: {side}: {}", dialled.len());
        }
    }
}
