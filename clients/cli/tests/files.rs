//! `send` and `recv`: whole files, resumed where they broke, never over another.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::path::Path;

use support::{Coordinator, Running, ended, pattern};

#[test]
fn a_file_arrives_and_both_sides_say_so() {
    let coordinator = Coordinator::start();
    let dir = tempfile::tempdir().unwrap();
    let (file, inbox) = prepare(dir.path(), &pattern(2 << 20));
    let bob = receiver(&coordinator, &inbox, &[]);
    let sent = ended(&mut coordinator.p2p("alice", ["send", text(&file), "bob"])).ok();
    assert!(sent.stderr.contains("checksum verified"), "{}", sent.stderr);
    assert_eq!(sent.stdout, b"", "a sent file is no data");
    let received = bob.wait().ok();
    let place = String::from_utf8(received.stdout).unwrap();
    assert_eq!(Path::new(place.trim()), inbox.join("data.bin"));
    assert!(std::fs::read(place.trim()).unwrap() == pattern(2 << 20));
}

#[test]
fn a_second_file_of_one_name_does_not_touch_the_first() {
    let coordinator = Coordinator::start();
    let dir = tempfile::tempdir().unwrap();
    let (file, inbox) = prepare(dir.path(), b"first");
    let bob = receiver(&coordinator, &inbox, &["--loop", "--json"]);
    let send = || ended(&mut coordinator.p2p("alice", ["send", text(&file), "bob", "--json"])).ok();
    send();
    std::fs::write(&file, "second").unwrap();
    let lines = send().json_lines();
    let sent = lines.last().unwrap();
    assert_eq!((&sent["event"], &sent["name"]), (&"sent".into(), &"data (1).bin".into()));
    assert_eq!(std::fs::read(inbox.join("data.bin")).unwrap(), b"first");
    assert_eq!(std::fs::read(inbox.join("data (1).bin")).unwrap(), b"second");
    bob.signal("INT");
    let received = bob.wait().ok().json_lines();
    assert_eq!(received.iter().filter(|line| line["event"] == "received").count(), 2);
}

#[test]
fn what_an_earlier_try_brought_is_not_sent_again() {
    let coordinator = Coordinator::start();
    let dir = tempfile::tempdir().unwrap();
    let bytes = pattern(1 << 20);
    let (file, inbox) = prepare(dir.path(), &bytes);
    std::fs::write(inbox.join(".data.bin.p2p-part"), &bytes[..600_000]).unwrap();
    let bob = receiver(&coordinator, &inbox, &[]);
    let sent = ended(&mut coordinator.p2p("alice", ["send", text(&file), "bob", "--json"])).ok();
    assert_eq!(sent.json_lines().last().unwrap()["resumed_at"], 600_000);
    bob.wait().ok();
    assert!(std::fs::read(inbox.join("data.bin")).unwrap() == bytes);
}

#[test]
fn a_receiver_that_dies_in_the_middle_is_found_again_and_the_file_resumed() {
    let coordinator = Coordinator::start();
    let dir = tempfile::tempdir().unwrap();
    // Large enough that the kill comes in the middle.
    let bytes = pattern(96 << 20);
    let (file, inbox) = prepare(dir.path(), &bytes);
    let mut bob = receiver(&coordinator, &inbox, &[]);
    let mut alice = coordinator.p2p("alice", ["send", text(&file), "bob", "--policy", "relay"]);
    let alice = Running::start(&mut alice, Vec::new());
    bob.line_with("connected to alice");
    bob.signal("TERM");
    bob.wait().failed_with(130, &["interrupted"]);
    let bob = receiver(&coordinator, &inbox, &[]);
    let sent = alice.wait().ok();
    assert!(sent.stderr.contains("trying again"), "{}", sent.stderr);
    bob.wait().ok();
    assert!(std::fs::read(inbox.join("data.bin")).unwrap() == bytes);
}

#[test]
fn what_cannot_be_sent_or_saved_is_told_before_anything_is_connected() {
    let coordinator = Coordinator::start();
    let dir = tempfile::tempdir().unwrap();
    ended(&mut coordinator.p2p("alice", ["send", "/nonexistent", "bob"]))
        .failed_with(2, &["/nonexistent", "fix:"]);
    ended(&mut coordinator.p2p("alice", ["send", text(dir.path()), "bob"]))
        .failed_with(2, &["is not a file", "tar"]);
    ended(&mut coordinator.p2p("bob", ["recv", "/nonexistent"]))
        .failed_with(2, &["is not a folder", "mkdir"]);
}

#[test]
fn a_peer_that_pipes_is_no_receiver() {
    let coordinator = Coordinator::start();
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = prepare(dir.path(), b"x");
    let listen = ["listen"];
    let mut bob = Running::start(&mut coordinator.p2p("bob", listen), b"HTTP/1.1 400".to_vec());
    bob.line_with("ready as bob");
    ended(&mut coordinator.p2p("alice", ["send", text(&file), "bob"]))
        .failed_with(4, &["not_a_file_transfer", "p2p recv"]);
}

fn prepare(dir: &Path, bytes: &[u8]) -> (std::path::PathBuf, std::path::PathBuf) {
    let (file, inbox) = (dir.join("data.bin"), dir.join("inbox"));
    std::fs::write(&file, bytes).unwrap();
    std::fs::create_dir(&inbox).unwrap();
    (file, inbox)
}

fn receiver(coordinator: &Coordinator, inbox: &Path, more: &[&str]) -> Running {
    let mut args = vec!["recv", text(inbox)];
    args.extend(more);
    let events_on_stdout = more.contains(&"--json");
    let mut bob = Running::start(&mut coordinator.p2p("bob", args), Vec::new());
    if events_on_stdout {
        bob.first_output();
    } else {
        bob.line_with("ready as bob");
    }
    bob
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
