//! Two clients and the real relay.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail")]

mod support;

use std::net::UdpSocket;
use std::time::Duration;

use p2p_client::{Client, Config, Connection, Method, Outcome, PathKind, Policy};
use support::{Coordinator, relay, token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn client(coordinator: &Coordinator, peer: &str) -> Client {
    let mut config = Config::new(coordinator.url(), token(peer));
    config.allow_loopback = true;
    Client::start(config).await.unwrap()
}

async fn pair(
    coordinator: &Coordinator,
    policy: Policy,
) -> (Client, Client, Connection, Connection) {
    let alice = client(coordinator, "alice").await;
    let bob = client(coordinator, "bob").await;
    let name = "bob".parse().unwrap();
    let (there, here) = tokio::join!(alice.connect(&name, policy), bob.accept());
    (alice, bob, there.unwrap(), here.unwrap())
}

async fn exchange(there: &Connection, here: &Connection, bytes: usize) {
    let sent = vec![0x5a; bytes];
    let here = here.clone();
    let echo = tokio::spawn(async move {
        let (mut read, mut write) = here.accept_stream().await.unwrap().into_split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let (mut read, mut write) = there.open_stream().await.unwrap().into_split();
    let outward = sent.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&outward).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    read.read_to_end(&mut received).await.unwrap();
    writer.await.unwrap();
    echo.await.unwrap();
    assert!(received == sent, "the echo differs");
}

#[tokio::test]
async fn a_relay_only_connection_carries_data_and_stays_on_the_relay() {
    let (coordinator, relay) = (Coordinator::start().await, relay());
    coordinator.offer(&relay);
    let (alice, _bob, there, here) = pair(&coordinator, Policy::Relay).await;
    assert!(alice.relay_ready());
    exchange(&there, &here, 1_000_000).await;
    for side in [&there, &here] {
        let path = side.path().unwrap();
        assert_eq!((path.kind, path.method), (PathKind::Relay, Method::Relay));
    }
    let verdict = there.verdict().unwrap();
    assert_eq!(verdict.outcome, Outcome::Relay);
    assert!(verdict.verdict.contains("policy"), "{}", verdict.verdict);
    let seen = relay.snapshot().unwrap();
    assert_eq!(seen.allocations, 2);
}

#[tokio::test]
async fn a_direct_path_is_used_where_there_is_one_though_a_relay_is_there() {
    let (coordinator, relay) = (Coordinator::start().await, relay());
    coordinator.offer(&relay);
    let (_alice, _bob, there, here) = pair(&coordinator, Policy::Auto).await;
    there.direct(Duration::from_secs(10)).await.unwrap();
    exchange(&there, &here, 1_000_000).await;
    assert_eq!(there.path().unwrap().kind, PathKind::Direct);
}

#[tokio::test]
async fn a_direct_only_connection_leaves_the_relay_alone() {
    let (coordinator, relay) = (Coordinator::start().await, relay());
    coordinator.offer(&relay);
    let (_alice, _bob, there, here) = pair(&coordinator, Policy::Direct).await;
    exchange(&there, &here, 100_000).await;
    assert_eq!(there.verdict().unwrap().outcome, Outcome::Direct);
}

#[tokio::test]
async fn a_client_gives_its_allocation_back_when_it_shuts_down() {
    let (coordinator, relay) = (Coordinator::start().await, relay());
    coordinator.offer(&relay);
    let alice = client(&coordinator, "alice").await;
    assert_eq!(relay.snapshot().unwrap().allocations, 1);
    alice.shutdown().await;
    // The refresh with lifetime zero is one datagram on loopback; the snapshot asks the thread that
    // reads it.
    for _ in 0..100 {
        if relay.snapshot().unwrap().allocations == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(relay.snapshot().unwrap().allocations, 0);
}

#[tokio::test]
async fn connections_of_two_policies_with_one_peer_keep_to_paths_of_their_own() {
    let (coordinator, relay) = (Coordinator::start().await, relay());
    coordinator.offer(&relay);
    let (alice, bob, straight, straight_here) = pair(&coordinator, Policy::Auto).await;
    straight.direct(Duration::from_secs(10)).await.unwrap();
    let name = "bob".parse().unwrap();
    let (hidden, hidden_here) = tokio::join!(alice.connect(&name, Policy::Relay), bob.accept());
    let (hidden, hidden_here) = (hidden.unwrap(), hidden_here.unwrap());
    let carried = || relay.snapshot().unwrap().client_to_peer.bytes;

    let before = carried();
    exchange(&hidden, &hidden_here, 300_000).await;
    let by_relay = carried() - before;
    assert!(by_relay > 600_000, "{by_relay} bytes of 600,000 through the relay");
    assert_eq!(hidden.path().unwrap().kind, PathKind::Relay);

    let before = carried();
    exchange(&straight, &straight_here, 300_000).await;
    let by_relay = carried() - before;
    assert!(by_relay < 100_000, "{by_relay} bytes of a direct connection through the relay");
    assert_eq!(straight.path().unwrap().kind, PathKind::Direct);
}

#[tokio::test]
async fn a_client_that_is_dropped_leaves_everybody_and_keeps_nothing() {
    let (coordinator, relay) = (Coordinator::start().await, relay());
    coordinator.offer(&relay);
    let (alice, _bob, there, here) = pair(&coordinator, Policy::Relay).await;
    let port = coordinator.port_of("alice");
    // Whoever keeps a connection keeps its socket, but not the client.
    drop(alice);
    let gone = async {
        let end = here.closed().await;
        assert!(end.cause.contains("the client is gone"), "{end}");
        drop(there);
        while relay.snapshot().unwrap().allocations > 1 {
            tokio::task::yield_now().await;
        }
        while coordinator.goodbyes().is_empty() {
            tokio::task::yield_now().await;
        }
        // Nothing tells when the last task that has the socket lets go of it.
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while UdpSocket::bind(("0.0.0.0", port)).is_err() {
            look.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("everybody is told");
    assert_eq!(coordinator.goodbyes(), [1000]);
}
