//! A connection that goes on talking while networks, NATs and servers change below it.

use std::time::Duration;

use p2p_sim::seed::seed;
use p2p_sim::{Call, Host, Nat, World};
use p2p_traversal::PathKind;

const SIDES: [&str; 2] = ["alice", "bob"];
const TALK: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);

fn direct(world: &World, call: &Call) -> bool {
    SIDES.iter().all(|side| world.has_direct_path(side, call))
}

fn relayed(world: &World, call: &Call) -> bool {
    let relay = |side: &&str| world.path(side, call).is_some_and(|p| p.kind == PathKind::Relay);
    SIDES.iter().all(relay)
}

fn talking(seed: u64, alice: impl Into<Host>, bob: impl Into<Host>) -> (World, Call) {
    let mut world = World::new(seed).peer("alice", alice).peer("bob", bob);
    world.settle();
    let call = world.connect("alice", "bob");
    world.talk(&call, TALK);
    world.run_for(10 * SECOND);
    (world, call)
}

/// Runs, and returns the longest time in which a side got nothing.
fn longest_stall(world: &mut World, call: &Call, time: Duration) -> Duration {
    let from = world.elapsed();
    world.run_for(time);
    let to = world.elapsed();
    let stall = |side: &str| {
        let received = world.side(side, call).received.iter().map(|r| r.at);
        let inside: Vec<_> = received.filter(|at| *at >= from).collect();
        let moments = [from].into_iter().chain(inside).chain([to]).collect::<Vec<_>>();
        moments.windows(2).map(|two| two[1] - two[0]).max().unwrap_or(time)
    };
    SIDES.into_iter().map(stall).max().expect("two sides")
}

/// The latest paths of both sides, for whoever reads a failure.
fn story(world: &World, call: &Call) -> String {
    let of = |side: &str| {
        let paths = world.side(side, call).paths.iter().rev().take(6).rev();
        let told = paths.map(|(at, path)| {
            let path = path.map(|p| format!("{:?} {:?} {}", p.kind, p.via, p.remote));
            format!("\n  {side} {at:?} {}", path.unwrap_or_default())
        });
        told.collect::<String>()
    };
    let ready = |side: &str| format!("\n  {side} {:?}", world.allocations(side));
    SIDES.map(of).concat() + &SIDES.map(ready).concat()
}

#[test]
fn data_stalls_less_than_two_seconds_when_a_nat_starts_again_and_goes_direct_again() {
    for number in 0..6 {
        for nat in [Nat::port_restricted(), Nat::full_cone(), Nat::address_restricted()] {
            let (mut world, call) =
                talking(seed(9) + number, nat.with_random_ports(), Nat::port_restricted());
            assert!(direct(&world, &call));
            for restart in 1..=3 {
                let context = format!("{nat:?} {number}, restart {restart}");
                world.restart_nat("alice");
                let stall = longest_stall(&mut world, &call, 5 * SECOND);
                assert!(stall < 2 * SECOND, "{context}: {stall:?}{}", story(&world, &call));
                let again = world.run_until(15 * SECOND, |w| direct(w, &call));
                assert!(again, "{context}: {}", story(&world, &call));
                world.run_for(5 * SECOND);
            }
        }
    }
}

#[test]
fn a_host_that_moves_to_another_network_stays_connected_and_is_direct_again() {
    for number in 0..6 {
        for (alice, bob) in [
            (Nat::port_restricted(), Nat::port_restricted()),
            (Nat::full_cone(), Nat::symmetric()),
            (Nat::symmetric(), Nat::address_restricted()),
        ] {
            let (mut world, call) = talking(seed(10) + number, alice, bob);
            let context = format!("{alice:?} {bob:?} {number}");
            assert!(direct(&world, &call), "{context}");
            world.move_host("alice");
            let stall = longest_stall(&mut world, &call, 5 * SECOND);
            assert!(stall < 2 * SECOND, "{context}: {stall:?}{}", story(&world, &call));
            let again = world.run_until(15 * SECOND, |w| direct(w, &call));
            assert!(again, "{context}: {}", story(&world, &call));
            let stall = longest_stall(&mut world, &call, 10 * SECOND);
            assert!(stall < SECOND, "{context}: {stall:?} after the move");
        }
    }
}

#[test]
fn a_direct_path_that_becomes_possible_late_is_found() {
    for number in 0..6 {
        let mut world = World::new(seed(11) + number)
            .peer("alice", Nat::port_restricted())
            .peer("bob", Nat::port_restricted());
        world.settle();
        world.cut("alice", "bob");
        let call = world.connect("alice", "bob");
        world.talk(&call, TALK);
        world.run_for(120 * SECOND);
        assert!(relayed(&world, &call));
        world.heal("alice", "bob");
        assert!(world.run_until(61 * SECOND, |w| direct(w, &call)), "{number}");
    }
}

#[test]
fn i9_an_hour_of_looking_for_a_better_path_takes_few_packets() {
    let (mut world, call) = talking(seed(12), Nat::symmetric(), Nat::symmetric());
    world.hush();
    assert!(relayed(&world, &call));
    let count = |world: &World| world.sent_by("alice").iter().map(|(_, n)| n).sum::<u64>();
    let before = count(&world);
    world.run_for(3600 * SECOND);
    let spent = count(&world) - before;
    assert!(spent < 3_600, "{spent} packets in an hour");
    assert!(relayed(&world, &call));
}

#[test]
fn i8_a_direct_connection_does_without_the_coordinator_and_falls_back_and_returns_without_it() {
    let (mut world, call) = talking(seed(13), Nat::port_restricted(), Nat::port_restricted());
    world.kill_coordinator();
    let stall = longest_stall(&mut world, &call, 600 * SECOND);
    assert!(stall < SECOND && direct(&world, &call), "{stall:?}");
    world.cut("alice", "bob");
    let stall = longest_stall(&mut world, &call, 10 * SECOND);
    assert!(stall < 2 * SECOND && relayed(&world, &call), "{stall:?}");
    world.heal("alice", "bob");
    assert!(world.run_until(10 * SECOND, |w| direct(w, &call)));
}

#[test]
fn a_direct_path_that_loses_packets_is_left_for_a_clean_relay_and_taken_back_when_it_is_clean() {
    for number in 0..4 {
        let (mut world, call) =
            talking(seed(14) + number, Nat::port_restricted(), Nat::port_restricted());
        world.set_direct_loss("alice", "bob", 0.05);
        assert!(
            world.run_until(20 * SECOND, |w| relayed(w, &call)),
            "{number}: stays where it is slow"
        );
        world.run_for(30 * SECOND);
        let stays = relayed(&world, &call);
        assert!(stays, "{number}: it does not stay there: {}", story(&world, &call));
        world.set_direct_loss("alice", "bob", 0.0);
        assert!(
            world.run_until(130 * SECOND, |w| direct(w, &call)),
            "{number}: it is not tried again"
        );
        world.run_for(60 * SECOND);
        assert!(direct(&world, &call), "{number}: a clean path is left");
    }
}

#[test]
fn loss_that_the_relay_has_too_is_no_reason_to_use_it() {
    let lossy = || Host::behind(Nat::port_restricted()).loss(0.03);
    let (mut world, call) = talking(seed(15), lossy(), lossy());
    let mut direct_for = 0;
    for _ in 0..600 {
        world.run_for(SECOND / 2);
        direct_for += u32::from(world.has_direct_path("alice", &call));
    }
    assert!(direct_for > 500, "direct in {direct_for} of 600 looks");
}
