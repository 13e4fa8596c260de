//! `listen` and `connect`: bytes both ways, each direction closed by itself.

mod support;

use support::{Coordinator, Running, ended_with_input, pattern};

#[test]
fn both_directions_arrive_whole_on_a_direct_path() {
    pipe_both_ways("auto");
}

#[test]
fn both_directions_arrive_whole_by_the_relay() {
    let said = pipe_both_ways("relay");
    assert!(said.contains("relay 127.0.0.1:"), "{said}");
}

#[test]
fn the_events_of_a_pipe_are_json_lines_on_stderr() {
    let coordinator = Coordinator::start();
    let mut bob = Running::start(&mut coordinator.p2p("bob", ["listen", "--json"]), Vec::new());
    let ready: serde_json::Value = serde_json::from_str(&bob.line_with("ready")).unwrap();
    assert_eq!((&ready["event"], &ready["peer"]), (&"ready".into(), &"bob".into()));
    let mut alice = coordinator.p2p("alice", ["connect", "bob", "--json"]);
    let alice = ended_with_input(&mut alice, b"hello".to_vec()).ok();
    let events: Vec<serde_json::Value> =
        alice.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let named = |name: &str| events.iter().find(|e| e["event"] == name).expect(name);
    assert!(["direct", "relay"].contains(&named("connected")["path"].as_str().unwrap()));
    assert_eq!(named("closed")["sent"], 5);
    assert_eq!(bob.wait().ok().stdout, b"hello");
}

#[test]
fn a_listener_that_is_stopped_ends_with_0() {
    let coordinator = Coordinator::start();
    for signal in ["INT", "TERM"] {
        let mut bob = Running::start(&mut coordinator.p2p("bob", ["listen"]), Vec::new());
        bob.line_with("ready as bob");
        bob.signal(signal);
        bob.wait().ok();
    }
}

#[test]
fn a_pipe_whose_reader_has_had_enough_ends_on_both_sides() {
    let coordinator = Coordinator::start();
    // More than any buffer on the way holds, so that something comes after the reader has gone.
    let endless = pattern(32 << 20);
    let mut bob = Running::start(&mut coordinator.p2p("bob", ["listen"]), endless);
    bob.line_with("ready as bob");
    let mut alice = coordinator.p2p("alice", ["connect", "bob"]);
    let alice = Running::start_for_its_head(&mut alice);
    alice.wait().failed_with(2, &["error (output_closed)", "fix:"]);
    bob.wait().failed_with(4, &["error (connection_lost)", "fix:"]);
}

/// Gives what alice said.
fn pipe_both_ways(policy: &str) -> String {
    let coordinator = Coordinator::start();
    let (question, answer) = (pattern(1 << 20), pattern(700_001));
    let mut bob = Running::start(&mut coordinator.p2p("bob", ["listen"]), answer.clone());
    bob.line_with("ready as bob");
    let mut alice = coordinator.p2p("alice", ["connect", "bob", "--policy", policy]);
    let alice = ended_with_input(&mut alice, question.clone()).ok();
    assert!(alice.stdout == answer, "{} bytes of the answer", alice.stdout.len());
    let bob = bob.wait().ok();
    assert!(bob.stdout == question, "{} bytes of the question", bob.stdout.len());
    assert!(alice.stderr.contains("connected to bob"), "{}", alice.stderr);
    alice.stderr
}
