//! Two clients and the real relay, where UDP does not reach it.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail")]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

use p2p_client::pem::PemObject as _;
use p2p_client::{
    CertificateDer, Client, Config, Connection, Method, Outcome, PathKind, Policy, RelayTransport,
};
use p2p_relay::{RelayHandle, TlsFiles, Transport};
use support::{Coordinator, relay_with, token};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A relay on every transport.
fn relay() -> RelayHandle {
    relay_with(|config| {
        config.listen_tcp = vec!["127.0.0.1:0".parse().unwrap()];
        config.listen_tls = vec!["127.0.0.1:0".parse().unwrap()];
        let (cert, key) = (certificate("one.crt"), certificate("one.key"));
        config.tls = Some(TlsFiles { cert: cert.into(), key: key.into() });
    })
}

fn certificate(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/certificates");
    folder.join(name).to_str().unwrap().to_owned()
}

fn at(relay: &RelayHandle, transport: Transport) -> SocketAddr {
    relay.listening().iter().find(|it| it.transport == transport).unwrap().addr
}

/// A port that swallows what it is sent.
fn silent() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

async fn client(coordinator: &Coordinator, peer: &str, trusted: &[&str]) -> Client {
    let mut config = Config::new(coordinator.url(), token(peer));
    config.allow_loopback = true;
    let read = |name: &&str| CertificateDer::from_pem_file(certificate(name)).unwrap();
    config.extra_roots = trusted.iter().map(read).collect();
    Client::start(config).await.unwrap()
}

async fn connected(alice: &Client, bob: &Client, policy: Policy) -> (Connection, Connection) {
    let name = "bob".parse().unwrap();
    let (there, here) = tokio::join!(alice.connect(&name, policy), bob.accept());
    (there.unwrap(), here.unwrap())
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
async fn where_udp_is_swallowed_the_relay_is_used_over_tcp() {
    let (coordinator, relay, silent) = (Coordinator::start().await, relay(), silent());
    coordinator.offer_urls(&[
        format!("turn:{}?transport=udp", silent.local_addr().unwrap()),
        format!("turn:{}?transport=tcp", at(&relay, Transport::Tcp)),
    ]);
    let alice = client(&coordinator, "alice", &[]).await;
    let bob = client(&coordinator, "bob", &[]).await;
    for client in [&alice, &bob] {
        assert_eq!(client.relay_transport(), Some(RelayTransport::Tcp));
    }
    let (there, here) = connected(&alice, &bob, Policy::Relay).await;
    exchange(&there, &here, 1_000_000).await;
    let path = there.path().unwrap();
    assert_eq!((path.kind, path.method), (PathKind::Relay, Method::Relay));
    assert_eq!(there.verdict().unwrap().outcome, Outcome::Relay);
    let seen = relay.snapshot().unwrap();
    // The others are those that keep the mappings of the clients' TCP ports.
    assert_eq!((seen.connections, seen.allocations), (4, 2));
    assert!(seen.client_to_peer.bytes > 2_000_000, "{seen:?}");

    alice.shutdown().await;
    bob.shutdown().await;
    while relay.snapshot().unwrap().connections > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn over_tls_the_relay_has_to_show_a_certificate_that_is_trusted() {
    let (coordinator, relay) = (Coordinator::start().await, relay());
    let port = at(&relay, Transport::Tls).port();
    coordinator.offer_urls(&[format!("turns:localhost:{port}?transport=tcp")]);
    let alice = client(&coordinator, "alice", &["one.crt"]).await;
    let bob = client(&coordinator, "bob", &["two.crt", "one.crt"]).await;
    assert_eq!(alice.relay_transport(), Some(RelayTransport::Tls));
    let (there, here) = connected(&alice, &bob, Policy::Relay).await;
    exchange(&there, &here, 1_000_000).await;
    assert_eq!(there.path().unwrap().kind, PathKind::Relay);

    let carol = client(&coordinator, "carol", &["two.crt"]).await;
    assert_eq!(carol.relay_transport(), None);
    assert!(relay.snapshot().unwrap().drops.contains_key("tls_failed"));
}

#[tokio::test]
async fn a_peer_over_tcp_and_a_peer_over_udp_meet() {
    let (coordinator, relay) = (Coordinator::start().await, relay());
    coordinator.offer_urls(&[format!("turn:{}?transport=tcp", at(&relay, Transport::Tcp))]);
    let alice = client(&coordinator, "alice", &[]).await;
    coordinator.offer(&relay);
    let bob = client(&coordinator, "bob", &[]).await;
    assert_eq!(alice.relay_transport(), Some(RelayTransport::Tcp));
    assert_eq!(bob.relay_transport(), Some(RelayTransport::Udp));
    let (there, here) = connected(&alice, &bob, Policy::Relay).await;
    exchange(&there, &here, 100_000).await;
}

#[tokio::test]
async fn where_udp_answers_the_relay_is_not_used_over_tcp() {
    let (coordinator, relay) = (Coordinator::start().await, relay());
    coordinator.offer_urls(&[
        format!("turn:{}?transport=tcp", at(&relay, Transport::Tcp)),
        format!("turn:{}?transport=udp", at(&relay, Transport::Udp)),
    ]);
    let alice = client(&coordinator, "alice", &[]).await;
    assert_eq!(alice.relay_transport(), Some(RelayTransport::Udp));
    // The connection is the one that keeps the mapping of the client's TCP port.
    let seen = relay.snapshot().unwrap();
    assert_eq!((seen.connections, seen.allocations), (1, 1));
}
