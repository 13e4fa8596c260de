//! What a policy promises about the packets on the network, and in which order paths come.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_sim::network::{RELAY_IP, SECOND_IP};
use p2p_sim::seed::seed;
use p2p_sim::{Call, Host, Nat, World};
use p2p_traversal::{PathKind, Via};
use p2p_wire::{Method, Outcome, Policy, StepResult};

const SIDES: [&str; 2] = ["alice", "bob"];

fn call(alice: Host, bob: Host) -> (World, Call) {
    let mut world = World::new(seed(2)).peer("alice", alice).peer("bob", bob);
    world.settle();
    let call = world.connect("alice", "bob");
    (world, call)
}

#[test]
fn the_relay_is_there_no_later_than_the_direct_path_which_then_takes_over() {
    let slow = Duration::from_millis(80);
    let (mut world, call) = call(
        Host::behind(Nat::symmetric()).latency(slow),
        Host::behind(Nat::address_restricted()).latency(slow),
    );
    world.run_for(Duration::from_secs(3));
    for side in SIDES {
        let side = world.side(side, &call);
        let direct = side.first(PathKind::Direct).expect("the pair allows a direct path");
        let connected = side.connected().expect("there is a path");
        assert!(connected <= direct);
        assert_eq!(side.path().map(|path| path.kind), Some(PathKind::Direct));
        // A direct path that has answered stays: nothing was cut here.
        let verified = side.reports.last().and_then(|report| report.direct_ms);
        let verified = Duration::from_millis(verified.expect("the report says when"));
        let mut after = side.paths.iter().filter(|(at, _)| *at > side.started + verified);
        assert!(after.all(|(_, path)| path.is_some_and(|path| path.kind == PathKind::Direct)));
    }
    let relay_first = |side| world.side(side, &call).first(PathKind::Relay).is_some();
    assert!(SIDES.into_iter().any(relay_first), "one side had the relay's path before");
}

#[test]
fn data_goes_both_ways_from_the_first_path_on() {
    for (alice, bob) in [
        (Nat::port_restricted(), Nat::port_restricted()),
        (Nat::symmetric(), Nat::symmetric()),
        (Nat::symmetric(), Nat::full_cone()),
    ] {
        let (mut world, call) = call(alice.into(), bob.into());
        for (side, other) in [("alice", "bob"), ("bob", "alice")] {
            assert!(world.run_until(Duration::from_secs(1), |w| w.path(side, &call).is_some()));
            world.send(side, &call, side);
            let arrived = |w: &World| w.has_arrived(side, &call, side);
            let limit = Duration::from_millis(500);
            assert!(world.run_until(limit, arrived), "{alice:?} {bob:?}: {side} to {other}");
        }
    }
}

#[test]
fn policy_relay_shows_no_address_and_probes_none() {
    for nat in [Nat::full_cone(), Nat::port_restricted(), Nat::symmetric()] {
        let alice = Host::behind(nat).policy(Policy::Relay);
        let (mut world, call) = call(alice, Host::open());
        world.talk(&call, Duration::from_millis(50));
        world.run_for(Duration::from_secs(20));
        let public = SIDES.map(|side| world.public_ip(side));
        for side in SIDES {
            let path = world.path(side, &call).expect("the relay is allowed");
            assert_eq!(path.via, Via::Relay);
            assert_eq!(path.remote.ip(), RELAY_IP);
            // What a peer's fresh sockets send to its own NAT shows nobody anything.
            let own = world.public_ip(side);
            let sent = world.sent_by(side);
            let sent: Vec<_> = sent.into_iter().filter(|(to, _)| to.ip() != own).collect();
            let servers = |to: &SocketAddr| [RELAY_IP, SECOND_IP].contains(&to.ip());
            assert!(sent.iter().all(|(to, _)| servers(to)), "{side} sent to {sent:?}");
            assert!(sent.iter().all(|(to, _)| to.port() < 49_152), "{side} sent to {sent:?}");
            let heard = world.heard_by(side);
            assert!(heard.iter().all(servers), "{side} heard {heard:?}");
            assert!(world.side(side, &call).received.len() > 300);
            let report = world.side(side, &call).reports.last().expect("a verdict");
            assert_eq!(report.outcome, Outcome::Relay);
            assert!(report.verdict.contains("policy"), "{}", report.verdict);
        }
        for (relayed, to) in world.relayed() {
            assert!(!public.contains(&to.ip()), "{relayed} sent straight to {to}");
        }
    }
}

