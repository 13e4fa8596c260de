//! Everything a client can do wrong: each gets its error and close code, and nobody else notices.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::{Client, HANG, World, all_for, now, raw_request, token};

/// A client that must come to no harm while another one misbehaves.
struct Bystander(Client);

impl Bystander {
    async fn watch(world: &World) -> Self {
        Self(world.client("bystander").await)
    }

    /// Its connection still works, and messages to itself pass.
    async fn expect_undisturbed(mut self) {
        let message = json!({ "type": "send", "id": "m", "to": "bystander", "kind": "echo" });
        self.0.send(message).await;
        assert_eq!(self.0.expect("message").await["kind"], "echo");
        self.0.expect_silence().await;
    }
}

#[tokio::test]
async fn a_missing_token_is_answered_with_where_to_put_it() {
    let world = World::start().await;
    let refused = world.open("/v1/ws", &[]).await.err().unwrap();
    assert_eq!((refused.status, refused.problem().as_str()), (401, "token_missing"));
    assert!(refused.json()["fix"].as_str().unwrap().contains("Authorization: Bearer"));
}

#[tokio::test]
async fn a_malformed_token_is_answered_with_what_is_wrong() {
    let world = World::start().await;
    for text in ["nonsense", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        let headers = [("authorization", format!("Bearer {text}"))];
        let refused = world.open("/v1/ws", &headers).await.err().unwrap();
        assert_eq!((refused.status, refused.problem().as_str()), (401, "token_invalid"), "{text}");
    }
}

#[tokio::test]
async fn an_expired_token_is_answered_with_the_clock_skew() {
    let world = World::start().await;
    let mut claims = all_for("alice");
    claims.exp = now() - 100;
    let expired = token(&claims);
    let headers = [("authorization", format!("Bearer {}", expired.expose()))];
    let refused = world.open("/v1/ws", &headers).await.err().unwrap();
    assert_eq!((refused.status, refused.problem().as_str()), (401, "token_expired"));
    let problem = refused.json();
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("expired 10") && detail.contains(" s ago"), "{detail}");
    assert!(detail.contains(&claims.exp.to_string()), "{detail}");
    assert!(problem["fix"].as_str().unwrap().contains("fix the clock"), "{problem}");
    assert!(!refused.body.contains(expired.expose()), "the token is not echoed");

    // A browser cannot read that answer: it is let in and told.
    let protocol = format!("p2p.v1, bearer.{}", expired.expose());
    let mut browser = world.open("/v1/ws", &[("sec-websocket-protocol", protocol)]).await.unwrap();
    let error = browser.expect_error("token_expired").await;
    assert!(error["message"].as_str().unwrap().contains(" s ago"), "{error}");
    let (code, reason) = browser.closed().await;
    assert_eq!(code, 4401);
    assert!(reason.contains("expired"), "{reason}");
}

#[tokio::test]
async fn a_websocket_that_never_says_hello_is_closed_after_the_deadline() {
    let world = World::with(|config| config.timing.hello = Duration::from_millis(50)).await;
    let bystander = Bystander::watch(&world).await;
    let mut silent = world.connect(&all_for("alice")).await;
    let error = silent.expect_error("timeout").await;
    assert!(error["fix"].as_str().unwrap().contains("hello"), "{error}");
    assert_eq!(silent.closed().await.0, 4408);
    bystander.expect_undisturbed().await;
}

#[tokio::test]
async fn a_first_frame_that_is_no_hello_is_refused() {
    let world = World::start().await;
    let mut rude = world.connect(&all_for("alice")).await;
    rude.send(json!({ "type": "leave", "room": "demo" })).await;
    rude.expect_error("bad_message").await;
    assert_eq!(rude.closed().await.0, 4400);
}

#[tokio::test]
async fn who_only_pings_shows_that_its_token_is_taken_and_takes_nobody_s_place() {
    let world = World::start().await;
    let bystander = Bystander::watch(&world).await;
    let mut alice = world.client("alice").await;
    let mut looker = world.connect(&all_for("alice")).await;
    for n in 0..16 {
        looker.send(json!({ "type": "ping", "id": n.to_string() })).await;
        assert_eq!(looker.expect("pong").await["id"], n.to_string());
    }
    alice.expect_silence().await;
    looker.send(json!({ "type": "ping" })).await;
    let error = looker.expect_error("bad_message").await;
    assert!(error["fix"].as_str().unwrap().contains("hello"), "{error}");
    assert_eq!(looker.closed().await.0, 4400, "a bound, so that nobody stays without hello");
    alice.expect_silence().await;
    bystander.expect_undisturbed().await;
}

