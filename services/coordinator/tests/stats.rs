//! `coordinator stats` and `coordinator attempts`, against a service that runs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::net::TcpListener;

use serde_json::Value;
use support::{Ended, Service, coordinator, ended, run};

/// A demo that keeps running: it has made one direct and one relayed attempt.
struct Demo {
    _service: Service,
    server: String,
    token: String,
}

impl Demo {
    fn start() -> Self {
        let mut service = Service::start(["demo", "--json", "--keep"]);
        let told: Value = serde_json::from_str(&service.line()).unwrap();
        let text = |name: &str| told[name].as_str().unwrap().to_owned();
        let server = text("signaling").replace("ws://", "http://");
        let server = server.trim_end_matches("/v1/ws").to_owned();
        Self { server, token: text("admin_token"), _service: service }
    }

    fn run(&self, args: &[&str]) -> Ended {
        let mut command = coordinator();
        command.args(args).env("P2P_SERVER", &self.server).env("P2P_TOKEN", &self.token);
        ended(&mut command)
    }
}

#[test]
fn what_became_of_attempts_is_told_as_a_page_as_a_story_and_as_json() {
    let demo = Demo::start();
    let shown = demo.run(&["stats"]);
    for part in [
        "2: 1 direct, 1 by relay, 0 failed",
        "100.0 % connected; 50.0 % of those stayed on the relay",
        "Between which networks",
        "2 connections",
    ] {
        assert!(shown.data().contains(part), "{part:?} in {shown:#?}");
    }
    assert!(!shown.data().contains('\x1b'), "no colours where no terminal is: {shown:#?}");
    let json = demo.run(&["stats", "--json"]).json();
    assert_eq!(json["stats"]["attempts"], 2, "{json}");
    let cells = json["nat_matrix"]["cells"].as_array().unwrap().iter();
    assert_eq!(cells.map(|cell| cell["attempts"].as_u64().unwrap()).sum::<u64>(), 2, "{json}");
    let before = demo.run(&["stats", "--before", "1h"]);
    assert!(before.data().contains("none in this time"), "{before:#?}");

    let list = demo.run(&["attempts"]);
    assert!(list.data().contains("alice") && list.data().contains("relay"), "{list:#?}");
    let page = demo.run(&["attempts", "--limit", "1", "--json"]).json();
    let first = page["attempts"][0]["attempt"].as_str().unwrap().to_owned();
    assert!(list.data().contains(&first), "{list:#?}");
    let shorter = demo.run(&["attempts", "--limit", "1", "--since", "1h"]);
    let after = shorter.stderr.split("--after ").nth(1).expect("where the next page begins").trim();
    let rest = demo.run(&["attempts", "--after", after]);
    assert!(!rest.data().contains(&first) && rest.data().contains("direct"), "{rest:#?}");

    // Its ends tell what they carried when they are closed, which the demo does not wait for.
    let story = loop {
        let story = demo.run(&["attempts", &first]);
        if story.data().matches("the connection was closed").count() == 2 {
            break story;
        }
    };
    for part in [
        "connected through the relay",
        "relay: never directly",
        "The plan that both were given",
        "What alice (caller) tells",
        "✔ worked",
        "relay 127.0.0.0/24",
        "What the connection used, as alice tells",
        "the first that answered",
        "the connection was closed",
        "MB",
    ] {
        assert!(story.data().contains(part), "{part:?} in {story:#?}");
    }
    let record = demo.run(&["attempts", &first, "--json"]).json();
    assert_eq!(record["attempt"], first.as_str());

    // Flags beat the environment, whichever of the two they name.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, &demo.token).unwrap();
    let mut command = coordinator();
    command.args(["stats", "--json", "--token-file"]).arg(&file);
    command.env("P2P_SERVER", &demo.server).env("P2P_TOKEN", "nonsense");
    assert_eq!(ended(&mut command).json()["stats"]["attempts"], 2);
    command.args(["--token", "x"]);
    ended(&mut command).failed_with(2, &["are both given", "fix:"]);

    demo.run(&["attempts", "no-such-attempt"]).failed_with(2, &["attempt_not_found", "fix:"]);
    demo.run(&["stats", "--token", "nonsense"]).failed_with(3, &["token_invalid", "fix:"]);
}

#[test]
fn nobody_there_is_4_and_what_is_no_service_is_2() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = format!("http://{free}");
    run(["stats", "--server", &server, "--token", "x"])
        .failed_with(4, &["error (unreachable)", "fix: start the service"]);
    for server in ["ftp://x", "http://", "x y", "http://a/b", "http://me:secret@a"] {
        run(["attempts", "--server", server, "--token", "x"])
            .failed_with(2, &["is no URL of a service"]);
    }
    run(["stats"]).failed_with(2, &["no token is given", "--token-file"]);
}
