//! Every pair of networks, in both calling directions: which path they end on, and that it carries.

use std::time::Duration;

use p2p_sim::seed::seed;
use p2p_sim::{Call, Host, Nat, World};
use p2p_wire::Outcome;

const KINDS: [&str; 5] =
    ["open", "full cone", "address-restricted", "port-restricted", "symmetric"];

fn host(kind: &str) -> Host {
    match kind {
        "open" => Host::open(),
        "full cone" => Nat::full_cone().into(),
        "address-restricted" => Nat::address_restricted().into(),
        "port-restricted" => Nat::port_restricted().into(),
        "symmetric" => Nat::symmetric().into(),
        other => panic!("no such network: {other}"),
    }
}

/// Without guessing ports: a packet to an unknown port is let in by everything but a filter on
/// ports, and only symmetric NATs have unknown ports.
fn allows_direct(one: &str, other: &str) -> bool {
    let filters_ports = |kind| kind == "port-restricted" || kind == "symmetric";
    !(one == "symmetric" && filters_ports(other) || other == "symmetric" && filters_ports(one))
}

fn assert_talks_both_ways(world: &mut World, call: &Call, context: &str) {
    let sides = [call.caller.clone(), call.callee.clone()];
    for side in &sides {
        world.send(side, call, &format!("hello from {side}"));
    }
    world.run_for(Duration::from_millis(500));
    for side in &sides {
        let hello = format!("hello from {side}");
        assert!(world.has_arrived(side, call, &hello), "{context}: nothing of {side}'s arrived");
    }
}

#[test]
fn every_pair_ends_on_the_best_path_it_allows() {
    let seed = seed(1);
    for caller in KINDS {
        for callee in KINDS {
            let context = format!("{caller} calls {callee}");
            let mut world = World::new(seed).peer("alice", host(caller)).peer("bob", host(callee));
            world.settle();
            let call = world.connect("alice", "bob");
            let connected = world.run_until(Duration::from_secs(1), |world| {
                ["alice", "bob"].iter().all(|side| world.path(side, &call).is_some())
            });
            assert!(connected, "{context}: no path on both sides within a second");
            assert_talks_both_ways(&mut world, &call, &context);
            world.run_for(Duration::from_secs(10));
            let direct = allows_direct(caller, callee);
            for side in ["alice", "bob"] {
                assert_eq!(world.has_direct_path(side, &call), direct, "{context}, at {side}");
                let expected = if direct { Outcome::Direct } else { Outcome::Relay };
                assert_eq!(world.side(side, &call).outcome(), Some(expected), "{context}");
            }
            assert_talks_both_ways(&mut world, &call, &context);
        }
    }
}
