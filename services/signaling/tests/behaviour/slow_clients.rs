//! Clients that ask and do not take what they asked for: they hold no place for ever, and keep no
//! instance from stopping.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use crate::support::{Client, HANG, World, all_for, claims, raw_request};

/// Nothing here may end because this has passed.
const NEVER: Duration = Duration::from_secs(3600);
/// A connection that took no byte for so long is stuck. Where the machine is only slow, the test
/// sees less than it could, and does not fail.
const STUCK: Duration = Duration::from_millis(300);

/// Asks for pages without end, reading none: until the connection is stuck, or broken.
async fn ask_and_never_read(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let asks = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".repeat(100);
    while let Ok(Ok(())) = timeout(STUCK, stream.write_all(&asks)).await {}
    stream
}

#[tokio::test]
async fn i5_a_client_that_takes_no_answer_over_http_loses_its_place() {
    let world = World::with(|config| {
        config.timing.answer = Duration::from_millis(50);
        config.timing.headers = NEVER;
    })
    .await;
    let mut stream = ask_and_never_read(world.signaling.local_addr()).await;
    // What the client still asks for is refused by its own system once the server is gone.
    let gone = async { while stream.write_all(&[b'x'; 4096]).await.is_ok() {} };
    timeout(HANG, gone).await.expect("the connection is cut");
    assert_eq!(world.get("/livez", None).await.status, 200);
}

#[tokio::test]
async fn i12_a_client_that_takes_no_answer_over_http_keeps_no_instance_from_stopping() {
    let world = World::with(|config| {
        config.timing.answer = NEVER;
        config.timing.headers = NEVER;
    })
    .await;
    let _stuck = ask_and_never_read(world.signaling.local_addr()).await;
    timeout(HANG, world.signaling.shutdown()).await.expect("the instance stops");
}

#[tokio::test]
async fn the_admin_port_has_places_of_its_own() {
    let world = World::with(|config| {
        config.admin_listen = Some("127.0.0.1:0".parse().unwrap());
        config.limits.sockets = 1;
        config.timing.headers = NEVER;
    })
    .await;
    let mut only = TcpStream::connect(world.signaling.local_addr()).await.unwrap();
    only.write_all(b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    only.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let admin = world.signaling.admin_addr().unwrap();
    assert_eq!(raw_request(admin, "GET", "/livez", "").await.status, 200);
}

/// Bob lost his connection, and more waits for him than fits into the network.
async fn much_waits_for_bob(world: &World, alice: &mut Client) -> serde_json::Value {
    let mut bob = world.client("bob").await;
    alice.join("watch").await;
    bob.join("watch").await;
    let resume = bob.resume(0);
    drop(bob);
    while alice.next().await["event"] != "away" {}
    let payload = "x".repeat(60_000);
    for n in 0..250 {
        let id = format!("m{n}");
        let send =
            json!({ "type": "send", "id": id, "to": "bob", "kind": "k", "payload": payload });
        alice.send(send).await;
    }
    alice.send(json!({ "type": "ping", "id": "all of them" })).await;
    while alice.next().await["type"] != "pong" {}
    resume
}

#[tokio::test]
async fn i12_a_client_that_does_not_take_what_it_missed_keeps_no_instance_from_stopping() {
    let world = World::with(|config| {
        config.timing.write = NEVER;
        config.limits.message_burst = 10_000;
    })
    .await;
    let mut alice = world.client("alice").await;
    let resume = much_waits_for_bob(&world, &mut alice).await;
    let _bob = world.client_with(&all_for("bob"), resume).await;
    timeout(HANG, world.signaling.shutdown()).await.expect("the instance stops");
}

#[tokio::test]
async fn i5_what_a_client_missed_has_a_deadline_as_a_whole() {
    let world = World::with(|config| {
        config.timing.write = NEVER;
        config.timing.heartbeat = Duration::from_secs(2);
        config.limits.message_burst = 10_000;
    })
    .await;
    let mut alice = world.client("alice").await;
    let resume = much_waits_for_bob(&world, &mut alice).await;
    let _bob = world.client_with(&claims("bob"), resume).await;
    let cut = async {
        let mut beats = interval(Duration::from_millis(200));
        let mut back = false;
        loop {
            tokio::select! {
                _ = beats.tick() => alice.send(json!({ "type": "ping", "id": "beat" })).await,
                frame = alice.next() => match frame["event"].as_str() {
                    Some("back") => back = true,
                    Some("away") if back => return,
                    _ => {}
                },
            }
        }
    };
    timeout(HANG, cut).await.expect("bob is cut off");
}
