//! A direct path that dies under traffic is left for the relay, and taken again when it is back.

use std::time::Duration;

use p2p_sim::seed::seed;
use p2p_sim::{Call, Host, Nat, World};
use p2p_traversal::Path;
use p2p_wire::Outcome;

const SIDES: [&str; 2] = ["alice", "bob"];
const TALK: Duration = Duration::from_millis(20);

fn connected(alice: impl Into<Host>, bob: impl Into<Host>) -> (World, Call) {
    let mut world = World::new(seed(5)).peer("alice", alice).peer("bob", bob);
    world.settle();
    let call = world.connect("alice", "bob");
    world.talk(&call, TALK);
    world.run_for(Duration::from_secs(10));
    assert!(both(&world, |side| world.has_direct_path(side, &call)));
    (world, call)
}

fn both(_: &World, so: impl Fn(&str) -> bool) -> bool {
    SIDES.into_iter().all(so)
}

/// The latest paths of both sides, for whoever reads a failure.
fn story(world: &World, call: &Call) -> String {
    let of = |side: &str| {
        let paths = world.side(side, call).paths.iter().rev().take(4).rev();
        let path = |path: Option<Path>| path.map(|p| format!("{:?} {}", p.via, p.remote));
        let told =
            paths.map(|(at, p)| format!("\n  {side} {at:?} {}", path(*p).unwrap_or_default()));
        told.collect::<String>()
    };
    format!(" at {:?}{}", world.elapsed(), SIDES.map(of).concat())
}

/// Packets that each side gets within two seconds, of a hundred sent.
fn received_in_two_seconds(world: &mut World, call: &Call) -> [usize; 2] {
    let count = |world: &World| SIDES.map(|side| world.side(side, call).received.len());
    let before = count(world);
    world.run_for(Duration::from_secs(2));
    let after = count(world);
    [after[0] - before[0], after[1] - before[1]]
}

fn assert_flows(world: &mut World, call: &Call, context: &str) {
    let received = received_in_two_seconds(world, call);
    assert!(received.iter().all(|n| *n >= 95), "{context}: {received:?} of 100");
}

#[test]
fn a_cut_path_is_left_within_a_second_and_a_half_and_taken_again_when_it_heals() {
    for (alice, bob) in [
        (Nat::port_restricted(), Nat::port_restricted()),
        (Nat::full_cone(), Nat::address_restricted()),
        (Nat::symmetric(), Nat::full_cone()),
        (Nat::address_restricted(), Nat::symmetric()),
    ] {
        let context = format!("{alice:?} and {bob:?}");
        let (mut world, call) = connected(alice, bob);
        for round in 1..=3 {
            let context = format!("{context}, round {round}");
            world.cut("alice", "bob");
            let relayed = world.run_until(Duration::from_millis(1_500), |world| {
                both(world, |side| {
                    world.path(side, &call).is_some() && !world.has_direct_path(side, &call)
                })
            });
            assert!(relayed, "{context}: still on the dead path");
            world.run_for(Duration::from_millis(500));
            assert_flows(&mut world, &call, &context);
            world.run_for(Duration::from_secs(20));
            assert!(
                both(&world, |side| !world.has_direct_path(side, &call)),
                "{context}: a path that does not answer must not be used again"
            );
            world.heal("alice", "bob");
            let direct = world.run_until(Duration::from_secs(5), |world| {
                both(world, |side| world.has_direct_path(side, &call))
            });
            assert!(direct, "{context}: the direct path is not taken again");
            world.run_for(Duration::from_millis(500));
            assert_flows(&mut world, &call, &context);
        }
        let reports = &world.side("alice", &call).reports;
        assert!(reports.iter().filter(|r| r.outcome == Outcome::Direct).count() == 1, "{context}");
    }
}

#[test]
fn a_path_that_dies_after_an_idle_hour_is_left_too() {
    for (alice, bob) in [
        (Nat::port_restricted(), Nat::port_restricted()),
        (Nat::symmetric(), Nat::full_cone()),
        (Nat::symmetric(), Nat::address_restricted()),
    ] {
        let context = format!("{alice:?} and {bob:?}");
        let (mut world, call) = connected(alice, bob);
        world.hush();
        world.run_for(Duration::from_secs(3600));
        assert!(both(&world, |side| world.has_direct_path(side, &call)), "{context}: idle is fine");
        world.talk(&call, TALK);
        assert_flows(&mut world, &call, &context);
        world.cut("alice", "bob");
        world.run_for(Duration::from_millis(2_500));
        assert_flows(&mut world, &call, &context);
    }
}

#[test]
fn a_path_that_dies_in_one_direction_is_left_by_both_sides() {
    let (mut world, call) = connected(Nat::port_restricted(), Nat::port_restricted());
    world.cut_one_way("alice", "bob");
    world.run_for(Duration::from_secs(5));
    assert_flows(&mut world, &call, "one way cut");
}

