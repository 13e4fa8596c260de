//! `coordinator demo`: what it says has happened.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use serde_json::Value;
use support::{Service, get, run};

const MOVED: u64 = 8 << 20;

#[test]
fn the_document_says_that_both_runs_moved_their_bytes_over_their_paths() {
    let ended = run(["demo", "--json"]);
    let demo = ended.json();
    assert_eq!((&demo["ok"], &demo["schema_version"]), (&Value::Bool(true), &1.into()));
    assert!(demo["signaling"].as_str().unwrap().starts_with("ws://127.0.0.1:"));
    assert!(demo["relay"].as_str().unwrap().starts_with("turn:127.0.0.1:"));

    let peers = demo["peers"].as_array().unwrap();
    assert_eq!((&peers[0]["peer"], &peers[1]["peer"]), (&"alice".into(), &"bob".into()));
    assert!(peers.iter().all(|peer| peer["nat"]["udp"] == true), "{peers:?}");

    let runs = demo["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for (run, policy, path) in [(&runs[0], "auto", "direct"), (&runs[1], "relay", "relay")] {
        assert_eq!((&run["policy"], &run["path"]), (&policy.into(), &path.into()));
        assert_eq!((&run["bytes"], &run["sha256_ok"]), (&MOVED.into(), &true.into()));
        assert!(run["connected_ms"].is_u64() && run["mbit_per_s"].as_f64().unwrap() > 0.0);
        assert!(run["verdict"].as_str().unwrap().starts_with(path), "{run}");
    }
    assert!(runs[0]["direct_ms"].is_u64());
    assert_eq!(runs[1]["direct_ms"], Value::Null);
    assert!(runs[0]["relayed_bytes"].as_u64().unwrap() < MOVED, "not by the relay");
    assert!(runs[1]["relayed_bytes"].as_u64().unwrap() >= MOVED, "all by the relay");

    let stats = &demo["stats"];
    let counts =
        ["attempts", "direct", "relay", "failed"].map(|name| stats[name].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 1, 0]);
    let attempts = demo["attempts"].as_array().unwrap();
    for (attempt, outcome) in attempts.iter().zip(["direct", "relay"]) {
        assert_eq!(attempt["outcome"], outcome);
        assert_eq!((&attempt["caller"], &attempt["callee"]), (&"alice".into(), &"bob".into()));
    }
}

#[test]
fn the_story_goes_to_stdout_and_names_what_happened() {
    let ended = run(["demo"]);
    for part in [
        "Two peers detect their network",
        "alice reaches bob through the relay",
        "SHA-256 the same on both ends",
        "read back from the store",
        "All of it worked",
    ] {
        assert!(ended.data().contains(part), "{part:?} in {}", ended.data());
    }
    // The relay may be the first path that works; then the direct one takes over.
    let direct = ["alice reaches bob directly", "took over after"];
    assert!(direct.iter().any(|part| ended.data().contains(part)), "{}", ended.data());
    assert!(!ended.data().contains('\x1b'), "no colours where nobody sees them");
}

#[test]
fn with_keep_the_printed_urls_and_tokens_work_until_a_signal() {
    let mut demo = Service::start(["demo", "--json", "--keep"]);
    let said: Value = serde_json::from_str(&demo.line()).expect("one document on one line");
    assert_eq!(said["ok"], true);
    let http = said["signaling"].as_str().unwrap().replace("ws://", "http://");
    assert_eq!(get(&format!("{http}/readyz"), None).0, 200);
    assert_eq!(get(said["dashboard"].as_str().unwrap(), None).0, 200);
    let (status, stats) = get(&format!("{http}/v1/stats"), said["admin_token"].as_str());
    assert_eq!(status, 200, "{stats}");
    assert_eq!(serde_json::from_str::<Value>(&stats).unwrap()["attempts"], 2);
    let alice = said["tokens"]["alice"].as_str();
    assert_eq!(get(&format!("{http}/v1/ice-servers"), alice).0, 200);
    demo.terminate();
    assert!(demo.wait().success());
}
