//! What the logs say, and what they never say (invariant I10).

use std::io;
use std::sync::{Arc, Mutex};

use p2p_signaling::RelayOffer;
use serde_json::json;
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{World, all_for};

/// Everything that is logged on this test's thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn i10_neither_tokens_nor_credentials_are_logged_and_addresses_only_by_their_network() {
    for level in [Level::INFO, Level::TRACE] {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(log.clone())
            .with_ansi(false)
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let secrets = a_whole_session().await;

        let text = log.text();
        assert!(text.contains("peer connected") && text.contains("attempt ended"), "{text}");
        assert!(text.contains("127.0.0.x"), "{text}");
        for secret in secrets {
            assert!(!text.contains(&secret), "{level}: {secret} in {text}");
        }
        if level == Level::INFO {
            // The address that the instance listens on is its own.
            let others = text.lines().filter(|line| !line.contains("signaling serves"));
            assert!(!others.collect::<String>().contains("127.0.0.1"), "{text}");
            assert!(!text.contains("203.0.113.7"), "{text}");
        }
    }
}

/// Does everything that a client does; returns what must not be logged.
async fn a_whole_session() -> Vec<String> {
    let world = World::with(|config| {
        config.relays = vec![RelayOffer { urls: vec!["turn:192.0.2.9:3478".to_owned()] }];
        config.turn_secrets = secrecy::SecretString::from("a secret of the relay").into();
    })
    .await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    let nat = json!({
        "type": "nat", "profile": { "type": "Open", "public_address": "203.0.113.7:5000" },
        "candidates": [{ "kind": "host", "address": "203.0.113.7:5000" }],
    });
    alice.send(nat).await;
    alice.send(json!({ "type": "connect", "id": "a", "to": "bob" })).await;
    let attempt = alice.expect("attempt").await;
    bob.expect("attempt").await;
    for client in [&mut alice, &mut bob] {
        client
            .send(json!({
                "type": "report", "attempt": attempt["attempt"], "outcome": "direct",
                "method": "direct", "ms": 1,
            }))
            .await;
        client.expect_silence().await;
    }
    world.get("/v1/ice-servers", Some(&all_for("alice"))).await;
    let ticket = world.request("POST", "/v1/tickets", Some(&all_for("alice"))).await.json();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let secrets = vec![
        // How every JWT begins.
        "eyJ".to_owned(),
        text(&alice.welcome["secret"]),
        text(&alice.welcome["ice_servers"][0]["credential"]),
        text(&attempt["ice"]["local"]["pwd"]),
        text(&ticket["ticket"]),
    ];
    alice.goodbye().await;
    bob.goodbye().await;
    secrets
}