#[tokio::test]
async fn a_message_over_64_kib_closes_its_connection_and_no_other() {
    for bytes in [65_537, 200_000, 2_000_000] {
        let world = World::start().await;
        let bystander = Bystander::watch(&world).await;
        let mut alice = world.client("alice").await;
        alice.try_send(Message::text("x".repeat(bytes))).await;
        let error = alice.expect_error("too_large").await;
        assert!(error["fix"].as_str().unwrap().contains("65536"), "{error}");
        assert_eq!(alice.closed().await.0, 4413, "{bytes}");
        bystander.expect_undisturbed().await;
    }
}

#[tokio::test]
async fn a_message_over_64_kib_in_fragments_is_too_large_as_well() {
    let world = World::start().await;
    let mut alice = world.client("alice").await;
    let part = "x".repeat(40_000);
    let first = Frame::message(part.clone(), OpCode::Data(Data::Text), false);
    let second = Frame::message(part, OpCode::Data(Data::Continue), true);
    alice.try_send(Message::Frame(first)).await;
    alice.try_send(Message::Frame(second)).await;
    assert_eq!(alice.closed().await.0, 4413);
}

#[tokio::test]
async fn invalid_utf8_closes_its_connection_and_no_other() {
    let world = World::start().await;
    let bystander = Bystander::watch(&world).await;
    let mut alice = world.client("alice").await;
    let bytes = b"{\"type\":\"ping\",\"id\":\"\xff\xfe\"}".to_vec();
    alice.try_send(Message::Frame(Frame::message(bytes, OpCode::Data(Data::Text), true))).await;
    let error = alice.expect_error("bad_message").await;
    assert!(error["fix"].as_str().unwrap().contains("UTF-8"), "{error}");
    assert_eq!(alice.closed().await.0, 4400);
    bystander.expect_undisturbed().await;
}

#[tokio::test]
async fn a_binary_message_closes_its_connection() {
    let world = World::start().await;
    let mut alice = world.client("alice").await;
    alice.try_send(Message::binary(vec![1, 2, 3])).await;
    let error = alice.expect_error("bad_message").await;
    assert!(error["fix"].as_str().unwrap().contains("text frames"), "{error}");
    assert_eq!(alice.closed().await.0, 4400);
}

