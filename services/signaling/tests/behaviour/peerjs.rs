//! PeerJS clients: who gets which id, what reaches whom, and what they are told.

use std::time::Duration;

use p2p_auth::{Claims, Scope};
use p2p_registry::{ConflictPolicy, Settings};
use p2p_signaling::SignalingConfig;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::peerjs_client::PeerJs;
use crate::support::{HANG, World, all_for, claims, now, raw_request, token};

/// What a client tells another one, as PeerJS writes it.
fn offer(to: &str, connection: &str) -> Value {
    let payload = json!({
        "sdp": { "type": "offer", "sdp": "v=0" }, "type": "data", "connectionId": connection,
    });
    json!({ "type": "OFFER", "payload": payload, "dst": to })
}

fn is_open(config: &mut SignalingConfig) {
    config.peerjs.open = true;
}

#[tokio::test]
async fn two_clients_pass_each_other_frames_that_say_who_sent_them() {
    let world = World::start().await;
    let mut alice = PeerJs::open(&world, "alice").await;
    let mut bob = PeerJs::open(&world, "bob").await;
    let mut forged = offer("bob", "dc_1");
    forged["src"] = "carol".into();
    alice.send(forged).await;
    let heard = bob.next_text().await;
    let payload = &offer("bob", "dc_1")["payload"];
    let frame: Value = serde_json::from_str(&heard).unwrap();
    assert_eq!(frame, json!({ "type": "OFFER", "src": "alice", "dst": "bob", "payload": payload }));
    for kind in ["ANSWER", "CANDIDATE", "LEAVE", "EXPIRE"] {
        bob.send(json!({ "type": kind, "payload": { "connectionId": "dc_1" }, "dst": "alice" }))
            .await;
        let frame = alice.expect(kind).await;
        assert_eq!(
            (&frame["src"], &frame["payload"]["connectionId"]),
            (&json!("bob"), &json!("dc_1"))
        );
    }
    alice.send(json!({ "type": "HEARTBEAT" })).await;
    alice.send(json!({ "type": "NO-SUCH-TYPE", "dst": "bob" })).await;
    alice.send(offer("alice", "dc_2")).await;
    assert_eq!(alice.expect("OFFER").await["src"], "alice", "and nothing came before");
    bob.expect_silence().await;
}

#[tokio::test]
async fn who_may_not_come_in_is_told_why_and_what_to_do() {
    let world = World::start().await;
    let mut expired = claims("alice");
    expired.exp = now() - 100;
    let of = |claims: &Claims| token(claims).expose().to_owned();
    let alice = of(&claims("alice"));
    let shop = of(&claims("alice").with_app("shop".parse().unwrap()));
    for (query, expected, code) in [
        ("key=peerjs&id=alice".to_owned(), "No id, token, or key supplied", 4400),
        (String::new(), "No id, token, or key supplied to websocket server", 4400),
        (format!("key=peerjs&id=alice&id=bob&token={alice}"), "No id, token, or key", 4400),
        (format!("key=a/b&id=alice&token={alice}"), "Invalid key provided", 4403),
        (format!("key=shop&id=alice&token={alice}"), "use `key: 'peerjs'`", 4403),
        (format!("key=peerjs&id=alice&token={shop}"), "use `key: 'shop'`", 4403),
        (format!("key=peerjs&id=a%2Fb&token={alice}"), "Invalid id provided", 4400),
        (format!("key=peerjs&id=bob&token={alice}"), "the token is for alice, not for bob", 4403),
        ("key=peerjs&id=alice&token=k3jd9ax".to_owned(), "coordinator token --peer 'alice'", 4401),
        ("key=peerjs&id=alice&token=a.b.c".to_owned(), "malformed", 4401),
        (format!("key=peerjs&id=alice&token={}", of(&expired)), "expired", 4401),
    ] {
        let mut refused = PeerJs::connect(&world, &query).await;
        let error = refused.expect("ERROR").await;
        let msg = error["payload"]["msg"].as_str().unwrap();
        assert!(msg.contains(expected) && msg.contains("Fix: "), "{query}: {msg}");
        assert!(!msg.contains(&alice), "the token is not echoed");
        assert_eq!(refused.closed().await, code, "{query}");
    }
    assert_eq!(world.signaling.snapshot().peers_on, 0);
}

