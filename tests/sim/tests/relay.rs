//! The allocation: it outlives nonces and idle hours, and is made again when the relay forgets it.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_sim::seed::seed;
use p2p_sim::{Call, Host, Nat, World};
use p2p_traversal::PathKind;
use p2p_traversal::relay::Allocation;
use p2p_turn_core::{RequestMethod, RequestResult};
use p2p_wire::{CandidateKind, Policy};

const SIDES: [&str; 2] = ["alice", "bob"];
const SECOND: Duration = Duration::from_secs(1);

/// Two peers that only the relay connects.
fn relayed() -> (World, Call) {
    let mut world =
        World::new(seed(6)).peer("alice", Nat::symmetric()).peer("bob", Nat::symmetric());
    world.settle();
    let call = world.connect("alice", "bob");
    world.run_for(10 * SECOND);
    for side in SIDES {
        assert_eq!(world.path(side, &call).map(|path| path.kind), Some(PathKind::Relay));
    }
    (world, call)
}

fn ready(world: &World, peer: &str) -> Vec<SocketAddr> {
    let addr = |allocation: &Allocation| match allocation {
        Allocation::Ready(addr) => Some(*addr),
        Allocation::Pending | Allocation::Failed { .. } => None,
    };
    world.allocations(peer).iter().filter_map(addr).collect()
}

/// Runs and returns how much of what was sent arrived at each side, in percent.
fn arrived(world: &mut World, call: &Call, every: Duration, time: Duration) -> [u64; 2] {
    let count = |world: &World| SIDES.map(|side| world.side(side, call).received.len() as u64);
    let before = count(world);
    world.talk(call, every);
    world.run_for(time);
    world.hush();
    world.run_for(SECOND);
    let sent = (time.as_millis() / every.as_millis()) as u64;
    let after = count(world);
    [0, 1].map(|side| (after[side] - before[side]) * 100 / sent)
}

#[test]
fn an_allocation_and_its_permissions_outlive_two_hours_and_their_nonces() {
    let (mut world, call) = relayed();
    let every = 5 * SECOND;
    for half_hour in 1..=4 {
        let arrived = arrived(&mut world, &call, every, 1800 * SECOND);
        assert!(arrived.iter().all(|share| *share >= 99), "half hour {half_hour}: {arrived:?} %");
    }
    let stale = (RequestMethod::Refresh, RequestResult::Error(438));
    assert!(world.relay().counters().answered(stale.0, stale.1) > 0, "nonces went stale");
    for side in SIDES {
        assert_eq!(ready(&world, side).len(), 1, "{side} has the allocation of the beginning");
        assert_eq!(world.unexpected(side), 0);
    }
    assert_eq!(world.allocations_at_relay(), 2);
}

#[test]
fn channels_outlive_two_hours_and_their_nonces() {
    // By policy everything goes through both allocations, hence by channels. Nonces that outlive a
    // refresh but not two are stale every other time that a channel is refreshed.
    let mut world = World::new(seed(6))
        .with_nonces_of(130 * SECOND)
        .peer("alice", Host::behind(Nat::port_restricted()).policy(Policy::Relay))
        .peer("bob", Nat::port_restricted());
    world.settle();
    let call = world.connect("alice", "bob");
    world.run_for(10 * SECOND);
    for every in [SECOND / 2, 7 * SECOND] {
        for half_hour in 1..=2 {
            let arrived = arrived(&mut world, &call, every, 1800 * SECOND);
            let context = format!("every {every:?}, half hour {half_hour}");
            assert!(arrived.iter().all(|share| *share >= 99), "{context}: {arrived:?} %");
        }
    }
    let counters = world.relay().counters();
    let bound = |result| counters.answered(RequestMethod::ChannelBind, result);
    assert!(bound(RequestResult::Success) > 20, "channels are refreshed");
    assert!(bound(RequestResult::Error(438)) > 0, "a refresh met a stale nonce");
    assert_eq!(bound(RequestResult::Error(400)), 0, "no second channel for a peer that has one");
}

