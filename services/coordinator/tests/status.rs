//! `coordinator status` and `coordinator drain` on running services.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use serde_json::{Value, json};
use support::{Service, run};

const SECRET: &str = "0123456789-0123456789-0123456789-north";

/// The last word of a line like `signaling ready on http://127.0.0.1:1234`.
fn url(line: &str) -> String {
    line.split_whitespace().last().unwrap().to_owned()
}

fn signaling(data: &std::path::Path) -> (Service, String, String) {
    let mut service = Service::start([
        "signaling",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--jwt-secret",
        SECRET,
        "--data",
        support::text(data),
    ]);
    let main = url(&service.line_with("signaling ready"));
    let admin = url(&service.line_with("signaling admin ready"));
    (service, main, admin)
}

fn relay() -> (Service, String) {
    let mut service = Service::start([
        "relay",
        "--listen",
        "udp://127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--turn-secret",
        "north",
    ]);
    let admin = url(&service.line_with("relay admin ready"));
    (service, admin)
}

#[test]
fn status_tells_of_each_service_and_drain_ends_one() {
    let dir = tempfile::tempdir().unwrap();
    let (signaling, main, admin) = signaling(dir.path());
    let (relay, relay_admin) = relay();
    let all = ["status", &admin, &relay_admin];
    let told = run([&all[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(told.data()).unwrap();
    let services = told["services"].as_array().unwrap();
    assert_eq!(services.len(), 2);
    let state = |n: usize| (&services[n]["url"], &services[n]["state"]);
    assert_eq!(state(0), (&json!(admin), &json!("ready")));
    assert_eq!(state(1), (&json!(relay_admin), &json!("ready")));
    assert_eq!(services[0]["connections"], 0);
    assert_eq!(services[0]["checks"]["registry"], "ok");
    assert_eq!(services[1]["allocations"], 0);
    let shown = run(all);
    for word in ["service", "allocations", &admin, &relay_admin, "ready", "database ok"] {
        assert!(shown.data().contains(word), "{word}: {}", shown.data());
    }

    // The port that everybody reaches takes no such order.
    run(["drain", &main]).failed_with(2, &["error (not_accepted)", "--admin-listen", "fix:"]);
    assert_eq!(run(["drain", &admin, "--wait", "30s"]).data(), "draining\ngone");
    assert!(signaling.wait().success());
    let half = run(all);
    assert_eq!(half.code, 4);
    assert!(half.stdout.contains("unreachable") && half.stdout.contains("ready"), "{half:?}");
    assert!(half.stderr.contains("1 of 2 do not answer"), "{half:?}");
    assert_eq!(run(["drain", &relay_admin, "--wait", "30s"]).data(), "draining\ngone");
    assert!(relay.wait().success());
    run(["drain", &relay_admin]).failed_with(4, &["error (unreachable)", "fix:"]);
}