#[tokio::test]
async fn i1_who_comes_again_with_any_token_for_the_id_gets_it_and_is_told() {
    let world = World::start().await;
    let mut old = PeerJs::open(&world, "alice").await;
    // A token made a moment later is another text for the same peer.
    let mut later = claims("alice");
    later.exp += 7;
    let mut new = PeerJs::with(&world, "alice", &later).await;
    assert_eq!(old.closed().await, 4409);
    let mut bob = PeerJs::open(&world, "bob").await;
    bob.send(offer("alice", "dc_1")).await;
    assert_eq!(new.expect("OFFER").await["src"], "bob");
}

#[tokio::test]
async fn an_id_is_taken_only_while_another_one_lives_under_it() {
    let world = World::start().await;
    let anybody = |leeway| {
        let mut claims = claims("room-*");
        claims.exp += leeway;
        claims
    };
    let one = PeerJs::with(&world, "room-1", &anybody(0)).await;
    let mut other = PeerJs::connect_as(&world, "room-1", &anybody(1)).await;
    assert_eq!(other.expect("ID-TAKEN").await["payload"]["msg"], "ID is taken");
    assert_eq!(other.closed().await, 4409);
    // The same token is the same client, and a token for exactly this id is its owner's.
    let mut again = PeerJs::with(&world, "room-1", &anybody(0)).await;
    drop(one);
    let owner = PeerJs::with(&world, "room-1", &claims("room-1")).await;
    assert_eq!(again.closed().await, 4409);
    // Its page is left, and may come back; until then nobody lives there.
    owner.close(Some(1001)).await;
    PeerJs::with(&world, "room-1", &anybody(2)).await;
}

#[tokio::test]
async fn an_app_whose_policy_keeps_ids_keeps_them_here_too() {
    let settings = Settings { conflict: ConflictPolicy::Resume.into(), ..Settings::default() };
    let world = World::with_registry(|_| {}, settings).await;
    let bob = PeerJs::open(&world, "bob").await;
    let again = PeerJs::open(&world, "bob").await;
    drop((bob, again));
    let mut other = PeerJs::connect_as(&world, "bob", &claims("b*")).await;
    other.expect("ID-TAKEN").await;
    PeerJs::open(&world, "bob").await;
}

#[tokio::test]
async fn i2_what_a_client_misses_it_gets_when_it_comes_back() {
    let world = World::start().await;
    let mut alice = PeerJs::open(&world, "alice").await;
    let mut bob = PeerJs::open(&world, "bob").await;
    alice.send(offer("bob", "dc_1")).await;
    bob.expect("OFFER").await;
    bob.acknowledge().await;
    bob.close(Some(1001)).await;
    for n in 2..=4 {
        alice.send(offer("bob", &format!("dc_{n}"))).await;
    }
    // Nobody is told that bob is gone: he may come back, and what he has with others may live.
    alice.expect_silence().await;
    let mut bob = PeerJs::open(&world, "bob").await;
    for n in 2..=4 {
        assert_eq!(bob.expect("OFFER").await["payload"]["connectionId"], format!("dc_{n}"));
    }
    bob.acknowledge().await;
    let mut bob = PeerJs::open(&world, "bob").await;
    bob.expect_silence().await;
}

#[tokio::test]
async fn what_is_sent_to_an_id_that_nobody_has_yet_waits_for_it_in_order() {
    let world = World::with(|config| config.timing.peerjs_wait = Duration::from_secs(60)).await;
    let mut alice = PeerJs::open(&world, "alice").await;
    for n in 1..=3 {
        alice.send(offer("bob", &format!("dc_{n}"))).await;
    }
    alice.expect_silence().await;
    let mut bob = PeerJs::open(&world, "bob").await;
    alice.send(offer("bob", "dc_4")).await;
    for n in 1..=4 {
        assert_eq!(bob.expect("OFFER").await["payload"]["connectionId"], format!("dc_{n}"));
    }
    alice.expect_silence().await;
}

#[tokio::test]
async fn who_does_not_come_is_told_of_once_and_what_speaks_of_an_end_does_not_wait() {
    let world = World::with(|config| config.timing.peerjs_wait = Duration::from_millis(300)).await;
    let mut alice = PeerJs::open(&world, "alice").await;
    for kind in ["LEAVE", "EXPIRE"] {
        alice.send(json!({ "type": kind, "dst": "carol" })).await;
    }
    for n in 1..=3 {
        alice.send(offer("bob", &format!("dc_{n}"))).await;
    }
    let expired = alice.expect("EXPIRE").await;
    assert_eq!(expired, json!({ "type": "EXPIRE", "src": "bob", "dst": "alice" }));
    // This is no id, and nobody will have it.
    alice.send(offer("a/b", "dc_1")).await;
    assert_eq!(alice.expect("EXPIRE").await["src"], "a/b");
    alice.expect_silence().await;
    let mut bob = PeerJs::open(&world, "bob").await;
    bob.expect_silence().await;
}