#[tokio::test]
async fn bad_json_is_answered_and_the_third_in_a_row_closes() {
    let world = World::start().await;
    let bystander = Bystander::watch(&world).await;
    let mut alice = world.client("alice").await;
    for _ in 0..4 {
        alice.send_text("{").await;
        alice.expect_error("bad_message").await;
        alice.send_text(r#"["ping"]"#).await;
        alice.expect_error("bad_message").await;
        alice.expect_silence().await;
    }
    for _ in 0..3 {
        alice.send_text("nonsense").await;
        alice.expect_error("bad_message").await;
    }
    assert_eq!(alice.closed().await.0, 4400);
    bystander.expect_undisturbed().await;
}

#[tokio::test]
async fn an_unknown_type_is_answered_and_unknown_fields_are_ignored() {
    let world = World::start().await;
    let mut alice = world.client("alice").await;
    alice.send(json!({ "type": "dance", "id": "d1" })).await;
    let error = alice.expect_error("unknown_type").await;
    assert!(error["message"].as_str().unwrap().contains("dance"), "{error}");
    alice.send(json!({ "type": "ping", "id": "p", "colour": "blue" })).await;
    assert_eq!(alice.expect("pong").await["id"], "p");
}

#[tokio::test]
async fn fields_out_of_bounds_are_answered_with_their_bound() {
    let world = World::start().await;
    let long = "x".repeat(4_000);
    for (frame, bound) in [
        (json!({ "type": "meta", "meta": { "name": long } }), "2048"),
        (json!({ "type": "join", "id": "j", "room": long }), "128"),
        (json!({ "type": "join", "id": "j", "room": "a{b}" }), "'{'"),
        (json!({ "type": "send", "id": "m", "to": "x", "kind": long }), "64"),
        (json!({ "type": "send", "id": "m", "kind": "x" }), "exactly one"),
        (json!({ "type": "send", "id": long, "to": "x", "kind": "x" }), "64"),
    ] {
        let mut alice = world.client("alice").await;
        alice.send(frame.clone()).await;
        let error = alice.expect_error("bad_message").await;
        assert!(error.to_string().contains(bound), "{frame:.60}: {error}");
    }
}

#[tokio::test]
async fn a_second_hello_is_refused() {
    let world = World::start().await;
    let mut alice = world.client("alice").await;
    alice.send(json!({ "type": "hello", "peer": "alice" })).await;
    alice.expect_error("bad_message").await;
    alice.expect_silence().await;
}

#[tokio::test]
async fn i9_a_flood_of_candidates_stops_at_the_budget() {
    let world = World::start().await;
    let bystander = Bystander::watch(&world).await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    alice.send(json!({ "type": "connect", "id": "a", "to": "bob" })).await;
    let attempt = alice.expect("attempt").await["attempt"].clone();
    bob.expect("attempt").await;
    for port in 1..=100 {
        let candidate = json!({ "kind": "host", "address": format!("192.0.2.1:{port}") });
        alice
            .send(json!({ "type": "candidate", "attempt": attempt, "candidate": candidate }))
            .await;
    }
    for _ in 0..36 {
        alice.expect_error("limit_reached").await;
    }
    for _ in 0..64 {
        bob.expect("candidate").await;
    }
    bob.expect_silence().await;
    bystander.expect_undisturbed().await;
}

#[tokio::test]
async fn whoever_talks_too_fast_is_told_and_in_the_end_closed() {
    let world = World::with(|config| {
        config.limits.messages_per_second = 1;
        config.limits.message_burst = 10;
        config.limits.too_fast_strikes = 5;
    })
    .await;
    let mut alice = world.client("alice").await;
    assert_eq!(alice.welcome["limits"]["message_burst"], 10);
    for n in 0..10 {
        alice.send(json!({ "type": "ping", "id": n.to_string() })).await;
        alice.expect("pong").await;
    }
    alice.send(json!({ "type": "ping", "id": "over" })).await;
    let error = alice.expect_error("too_fast").await;
    assert_eq!(error["id"], "over");
    assert!(error["fix"].as_str().unwrap().contains("ms"), "{error}");
    for _ in 0..40 {
        if !alice.try_send(Message::text(r#"{"type":"ping"}"#)).await {
            break;
        }
    }
    assert_eq!(alice.closed().await.0, 4429);
}

#[tokio::test]
async fn i5_a_room_does_not_multiply_what_one_peer_may_send() {
    let world = World::with(|config| {
        config.limits.messages_per_second = 1;
        config.limits.message_burst = 4;
    })
    .await;
    let mut others = Vec::new();
    for n in 0..5 {
        let mut other = world.client(&format!("peer-{n}")).await;
        other.join("hall").await;
        others.push(other);
    }
    let mut alice = world.client("alice").await;
    alice.join("hall").await;
    let large = json!({ "type": "send", "id": "m1", "room": "hall", "kind": "x", "payload": "x".repeat(60_000) });
    alice.send(large).await;
    for other in &mut others {
        // Behind the news of those who joined later.
        while other.next().await["type"] != "message" {}
    }
    // 60 KB to each of five cost seven messages: three are owed.
    alice.send(json!({ "type": "ping", "id": "next" })).await;
    let refused = alice.expect_error("too_fast").await;
    assert_eq!(refused["id"], "next");
    assert!(refused["fix"].as_str().unwrap().contains("ms"), "{refused}");
}

#[tokio::test]
async fn i5_a_client_that_does_not_read_is_cut_off_and_loses_nothing() {
    let world = World::with(|config| {
        config.timing.write = Duration::from_millis(500);
        config.limits.message_burst = 10_000;
    })
    .await;
    let bystander = Bystander::watch(&world).await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    alice.join("watch").await;
    bob.join("watch").await;
    alice.expect("room").await;
    // Bob reads nothing: his inbox fills, and what is written to him stays in the network.
    let payload = "x".repeat(60_000);
    let mut away = false;
    for n in 0..256 {
        let id = format!("m{n}");
        alice
            .send(json!({ "type": "send", "id": id, "to": "bob", "kind": "bulk", "payload": payload }))
            .await;
    }
    while !away {
        let frame = alice.next().await;
        away = frame["type"] == "room" && frame["event"] == "away";
    }
    bystander.expect_undisturbed().await;
    let mut bob = world.client_with(&all_for("bob"), bob.resume(0)).await;
    let mut seq = 0;
    while seq < 256 {
        let frame = bob.next().await;
        // What alice was still sending when bob came back is behind the news of his own return.
        if frame["type"] == "message" {
            seq += 1;
            assert_eq!(frame["seq"], seq);
        }
    }
}

#[tokio::test]
async fn an_instance_that_is_full_turns_newcomers_away() {
    let world = World::with(|config| config.limits.connections = 1).await;
    let mut alice = world.client("alice").await;
    let headers = [("authorization", format!("Bearer {}", token(&all_for("bob")).expose()))];
    let refused = world.open("/v1/ws", &headers).await.err().unwrap();
    assert_eq!((refused.status, refused.problem().as_str()), (503, "overloaded"));
    alice.expect_silence().await;
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_where_origins_are_listed() {
    let world = World::with(|config| {
        config.origins = p2p_signaling::Origins::Only(vec!["https://good.example".to_owned()]);
    })
    .await;
    let from = |origin: &str| {
        let bearer = format!("Bearer {}", token(&all_for("alice")).expose());
        [("authorization", bearer), ("origin", origin.to_owned())]
    };
    let refused = world.open("/v1/ws", &from("https://evil.example")).await.err().unwrap();
    assert_eq!((refused.status, refused.problem().as_str()), (403, "not_allowed"));
    assert!(world.open("/v1/ws", &from("https://good.example")).await.is_ok());
    let own = format!("http://{}", world.signaling.local_addr());
    assert!(world.open("/v1/ws", &from(&own)).await.is_ok());
}

#[tokio::test]
async fn a_foreign_subprotocol_or_a_plain_get_is_answered_with_a_problem() {
    let world = World::start().await;
    let headers = [("sec-websocket-protocol", "chat".to_owned())];
    let refused = world.open("/v1/ws", &headers).await.err().unwrap();
    assert_eq!((refused.status, refused.problem().as_str()), (400, "bad_message"));
    let refused = world.get("/v1/ws", Some(&all_for("alice"))).await;
    assert_eq!((refused.status, refused.problem().as_str()), (400, "bad_message"));
}

#[tokio::test]
async fn headers_that_never_end_are_cut_off() {
    let world = World::with(|config| config.timing.headers = Duration::from_millis(50)).await;
    let bystander = Bystander::watch(&world).await;
    let mut slow = TcpStream::connect(world.signaling.local_addr()).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let mut rest = Vec::new();
    // However it is put, the connection ends.
    let _ = slow.read_to_end(&mut rest).await;
    bystander.expect_undisturbed().await;
}

#[tokio::test]
async fn a_taken_port_is_named_with_a_fix() {
    let world = World::start().await;
    let taken = world.signaling.local_addr();
    let mut config = crate::support::config();
    config.listen = taken;
    let registry = p2p_registry::MemoryRegistry::start(p2p_registry::Settings::default());
    let store = std::sync::Arc::new(p2p_stats::SqliteStore::in_memory().await.unwrap());
    let error = p2p_signaling::Signaling::bind(config, registry, store).await.err().unwrap();
    assert_eq!(error.to_string(), format!("Port {} already in use", taken.port()));
    assert_eq!(error.code(), "port_in_use");
    assert!(error.fix().contains("--listen"));
}

#[tokio::test]
async fn relays_without_their_secret_do_not_start() {
    let mut config = crate::support::config();
    config.relays = vec![p2p_signaling::RelayOffer { urls: vec!["turn:192.0.2.1".to_owned()] }];
    let registry = p2p_registry::MemoryRegistry::start(p2p_registry::Settings::default());
    let store = std::sync::Arc::new(p2p_stats::SqliteStore::in_memory().await.unwrap());
    let error = p2p_signaling::Signaling::bind(config, registry, store).await.err().unwrap();
    assert_eq!(error.code(), "turn_secret_missing");
}

#[tokio::test]
async fn garbage_on_the_port_gets_an_http_answer_or_an_end() {
    let world = World::start().await;
    let bystander = Bystander::watch(&world).await;
    let mut stream = TcpStream::connect(world.signaling.local_addr()).await.unwrap();
    stream.write_all(b"\x16\x03\x01\x02\x00nonsense\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let long = format!("X-Long: {}\r\n", "x".repeat(100_000));
    let refused = raw_request(world.signaling.local_addr(), "GET", "/", &long).await;
    assert_eq!(refused.status, 431);
    bystander.expect_undisturbed().await;
}

#[tokio::test]
async fn payloads_of_any_json_pass_untouched() {
    let world = World::start().await;
    let mut alice = world.client("alice").await;
    for payload in [json!(null), json!([1, "two", { "three": 3.5 }]), json!("\u{0}\u{1f600}")] {
        alice
            .send(json!({ "type": "send", "id": payload.to_string().len().to_string(), "to": "alice", "kind": "k", "payload": payload }))
            .await;
        let message: Value = alice.expect("message").await;
        assert_eq!(message["payload"], payload);
    }
}

#[tokio::test]
async fn offers_to_one_peer_are_limited_and_others_still_get_theirs() {
    let world = World::with(|config| {
        config.limits.offers_per_second = 1;
        config.limits.offer_burst = 2;
    })
    .await;
    let mut alice = world.client("alice").await;
    let offer =
        |to: &str| json!({ "type": "send", "id": "o", "to": to, "kind": "offer", "payload": 1 });
    for _ in 0..2 {
        alice.send(offer("bob")).await;
        assert_eq!(alice.expect("receipt").await["status"], "gone");
    }
    // A connection attempt is an offer, too.
    alice.send(json!({ "type": "connect", "id": "c", "to": "bob" })).await;
    let refused = alice.expect_error("too_fast").await;
    assert!(refused["message"].as_str().unwrap().contains("offers a second to bob"), "{refused}");
    alice.send(offer("carol")).await;
    assert_eq!(alice.expect("receipt").await["status"], "gone");
    let chat = json!({ "type": "send", "id": "m", "to": "bob", "kind": "chat", "payload": 1 });
    alice.send(chat).await;
    assert_eq!(alice.expect("receipt").await["status"], "gone", "only offers are held up");
}

#[tokio::test]
async fn an_app_that_is_too_fast_does_not_slow_another_and_nobody_is_closed() {
    let world = World::with(|config| {
        config.limits.app_messages_per_second = 1;
        config.limits.app_message_burst = 3;
    })
    .await;
    let mut alice = world.client("alice").await;
    let mut bob = world.client("bob").await;
    for room in ["a", "b", "c"] {
        alice.join(room).await;
    }
    bob.send(json!({ "type": "join", "id": "j", "room": "a" })).await;
    let refused = bob.expect_error("too_fast").await;
    assert!(refused["message"].as_str().unwrap().contains("the app default"), "{refused}");
    let shop = all_for("carol").with_app("shop".parse().unwrap());
    let mut carol = world.client_with(&shop, json!({ "type": "hello", "peer": "carol" })).await;
    carol.join("a").await;
    // Heartbeats are not messages, and the connection is still there.
    bob.expect_silence().await;
}

#[tokio::test]
async fn i5_connections_without_a_token_are_bounded_for_each_address() {
    let world = World::with(|config| config.limits.half_open_private = 2).await;
    let address = world.signaling.local_addr();
    // With a token they do not count, however many there are.
    let mut proven = Vec::new();
    for n in 0..4 {
        proven.push(world.client(&format!("peer-{n}")).await);
    }
    let idle =
        [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    let mut third = TcpStream::connect(address).await.unwrap();
    let mut nothing = [0];
    // An end or a reset: either way it was turned away.
    let read = timeout(HANG, third.read(&mut nothing)).await.expect("it is closed at once");
    assert!(!matches!(read, Ok(1..)), "{read:?}");
    drop(idle);
    let answered = async {
        loop {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = b"GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
            let mut answer = String::new();
            if stream.write_all(request).await.is_ok()
                && stream.read_to_string(&mut answer).await.is_ok()
                && answer.starts_with("HTTP/1.1 200")
            {
                return;
            }
        }
    };
    timeout(HANG, answered).await.expect("those that are gone make room");
}
