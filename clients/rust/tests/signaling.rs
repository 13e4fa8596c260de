//! What a client does when its coordinator goes away, comes back, or will not have it back.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail")]

mod support;

use std::time::Duration;

use p2p_client::{Client, ClientEvent, Config, ErrorCode, Outcome, Policy};
use p2p_wire::ServerMessage;
use p2p_wire::server::Goaway;
use support::{Coordinator, token};
use tokio::sync::broadcast;

/// How long anything may take before the test fails: far beyond what it needs.
const PATIENCE: Duration = Duration::from_secs(60);

async fn client(coordinator: &Coordinator, peer: &str) -> Client {
    let mut config = Config::new(coordinator.url(), token(peer));
    config.allow_loopback = true;
    Client::start(config).await.unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it comes within a minute")
}

/// Waits for the loss of the coordinator, and gives the pause before the next try.
async fn lost(events: &mut broadcast::Receiver<ClientEvent>) -> Duration {
    loop {
        match soon(events.recv()).await.unwrap() {
            ClientEvent::SignalingLost { retry_in, .. } => return retry_in,
            ClientEvent::SignalingEnded(error) => panic!("given up: {error}"),
            _ => {}
        }
    }
}

/// Waits for the coordinator to be back, and tells whether the session goes on.
async fn registered(events: &mut broadcast::Receiver<ClientEvent>) -> bool {
    loop {
        match soon(events.recv()).await.unwrap() {
            ClientEvent::Registered { resumed } => return resumed,
            ClientEvent::SignalingEnded(error) => panic!("given up: {error}"),
            _ => {}
        }
    }
}

fn goaway() -> ServerMessage {
    // Nobody waits for that long here: what the client does, it does for another reason.
    let after_ms = 3_600_000;
    ServerMessage::Goaway(Goaway { after_ms, reason: "for a test".to_owned() })
}

#[tokio::test]
async fn i12_a_client_that_is_to_move_can_be_connected_to_until_it_does_and_is_back_at_once() {
    let coordinator = Coordinator::start().await;
    let (alice, bob) = (client(&coordinator, "alice").await, client(&coordinator, "bob").await);
    let mut events = alice.events();
    coordinator.tell("alice", &goaway());
    // What the coordinator says next is heard next: of this attempt, after the goaway.
    let name = "alice".parse().unwrap();
    let (there, here) =
        soon(async { tokio::join!(bob.connect(&name, Policy::Auto), alice.accept()) }).await;
    there.unwrap().ping().await.unwrap();
    assert_eq!(here.unwrap().peer().as_str(), "bob");
    coordinator.close("alice", 4503);
    assert_eq!(lost(&mut events).await, Duration::ZERO);
    assert!(registered(&mut events).await, "the session goes on");
}

#[tokio::test]
async fn a_client_that_is_to_move_moves_at_once_where_it_wants_to_connect() {
    let coordinator = Coordinator::start().await;
    let (alice, bob) = (client(&coordinator, "alice").await, client(&coordinator, "bob").await);
    let mut events = alice.events();
    coordinator.tell("alice", &goaway());
    // Once alice has heard of an attempt that was told after it, she has heard the goaway.
    let name = "alice".parse().unwrap();
    let (there, _here) =
        soon(async { tokio::join!(bob.connect(&name, Policy::Auto), alice.accept()) }).await;
    there.unwrap();
    let name = "bob".parse().unwrap();
    let (there, here) =
        soon(async { tokio::join!(alice.connect(&name, Policy::Auto), bob.accept()) }).await;
    assert_eq!(there.unwrap().attempt(), here.unwrap().attempt());
    assert_eq!(lost(&mut events).await, Duration::ZERO);
    assert!(registered(&mut events).await);
}

#[tokio::test]
async fn a_request_that_is_lost_with_the_websocket_is_asked_again() {
    let coordinator = Coordinator::start().await;
    let (alice, bob) = (client(&coordinator, "alice").await, client(&coordinator, "bob").await);
    coordinator.lose_next_request();
    let name = "bob".parse().unwrap();
    let connected = async { tokio::join!(alice.connect(&name, Policy::Auto), bob.accept()) };
    let (there, here) = soon(connected).await;
    assert_eq!(there.unwrap().attempt(), here.unwrap().attempt());
    // The handshake that had begun with it goes on: one request came through, with its first flight.
    let flights = coordinator.flights();
    assert_eq!(flights.len(), 1);
    assert!(!flights[0].is_empty());
}

