//! Two clients on one machine, introduced by a stub coordinator.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail")]

mod support;

use std::time::Duration;

use p2p_client::{
    Client, ClientEvent, Config, Connection, ErrorCode, Method, Outcome, PathKind, Policy,
};
use p2p_wire::PathReason;
use support::{Coordinator, token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn client(coordinator: &Coordinator, peer: &str) -> Client {
    let mut config = Config::new(coordinator.url(), token(peer));
    config.allow_loopback = true;
    Client::start(config).await.unwrap()
}

async fn pair(coordinator: &Coordinator) -> (Client, Client, Connection, Connection) {
    let alice = client(coordinator, "alice").await;
    let bob = client(coordinator, "bob").await;
    let name = "bob".parse().unwrap();
    let (there, here) = tokio::join!(alice.connect(&name, Policy::Auto), bob.accept());
    (alice, bob, there.unwrap(), here.unwrap())
}

#[tokio::test]
async fn bytes_go_both_ways_over_a_direct_path() {
    let coordinator = Coordinator::start().await;
    let (_alice, _bob, there, here) = pair(&coordinator).await;
    assert_eq!((there.peer().as_str(), here.peer().as_str()), ("bob", "alice"));
    assert_eq!(there.attempt(), here.attempt());
    assert_eq!(there.path().unwrap().kind, PathKind::Direct);

    let echo = tokio::spawn(async move {
        let stream = here.accept_stream().await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let copied = tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
        (here, copied)
    });
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let (mut read, mut write) = there.open_stream().await.unwrap().into_split();
    let outward = sent.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&outward).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    read.read_to_end(&mut received).await.unwrap();
    writer.await.unwrap();
    assert!(received == sent, "the echo differs");
    assert_eq!(echo.await.unwrap().1, 1_000_000);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_not_taken_for_one_that_ended() {
    let coordinator = Coordinator::start().await;
    let (_alice, _bob, there, here) = pair(&coordinator).await;
    let mut stream = there.open_stream().await.unwrap();
    stream.write_all(b"half a").await.unwrap();
    let mut heard = here.accept_stream().await.unwrap();
    stream.reset();
    assert!(heard.read_to_end(&mut Vec::new()).await.is_err());
}

#[tokio::test]
async fn a_ping_is_answered_by_the_other_client_itself() {
    let coordinator = Coordinator::start().await;
    let (_alice, _bob, there, here) = pair(&coordinator).await;
    there.ping().await.unwrap();
    here.ping().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_ahead_of_the_word_of_its_attempt_waits_for_it() {
    let coordinator = Coordinator::start().await;
    let (alice, bob, _there, _here) = pair(&coordinator).await;
    coordinator.hold_callees();
    let name = "bob".parse().unwrap();
    let told = async {
        // The handshake takes the path of the connection before.
        while alice.stats().connections < 2 {
            tokio::task::yield_now().await;
        }
        coordinator.tell_callees();
    };
    let (there, here, ()) = tokio::join!(alice.connect(&name, Policy::Auto), bob.accept(), told);
    assert_eq!(there.unwrap().attempt(), here.unwrap().attempt());
}

#[tokio::test]
async fn the_first_flight_goes_with_the_request_unless_the_peer_is_known() {
    let coordinator = Coordinator::start().await;
    let (alice, bob, _there, _here) = pair(&coordinator).await;
    let name = "bob".parse().unwrap();
    let (there, here) = tokio::join!(alice.connect(&name, Policy::Auto), bob.accept());
    assert_eq!(there.unwrap().attempt(), here.unwrap().attempt());
    let flights = coordinator.flights();
    // RFC 9000 §14.1: a client's first datagrams have 1200 bytes at least.
    assert!(!flights[0].is_empty() && flights[0].iter().all(|datagram| datagram.len() >= 1_600));
    assert_eq!(flights[1], [""; 0]);
}

#[tokio::test]
async fn a_connection_whose_first_flight_is_lost_or_garbled_comes_all_the_same() {
    let garbled = "wAAAAAEI".repeat(200);
    for replaced in [&[][..], &["?", "AAAA"], &[&garbled]] {
        let coordinator = Coordinator::start().await;
        coordinator.replace_flights(replaced);
        let (_alice, _bob, there, here) = pair(&coordinator).await;
        assert_eq!(there.attempt(), here.attempt());
        there.ping().await.unwrap();
    }
}

#[tokio::test]
async fn i11_both_sides_report_one_verdict() {
    let coordinator = Coordinator::start().await;
    let (alice, bob, there, _here) = pair(&coordinator).await;
    let verdict = there.verdict().unwrap();
    assert_eq!(verdict.outcome, Outcome::Direct);
    assert!(verdict.verdict.starts_with("direct"), "{}", verdict.verdict);
    alice.shutdown().await;
    bob.shutdown().await;
    // One of each side, and one more of each when the connection has ended.
    let reports = coordinator.reports();
    assert_eq!(reports.len(), 4);
    assert!(reports.iter().all(|report| report.outcome == Outcome::Direct), "{reports:?}");
    for ended in &reports[2..] {
        let (first, last) = (&ended.paths[0], ended.paths.last().unwrap());
        assert_eq!((first.method, first.reason), (Some(Method::Direct), PathReason::First));
        assert!(first.sent_bytes > 0 && first.received_bytes > 0, "{first:?}");
        assert_eq!((last.method, last.reason), (None, PathReason::Closed));
    }
}

#[tokio::test]
async fn i8_a_connection_outlives_the_coordinator() {
    let coordinator = Coordinator::start().await;
    let (alice, _bob, there, _here) = pair(&coordinator).await;
    let mut events = alice.events();
    coordinator.drop_everybody();
    loop {
        if let ClientEvent::SignalingLost { .. } = events.recv().await.unwrap() {
            break;
        }
    }
    there.ping().await.unwrap();
    // And the client comes back by itself.
    loop {
        if let ClientEvent::Registered { resumed } = events.recv().await.unwrap() {
            assert!(resumed);
            break;
        }
    }
}

#[tokio::test]
async fn both_may_call_at_the_same_moment() {
    let coordinator = Coordinator::start().await;
    let alice = client(&coordinator, "alice").await;
    let bob = client(&coordinator, "bob").await;
    let (to_bob, to_alice) = ("bob".parse().unwrap(), "alice".parse().unwrap());
    let (one, two, from_bob, from_alice) = tokio::join!(
        alice.connect(&to_bob, Policy::Auto),
        bob.connect(&to_alice, Policy::Auto),
        alice.accept(),
        bob.accept(),
    );
    for connection in [one.unwrap(), two.unwrap(), from_bob.unwrap(), from_alice.unwrap()] {
        connection.ping().await.unwrap();
    }
    assert_eq!(alice.stats().active, 2);
}

#[tokio::test]
async fn the_other_side_learns_why_a_connection_was_closed() {
    let coordinator = Coordinator::start().await;
    let (_alice, _bob, there, here) = pair(&coordinator).await;
    there.close("enough for today");
    let end = here.closed().await;
    assert_eq!(end.code, ErrorCode::Closed);
    assert!(end.cause.contains("enough for today"), "{end}");
}

#[tokio::test]
async fn a_goodbye_is_on_the_wire_before_the_way_to_the_peer_is_forgotten() {
    let coordinator = Coordinator::start().await;
    let alice = client(&coordinator, "alice").await;
    let bob = client(&coordinator, "bob").await;
    let name = "bob".parse().unwrap();
    // Whether the last packet or the end of the route comes first is a race: one round proves little.
    for round in 0..30 {
        let (there, here) = tokio::join!(alice.connect(&name, Policy::Auto), bob.accept());
        there.unwrap().close("done");
        let end = here.unwrap().closed().await;
        assert!(end.cause.contains("done"), "round {round}: {end}");
    }
}

#[tokio::test]
async fn a_client_that_shuts_down_leaves_with_a_goodbye() {
    let coordinator = Coordinator::start().await;
    let alice = client(&coordinator, "alice").await;
    alice.shutdown().await;
    // The close frame has been answered or the socket closed when `shutdown` returns; the stub reads
    // it in a task of its own.
    while coordinator.goodbyes().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(coordinator.goodbyes(), [1000]);
}

#[tokio::test]
async fn an_absent_peer_is_told_at_once_with_a_fix() {
    let coordinator = Coordinator::start().await;
    let alice = client(&coordinator, "alice").await;
    let error = alice.connect(&"nobody".parse().unwrap(), Policy::Auto).await.unwrap_err();
    assert_eq!((error.code, error.code.exit_code()), (ErrorCode::PeerNotFound, 6));
    assert!(!error.fix.is_empty());
}

#[tokio::test]
async fn a_relay_only_connection_without_a_relay_fails_in_words() {
    let coordinator = Coordinator::start().await;
    let mut config = Config::new(coordinator.url(), token("alice"));
    config.allow_loopback = true;
    config.connect_timeout = Duration::from_secs(2);
    config.max_retries = 0;
    let alice = Client::start(config).await.unwrap();
    let _bob = client(&coordinator, "bob").await;
    let error = alice.connect(&"bob".parse().unwrap(), Policy::Relay).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout);
}

#[tokio::test]
async fn an_unreachable_coordinator_is_an_error_with_a_fix() {
    let mut config = Config::new("ws://127.0.0.1:1", token("alice"));
    config.max_retries = 1;
    let error = Client::start(config).await.unwrap_err();
    assert_eq!((error.code, error.code.exit_code()), (ErrorCode::Unreachable, 4));
    assert!(error.fix.contains("healthcheck"), "{error}");
}

#[tokio::test]
async fn a_client_comes_back_to_a_coordinator_that_was_started_again() {
    let coordinator = Coordinator::start().await;
    let (alice, bob, _there, _here) = pair(&coordinator).await;
    let (mut ours, mut theirs) = (alice.events(), bob.events());
    coordinator.restart();
    for events in [&mut ours, &mut theirs] {
        loop {
            match events.recv().await.unwrap() {
                ClientEvent::Registered { resumed } => {
                    assert!(!resumed);
                    break;
                }
                ClientEvent::SignalingEnded(error) => panic!("given up: {error}"),
                _ => {}
            }
        }
    }
    let bobs_name = "bob".parse().unwrap();
    let (there, here) = tokio::join!(alice.connect(&bobs_name, Policy::Auto), bob.accept());
    there.unwrap().ping().await.unwrap();
    assert_eq!(here.unwrap().peer().as_str(), "alice");
}

#[tokio::test]
async fn a_coordinator_that_never_answers_is_given_up_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("ws://{}", silent.local_addr().unwrap());
    let mut config = Config::new(server, token("alice"));
    config.connect_timeout = Duration::from_secs(1);
    let error = Client::start(config).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unreachable);
    assert!(error.cause.contains("within 1 s"), "{}", error.cause);
}
