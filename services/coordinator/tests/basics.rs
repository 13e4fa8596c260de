//! Verbs that only tell, and the promises of every verb.

mod support;

use support::{coordinator, ended, run};

#[test]
fn the_version_and_the_ports_are_data() {
    assert!(run(["version"]).data().starts_with("coordinator "));
    assert_eq!(run(["version", "--json"]).json()["protocol"], "p2p.v1");
    assert!(run(["ports"]).data().contains("3478"));
    let ports = run(["ports", "--json"]).json();
    assert!(ports.as_array().unwrap().iter().any(|port| port["role"] == "signaling"));
}

#[test]
fn every_verb_explains_itself() {
    let help = run(["--help"]);
    for verb in [
        "demo",
        "dev",
        "signaling",
        "relay",
        "token",
        "turn-credentials",
        "secret",
        "healthcheck",
        "ports",
        "config",
        "version",
    ] {
        assert!(help.data().contains(verb), "{verb}");
        assert!(run([verb, "--help"]).data().contains("Usage: coordinator"), "{verb}");
    }
    for code in ["2 usage", "3 auth", "4 unreachable", "6 peer absent", "70 bug"] {
        assert!(help.data().contains(code), "{code}");
    }
}

#[test]
fn every_setting_has_a_variable() {
    for verb in ["signaling", "relay", "dev", "token", "turn-credentials"] {
        let help = run([verb, "--help"]);
        let mut missing = Vec::new();
        let lines: Vec<&str> = help.data().lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let line = line.trim_start();
            let no_setting = ["--help", "--json"].iter().any(|flag| line.contains(flag));
            // Long descriptions break off behind the flag's own line.
            let next = lines.get(index + 1).copied().unwrap_or_default();
            let described = format!("{line} {next}");
            if line.starts_with('-') && !no_setting && !described.contains("[env: P2P_") {
                missing.push(line);
            }
        }
        assert!(missing.is_empty(), "{verb}: {missing:?}");
    }
}

#[test]
fn a_bad_log_filter_is_a_usage_error() {
    let mut command = coordinator();
    command.args(["healthcheck"]).env("P2P_LOG", "p2p=louder");
    ended(&mut command).failed_with(2, &["p2p=louder", "fix: use a level"]);
}

#[test]
fn without_a_verb_the_help_is_shown_as_an_error() {
    let shown = run::<&str>([]);
    shown.failed_with(2, &["Usage: coordinator"]);
}

#[test]
fn a_reader_that_stops_reading_is_no_failure_of_the_program() {
    use std::process::Stdio;
    let mut command = coordinator();
    let mut child =
        command.arg("ports").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
}