#[test]
fn an_allocation_that_nobody_uses_lives_on_and_works_two_hours_later() {
    let (mut world, call) = relayed();
    world.run_for(7200 * SECOND);
    let arrived = arrived(&mut world, &call, SECOND / 20, 10 * SECOND);
    assert!(arrived.iter().all(|share| *share >= 99), "{arrived:?} %");
    for side in SIDES {
        assert_eq!(ready(&world, side).len(), 1);
    }
}

#[test]
fn a_relay_that_forgot_everything_is_asked_for_a_new_allocation() {
    let mut world = World::new(seed(6)).peer("alice", Nat::symmetric());
    world.settle();
    world.run_for(30 * SECOND);
    world.restart_relay();
    world.run_for(125 * SECOND);
    assert_eq!(world.allocations_at_relay(), 1);
    let ready = ready(&world, "alice");
    assert_eq!(ready.len(), 2);
    assert_ne!(ready[0], ready[1]);
    let told = world.candidates("alice").last().expect("candidates");
    let relays = told.iter().filter(|candidate| candidate.kind == CandidateKind::Relay);
    assert_eq!(relays.map(|candidate| candidate.address).collect::<Vec<_>>(), [ready[1]]);
}

#[test]
fn a_relayed_connection_outlives_its_relay_process() {
    let (mut world, call) = relayed();
    for restart in 1..=3 {
        world.talk(&call, SECOND / 20);
        world.run_for(5 * SECOND);
        world.restart_relay();
        world.run_for(6 * SECOND);
        world.hush();
        let arrived = arrived(&mut world, &call, SECOND / 20, 5 * SECOND);
        assert!(arrived.iter().all(|share| *share >= 95), "restart {restart}: {arrived:?} %");
        for side in SIDES {
            assert_eq!(ready(&world, side).len(), restart + 1);
        }
    }
}

#[test]
fn a_direct_connection_does_not_notice_that_the_relay_is_gone_and_falls_back_to_the_next_one() {
    let mut world = World::new(seed(6))
        .peer("alice", Nat::port_restricted())
        .peer("bob", Nat::port_restricted());
    world.settle();
    let call = world.connect("alice", "bob");
    world.run_for(10 * SECOND);
    let paths = SIDES.map(|side| world.side(side, &call).paths.len());
    world.set_relay_down(true);
    let through = arrived(&mut world, &call, SECOND / 20, 30 * SECOND);
    assert!(through.iter().all(|share| *share >= 99), "{through:?} %");
    world.restart_relay();
    world.set_relay_down(false);
    world.run_for(240 * SECOND);
    assert_eq!(SIDES.map(|side| world.side(side, &call).paths.len()), paths);
    world.cut("alice", "bob");
    world.talk(&call, SECOND / 20);
    world.run_for(12 * SECOND);
    world.hush();
    let through = arrived(&mut world, &call, SECOND / 20, 5 * SECOND);
    assert!(through.iter().all(|share| *share >= 95), "{through:?} %");
}

#[test]
fn a_relay_that_dies_without_a_word_is_left_for_the_next_one() {
    let host = || Host::behind(Nat::symmetric()).with_two_relays();
    let mut world = World::new(seed(6)).peer("alice", host()).peer("bob", host());
    world.settle();
    let call = world.connect("alice", "bob");
    world.run_for(10 * SECOND);
    let before = SIDES.map(|side| ready(&world, side));
    world.talk(&call, SECOND / 20);
    world.run_for(5 * SECOND);
    world.set_first_relay_down(true);
    // Two rounds of retransmissions, and what it takes to find the new way.
    world.run_for(25 * SECOND);
    world.hush();
    let through = arrived(&mut world, &call, SECOND / 20, 10 * SECOND);
    assert!(through.iter().all(|share| *share >= 95), "{through:?} %");
    for (side, before) in SIDES.into_iter().zip(before) {
        let after = ready(&world, side);
        assert_eq!((before.len(), after.len()), (1, 2), "{side} has one of the other relay's");
        let told = world.candidates(side).last().expect("candidates");
        let relays = told.iter().filter(|candidate| candidate.kind == CandidateKind::Relay);
        assert_eq!(relays.map(|it| it.address).collect::<Vec<_>>(), after[1..]);
    }
}

