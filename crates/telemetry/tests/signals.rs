//! Real signals to this process; alone in its binary, because they meet every test in it.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::process::Command;

use p2p_telemetry::{Phase, Shutdown};

fn send(signal: &str) {
    let sent = Command::new("kill").args([signal, &std::process::id().to_string()]).status();
    assert!(sent.unwrap().success());
}

#[tokio::test]
async fn i12_sigterm_drains_and_a_second_signal_of_either_kind_forces() {
    let shutdown = Shutdown::new();
    shutdown.listen().unwrap();
    send("-TERM");
    shutdown.draining().await;
    assert_eq!(shutdown.phase(), Phase::Draining);
    send("-INT");
    shutdown.forced().await;
    assert_eq!(shutdown.phase(), Phase::Forced);
}
