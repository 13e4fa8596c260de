//! What a peer finds out about each kind of network.

use std::time::Duration;

use p2p_sim::seed::seed;
use p2p_sim::{Host, Nat, World};
use p2p_wire::{Filtering, Mapping, NatProfile, NatType};

fn measured(host: impl Into<Host>) -> NatProfile {
    let mut world = World::new(seed(3)).peer("alice", host);
    world.settle();
    world.profile("alice").expect("a round has ended").clone()
}

#[test]
fn each_mapping_is_told_apart_whatever_the_filter_is() {
    let filters = [
        Filtering::EndpointIndependent,
        Filtering::AddressDependent,
        Filtering::AddressAndPortDependent,
    ];
    for filtering in filters {
        for (mapping, nat_type) in [
            // Nobody has measured the filter, so a cone counts as the strictest.
            (Mapping::EndpointIndependent, NatType::PortRestrictedCone),
            (Mapping::AddressDependent, NatType::Symmetric),
            (Mapping::AddressAndPortDependent, NatType::Symmetric),
        ] {
            for nat in
                [Nat::new(mapping, filtering), Nat::new(mapping, filtering).with_random_ports()]
            {
                let profile = measured(nat);
                assert_eq!(profile.mapping, mapping, "{nat:?}");
                assert_eq!(profile.nat_type, nat_type, "{nat:?}");
                assert!(profile.udp);
                assert!(profile.unknown_because.contains_key("filtering"));
            }
        }
    }
}

#[test]
fn a_cone_tells_whether_it_preserves_ports() {
    assert_eq!(measured(Nat::port_restricted()).port_preserving, Some(true));
    let random = Nat::port_restricted().with_random_ports();
    assert_eq!(measured(random).port_preserving, Some(false));
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
