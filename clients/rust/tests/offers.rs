//! What a client takes of the STUN servers and relays that it is offered while it runs.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail")]

mod support;

use std::time::Duration;

use p2p_client::{Client, ClientEvent, Config, Policy};
use support::{Coordinator, relay, relay_with, token};
use tokio::sync::broadcast::Receiver;

/// A bound on failure.
const PATIENCE: Duration = Duration::from_secs(30);

async fn client(coordinator: &Coordinator, peer: &str) -> Client {
    let mut config = Config::new(coordinator.url(), token(peer));
    config.allow_loopback = true;
    Client::start(config).await.unwrap()
}

async fn relay_ready(events: &mut Receiver<ClientEvent>) {
    let ready = async {
        while !matches!(events.recv().await.unwrap(), ClientEvent::Relay { ready: true }) {}
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("the relay takes the fresh credentials");
}

#[tokio::test]
async fn credentials_that_come_with_a_newer_token_are_used() {
    let (coordinator, relay) = (Coordinator::start().await, relay());
    coordinator.offer_to("user", "wrong", &relay);
    let alice = client(&coordinator, "alice").await;
    assert!(!alice.relay_ready());
    let mut events = alice.events();
    coordinator.offer(&relay);
    alice.refresh_token(token("alice")).await.unwrap();
    relay_ready(&mut events).await;
    alice.shutdown().await;
}

#[tokio::test]
async fn credentials_that_end_are_renewed_though_nobody_brings_a_newer_token() {
    let (coordinator, relay) = (Coordinator::start().await, relay());
    // They seem to have ended in 1970.
    coordinator.offer_to("1:user", "wrong", &relay);
    let alice = client(&coordinator, "alice").await;
    let mut events = alice.events();
    coordinator.offer(&relay);
    relay_ready(&mut events).await;
    assert_eq!(coordinator.tokens()[0].expose(), token("alice"), "its own was shown again");
    alice.shutdown().await;
}

#[tokio::test]
async fn credentials_that_come_with_an_attempt_are_used() {
    let (coordinator, relay) = (Coordinator::start().await, relay());
    coordinator.offer_to("user", "wrong", &relay);
    let alice = client(&coordinator, "alice").await;
    let bob = client(&coordinator, "bob").await;
    let mut events = [alice.events(), bob.events()];
    coordinator.offer_to_attempts(&relay);
    let name = "bob".parse().unwrap();
    let (there, here) = tokio::join!(alice.connect(&name, Policy::Auto), bob.accept());
    let _connected = (there.unwrap(), here.unwrap());
    for events in &mut events {
        relay_ready(events).await;
    }
}

#[tokio::test]
async fn stun_servers_and_relays_that_a_welcome_names_later_are_used_over_udp_and_tcp() {
    let coordinator = Coordinator::start().await;
    let relay = relay_with(|config| config.listen_tcp = vec!["127.0.0.1:0".parse().unwrap()]);
    let alice = client(&coordinator, "alice").await;
    assert_eq!(alice.nat().public_address, None, "nobody could be asked");
    let mut events = alice.events();
    let urls = relay.listening().iter().map(|it| {
        let transport = it.transport.name();
        format!("turn:{}?transport={transport}", it.addr)
    });
    coordinator.offer_urls(&urls.collect::<Vec<_>>());
    coordinator.drop_everybody();
    relay_ready(&mut events).await;
    let known = coordinator.network(alice.peer_id(), |profile| {
        profile.public_address.is_some() && profile.tcp.is_some()
    });
    let profile = tokio::time::timeout(PATIENCE, known).await.expect("the new ones are asked");
    assert!(profile.udp);
    alice.shutdown().await;
}