#[tokio::test]
async fn what_ended_the_registration_for_good_is_told_to_whoever_asks_later() {
    let coordinator = Coordinator::start().await;
    let (alice, bob) = (client(&coordinator, "alice").await, client(&coordinator, "bob").await);
    let (to_bob, to_alice) = ("bob".parse().unwrap(), "alice".parse().unwrap());
    let both = async { tokio::join!(bob.connect(&to_alice, Policy::Auto), alice.accept()) };
    let (there, here) = soon(both).await;
    coordinator.close("alice", 4409);
    let first = soon(alice.signaling_ended()).await;
    assert_eq!(first.code, ErrorCode::Closed);
    assert!(first.cause.contains("4409"), "{first}");
    assert_eq!(soon(alice.signaling_ended()).await, first);
    assert_eq!(soon(alice.connect(&to_bob, Policy::Auto)).await.unwrap_err(), first);
    assert_eq!(soon(alice.refresh_token(token("alice"))).await.unwrap_err(), first);
    assert!(soon(alice.accept()).await.is_none());
    // Who is connected does not need the coordinator (I8).
    there.unwrap().ping().await.unwrap();
    here.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn a_request_under_way_fails_with_what_ended_the_registration() {
    let coordinator = Coordinator::start().await;
    let alice = client(&coordinator, "alice").await;
    let _bob = client(&coordinator, "bob").await;
    coordinator.hold_everybody();
    let asked = async {
        while coordinator.flights().is_empty() {
            tokio::task::yield_now().await;
        }
        coordinator.close("alice", 4401);
    };
    let name = "bob".parse().unwrap();
    let (failed, ()) =
        soon(async { tokio::join!(alice.connect(&name, Policy::Auto), asked) }).await;
    let error = failed.unwrap_err();
    assert_eq!(error.code, ErrorCode::Auth);
    assert!(error.cause.contains("4401"), "{error}");
}

#[tokio::test]
async fn an_attempt_that_nobody_waits_for_any_more_is_not_handed_out_as_the_peers() {
    let coordinator = Coordinator::start().await;
    let alice = client(&coordinator, "alice").await;
    let bob = client(&coordinator, "bob").await;
    coordinator.hold_everybody();
    let name = "bob".parse().unwrap();
    let asked = async {
        while coordinator.flights().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    soon(async {
        tokio::select! {
            connected = alice.connect(&name, Policy::Auto) => panic!("{connected:?}"),
            () = asked => {}
        }
    })
    .await;
    // What was asked for is forgotten with the next request.
    let nobody = "nobody".parse().unwrap();
    let error = soon(alice.connect(&nobody, Policy::Auto)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::PeerNotFound);
    coordinator.tell_everybody();
    let reported = async {
        while coordinator.reports().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    soon(async {
        tokio::select! {
            biased;
            taken = alice.accept() => panic!("{taken:?}"),
            taken = bob.accept() => panic!("{taken:?}"),
            () = reported => {}
        }
    })
    .await;
    let report = &coordinator.reports()[0];
    assert_eq!((report.outcome, report.attempt.as_str()), (Outcome::Failed, "attempt-1"));
    assert!(report.verdict.contains("stopped waiting"), "{}", report.verdict);
}

#[tokio::test]
async fn a_proxy_or_a_portal_in_front_of_the_coordinator_does_not_end_a_registration() {
    let coordinator = Coordinator::start().await;
    let alice = client(&coordinator, "alice").await;
    let mut events = alice.events();
    coordinator.put_in_front(Some(
        "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot here\n",
    ));
    coordinator.drop_everybody();
    // The WebSocket, and then a try that somebody else answers.
    lost(&mut events).await;
    lost(&mut events).await;
    assert!(coordinator.turned_away() > 0);
    coordinator.put_in_front(None);
    registered(&mut events).await;
    // Who never was registered has the wrong address.
    coordinator.put_in_front(Some("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"));
    let turned_away = coordinator.turned_away();
    let error =
        soon(Client::start(Config::new(coordinator.url(), token("bob")))).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unreachable);
    assert!(error.cause.contains("403"), "{error}");
    assert_eq!(coordinator.turned_away(), turned_away + 1);
}