#[tokio::test]
async fn i2_when_a_peer_that_was_away_is_gone_for_good_its_callers_are_told() {
    let settings = Settings { resume_window: Duration::from_millis(200), ..Settings::default() };
    let world = World::with_registry(|_| {}, settings).await;
    let mut alice = PeerJs::open(&world, "alice").await;
    let bob = PeerJs::open(&world, "bob").await;
    bob.close(Some(1001)).await;
    for n in 1..=3 {
        alice.send(offer("bob", &format!("dc_{n}"))).await;
    }
    assert_eq!(alice.expect("EXPIRE").await["src"], "bob");
    alice.expect_silence().await;
}

#[tokio::test]
async fn a_client_that_says_it_leaves_is_gone_at_once_and_nobody_hears_of_it() {
    for leave in [true, false] {
        let world = World::start().await;
        let mut alice = PeerJs::open(&world, "alice").await;
        let mut bob = PeerJs::open(&world, "bob").await;
        bob.send(offer("alice", "dc_1")).await;
        alice.expect("OFFER").await;
        if leave {
            bob.send(json!({ "type": "LEAVE" })).await;
            assert_eq!(bob.closed().await, 1000);
            bob.ended().await;
        } else {
            bob.close(None).await;
        }
        alice.expect_silence().await;
        let snapshot = world.signaling.snapshot();
        assert_eq!((snapshot.peers_on, snapshot.peers_away), (1, 0));
    }
}

#[tokio::test]
async fn peers_of_both_protocols_reach_each_other() {
    let world = World::start().await;
    let mut native = world.client("native").await;
    let mut page = PeerJs::open(&world, "page").await;
    page.send(offer("native", "dc_1")).await;
    let message = native.expect("message").await;
    assert_eq!((&message["from"], &message["kind"]), (&json!("page"), &json!("offer")));
    native.send(json!({ "type": "ack", "seq": message["seq"] })).await;
    for (id, kind) in [("m1", "answer"), ("m2", "candidate"), ("m3", "leave")] {
        let payload = json!({ "connectionId": "dc_1" });
        let send =
            json!({ "type": "send", "id": id, "to": "page", "kind": kind, "payload": payload });
        native.send(send).await;
        let frame = page.expect(&kind.to_uppercase()).await;
        assert_eq!((&frame["src"], &frame["payload"]), (&json!("native"), &payload));
        page.acknowledge().await;
        let receipt = native.expect("receipt").await;
        assert_eq!((&receipt["id"], &receipt["status"]), (&json!(id), &json!("delivered")));
    }
    // Nobody can speak in the server's name, or in a way that PeerJS does not have.
    for kind in ["error", "ERROR", "id-taken", "open", "chat"] {
        native.send(json!({ "type": "send", "id": kind, "to": "page", "kind": kind })).await;
    }
    page.expect_silence().await;
}

#[tokio::test]
async fn a_native_request_for_a_connection_is_declined_at_once() {
    let world = World::start().await;
    let mut native = world.client("native").await;
    let _page = PeerJs::open(&world, "page").await;
    native.send(json!({ "type": "connect", "id": "a", "to": "page" })).await;
    native.expect("attempt").await;
    assert_eq!(native.expect("ended").await["reason"], "peer_failed");
}

#[tokio::test]
async fn any_frame_and_any_pong_is_a_sign_of_life() {
    let world = World::with(|config| {
        config.timing.peerjs_silence = Duration::from_secs(2);
        config.timing.heartbeat = Duration::from_millis(200);
    })
    .await;
    let mut dead = PeerJs::open(&world, "dead").await;
    // This one only has a WebSocket that answers pings, as a page has that is frozen.
    let mut frozen = PeerJs::open(&world, "frozen").await;
    tokio::select! {
        code = dead.closed_without_answering() => assert_eq!(code, Some(4408)),
        text = frozen.next_text() => panic!("{text}"),
    }
    frozen.expect_silence().await;
}