#[test]
fn an_idle_client_finds_a_dead_relay_within_two_refreshes_and_tells_of_the_next_one() {
    let host = Host::behind(Nat::symmetric()).with_two_relays();
    let mut world = World::new(seed(6)).peer("alice", host);
    world.settle();
    world.set_first_relay_down(true);
    // Nothing but the refresh looks.
    world.run_for(140 * SECOND);
    assert_eq!(ready(&world, "alice").len(), 2);
}

#[test]
fn a_relay_that_pauses_for_one_round_is_not_left() {
    let host = || Host::behind(Nat::symmetric()).with_two_relays();
    let mut world = World::new(seed(6)).peer("alice", host()).peer("bob", host());
    world.settle();
    let call = world.connect("alice", "bob");
    world.run_for(10 * SECOND);
    world.talk(&call, SECOND / 20);
    world.run_for(5 * SECOND);
    world.set_first_relay_down(true);
    world.run_for(10 * SECOND);
    world.set_first_relay_down(false);
    world.run_for(30 * SECOND);
    world.hush();
    let through = arrived(&mut world, &call, SECOND / 20, 10 * SECOND);
    assert!(through.iter().all(|share| *share >= 95), "{through:?} %");
    for side in SIDES {
        assert_eq!(ready(&world, side).len(), 1, "{side} has the allocation of the beginning");
    }
}

#[test]
fn an_allocation_that_outlives_an_outage_is_taken_up_again() {
    let (mut world, call) = relayed();
    world.talk(&call, SECOND / 20);
    world.run_for(5 * SECOND);
    world.set_relay_down(true);
    world.run_for(60 * SECOND);
    for side in SIDES {
        let told = world.candidates(side).last().expect("candidates");
        let relays = told.iter().filter(|candidate| candidate.kind == CandidateKind::Relay);
        assert_eq!(relays.count(), 0, "{side} tells of no relay that is not there");
    }
    world.set_relay_down(false);
    world.run_for(15 * SECOND);
    world.hush();
    let through = arrived(&mut world, &call, SECOND / 20, 10 * SECOND);
    assert!(through.iter().all(|share| *share >= 95), "{through:?} %");
    assert_eq!(world.allocations_at_relay(), 2);
    for side in SIDES {
        let ready = ready(&world, side);
        assert_eq!((ready.len(), ready[0]), (2, ready[1]), "{side} has the same again");
    }
}

#[test]
fn a_connection_moves_to_another_relay_that_is_named_instead_without_standing_still() {
    let (mut world, call) = relayed();
    for side in SIDES {
        world.talk(&call, SECOND / 20);
        world.run_for(5 * SECOND);
        world.name_second_relay(side);
        world.run_for(5 * SECOND);
        world.hush();
        assert_eq!(ready(&world, side).len(), 2);
        for side in SIDES {
            let pause = longest_pause(&world, side, &call, 9 * SECOND);
            assert!(pause < SECOND / 2, "{side} heard nothing for {pause:?}");
        }
    }
    assert_eq!(world.allocations_at_relay(), 2, "what is not used is given back");
}

/// The longest time without anything of the other side's, among the latest stretch of this length.
fn longest_pause(world: &World, side: &str, call: &Call, latest: Duration) -> Duration {
    let since = world.elapsed() - latest;
    let times = world.side(side, call).received.iter().map(|received| received.at);
    let times: Vec<_> = times.filter(|at| *at >= since).collect();
    times.windows(2).map(|two| two[1] - two[0]).max().expect("it heard something")
}
