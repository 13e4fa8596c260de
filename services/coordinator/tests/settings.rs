//! Flags, environment and file: who wins, and what is said about mistakes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use support::{coordinator, ended, private_file, run, text};

const SECRET: &str = "0123456789-0123456789-0123456789-north";

#[test]
fn an_unknown_key_in_the_file_names_the_nearest_known_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = private_file(dir.path(), "c.toml", "[relay]\nport-rang = \"1-2\"\n");
    run(["config", "check", "--config", text(&file)]).failed_with(
        2,
        &["unknown setting `port-rang` in section [relay]", "fix: did you mean `port-range`?"],
    );
}

#[test]
fn a_misspelt_variable_is_warned_of_and_those_of_kubernetes_are_not() {
    let mut misspelt = coordinator();
    misspelt.arg("version").env("P2P_JWT_SECERT_FILE", "/run/secrets/jwt");
    let shown = ended(&mut misspelt);
    assert_eq!(shown.code, 0, "{shown:?}");
    for part in ["warning: P2P_JWT_SECERT_FILE", "fix: did you mean P2P_JWT_SECRET_FILE?"] {
        assert!(shown.stderr.contains(part), "{shown:?}");
    }
    let mut in_a_pod = coordinator();
    in_a_pod.arg("version").env("P2P_COORDINATOR_SERVICE_HOST", "10.0.0.1");
    in_a_pod.env("P2P_COORDINATOR_PORT", "tcp://10.0.0.1:8080").env("P2P_RELAY_PORT_3478_UDP", "x");
    let shown = ended(&mut in_a_pod);
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{shown:?}");
}

#[test]
fn a_variable_sets_a_flag_that_takes_no_value() {
    for (value, is_json) in [("1", true), ("true", true), ("0", false), ("", false)] {
        for args in [&["version"][..], &["config", "show"]] {
            let shown = ended(coordinator().args(args).env("P2P_JSON", value));
            assert_eq!(shown.code, 0, "{shown:?}");
            let is_one = serde_json::from_str::<serde_json::Value>(&shown.stdout).is_ok();
            assert_eq!(is_one, is_json, "{value:?}: {shown:?}");
        }
    }
}

#[test]
fn a_bad_value_in_the_file_is_blamed_on_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = private_file(dir.path(), "c.toml", "port_range = \"9-1\"\n");
    run(["relay", "--config", text(&file)])
        .failed_with(2, &["c.toml: `port-range = \"9-1\"`", "correct the value in the file"]);
}

#[test]
fn what_is_no_address_or_no_number_is_told_in_words_wherever_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let file = private_file(dir.path(), "c.toml", "[signaling]\nlisten = \"8080\"\n");
    let (address, number) = ("an IP address with a port: write", "no whole number");
    run(["signaling", "--listen", "8080"]).failed_with(2, &["'8080' for '--listen", address]);
    run(["signaling", "--config", text(&file)]).failed_with(2, &["c.toml: `listen", address]);
    run(["config", "check", "--config", text(&file)]).failed_with(2, &["'--listen", address]);
    run(["signaling", "--connections", "many"]).failed_with(2, &["'many' for '--conn", number]);
    run(["attempts", "--limit", "x", "--token", "x"]).failed_with(2, &["'x' for '--limit", number]);
    run(["attempts", "--limit", "0", "--token", "x"]).failed_with(2, &["0 is not in 1..=200"]);
}

#[test]
fn a_missing_file_is_an_error_and_not_an_empty_one() {
    run(["ports", "--config", "/nonexistent.toml"])
        .failed_with(2, &["cannot read the settings file /nonexistent.toml", "fix: "]);
}