#[tokio::test]
async fn a_token_that_ends_ends_the_connection_and_a_newer_one_takes_the_session_up() {
    let world = World::start().await;
    let mut ending = claims("alice");
    // 30 s of leeway: this one has one second left.
    ending.exp = now() - 29;
    let mut alice = PeerJs::with(&world, "alice", &ending).await;
    let mut bob = PeerJs::open(&world, "bob").await;
    let error = alice.expect("ERROR").await;
    assert!(error["payload"]["msg"].as_str().unwrap().contains("new token"), "{error}");
    assert_eq!(alice.closed().await, 4401);
    bob.send(offer("alice", "dc_1")).await;
    bob.expect_silence().await;
    let mut alice = PeerJs::open(&world, "alice").await;
    assert_eq!(alice.expect("OFFER").await["src"], "bob");
}

#[tokio::test]
async fn i12_a_drain_closes_clients_over_its_window_and_keeps_their_sessions() {
    let world = World::with(|config| config.timing.drain = Duration::from_millis(300)).await;
    let mut alice = PeerJs::open(&world, "alice").await;
    let handle = world.signaling.clone();
    let draining = tokio::spawn(async move { handle.drain().await });
    assert_eq!(alice.closed().await, 4503);
    drop(alice);
    draining.await.unwrap();
    let snapshot = world.signaling.snapshot();
    assert_eq!((snapshot.peers_on, snapshot.peers_away), (0, 1));
}

#[tokio::test]
async fn where_it_is_open_a_client_needs_no_jwt_and_its_token_says_who_it_is() {
    let world = World::with(is_open).await;
    let one = PeerJs::connect(&world, "key=peerjs&id=alice&token=one").await;
    let mut one = one.opened().await;
    let mut other = PeerJs::connect(&world, "key=peerjs&id=alice&token=other").await;
    other.expect("ID-TAKEN").await;
    let again = PeerJs::connect(&world, "key=peerjs&id=alice&token=one").await;
    let mut again = again.opened().await;
    assert_eq!(one.closed().await, 4409);
    let elsewhere = PeerJs::connect(&world, "key=game&id=bob&token=x").await;
    let mut elsewhere = elsewhere.opened().await;
    let bob = PeerJs::connect(&world, "key=peerjs&id=bob&token=x").await;
    let mut bob = bob.opened().await;
    again.send(offer("bob", "dc_1")).await;
    bob.expect("OFFER").await;
    elsewhere.expect_silence().await;
    // Whoever shows a JWT is held to it.
    let mut expired = claims("carol");
    expired.exp = now() - 100;
    let mut refused = PeerJs::connect_as(&world, "carol", &expired).await;
    refused.expect("ERROR").await;
}

#[tokio::test]
async fn a_client_whose_path_is_the_root_connects_as_well() {
    let world = World::start().await;
    let query = format!("key=peerjs&id=alice&token={}", token(&claims("alice")).expose());
    PeerJs::at(&world, &format!("/peerjs?{query}")).await.opened().await;
    for path in ["/peerjs", "/peerjs/"] {
        let answer = world.get(path, None).await;
        assert_eq!(answer.json()["name"], "PeerJS Server", "{path}");
    }
    let no_upgrade = world.get("/peerjs/peerjs", None).await;
    assert_eq!((no_upgrade.status, no_upgrade.problem().as_str()), (400, "bad_message"));
}

