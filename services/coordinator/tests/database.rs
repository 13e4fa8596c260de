//! Statistics in PostgreSQL, as an operator meets them: on a real server.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

#[path = "../../../crates/stats/tests/behaviour/server.rs"]
#[allow(dead_code, reason = "the store's own tests use all of it")]
mod server;
mod support;

use std::time::{Duration, Instant};

use server::Server;
use support::{PATIENCE, Service, coordinator, ended, get, private_file, run, text};

const SECRET: &str = "0123456789-0123456789-0123456789-south";

fn signaling<'a>(jwt: &'a str, data: &'a str, url_file: &'a str) -> [&'a str; 9] {
    let listen = "127.0.0.1:0";
    let [a, b, c, d] = ["--listen", "--jwt-secret-file", "--data", "--database-file"];
    ["signaling", a, listen, b, jwt, c, data, d, url_file]
}

#[test]
fn signaling_wants_a_migrated_database_and_outlives_its_absence() {
    let Some(server) = Server::start() else { return };
    let url = server.database();
    let dir = tempfile::tempdir().unwrap();
    let jwt = private_file(dir.path(), "jwt", SECRET);
    let url_file = private_file(dir.path(), "url", &url);
    let data = dir.path().join("data");
    let args = signaling(text(&jwt), text(&data), text(&url_file));
    run(args).failed_with(2, &["stats_unmigrated", "coordinator migrate"]);

    let first = ended(coordinator().arg("migrate").env("P2P_DATABASE_URL", &url));
    assert!(first.data().contains("applied 1: attempts"), "{first:#?}");
    let second = run(["migrate", "--database", &url]);
    let last = first.data().lines().last().unwrap();
    assert_eq!(second.data(), last, "nothing is left to do");

    let mut signaling = Service::start(args);
    let line = signaling.line_with("signaling ready");
    let http = line.split("ready on ").nth(1).unwrap().to_owned();
    // It tells what it saw within the last second.
    let until_ready_says = |database: &str| {
        let begin = Instant::now();
        loop {
            let ready = get(&format!("{http}/readyz"), None);
            if ready == (200, says(database)) {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{database}: {ready:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until_ready_says("ok");
    server.down();
    until_ready_says("degraded");
    server.up();
    until_ready_says("ok");

    let mint = ["token", "--peer", "admin", "--scope", "admin", "--jwt-secret-file", text(&jwt)];
    let token = run(mint);
    let (status, stats) = get(&format!("{http}/v1/stats"), Some(token.data()));
    assert!(status == 200 && stats.contains("\"attempts\":0"), "{status}: {stats}");
    assert!(!data.exists(), "with a database there is no file");
    signaling.terminate();
    assert!(signaling.wait().success(), "SIGTERM drains (invariant I12)");
}

#[test]
fn a_database_that_does_not_answer_is_an_error_with_a_fix_and_without_the_password() {
    // Port 1 is reserved, and nobody serves it.
    let url = "postgres://p2p:hunter2@127.0.0.1:1/p2p";
    let ended = run(["migrate", "--database", url]);
    ended.failed_with(4, &["stats_away", "fix: check that PostgreSQL runs"]);
    assert!(!ended.stderr.contains("hunter2"), "{ended:#?}");
    let apart = ["migrate", "--database", "postgres://p2p@127.0.0.1:1/p2p"];
    let ended = run(apart.into_iter().chain(["--database-password", "hunter2"]));
    ended.failed_with(4, &["stats_away"]);
    assert!(!ended.stderr.contains("hunter2"), "{ended:#?}");
    run(["migrate", "--database-password", "x"]).failed_with(2, &["belongs to"]);
    run(["migrate"]).failed_with(2, &["no database", "P2P_DATABASE_URL"]);
    run(["migrate", "--database", "mysql://p2p:hunter2@h/d"]).failed_with(2, &["stats_bad_url"]);
}

#[test]
fn signaling_says_why_its_database_does_not_answer() {
    let signaling = [
        "signaling",
        "--listen",
        "127.0.0.1:0",
        "--jwt-secret",
        "0123456789-0123456789-0123456789-north",
        "--database",
        "postgres://p2p:hunter2@127.0.0.1:1/p2p",
    ];
    let ended = run(signaling);
    ended.failed_with(4, &["stats_away", "Connection refused", "fix: check that PostgreSQL runs"]);
    assert!(!ended.stderr.contains("hunter2"), "{ended:#?}");
}

#[test]
fn the_settings_that_are_shown_hide_the_url_of_the_database() {
    let mut show = coordinator();
    show.args(["config", "show"]).env("P2P_DATABASE_URL", "postgres://p2p:hunter2@h/d");
    let shown = ended(&mut show);
    assert!(shown.data().contains("environment P2P_DATABASE_URL"), "{shown:#?}");
    assert!(!shown.stdout.contains("hunter2"), "{shown:#?}");
    let mut show = coordinator();
    show.args(["config", "show"]).env("P2P_DATABASE_PASSWORD", "hunter2");
    let shown = ended(show.env("P2P_REDIS_PASSWORD", "hunter2"));
    assert!(!shown.stdout.contains("hunter2"), "{shown:#?}");
}

/// What `/readyz` says with a database in this state and nothing to write.
fn says(database: &str) -> String {
    format!(
        "ready\ndatabase: {database}\nstatistics: ok (0 wait here, 0 dropped here)\nregistry: ok\n"
    )
}