#[test]
fn flags_beat_environment_and_environment_beats_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = private_file(
        dir.path(),
        "c.toml",
        "realm = \"file.example\"\nport-range = \"50000-50010\"\n[relay]\ndrain-timeout = \"5m\"\n",
    );
    let shown = ended(
        coordinator()
            .args(["config", "show", "--json", "--config", text(&file)])
            .env("P2P_REALM", "env.example"),
    )
    .json();
    let row = |key: &str| {
        let rows = shown.as_array().unwrap().iter();
        let mut rows = rows.filter(|row| row["role"] == "relay" && row["key"] == key);
        let row = rows.next().unwrap_or_else(|| panic!("{key} in {shown}"));
        (
            row["value"].as_str().unwrap_or("-").to_owned(),
            row["source"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(row("realm"), ("env.example".into(), "environment P2P_REALM".into()));
    assert_eq!(row("port-range"), ("50000-50010".into(), "file".into()));
    assert_eq!(row("drain-timeout"), ("5m".into(), "file".into()));
    let listen = "udp://0.0.0.0:3478, tcp://0.0.0.0:3478";
    assert_eq!(row("listen"), (listen.into(), "default".into()));
    assert_eq!(row("turn-secret"), ("-".into(), "not set".into()));
}

#[test]
fn an_empty_variable_is_one_that_is_not_set() {
    let dir = tempfile::tempdir().unwrap();
    let file = private_file(dir.path(), "c.toml", "[relay]\nexternal-ip = \"198.51.100.7\"\n");
    let mut command = coordinator();
    command.args(["config", "show", "--json", "--config", text(&file)]);
    command.env("P2P_EXTERNAL_IP", "").env("P2P_PORT_RANGE", "").env("P2P_TURN_SECRET", "");
    let shown = ended(&mut command).json();
    let value = |key: &str| {
        let mut rows = shown.as_array().unwrap().iter();
        rows.find(|row| row["role"] == "relay" && row["key"] == key).unwrap()["value"].clone()
    };
    assert_eq!(value("external-ip"), "198.51.100.7");
    assert_eq!(value("port-range"), "49152-65535");
    assert_eq!(value("turn-secret"), serde_json::Value::Null);
}

#[test]
fn secrets_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = private_file(dir.path(), "c.toml", &format!("jwt-secret = \"{SECRET}\"\n"));
    for format in [&["config", "show"][..], &["config", "show", "--json"]] {
        let mut command = coordinator();
        command.args(format).args(["--config", text(&file)]);
        command.env("P2P_TURN_SECRET", "turn-hunter2").env("P2P_TURN_USER", "alice:pass-hunter2");
        let shown = ended(&mut command);
        assert!(!shown.data().contains("hunter2") && !shown.data().contains(SECRET), "{shown:?}");
        assert_eq!(shown.data().matches("********").count(), 4, "{shown:?}");
    }
    let mut help = coordinator();
    help.args(["relay", "--help"]).env("P2P_TURN_SECRET", "turn-hunter2");
    assert!(!ended(&mut help).data().contains("hunter2"));
}

#[test]
fn a_checked_configuration_is_said_to_be_ok_role_by_role() {
    let dir = tempfile::tempdir().unwrap();
    let file = private_file(
        dir.path(),
        "c.toml",
        &format!("jwt-secret = \"{SECRET}\"\nturn-secret = \"{SECRET}\"\n[relay]\nrealm = \"x\"\n"),
    );
    let checked = run(["config", "check", "--config", text(&file)]);
    assert_eq!(checked.data(), "signaling: ok\nrelay: ok");
    run(["config", "check"])
        .failed_with(2, &["signaling: no jwt-secret", "P2P_JWT_SECRET", "fix:"]);
    assert_eq!(run(["config", "check", "--role", "relay"]).data(), "relay: ok");
}

#[test]
fn a_secret_that_everybody_can_read_is_warned_about() {
    let dir = tempfile::tempdir().unwrap();
    let file = private_file(dir.path(), "jwt", SECRET);
    let token = ["token", "--peer", "a", "--jwt-secret-file", text(&file)];
    assert!(!run(token).stderr.contains("warning"));
    set_mode(&file, 0o644);
    let warned = run(token);
    assert_eq!(warned.code, 0);
    assert!(warned.stderr.contains("can be read by every user"), "{warned:?}");
    assert!(warned.stderr.contains("mode 0644"), "{warned:?}");
    assert!(warned.stderr.contains("chmod 600"), "{warned:?}");
}

#[test]
fn a_secret_that_everybody_can_change_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = private_file(dir.path(), "jwt", SECRET);
    set_mode(&file, 0o666);
    run(["token", "--peer", "a", "--jwt-secret-file", text(&file)])
        .failed_with(2, &["can be changed by every user", "coordinator secret"]);
}

