//! SIGTERM (invariant I12): everybody is sent away over a window, then the instance ends.

use std::time::Duration;

use p2p_telemetry::Shutdown;
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::{World, all_for, token};

#[tokio::test]
async fn i12_a_drain_tells_everybody_when_to_move_and_then_closes() {
    let world = World::with(|config| config.timing.drain = Duration::from_millis(200)).await;
    let mut clients = Vec::new();
    for n in 0..8 {
        clients.push(world.client(&format!("peer-{n}")).await);
    }
    let handle = world.signaling.clone();
    let drained = tokio::spawn(async move { handle.drain().await });
    let mut waits = Vec::new();
    for client in &mut clients {
        let goaway = client.expect("goaway").await;
        waits.push(goaway["after_ms"].as_u64().unwrap());
        assert!(!goaway["reason"].as_str().unwrap().is_empty());
    }
    assert!(waits.iter().all(|wait| *wait < 200), "{waits:?}");
    waits.dedup();
    assert!(waits.len() > 1, "they are spread: {waits:?}");
    for client in &mut clients {
        assert_eq!(client.closed().await.0, 4503);
    }
    drained.await.unwrap();
    let snapshot = world.signaling.snapshot();
    assert_eq!((snapshot.connections, snapshot.peers_on), (0, 0));
    assert_eq!(snapshot.peers_away, 8, "their sessions wait for them");
}

#[tokio::test]
async fn i12_a_draining_instance_is_alive_but_not_ready_and_takes_nobody() {
    let world = World::with(|config| config.timing.drain = Duration::from_secs(600)).await;
    let mut alice = world.client("alice").await;
    let handle = world.signaling.clone();
    let drained = tokio::spawn(async move { handle.drain().await });
    alice.expect("goaway").await;
    assert_eq!(world.get("/livez", None).await.status, 200);
    let ready = world.get("/readyz", None).await;
    assert_eq!((ready.status, ready.problem().as_str()), (503, "draining"));
    let headers = [("authorization", format!("Bearer {}", token(&all_for("bob")).expose()))];
    let refused = world.open("/v1/ws", &headers).await.err().unwrap();
    assert_eq!((refused.status, refused.problem().as_str()), (503, "draining"));
    alice.send(json!({ "type": "connect", "id": "a", "to": "bob" })).await;
    alice.expect_error("draining").await;
    alice.goodbye().await;
    drained.await.unwrap();
}

#[tokio::test]
async fn i12_a_second_signal_ends_everything_at_once() {
    let config = crate::support::config();
    let registry = p2p_registry::MemoryRegistry::start(p2p_registry::Settings::default());
    let store = std::sync::Arc::new(p2p_stats::SqliteStore::in_memory().await.unwrap());
    let signaling = p2p_signaling::Signaling::bind(config, registry, store).await.unwrap();
    let address = signaling.local_addr();
    let shutdown = Shutdown::new();
    let served = tokio::spawn(signaling.serve(shutdown.clone()));
    let _idle = TcpStream::connect(address).await.unwrap();
    shutdown.drain();
    shutdown.force();
    served.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "the port is free");
}
