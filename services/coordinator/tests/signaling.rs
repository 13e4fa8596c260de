//! `coordinator signaling` as an operator meets it.

mod support;

use std::net::TcpListener;

use support::{Service, coordinator, get, private_file, run, text};

const SECRET: &str = "0123456789-0123456789-0123456789-north";

#[test]
fn signaling_says_where_it_is_ready_and_takes_minted_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let jwt = private_file(dir.path(), "jwt", SECRET);
    let turn = private_file(dir.path(), "turn", "north");
    let mut signaling = Service::start([
        "signaling",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--jwt-secret-file",
        text(&jwt),
        "--turn-secret-file",
        text(&turn),
        "--relay",
        "turn:192.0.2.1:3478",
        "--stun",
        "192.0.2.2",
        "--data",
        text(dir.path()),
    ]);
    let logged = signaling.line_with("signaling serves");
    assert!(logged.contains("\"admin\":\"127.0.0.1:"), "an address as people write it: {logged}");
    let line = signaling.line_with("signaling ready");
    let http = line.split("ready on ").nth(1).unwrap().to_owned();
    let line = signaling.line_with("admin ready");
    let admin = line.split("ready on ").nth(1).unwrap().to_owned();
    assert_eq!(run(["healthcheck", &http]).data(), "ready");
    assert_eq!(run(["healthcheck", &format!("{admin}/livez")]).data(), "ready");
    assert!(get(&format!("{admin}/metrics"), None).1.contains("build_info"));

    let token = run(["token", "--peer", "alice", "--jwt-secret-file", text(&jwt)]);
    let (status, servers) = get(&format!("{http}/v1/ice-servers"), Some(token.data()));
    assert_eq!(status, 200, "{servers}");
    for server in
        ["turn:192.0.2.1:3478?transport=udp", "stun:192.0.2.1:3478", "stun:192.0.2.2:3478"]
    {
        assert!(servers.contains(server), "{server} in {servers}");
    }
    let (status, problem) = get(&format!("{http}/v1/ice-servers"), Some("nonsense"));
    assert!(status == 401 && problem.contains("\"fix\""), "{status}: {problem}");

    signaling.terminate();
    assert!(signaling.wait().success(), "SIGTERM drains (invariant I12)");
}

#[cfg(target_os = "linux")]
#[test]
fn a_service_takes_all_the_open_files_that_it_may_have() {
    let dir = tempfile::tempdir().unwrap();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -S -n 128; ulimit -H -n 512; exec \"$0\" \"$@\""]);
    shell.arg(coordinator().get_program());
    shell.args(["signaling", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET, "--data"]);
    let mut signaling = Service::of(shell.arg(dir.path()));
    signaling.line_with("signaling ready");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", signaling.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let limits: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(limits, ["512", "512"]);
}

#[test]
fn signaling_takes_tokens_of_a_private_key_whose_public_part_it_has() {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use base64::Engine as _;
    let dir = tempfile::tempdir().unwrap();
    let pem = |label: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    let random = aws_lc_rs::rand::SystemRandom::new();
    let pair = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let public: PublicKeyX509Der<'_> =
        Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap().public_key().as_der().unwrap();
    let private = private_file(dir.path(), "key.pem", &pem("PRIVATE KEY", pair.as_ref()));
    let public = private_file(dir.path(), "public.pem", &pem("PUBLIC KEY", public.as_ref()));
    let serve = ["signaling", "--listen", "127.0.0.1:0", "--data", text(dir.path())];
    let mut signaling = Service::start(serve.into_iter().chain(["--jwt-key-file", text(&public)]));
    let line = signaling.line_with("signaling ready");
    let http = line.split("ready on ").nth(1).unwrap().to_owned();
    let token = run(["token", "--peer", "alice", "--jwt-key", text(&private)]);
    let (status, answer) = get(&format!("{http}/v1/ice-servers"), Some(token.data()));
    assert_eq!(status, 200, "{answer}");
    let by_secret = run(["token", "--peer", "alice", "--jwt-secret", SECRET]);
    let (status, answer) = get(&format!("{http}/v1/ice-servers"), Some(by_secret.data()));
    assert!(status == 401 && answer.contains("EdDSA"), "{status}: {answer}");

    for (flags, said) in [
        (["--jwt-key-file", text(&private)], "only the public one"),
        (["--jwt-jwks-url", "http://id.example.org/jwks"], "https"),
    ] {
        run(serve.into_iter().chain(flags)).failed_with(2, &[said, "fix:"]);
    }
}

#[test]
fn a_taken_port_is_an_error_with_a_fix() {
    let dir = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let cause = format!("Port {} already in use", taken.port());
    run([
        "signaling",
        "--listen",
        &taken.to_string(),
        "--jwt-secret",
        SECRET,
        "--data",
        text(dir.path()),
    ])
    .failed_with(2, &["error (port_taken)", &cause, "fix:", "--listen"]);
}

#[test]
fn relays_without_a_secret_are_an_error_and_not_relays_that_fail() {
    run(["signaling", "--jwt-secret", SECRET, "--relay", "relay.example.org"])
        .failed_with(2, &["no secret to make credentials", "--turn-secret-file"]);
}

#[test]
fn a_database_that_is_none_is_an_error_with_a_fix() {
    let dir = tempfile::tempdir().unwrap();
    let noise = "this is not SQLite, and long enough to tell. ".repeat(40);
    private_file(dir.path(), "stats.sqlite", &noise);
    run([
        "signaling",
        "--listen",
        "127.0.0.1:0",
        "--jwt-secret",
        SECRET,
        "--data",
        text(dir.path()),
    ])
    .failed_with(2, &["error (stats_not_a_database)", "move"]);
}

#[test]
fn without_a_secret_nobody_could_come_in() {
    run(["signaling"]).failed_with(2, &["no jwt-secret", "coordinator secret"]);
}
