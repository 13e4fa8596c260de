//! Garbage, replays and forgeries at a peer's socket change nothing.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_sim::network::servers;
use p2p_sim::seed::seed;
use p2p_sim::{Call, Nat, World};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

const SIDES: [&str; 2] = ["alice", "bob"];

/// Addresses that an attacker may claim: nobody's, the relay's, and the other peer's.
fn sources(world: &World) -> Vec<SocketAddr> {
    let mut sources = vec![SocketAddr::from(([198, 51, 100, 66], 666)), servers()[0]];
    sources.extend(SIDES.map(|side| SocketAddr::new(world.public_ip(side), 5000)));
    sources
}

fn paths(world: &World, call: &Call) -> [usize; 2] {
    SIDES.map(|side| world.side(side, call).paths.len())
}

fn settled(alice: Nat, bob: Nat) -> (World, Call) {
    let mut world = World::new(seed(7)).peer("alice", alice).peer("bob", bob);
    world.eavesdrop();
    world.settle();
    let call = world.connect("alice", "bob");
    world.talk(&call, Duration::from_millis(50));
    world.run_for(Duration::from_secs(10));
    (world, call)
}

#[test]
fn garbage_and_broken_stun_change_no_path() {
    for (alice, bob) in
        [(Nat::port_restricted(), Nat::port_restricted()), (Nat::symmetric(), Nat::symmetric())]
    {
        let (mut world, call) = settled(alice, bob);
        let mut rng = StdRng::seed_from_u64(seed(7));
        let before = paths(&world, &call);
        let heard: Vec<_> = world.overheard().to_vec();
        let sources = sources(&world);
        for round in 0..4_000 {
            let from = sources[rng.random_range(0..sources.len())];
            let mut datagram = if round % 2 == 0 {
                let mut bytes = vec![0; rng.random_range(0..200)];
                rng.fill_bytes(&mut bytes);
                bytes
            } else {
                heard[rng.random_range(0..heard.len())].1.to_vec()
            };
            // Something that was right once, with a few bytes changed.
            for _ in 0..rng.random_range(1..4) {
                if !datagram.is_empty() {
                    let at = rng.random_range(0..datagram.len());
                    datagram[at] = rng.random();
                }
            }
            world.inject(SIDES[round % 2], from, &datagram);
            if round % 100 == 0 {
                world.run_for(Duration::from_millis(10));
            }
        }
        world.run_for(Duration::from_secs(30));
        assert_eq!(paths(&world, &call), before);
        let received = SIDES.map(|side| world.side(side, &call).received.len());
        world.run_for(Duration::from_secs(2));
        for (side, received) in SIDES.into_iter().zip(received) {
            assert!(world.side(side, &call).received.len() >= received + 38, "data flows on");
        }
    }
}

#[test]
fn garbage_during_the_attempt_does_not_stop_it() {
    let mut world = World::new(seed(7))
        .peer("alice", Nat::port_restricted())
        .peer("bob", Nat::address_restricted());
    world.settle();
    let call = world.connect("alice", "bob");
    let mut rng = StdRng::seed_from_u64(seed(7));
    let sources = sources(&world);
    for _ in 0..200 {
        for side in SIDES {
            let mut bytes = vec![0; rng.random_range(0..120)];
            rng.fill_bytes(&mut bytes);
            if let Some(first) = bytes.first_mut() {
                *first &= 0x03;
            }
            world.inject(side, sources[rng.random_range(0..sources.len())], &bytes);
        }
        world.run_for(Duration::from_millis(10));
    }
    for side in SIDES {
        assert!(world.has_direct_path(side, &call));
    }
}

#[test]
fn a_check_by_somebody_who_does_not_know_the_password_is_neither_answered_nor_believed() {
    let (mut world, call) = settled(Nat::port_restricted(), Nat::port_restricted());
    let ice = world.credentials(&call).expect("the call was made").clone();
    let username = format!("{}:{}", ice.local.ufrag, ice.remote.ufrag);
    let attacker = SocketAddr::from(([198, 51, 100, 66], 666));
    let before = paths(&world, &call);
    // ICE-CONTROLLING and ICE-CONTROLLED with the highest tie-breaker, to take a role away.
    for role in [0x802a_u16, 0x8029] {
        for number in 0..50 {
            let check = forged_check(&username, role, number);
            world.inject("alice", attacker, &check);
            world.inject("alice", SocketAddr::new(world.public_ip("bob"), 5000), &check);
        }
    }
    world.run_for(Duration::from_secs(60));
    assert_eq!(paths(&world, &call), before);
    let sent = world.sent_by("alice");
    assert!(sent.iter().all(|(to, _)| *to != attacker), "the attacker got a packet: {sent:?}");
}

/// A Binding request with USE-CANDIDATE and a MESSAGE-INTEGRITY that is made up.
fn forged_check(username: &str, role: u16, number: u8) -> Vec<u8> {
    let mut attributes = Vec::new();
    let mut add = |kind: u16, value: &[u8]| {
        attributes.extend(kind.to_be_bytes());
        attributes.extend((value.len() as u16).to_be_bytes());
        attributes.extend(value);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    };
    add(0x0006, username.as_bytes());
    add(0x0024, &[0xff; 4]);
    add(role, &[0xff; 8]);
    if role == 0x802a {
        add(0x0025, &[]);
    }
    add(0x0008, &[number; 20]);
    let mut check = vec![0x00, 0x01];
    check.extend((attributes.len() as u16).to_be_bytes());
    check.extend([0x21, 0x12, 0xa4, 0x42]);
    check.extend([number; 12]);
    check.extend(attributes);
    check
}

#[test]
fn what_was_overheard_and_comes_again_from_elsewhere_changes_no_path() {
    let (mut world, call) = settled(Nat::full_cone(), Nat::full_cone());
    let before = paths(&world, &call);
    let replay = SocketAddr::from(([198, 51, 100, 66], 666));
    for (_, datagram) in world.overheard().to_vec() {
        for side in SIDES {
            world.inject(side, replay, &datagram);
        }
    }
    world.run_for(Duration::from_secs(30));
    assert_eq!(paths(&world, &call), before);
}