#[test]
fn a_secret_and_its_file_together_are_a_contradiction() {
    let dir = tempfile::tempdir().unwrap();
    let file = private_file(dir.path(), "jwt", SECRET);
    let both = ["token", "--peer", "a", "--jwt-secret", SECRET, "--jwt-secret-file", text(&file)];
    run(both).failed_with(2, &["--jwt-secret and --jwt-secret-file are both given"]);
    // A flag over a variable is no contradiction: the flag wins.
    let mut over = coordinator();
    over.args(["token", "--peer", "a", "--jwt-secret-file", text(&file)]);
    over.env("P2P_JWT_SECRET", "too short");
    assert_eq!(ended(&mut over).code, 0);
}

#[test]
fn an_empty_or_unreadable_secret_file_is_an_error_with_a_way_to_make_one() {
    let dir = tempfile::tempdir().unwrap();
    let empty = private_file(dir.path(), "jwt", "\n\n");
    run(["token", "--peer", "a", "--jwt-secret-file", text(&empty)])
        .failed_with(2, &["is empty", "coordinator secret"]);
    run(["token", "--peer", "a", "--jwt-secret-file", "/nonexistent"])
        .failed_with(2, &["cannot read /nonexistent", "fix:"]);
}

#[test]
fn a_user_without_a_password_is_refused_without_repeating_it() {
    let refused = run(["relay", "--listen", "127.0.0.1:0", "--user", "hunter2"]);
    refused.failed_with(2, &["no name or no password", "NAME:PASSWORD"]);
    assert!(!refused.stderr.contains("hunter2"));
}

#[test]
fn a_flag_that_does_not_exist_is_a_usage_error_that_names_the_nearest() {
    run(["relay", "--port-rage", "1-2"]).failed_with(2, &["--port-range"]);
    run(["relayy"]).failed_with(2, &["relay"]);
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_url_of_redis_that_is_wrong_is_said_to_be_with_a_fix_and_without_its_password() {
    let start = |flags: &[&str]| {
        let common = ["signaling", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET];
        run(common.iter().chain(flags).copied())
    };
    let several = start(&["--redis", "redis://:hunter2@a,b"]);
    several.failed_with(2, &["it has several hosts", "fix: write redis+sentinel://"]);
    assert!(!several.stderr.contains("hunter2"), "{}", several.stderr);
    let flags = ["--redis", "redis+sentinel://a:26379,b:26379"];
    start(&flags).failed_with(2, &["what the Sentinels call the master", "/SERVICE"]);
    let flags = ["--redis", "rediss://a", "--redis-ca-file", "/nonexistent/ca.pem"];
    start(&flags).failed_with(2, &["/nonexistent/ca.pem cannot be read", "fix: "]);
    let flags = ["--redis", "redis://a", "--redis-ca-file", "/nonexistent/ca.pem"];
    start(&flags).failed_with(2, &["`ca_file` is for TLS", "begin the URL with rediss"]);
    let flags = ["--redis", "redis+cluster://a", "--redis-sentinel-password", "hunter2"];
    start(&flags).failed_with(2, &["is for Sentinels", "redis+sentinel://"]);
    start(&["--redis-ca-file", "/nonexistent/ca.pem"])
        .failed_with(2, &["no --redis that it belongs to", "fix: pass --redis"]);
}
