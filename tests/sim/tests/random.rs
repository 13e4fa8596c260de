//! Whatever the networks, the loss and the latency: what has to hold of every attempt.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use p2p_sim::coordinator::ATTEMPT_TIMEOUT;
use p2p_sim::network::RELAY_IP;
use p2p_sim::seed::{cases, seed};
use p2p_sim::{Call, Host, Nat, World};
use p2p_wire::{Filtering, Mapping, Outcome, Policy};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const SIDES: [&str; 2] = ["alice", "bob"];
/// Checks that a side may spend on one pair of addresses (I9), its answers and what the other side's
/// checks trigger included.
const PACKETS_PER_PAIR: u64 = 400;

fn random_nat(rng: &mut StdRng) -> Nat {
    let mappings =
        [Mapping::EndpointIndependent, Mapping::AddressDependent, Mapping::AddressAndPortDependent];
    let filters = [
        Filtering::EndpointIndependent,
        Filtering::AddressDependent,
        Filtering::AddressAndPortDependent,
    ];
    let pick = |rng: &mut StdRng| {
        (*mappings.choose(rng).expect("some"), *filters.choose(rng).expect("some"))
    };
    let (mapping, filtering) = pick(rng);
    let nat = Nat::new(mapping, filtering);
    if rng.random_bool(0.5) { nat.with_random_ports() } else { nat }
}

fn random_host(rng: &mut StdRng) -> Host {
    let host = match rng.random_range(0..12) {
        0 => Nat::udp_blocked().into(),
        1 | 2 => Host::open(),
        _ => Host::behind(random_nat(rng)),
    };
    let policies = [Policy::Auto, Policy::Auto, Policy::Auto, Policy::Direct, Policy::Relay];
    let host = host
        .latency(Duration::from_millis(rng.random_range(1..=200)))
        .policy(*policies.choose(rng).expect("some"));
    // A line that loses this share each way makes the pair lose at most a fifth.
    let host = host.loss(rng.random_range(0.0..=0.1));
    if rng.random_bool(0.1) { host.without_relay() } else { host }
}

struct Case {
    world: World,
    call: Call,
    name: String,
}

fn case(seed: u64) -> Case {
    let mut rng = StdRng::seed_from_u64(seed);
    let hosts = [random_host(&mut rng), random_host(&mut rng)];
    let name = format!("P2P_SEED={seed} P2P_CASES=1: {hosts:?}");
    let mut world = World::new(seed).peer("alice", hosts[0]).peer("bob", hosts[1]);
    // Some calls are made before anybody knows anything.
    world.run_for(Duration::from_millis(rng.random_range(0..6_000)));
    let call = world.connect("alice", "bob");
    Case { world, call, name }
}

/// An attempt ends in a path or in one verdict (I11), and reports only get better.
fn assert_ended_once(Case { world, call, name }: &Case) {
    for side in SIDES {
        let connection = world.side(side, call);
        let reports = &connection.reports;
        assert!(connection.has_ended_once(), "{name}: {side} reported {reports:?}");
        let failed = connection.outcome() == Some(Outcome::Failed);
        assert_eq!(connection.path().is_none(), failed, "{name}: {side} {:?}", connection.paths);
        for report in &connection.reports {
            assert!(report.verdict.len() > 20, "{name}: {:?}", report.verdict);
            let outcome = report.outcome.as_str();
            assert!(report.verdict.starts_with(outcome), "{name}: {:?}", report.verdict);
            assert!(report.ms <= ATTEMPT_TIMEOUT.as_millis() as u64, "{name}: {report:?}");
            assert!(!report.steps.is_empty(), "{name}");
        }
    }
}

/// Nothing is probed but what was offered or seen of the authenticated peer, within budget (I9).
fn assert_probed_only_the_peer(Case { world, name, .. }: &Case) {
    for (side, other) in [("alice", "bob"), ("bob", "alice")] {
        let offered: BTreeSet<SocketAddr> =
            world.candidates(other).iter().flatten().map(|c| c.address).collect();
        // The own one: whether it sends back in.
        let networks: [IpAddr; 3] = [world.public_ip(other), world.public_ip(side), RELAY_IP];
        let servers = p2p_sim::network::servers();
        for (to, count) in world.sent_by(side) {
            if servers.contains(&to) {
                continue;
            }
            let seen = networks.contains(&to.ip());
            let own_host = to == world.socket(other);
            assert!(offered.contains(&to) || own_host || seen, "{name}: {side} probed {to}");
            assert!(count <= PACKETS_PER_PAIR, "{name}: {side} sent {count} packets to {to}");
        }
    }
}

#[test]
fn i9_i11_every_attempt_ends_in_a_path_or_one_verdict_and_stays_within_its_budget() {
    let seed = seed(4_000);
    for seed in (seed..).take(cases(100) as usize) {
        let mut case = case(seed);
        case.world.run_for(ATTEMPT_TIMEOUT + Duration::from_secs(2));
        assert_ended_once(&case);
        assert_probed_only_the_peer(&case);
    }
}

#[test]
fn peers_that_both_have_the_relay_always_get_through() {
    let seed = seed(5_000);
    for seed in (seed..).take(cases(40) as usize) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut host = || {
            let latency = Duration::from_millis(rng.random_range(1..=150));
            let loss = rng.random_range(0.0..=0.1);
            Host::behind(random_nat(&mut rng)).latency(latency).loss(loss)
        };
        let hosts = [host(), host()];
        let name = format!("P2P_SEED={seed} P2P_CASES=1: {hosts:?}");
        let mut world = World::new(seed).peer("alice", hosts[0]).peer("bob", hosts[1]);
        world.settle();
        let call = world.connect("alice", "bob");
        world.run_for(Duration::from_secs(8));
        world.talk(&call, Duration::from_millis(100));
        world.run_for(Duration::from_secs(20));
        for side in SIDES {
            let received = world.side(side, &call).received.len();
            assert!(received > 120, "{name}: {side} got {received} of 200");
        }
    }
}

#[test]
fn a_network_without_udp_fails_with_a_sentence_on_both_sides() {
    for blocked in SIDES {
        let host = |name| if name == blocked { Nat::udp_blocked().into() } else { Host::open() };
        let mut world = World::new(seed(4)).peer("alice", host("alice")).peer("bob", host("bob"));
        world.settle();
        let call = world.connect("alice", "bob");
        world.run_for(ATTEMPT_TIMEOUT + Duration::from_secs(1));
        for side in SIDES {
            let reports = &world.side(side, &call).reports;
            assert_eq!(reports.len(), 1, "at {side}");
            assert_eq!(reports[0].outcome, Outcome::Failed);
            let whose = if side == blocked { "this network" } else { blocked };
            let verdict = &reports[0].verdict;
            assert!(verdict.contains("no UDP leaves") && verdict.contains(whose), "{verdict}");
        }
    }
}