#[test]
fn a_cut_under_a_lossy_start_still_finds_the_relay() {
    for lossy in 1..=20 {
        let host = || Host::behind(Nat::port_restricted()).loss(0.15);
        let mut world = World::new(seed(5) + lossy).peer("alice", host()).peer("bob", host());
        world.settle();
        let call = world.connect("alice", "bob");
        world.talk(&call, TALK);
        world.run_for(Duration::from_secs(5));
        if !both(&world, |side| world.has_direct_path(side, &call)) {
            continue;
        }
        world.set_loss("alice", 0.0);
        world.set_loss("bob", 0.0);
        world.run_for(Duration::from_secs(5));
        world.cut("alice", "bob");
        world.run_for(Duration::from_secs(3));
        assert_flows(&mut world, &call, &format!("start {lossy}"));
    }
}

#[test]
fn whoever_only_listens_goes_after_the_other_side_to_the_relay_and_comes_back_with_it() {
    for (alice, bob) in [
        (Nat::port_restricted(), Nat::port_restricted()),
        (Nat::full_cone(), Nat::address_restricted()),
        (Nat::symmetric(), Nat::full_cone()),
    ] {
        let context = format!("{alice:?} and {bob:?}");
        let (mut world, call) = connected(alice, bob);
        world.hush();
        world.lecture(&call, TALK);
        for round in 1..=3 {
            let context = format!("{context}, round {round}");
            world.run_for(Duration::from_secs(5));
            world.cut("alice", "bob");
            let left = world.run_until(Duration::from_millis(1_500), |world| {
                !world.has_direct_path("alice", &call)
            });
            assert!(left, "{context}: alice is still on the dead path");
            let followed = world.run_until(Duration::from_millis(350), |world| {
                world.path("bob", &call).is_some() && !world.has_direct_path("bob", &call)
            });
            assert!(followed, "{context}: bob still answers into the void");
            world.heal("alice", "bob");
            let back = world.run_until(Duration::from_secs(10), |world| {
                both(world, |side| world.has_direct_path(side, &call))
            });
            assert!(back, "{context}{}", story(&world, &call));
        }
    }
}

#[test]
fn a_side_that_prefers_the_relay_is_followed_once_and_not_for_ever() {
    let (mut world, call) = connected(Nat::port_restricted(), Nat::port_restricted());
    // What alice sends straight is lost now and then; bob's packets all arrive.
    world.set_loss_one_way("alice", "bob", 0.05);
    let relayed = world.run_until(Duration::from_secs(30), |world| {
        world.path("alice", &call).is_some() && !world.has_direct_path("alice", &call)
    });
    assert!(relayed, "alice stays where it loses");
    let before = world.side("bob", &call).paths.len();
    world.run_for(Duration::from_secs(30));
    let changes = world.side("bob", &call).paths.len() - before;
    assert!(changes <= 4, "bob changed its path {changes} times");
}

#[test]
fn a_nat_that_maps_anew_under_a_lecture_is_answered_at_its_new_address_within_a_second() {
    for (number, bob) in [Nat::full_cone(), Nat::address_restricted()].into_iter().enumerate() {
        let (mut world, call) = connected(Nat::symmetric(), bob);
        world.hush();
        world.lecture(&call, TALK);
        for round in 1..=12 {
            let context = format!("{number}, round {round}");
            world.run_for(Duration::from_secs(5));
            let heard = |world: &World| world.side("alice", &call).received.len();
            world.restart_nat("alice");
            world.run_for(Duration::from_millis(200));
            let before = heard(&world);
            let answered = world.run_until(Duration::from_millis(900), |w| heard(w) > before + 5);
            assert!(answered, "{context}{}", story(&world, &call));
        }
    }
}

#[test]
fn a_transfer_through_a_nat_that_maps_anew_does_not_wait_for_what_was_lost_to_be_sent_again() {
    for (number, bob) in [Nat::full_cone(), Nat::address_restricted()].into_iter().enumerate() {
        let (mut world, call) = connected(Nat::symmetric(), bob);
        world.hush();
        world.run_for(Duration::from_secs(1));
        world.transfer(&call, TALK);
        for round in 1..=12 {
            let context = format!("{number}, round {round}");
            // Each round meets the driver's look at the traffic, and the transfer, elsewhere.
            world.run_for(Duration::from_millis(5_000 + 17 * round));
            let heard = |world: &World| world.side("bob", &call).received.len();
            world.restart_nat("alice");
            // What is on its way.
            world.run_for(Duration::from_millis(100));
            let before = heard(&world);
            let goes_on = world.run_until(Duration::from_millis(700), |w| heard(w) > before + 5);
            assert!(goes_on, "{context}{}", story(&world, &call));
        }
    }
}
