//! What cannot work: each with its exit status, a cause and a fix.

mod support;

use support::{Coordinator, ended, p2p};

#[test]
fn an_absent_peer_is_6() {
    let coordinator = Coordinator::start();
    for verb in [&["connect", "carol"][..], &["ping", "carol"]] {
        ended(&mut coordinator.p2p("alice", verb))
            .failed_with(6, &["error (peer_not_found)", "carol", "fix:"]);
    }
}

#[test]
fn an_unreachable_server_is_4() {
    let coordinator = Coordinator::start();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut alice = coordinator.p2p("alice", ["ping", "bob", "--timeout", "5"]);
    alice.env("P2P_SERVER", format!("ws://{nobody}"));
    ended(&mut alice).failed_with(4, &["error (unreachable)", "fix:"]);
}

#[test]
fn a_token_that_is_refused_is_3() {
    let (ours, theirs) = (Coordinator::start(), Coordinator::start());
    let mut foreign = ours.p2p("alice", ["ping", "bob"]);
    foreign.env("P2P_TOKEN", theirs.said["tokens"]["alice"].as_str().unwrap());
    ended(&mut foreign).failed_with(3, &["error (auth)", "signature", "fix:"]);
    let mut garbage = ours.p2p("alice", ["ping", "bob"]);
    garbage.env("P2P_TOKEN", "not.a.token");
    ended(&mut garbage).failed_with(3, &["error (auth)", "fix:"]);
    let mut stranger = ours.p2p("alice", ["ping", "bob", "--as", "carol"]);
    ended(&mut stranger).failed_with(3, &["error (auth)", "carol", "fix:"]);
}

#[test]
fn a_token_of_the_command_line_beats_one_of_the_environment_whichever_way_it_is_given() {
    let coordinator = Coordinator::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, coordinator.said["tokens"]["alice"].as_str().unwrap()).unwrap();
    let file = file.to_str().unwrap();
    let mut by_file = coordinator.p2p("alice", ["netcheck", "--token-file", file]);
    ended(by_file.env("P2P_TOKEN", "not.a.token")).ok();
    let mut by_text = coordinator.p2p("alice", ["netcheck", "--token", "not.a.token"]);
    by_text.env_remove("P2P_TOKEN").env("P2P_TOKEN_FILE", file);
    ended(&mut by_text).failed_with(3, &["error (auth)"]);

    let mut both_flags =
        coordinator.p2p("alice", ["netcheck", "--token", "x", "--token-file", file]);
    ended(&mut both_flags).failed_with(2, &["both given", "fix:"]);
    let mut both_variables = coordinator.p2p("alice", ["netcheck"]);
    ended(both_variables.env("P2P_TOKEN_FILE", file)).failed_with(2, &["both given", "fix:"]);
}

#[test]
fn a_missing_server_or_token_is_2() {
    let coordinator = Coordinator::start();
    ended(&mut p2p(["ping", "bob"])).failed_with(2, &["no server is named", "P2P_SERVER"]);
    ended(p2p(["ping", "bob"]).env("P2P_SERVER", coordinator.server()))
        .failed_with(2, &["no token is given", "coordinator token"]);
    ended(&mut p2p(["netcheck"])).failed_with(2, &["nobody to ask", "--stun"]);
    ended(
        p2p(["ping", "bob", "--token-file", "/nonexistent"]).env("P2P_SERVER", "ws://127.0.0.1:1"),
    )
    .failed_with(2, &["/nonexistent", "fix:"]);
}

#[test]
fn a_failure_in_json_is_json_too() {
    let coordinator = Coordinator::start();
    let failed = ended(&mut coordinator.p2p("alice", ["ping", "carol", "--json"]));
    let error: serde_json::Value = serde_json::from_str(failed.stderr.trim()).unwrap();
    assert_eq!(error["error"]["code"], "peer_not_found");
    assert!(error["error"]["fix"].is_string() && failed.code == 6);
}

#[test]
fn a_local_port_that_is_taken_is_2() {
    let coordinator = Coordinator::start();
    let holder = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    ended(&mut coordinator.p2p("alice", ["ping", "bob", "--local-port", &port]))
        .failed_with(2, &["error (port_taken)", "fix:"]);
}

#[test]
fn a_bad_policy_interval_or_target_is_2() {
    for args in [
        &["ping", "bob", "--policy", "fast"][..],
        &["ping", "bob", "-i", "0"],
        &["ping", "a/b"],
        &["listen", "--to", "nowhere"],
        &["forward", "x", "bob"],
        &["netcheck", "--stun", "not a server"],
        &["listen", "--stun", "turns:relay.example.org"],
    ] {
        ended(&mut p2p(args)).failed_with(2, &["error:"]);
    }
}

#[test]
fn what_is_no_number_is_told_in_words() {
    for args in [["ping", "bob", "-c", "x"], ["bench", "bob", "--secs", "x"]] {
        ended(&mut p2p(args)).failed_with(2, &["invalid value 'x' for '-", "no whole number"]);
    }
    ended(&mut p2p(["bench", "bob", "--secs", "0"])).failed_with(2, &["0 is not in 1..=60"]);
}

#[test]
fn a_network_check_says_what_works_in_words_and_in_json() {
    let coordinator = Coordinator::start();
    let words = ended(&mut coordinator.p2p("alice", ["netcheck"])).ok();
    let words = String::from_utf8(words.stdout).unwrap();
    for label in ["signaling   ok", "UDP         ok", "NAT", "relays      ok", "verdict"] {
        assert!(words.contains(label), "{label:?} in {words}");
    }
    let lines = ended(&mut coordinator.p2p("alice", ["netcheck", "--json"])).ok().json_lines();
    let report = &lines[0];
    assert_eq!((&report["schema_version"], &report["udp"]), (&1.into(), &true.into()));
    assert_eq!(
        (&report["signaling"]["ok"], &report["relays"][0]["ok"]),
        (&true.into(), &true.into())
    );
    assert!(report["nat"]["type"].is_string() && report["advice"].is_array(), "{report}");
}

#[test]
fn a_network_check_without_its_coordinator_says_what_it_found_and_is_4() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for json in [false, true] {
        let mut check = p2p(["netcheck", "--token", "a.b.c", "--stun", "nowhere.invalid"]);
        check.env("P2P_SERVER", format!("ws://{nobody}")).env("P2P_JSON", json.to_string());
        let checked = ended(&mut check);
        let found = String::from_utf8_lossy(&checked.stdout);
        if json {
            let report: serde_json::Value = serde_json::from_str(&found).unwrap();
            assert_eq!(report["signaling"]["ok"], false);
            assert!(report["verdict"].is_string(), "{report}");
            checked.failed_with(4, &["\"code\":\"unreachable\""]);
        } else {
            for label in ["signaling   no", "verdict", "nowhere.invalid was not asked"] {
                assert!(found.contains(label), "{label:?} in {found}");
            }
            checked.failed_with(4, &["error (unreachable)", "fix:"]);
        }
    }
}
