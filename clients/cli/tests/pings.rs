//! `ping`: one line a pong, and an exit status that says whether it is direct.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use support::{Coordinator, Running, ended};

#[test]
fn pings_until_direct_end_with_0_and_a_summary() {
    let (coordinator, _bob) = with_listener();
    let pinged = ended(&mut coordinator.p2p("alice", ["ping", "bob", "--until-direct", "--json"]));
    let lines = pinged.ok().json_lines();
    let (summary, pongs) = lines.split_last().unwrap();
    let last = pongs.last().unwrap();
    assert_eq!(last["path"], "direct");
    assert!(last["rtt_ms"].is_f64() && last["since_start_ms"].is_u64(), "{last}");
    assert!(last["remote"].as_str().unwrap().contains(':'), "{last}");
    assert_eq!(last["pong"], pongs.len());
    let summary = &summary["summary"];
    assert_eq!(summary["received"], pongs.len());
    assert_eq!((&summary["path"], summary["direct_ms"].is_u64()), (&"direct".into(), true));
    assert!(summary["connected_ms"].is_u64(), "{summary}");
}

#[test]
fn pings_that_stay_on_the_relay_end_with_5_and_say_why() {
    let (coordinator, _bob) = with_listener();
    let mut alice = coordinator.p2p(
        "alice",
        ["ping", "bob", "--until-direct", "--policy", "relay", "-c", "2", "-i", "0.05", "--json"],
    );
    let pinged = ended(&mut alice);
    pinged.failed_with(5, &["direct_required", "forbidden by the policy"]);
    let lines = pinged.json_lines();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["path"], &lines[0]["method"]), (&"relay".into(), &"relay".into()));
    let summary = &lines[2]["summary"];
    assert_eq!((&summary["path"], &summary["direct_ms"]), (&"relay".into(), &().into()));
}

#[test]
fn a_network_check_leaves_a_program_of_the_same_name_alone() {
    let (coordinator, _bob) = with_listener();
    ended(&mut coordinator.p2p("bob", ["netcheck"])).ok();
    ended(&mut coordinator.p2p("alice", ["ping", "bob", "-c", "1"])).ok();
}

#[test]
fn a_counted_ping_is_a_line_a_pong_for_people() {
    let (coordinator, _bob) = with_listener();
    let mut alice = coordinator.p2p("alice", ["ping", "bob", "-c", "3", "-i", "0.05"]);
    let text = String::from_utf8(ended(&mut alice).ok().stdout).unwrap();
    assert_eq!(text.matches("from bob in").count(), 3, "{text}");
    assert!(text.contains("3 sent, 3 received"), "{text}");
}

#[test]
fn an_endless_ping_ends_with_0_and_its_summary_at_a_signal() {
    let (coordinator, _bob) = with_listener();
    let mut alice = coordinator.p2p("alice", ["ping", "bob", "-i", "0.05"]);
    let alice = Running::start(&mut alice, Vec::new());
    alice.first_output();
    alice.signal("INT");
    let text = String::from_utf8(alice.wait().ok().stdout).unwrap();
    assert!(text.contains(" received, connected in "), "{text}");
}

/// Invariant I8: an established direct connection survives the death of every server.
#[test]
fn i8_pings_go_on_when_the_coordinator_dies() {
    let (coordinator, mut bob) = with_listener();
    let mut until_direct = coordinator.p2p("alice", ["ping", "bob", "--until-direct"]);
    ended(&mut until_direct).ok();
    let mut alice = coordinator.p2p("alice", ["ping", "bob", "-c", "20", "-i", "0.1", "--json"]);
    let alice = Running::start(&mut alice, Vec::new());
    alice.first_output();
    drop(coordinator);
    bob.line_with("coordinator lost");
    let lines = alice.wait().ok().json_lines();
    let summary = &lines.last().unwrap()["summary"];
    assert_eq!((&summary["received"], &summary["path"]), (&20.into(), &"direct".into()));
}

fn with_listener() -> (Coordinator, Running) {
    let coordinator = Coordinator::start();
    let mut bob = Running::start(&mut coordinator.p2p("bob", ["listen"]), Vec::new());
    bob.line_with("ready as bob");
    (coordinator, bob)
}