#[tokio::test]
async fn a_new_id_is_one_that_nobody_has_and_any_page_may_read_it() {
    let world = World::start().await;
    let address = world.signaling.local_addr();
    let mut ids = Vec::new();
    for path in ["/peerjs/peerjs/id?ts=17&version=1.5.5", "/peerjs/id", "/peerjs/shop/id"] {
        let origin = "Origin: https://app.example.org\r\n";
        let answer = raw_request(address, "GET", path, origin).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.headers.contains("content-type: text/html"), "{}", answer.headers);
        let allowed = "access-control-allow-origin: https://app.example.org";
        assert!(answer.headers.contains(allowed), "{}", answer.headers);
        assert_eq!(answer.body.len(), 36, "{}", answer.body);
        ids.push(answer.body);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn pages_of_other_origins_neither_read_answers_nor_connect_where_some_are_named() {
    let world = World::with(|config| {
        config.origins = p2p_signaling::Origins::Only(vec!["https://app.example.org".to_owned()]);
    })
    .await;
    let address = world.signaling.local_addr();
    let ask = async |origin: &str| {
        let origin = format!("Origin: {origin}\r\n");
        raw_request(address, "GET", "/peerjs/peerjs/id", &origin).await.headers
    };
    assert!(ask("https://app.example.org").await.contains("access-control-allow-origin"));
    assert!(!ask("https://evil.example.org").await.contains("access-control-allow-origin"));
    let path = PeerJs::path("alice", &claims("alice"));
    let origin = "https://evil.example.org";
    assert_eq!(PeerJs::refused(&world, &path, origin).await, 403);
}

#[tokio::test]
async fn ids_are_listed_where_the_app_allows_it_or_the_token_grants_it() {
    let world =
        World::with(|config| config.peerjs.discovery = vec!["lobby".parse().unwrap()]).await;
    let _alice = PeerJs::open(&world, "alice").await;
    let gone = PeerJs::open(&world, "gone").await;
    gone.close(Some(1001)).await;
    let in_lobby = claims("bob").with_app("lobby".parse().unwrap());
    let path = PeerJs::path("bob", &in_lobby).replace("key=peerjs", "key=lobby");
    let _bob = PeerJs::at(&world, &path).await.opened().await;
    let lobby = world.get("/peerjs/lobby/peers?ts=1", None).await;
    assert_eq!(lobby.json(), json!(["bob"]));
    for path in
        ["/peerjs/peerjs/peers", "/peerjs/peers", "/peerjs/other/peers", "/peerjs/a{b/peers"]
    {
        let refused = world.get(path, None).await;
        assert_eq!((refused.status, refused.body.as_str()), (401, "Unauthorized"), "{path}");
    }
    let discoverer = claims("carol").with_scopes([Scope::Discover]);
    let listed = world.get("/peerjs/peerjs/peers", Some(&discoverer)).await;
    assert_eq!(listed.json(), json!(["alice"]));
    let token = token(&discoverer);
    let listed = world.get(&format!("/peerjs/peers?token={}", token.expose()), None).await;
    assert_eq!(listed.json(), json!(["alice"]));
    assert_eq!(world.get("/peerjs/peerjs/peers", Some(&claims("carol"))).await.status, 401);
}

#[tokio::test]
async fn connections_and_frames_are_counted_by_protocol() {
    let world = World::start().await;
    let mut alice = PeerJs::open(&world, "alice").await;
    alice.send(offer("alice", "dc_1")).await;
    alice.expect("OFFER").await;
    let _native = world.client("native").await;
    let metrics = world.get("/metrics", None).await.body;
    for line in [
        "p2p_signaling_connections_opened_total{protocol=\"peerjs\"}",
        "p2p_signaling_connections_opened_total{protocol=\"p2p.v1\"}",
        "p2p_signaling_peerjs_frames_total{type=\"OFFER\"}",
        "p2p_signaling_peerjs_waiting_messages",
    ] {
        assert!(metrics.contains(line), "{line}:\n{metrics}");
    }
}

#[tokio::test]
async fn i5_who_calls_many_that_are_not_there_is_told_so_instead_of_filling_memory() {
    let world = World::start().await;
    let mut alice = PeerJs::open(&world, "alice").await;
    for n in 0..20 {
        alice.send(offer(&format!("nobody-{n}"), "dc_1")).await;
    }
    // Sixteen wait; the others are given up at once.
    for n in 16..20 {
        assert_eq!(alice.expect("EXPIRE").await["src"], format!("nobody-{n}"));
    }
    alice.expect_silence().await;
    let metrics = world.get("/metrics", None).await.body;
    assert!(metrics.contains("limit=\"peerjs_waiting\""), "{metrics}");
}

#[tokio::test]
async fn i5_a_client_that_goes_on_too_fast_is_closed_and_loses_nothing_before() {
    let world = World::with(|config| {
        config.limits.messages_per_second = 1;
        config.limits.message_burst = 2;
        config.limits.too_fast_strikes = 3;
    })
    .await;
    let mut alice = PeerJs::open(&world, "alice").await;
    alice.send(offer("alice", "dc_1")).await;
    for _ in 0..8 {
        alice.try_send(json!({ "type": "HEARTBEAT" }).to_string().into()).await;
    }
    alice.expect("OFFER").await;
    let error = alice.expect("ERROR").await;
    assert!(error["payload"]["msg"].as_str().unwrap().contains("messages a second"), "{error}");
    assert_eq!(alice.closed().await, 4429);
}

#[tokio::test]
async fn i5_a_page_that_does_not_read_is_cut_off_and_loses_nothing() {
    let world = World::with(|config| {
        config.timing.write = Duration::from_millis(500);
        config.limits.message_burst = 10_000;
    })
    .await;
    let mut alice = PeerJs::open(&world, "alice").await;
    let bob = PeerJs::open(&world, "bob").await;
    // His inbox fills, and what is written to him stays in the network.
    let bulk = "x".repeat(60_000);
    for n in 0..250 {
        let payload = json!({ "n": n, "bulk": bulk });
        alice.send(json!({ "type": "CANDIDATE", "payload": payload, "dst": "bob" })).await;
    }
    let cut_off = async {
        while world.signaling.snapshot().peers_away == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(HANG, cut_off).await.expect("bob is cut off");
    drop(bob);
    alice.expect_silence().await;
    let mut bob = PeerJs::open(&world, "bob").await;
    for n in 0..250 {
        assert_eq!(bob.expect("CANDIDATE").await["payload"]["n"], n);
    }
    bob.expect_silence().await;
}

#[tokio::test]
async fn i5_pages_that_show_no_token_are_counted_until_they_are_told() {
    let world = World::with(|config| {
        config.limits.half_open_private = 1;
        config.timing.linger = Duration::from_secs(60);
    })
    .await;
    let mut stranger = PeerJs::connect(&world, "key=peerjs&id=alice&token=none").await;
    stranger.expect("ERROR").await;
    // It has not closed its side: until it does, or has had its time, its address has no other place.
    assert!(!is_let_in(&world).await);
    stranger.ended().await;
    let has_place = async { while !is_let_in(&world).await {} };
    tokio::time::timeout(HANG, has_place).await.expect("there is a place again");
}

/// Whether a connection that shows no token gets an answer.
async fn is_let_in(world: &World) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = TcpStream::connect(world.signaling.local_addr()).await.unwrap();
    let mut answer = Vec::new();
    let asked = async {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        stream.read_to_end(&mut answer).await
    };
    let _ = tokio::time::timeout(HANG, asked).await.expect("an answer or an end");
    !answer.is_empty()
}

#[tokio::test]
async fn nobody_else_notices_what_a_client_does_wrong() {
    use tokio_tungstenite::tungstenite::Message;
    let world = World::start().await;
    let mut bystander = PeerJs::open(&world, "bystander").await;
    let texts = [
        "",
        "nonsense",
        "[]",
        "null",
        "7",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":"OFFER""#,
        r#"{"type":"OFFER","dst":7}"#,
        r#"{"type":"OFFER","dst":"b","dst":"c"}"#,
        "\u{0}",
    ];
    for text in texts {
        let mut rude = PeerJs::open(&world, "rude").await;
        for _ in 0..3 {
            rude.try_send(Message::text(text)).await;
        }
        rude.expect("ERROR").await;
        assert_eq!(rude.closed().await, 4400, "{text:?}");
    }
    // One now and then is overlooked, as PeerServer does.
    let mut careless = PeerJs::open(&world, "careless").await;
    for _ in 0..5 {
        careless.send_text("nonsense").await;
        careless.send(json!({ "type": "HEARTBEAT" })).await;
    }
    careless.expect_silence().await;
    for (message, code) in [
        (Message::binary(b"{}".to_vec()), 4400),
        (Message::text("x".repeat(65_537)), 4413),
        (Message::text(format!(r#"{{"type":"OFFER","dst":"{}"}}"#, "x".repeat(70_000))), 4413),
    ] {
        let mut rude = PeerJs::open(&world, "rude").await;
        rude.try_send(message).await;
        rude.expect("ERROR").await;
        assert_eq!(rude.closed().await, code);
    }
    bystander.send(offer("bystander", "dc_1")).await;
    bystander.expect("OFFER").await;
}

#[tokio::test]
async fn a_native_client_and_a_page_of_one_person_follow_each_other() {
    let world = World::start().await;
    let mut native = world.client("alice").await;
    let mut page = PeerJs::open(&world, "alice").await;
    assert_eq!(native.closed().await.0, 4409);
    let hello = json!({ "type": "hello", "peer": "alice" });
    let native = world.client_with(&all_for("alice"), hello).await;
    assert_eq!(native.welcome["resumed"], false);
    assert_eq!(page.closed().await, 4409);
}
