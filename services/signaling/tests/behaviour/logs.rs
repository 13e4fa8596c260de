//! What the logs say, and what they never say (invariant I10).

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::LazyLock;

use p2p_signaling::RelayOffer;
use serde_json::json;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt};

use crate::peerjs_client::PeerJs;
use crate::support::{World, all_for, claims};

thread_local! {
    static LEVEL: Cell<LevelFilter> = const { Cell::new(LevelFilter::OFF) };
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One subscriber for the whole process, which keeps what is logged on threads that want it.
///
/// A subscriber of one thread alone would miss events: where another thread, which has none, is the
/// first to come to a place that logs, that place is remembered as one that interests nobody.
static SUBSCRIBER: LazyLock<()> = LazyLock::new(|| {
    let wanted = dynamic_filter_fn(|metadata, _| *metadata.level() <= LEVEL.get());
    let layer = fmt::layer().with_ansi(false).with_writer(|| Log).with_filter(wanted);
    tracing::subscriber::set_global_default(Registry::default().with(layer))
        .expect("nothing else in these tests takes the logs");
});

/// Has to come before the first event of the process.
pub(crate) fn subscribe() {
    LazyLock::force(&SUBSCRIBER);
}

/// The log of the thread that writes.
struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn i10_neither_tokens_nor_credentials_are_logged_and_addresses_only_by_their_network() {
    for level in [Level::INFO, Level::TRACE] {
        LEVEL.set(LevelFilter::from_level(level));
        let secrets = a_whole_session().await;
        LEVEL.set(LevelFilter::OFF);
        let text = String::from_utf8(LOG.take()).unwrap();

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
        "a-word-of-the-guest-s-own".to_owned(),
        text(&alice.welcome["secret"]),
        text(&alice.welcome["ice_servers"][0]["credential"]),
        text(&attempt["ice"]["local"]["pwd"]),
        text(&ticket["ticket"]),
    ];
    // The one token that stands in a URL; once it is taken, once it is not.
    let mut page = PeerJs::open(&world, "page").await;
    page.expect_silence().await;
    let mut refused = PeerJs::connect_as(&world, "somebody else", &claims("page")).await;
    refused.expect("ERROR").await;
    let guest = "key=peerjs&id=guest&token=a-word-of-the-guest-s-own";
    PeerJs::connect(&world, guest).await.expect("ERROR").await;
    alice.goodbye().await;
    bob.goodbye().await;
    secrets
}
