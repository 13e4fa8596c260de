//! Invariant I12 on the real programs: the first signal drains, the second forces.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use p2p_client::{Client, Config, Policy};
use support::{Service, run};

const SECRET: &str = "0123456789-0123456789-0123456789-north";

#[tokio::test(flavor = "multi_thread")]
async fn i12_a_relay_keeps_its_allocations_until_the_second_signal() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = Service::start([
        "relay",
        "--listen",
        "udp://127.0.0.1:0",
        "--turn-secret",
        "north",
        "--allow-peer",
        "127.0.0.0/8",
    ]);
    let line = relay.line_with("ready");
    let turn = format!("turn:{}", line.split("udp://").nth(1).unwrap());
    let mut signaling = Service::start([
        "signaling",
        "--listen",
        "127.0.0.1:0",
        "--jwt-secret",
        SECRET,
        "--turn-secret",
        "north",
        "--relay",
        &turn,
        "--allow-loopback",
        "--data",
        support::text(dir.path()),
    ]);
    let line = signaling.line_with("ready");
    let server = line.split("http://").nth(1).unwrap().to_owned();
    let (alice, bob) = (client("alice", &server).await, client("bob", &server).await);
    let connection = alice.connect(bob.peer_id(), Policy::Relay).await.unwrap();

    relay.terminate();
    relay.line_with("draining");
    connection.ping().await.expect("a draining relay carries what it has");
    relay.terminate();
    relay.line_with("stopping now");
    assert!(relay.wait().success());

    // Peers are sent away, and the process ends by itself.
    signaling.terminate();
    assert!(signaling.wait().success());
    alice.shutdown().await;
    bob.shutdown().await;
}

async fn client(peer: &str, server: &str) -> Client {
    let token = run(["token", "--peer", peer, "--jwt-secret", SECRET]);
    let mut config = Config::new(format!("ws://{server}"), token.data());
    config.allow_loopback = true;
    Client::start(config).await.unwrap()
}
