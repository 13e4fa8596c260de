//! What a peer finds out about each kind of network.

use std::time::Duration;

use p2p_sim::network::RELAY_LATENCY;
use p2p_sim::seed::seed;
use p2p_sim::{Host, Nat, World};
use p2p_wire::{Filtering, Mapping, NatProfile, NatType, PortAllocation};

fn measured(host: impl Into<Host>) -> NatProfile {
    let mut world = World::new(seed(3)).peer("alice", host);
    world.settle();
    world.profile("alice").expect("a round has ended").clone()
}

#[test]
fn each_mapping_and_each_filter_is_told_apart_with_one_server() {
    let filters = [
        (Filtering::EndpointIndependent, NatType::FullCone),
        (Filtering::AddressDependent, NatType::RestrictedCone),
        (Filtering::AddressAndPortDependent, NatType::PortRestrictedCone),
    ];
    for (filtering, cone) in filters {
        for (mapping, nat_type) in [
            (Mapping::EndpointIndependent, cone),
            (Mapping::AddressDependent, NatType::Symmetric),
            (Mapping::AddressAndPortDependent, NatType::Symmetric),
        ] {
            for nat in
                [Nat::new(mapping, filtering), Nat::new(mapping, filtering).with_random_ports()]
            {
                let profile = measured(nat);
                assert_eq!(profile.mapping, mapping, "{nat:?}");
                assert_eq!(profile.nat_type, nat_type, "{nat:?}");
                assert_eq!(profile.filtering, filtering, "{nat:?}");
                assert_eq!(profile.hairpin, Some(false), "{nat:?}");
                assert!(profile.udp);
                assert!(profile.unknown_because.is_empty(), "{nat:?}");
            }
        }
    }
}

#[test]
fn a_cone_tells_whether_it_preserves_ports() {
    assert_eq!(measured(Nat::port_restricted()).port_preserving, Some(true));
    let random = measured(Nat::port_restricted().with_random_ports());
    assert_eq!(random.port_preserving, Some(false));
    assert_eq!(random.port_allocation, Some(PortAllocation::Random));
}

#[test]
fn an_open_host_is_open_and_a_blocked_one_blocked() {
    assert_eq!(measured(Host::open()).nat_type, NatType::Open);
    let blocked = measured(Nat::udp_blocked());
    assert_eq!(blocked.nat_type, NatType::UdpBlocked);
    assert!(!blocked.udp);
    assert_eq!(blocked.public_address, None);
}

#[test]
fn ports_in_sequence_are_recognised_whatever_the_mapping() {
    for nat in [Nat::port_restricted(), Nat::symmetric()] {
        let profile = measured(nat.with_sequential_ports());
        assert_eq!(profile.port_allocation, Some(PortAllocation::Sequential), "{nat:?}");
    }
}

#[test]
fn a_nat_that_hairpins_is_told_from_one_that_does_not() {
    for nat in [Nat::full_cone(), Nat::port_restricted()] {
        assert_eq!(measured(nat.with_hairpin()).hairpin, Some(true), "{nat:?}");
        assert_eq!(measured(nat).hairpin, Some(false), "{nat:?}");
    }
    assert_eq!(measured(Host::open()).hairpin, None);
}

/// The whole of it: two round trips for the mapping, less than a second for the filter, also where
/// lines are slow and lose packets.
#[test]
fn a_client_knows_its_class_within_a_second_of_its_mapping() {
    for latency in [5, 20, 50] {
        let latency = Duration::from_millis(latency);
        let rtt = 2 * (latency + RELAY_LATENCY);
        let host = Host::behind(Nat::address_restricted()).latency(latency);
        let mut world = World::new(seed(3)).peer("alice", host);
        let mapped = world.run_until(3 * rtt, |world| world.profile("alice").is_some());
        assert!(mapped, "{latency:?}: no mapping");
        let known = |world: &World| {
            world.profile("alice").is_some_and(|p| p.nat_type == NatType::RestrictedCone)
        };
        assert!(world.run_until(Duration::from_secs(1), known), "{latency:?}");
    }
}

#[test]
fn a_nat_that_starts_again_keeps_its_class() {
    let mut world = World::new(seed(3)).peer("alice", Nat::full_cone().with_random_ports());
    world.settle();
    world.restart_nat("alice");
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.profile("alice").map(|p| p.nat_type), Some(NatType::FullCone));
}

#[test]
fn a_quiet_network_is_told_of_once_because_keep_alives_hold_its_mapping() {
    let mut world = World::new(seed(3)).peer("alice", Nat::symmetric());
    world.settle();
    let told = world.candidates("alice").len();
    world.run_for(Duration::from_secs(600));
    assert_eq!(world.candidates("alice").len(), told);
}

#[test]
fn a_nat_that_starts_again_is_noticed_and_the_new_address_told() {
    let mut world = World::new(seed(3)).peer("alice", Nat::port_restricted().with_random_ports());
    world.settle();
    let before = world.profile("alice").and_then(|profile| profile.public_address);
    world.restart_nat("alice");
    world.run_for(Duration::from_secs(30));
    let after = world.profile("alice").and_then(|profile| profile.public_address);
    assert_ne!(before, after);
    let told = world.candidates("alice").last().expect("candidates");
    assert!(told.iter().any(|candidate| Some(candidate.address) == after));
}