#[test]
fn policy_direct_never_uses_the_relay() {
    let (mut world, call) =
        call(Host::behind(Nat::port_restricted()).policy(Policy::Direct), Nat::full_cone().into());
    world.talk(&call, Duration::from_millis(50));
    world.run_for(Duration::from_secs(10));
    for side in SIDES {
        assert!(world.has_direct_path(side, &call));
        assert!(world.side(side, &call).first(PathKind::Relay).is_none());
    }
    assert_eq!(world.relayed(), [], "allocations have sent nothing");
}

#[test]
fn i9_the_first_datagram_may_go_to_few_addresses_of_the_offer_until_there_is_a_path() {
    let policies = [Policy::Auto, Policy::Direct, Policy::Relay];
    for (nat, policy) in [Nat::port_restricted(), Nat::symmetric()]
        .into_iter()
        .zip(policies)
        .chain(policies.map(|policy| (Nat::full_cone(), policy)))
    {
        let (mut world, call) =
            call(Host::behind(nat).policy(policy), Host::behind(Nat::port_restricted()));
        world.run_for(Duration::from_secs(40));
        for [this, that] in [["alice", "bob"], ["bob", "alice"]] {
            let side = world.side(this, &call);
            assert!(side.early.len() <= 5, "{policy:?}: {:?}", side.early);
            let before = |at: &Duration| side.connected().is_none_or(|connected| *at <= connected);
            assert!(side.early.iter().all(|(at, ways)| before(at) && ways.len() <= 3));
            let public = world.public_ip(that);
            for (via, remote) in side.early.iter().flat_map(|(_, ways)| ways) {
                // What leaves the socket would show the other side where it comes from.
                assert_eq!(*via == Via::Relay, policy == Policy::Relay, "{policy:?}: {via:?}");
                let (relay, direct) = (remote.ip() == RELAY_IP, remote.ip() == public);
                assert!(relay && policy != Policy::Direct || direct && policy != Policy::Relay);
            }
            assert!(!side.early.is_empty(), "{policy:?}: {this} names none");
        }
    }
}

#[test]
fn policy_direct_fails_with_a_sentence_where_only_the_relay_would_do() {
    let (mut world, call) =
        call(Host::behind(Nat::symmetric()).policy(Policy::Direct), Nat::port_restricted().into());
    world.run_for(Duration::from_secs(40));
    for side in SIDES {
        let side = world.side(side, &call);
        assert_eq!(side.reports.len(), 1);
        assert_eq!(side.outcome(), Some(Outcome::Failed));
        assert!(side.paths.is_empty());
        let report = &side.reports[0];
        assert!(report.verdict.contains("policy forbids the relay"), "{}", report.verdict);
        let relay = report.steps.iter().find(|step| step.method == Method::Relay);
        assert_eq!(relay.map(|step| step.result), Some(StepResult::Skipped));
    }
    assert_eq!(world.relayed(), []);
}

#[test]
fn a_path_that_carries_one_way_only_is_not_called_direct() {
    let mut world = World::new(seed(2))
        .peer("alice", Nat::port_restricted())
        .peer("bob", Nat::port_restricted());
    world.settle();
    world.cut_one_way("alice", "bob");
    let call = world.connect("alice", "bob");
    world.talk(&call, Duration::from_millis(50));
    world.run_for(Duration::from_secs(15));
    for side in SIDES {
        assert_eq!(world.side(side, &call).outcome(), Some(Outcome::Relay), "at {side}");
        assert!(!world.has_direct_path(side, &call), "at {side}");
    }
    let before = SIDES.map(|side| world.side(side, &call).received.len());
    world.run_for(Duration::from_secs(2));
    for (side, before) in SIDES.into_iter().zip(before) {
        let received = world.side(side, &call).received.len() - before;
        assert!(received >= 38, "{side} got {received} of 40 packets");
    }
}
