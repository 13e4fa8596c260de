//! `coordinator dev`: one line of JSON is enough to work with it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::net::TcpListener;

use serde_json::Value;
use support::{Service, get, run};

const FREE: [&str; 4] = ["--signaling", "127.0.0.1:0", "--relay", "127.0.0.1:0"];

#[test]
fn the_line_of_json_is_all_that_a_program_needs() {
    let (dev, said) = start(&[]);
    let url = |name: &str| said[name].as_str().unwrap().to_owned();
    let http = url("signaling").replace("ws://", "http://");

    assert_eq!(get(&format!("{http}/livez"), None).0, 200);
    assert_eq!(get(&format!("{http}/readyz"), None).0, 200);
    assert_eq!(get(&url("dashboard"), None).0, 200);
    assert_eq!(get(&url("test_page"), None).0, 200);
    assert_eq!(run(["healthcheck", &http]).data(), "ready");

    let alice = said["tokens"]["alice"].as_str().unwrap();
    let (status, servers) = get(&format!("{http}/v1/ice-servers"), Some(alice));
    assert_eq!(status, 200, "{servers}");
    let relay = url("relay");
    assert!(servers.contains(&format!("{relay}?transport=udp")), "{servers}");
    let servers: Value = serde_json::from_str(&servers).unwrap();
    assert!(servers["iceServers"].as_array().unwrap().iter().any(|s| s["credential"].is_string()));

    let stats = format!("{http}/v1/stats");
    assert_eq!(get(&stats, Some(alice)).0, 403, "a peer's token reads no statistics");
    let (status, body) = get(&stats, said["admin_token"].as_str());
    assert_eq!(status, 200, "{body}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["attempts"], 0);

    dev.terminate();
    assert!(dev.wait().success(), "SIGTERM drains and ends with 0 (invariant I12)");
}

#[test]
fn peerjs_clients_need_a_token_unless_it_is_said_loudly_that_they_do_not() {
    let listing = |said: &Value| {
        let http = said["signaling"].as_str().unwrap().replace("ws://", "http://");
        get(&format!("{http}/peerjs/peerjs/peers"), None)
    };
    let (dev, said) = start(&[]);
    assert_eq!(listing(&said).0, 401);
    dev.terminate();
    dev.wait();
    let (mut open, said) = start(&["--peerjs-open"]);
    assert_eq!(listing(&said), (200, "[]".to_owned()));
    open.line_with("PeerJS clients need no token here");
    open.terminate();
    open.wait();
}

#[test]
fn two_runs_do_not_share_keys() {
    let (_one, first) = start(&[]);
    let (_two, second) = start(&[]);
    let http = second["signaling"].as_str().unwrap().replace("ws://", "http://");
    let foreign = first["tokens"]["alice"].as_str();
    assert_eq!(get(&format!("{http}/v1/ice-servers"), foreign).0, 401);
}

#[test]
fn statistics_go_where_they_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("made/when/missing");
    let (dev, _) = start(&["--data", support::text(&data)]);
    assert!(data.join("stats.sqlite").exists());
    dev.terminate();
    dev.wait();
}

#[test]
fn a_data_folder_that_cannot_be_is_an_error_with_a_fix() {
    let dir = tempfile::tempdir().unwrap();
    let file = support::private_file(dir.path(), "file", "x");
    let mut args = vec!["dev", "--data", support::text(&file)];
    args.extend(FREE);
    run(args).failed_with(2, &["error (stats_unwritable)", "--data"]);
}

#[test]
fn only_loopback_is_served() {
    run(["dev", "--signaling", "0.0.0.0:0", "--relay", "127.0.0.1:0"])
        .failed_with(2, &["not a loopback address", "coordinator signaling"]);
    run(["dev", "--signaling", "127.0.0.1:0", "--relay", "[::]:0"])
        .failed_with(2, &["not a loopback address", "--relay"]);
}

#[test]
fn a_taken_port_is_named_with_the_flag_that_moves_it() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let refused = run(["dev", "--signaling", &taken.to_string(), "--relay", "127.0.0.1:0"]);
    let cause = format!("Port {} already in use", taken.port());
    refused.failed_with(2, &["error (port_taken)", &cause, "fix:", "--signaling"]);
}

#[test]
fn the_banner_has_urls_and_lines_to_paste() {
    let mut args = vec!["dev"];
    args.extend(FREE);
    let mut dev = Service::start(args);
    let mut said = String::new();
    while !said.contains("Ctrl-C") {
        said.push_str(&dev.line_or_blank());
        said.push('\n');
    }
    for part in [
        "ws://127.0.0.1:",
        "turn:127.0.0.1:",
        "/#token=eyJ",
        "/test#token=eyJ",
        "export P2P_SERVER=ws://",
        "export ALICE=eyJ",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

fn start(more: &[&str]) -> (Service, Value) {
    let mut args = vec!["dev", "--json"];
    args.extend(FREE);
    args.extend(more);
    let mut dev = Service::start(args);
    let line = dev.line();
    let said: Value = serde_json::from_str(&line).expect("one line of JSON");
    let keys: Vec<&String> = said.as_object().unwrap().keys().collect();
    let expected = ["admin_token", "dashboard", "relay", "signaling", "test_page", "tokens"];
    assert_eq!(keys, expected);
    (dev, said)
}
