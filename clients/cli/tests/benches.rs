//! `bench`: what a path carries, in words and in JSON.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use support::{Coordinator, Running, ended};

#[test]
fn a_bench_measures_both_directions_of_a_direct_path() {
    let (coordinator, _bob) = with_listener();
    let measured = ended(&mut coordinator.p2p("alice", ["bench", "bob", "--secs", "1", "--json"]));
    let document = measured.ok().json_lines().pop().unwrap();
    assert_eq!(document["schema_version"], 1);
    assert_eq!((&document["peer"], &document["secs"]), (&"bob".into(), &1.into()));
    assert_eq!(document["path"]["path"], "direct");
    for direction in ["up", "down"] {
        let flow = &document[direction];
        assert!(flow["bytes"].as_u64().unwrap() > 100_000, "{document}");
        assert!(flow["mbit_per_s"].as_f64().unwrap() > 0.0, "{document}");
        assert!((1..60_000).contains(&flow["ms"].as_u64().unwrap()), "{document}");
    }
    for when in ["idle", "loaded"] {
        assert!(document[when]["pings"].as_u64().unwrap() > 0, "{document}");
        assert!(document[when]["p50_ms"].as_f64() <= document[when]["max_ms"].as_f64());
    }
}

#[test]
fn a_bench_over_the_relay_says_so_to_people() {
    let (coordinator, _bob) = with_listener();
    let args = ["bench", "bob", "--secs", "1", "--policy", "relay"];
    let measured = ended(&mut coordinator.p2p("alice", args));
    let measured = measured.ok();
    let text = String::from_utf8(measured.stdout).unwrap();
    for label in ["up ", "down ", "idle ", "loaded ", "loss "] {
        assert!(text.lines().any(|line| line.starts_with(label)), "{label:?} is missing in {text}");
    }
    assert!(text.contains("Mbit/s") && text.contains("p95"), "{text}");
    assert!(measured.stderr.contains("via relay"), "{}", measured.stderr);
}

#[test]
fn a_peer_that_does_not_listen_for_it_sends_nothing() {
    let coordinator = Coordinator::start();
    let folder = tempfile::tempdir().unwrap();
    let recv = ["recv", folder.path().to_str().unwrap()];
    let mut bob = Running::start(&mut coordinator.p2p("bob", recv), Vec::new());
    bob.line_with("ready as bob");
    let refused = ended(&mut coordinator.p2p("alice", ["bench", "bob", "--secs", "1"]));
    refused.failed_with(2, &["does not serve the bench", "p2p listen"]);
}

fn with_listener() -> (Coordinator, Running) {
    let coordinator = Coordinator::start();
    let mut bob = Running::start(&mut coordinator.p2p("bob", ["listen"]), Vec::new());
    bob.line_with("ready as bob");
    (coordinator, bob)
}
