//! PeerJS clients of several instances.

use futures_util::{SinkExt as _, StreamExt as _};
use p2p_cluster::Redis;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::instance::{HANG, Instance, token};

/// A WebSocket that speaks as PeerJS does.
struct PeerJs(WebSocketStream<TcpStream>);

impl PeerJs {
    /// One whose token is for exactly this id, and that has heard OPEN.
    async fn open(instance: &Instance, id: &str) -> Self {
        let mut peer = Self::connect(instance, id, &token(id)).await;
        assert_eq!(peer.next().await.unwrap(), json!({ "type": "OPEN" }));
        peer
    }

    async fn connect(instance: &Instance, id: &str, token: &str) -> Self {
        let address = instance.address();
        let url = format!("ws://{address}/peerjs/peerjs?key=peerjs&id={id}&token={token}");
        let stream = TcpStream::connect(address).await.unwrap();
        Self(tokio_tungstenite::client_async(url, stream).await.unwrap().0)
    }

    async fn offer(&mut self, to: &str, connection: &str) {
        let payload = json!({ "type": "data", "connectionId": connection });
        let offer = json!({ "type": "OFFER", "payload": payload, "dst": to });
        self.0.send(Message::text(offer.to_string())).await.unwrap();
    }

    /// The next frame; `None` at the end of the connection. Pings are answered on the way.
    async fn next(&mut self) -> Option<Value> {
        loop {
            match timeout(HANG, self.0.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_))) => self.0.flush().await.unwrap(),
                Some(Ok(Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(other)) => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Who sends the next offer, and for which connection.
    async fn offered(&mut self) -> (String, String) {
        let frame = self.next().await.expect("the connection is there");
        assert_eq!(frame["type"], "OFFER", "{frame}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&frame["src"]), text(&frame["payload"]["connectionId"]))
    }

    /// Nothing was sent before the answer to this ping.
    async fn expect_silence(&mut self) {
        self.0.send(Message::Ping("silence".into())).await.unwrap();
        loop {
            match timeout(HANG, self.0.next()).await.expect("a pong in time") {
                Some(Ok(Message::Pong(payload))) if payload.as_ref() == b"silence" => return,
                Some(Ok(Message::Ping(_))) => self.0.flush().await.unwrap(),
                Some(Ok(Message::Pong(_))) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

fn from_alice(connection: &str) -> (String, String) {
    ("alice".to_owned(), connection.to_owned())
}

#[tokio::test]
async fn peerjs_clients_of_two_instances_find_each_other_in_whatever_order_they_come() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let mut alice = PeerJs::open(&one, "alice").await;
    for connection in ["dc_1", "dc_2"] {
        alice.offer("bob", connection).await;
    }
    alice.expect_silence().await;
    let mut bob = PeerJs::open(&two, "bob").await;
    for connection in ["dc_1", "dc_2"] {
        assert_eq!(bob.offered().await, from_alice(connection));
    }
    bob.offer("alice", "dc_3").await;
    assert_eq!(alice.offered().await, ("bob".to_owned(), "dc_3".to_owned()));
    // And whoever speaks the other protocol.
    let mut native = two.client("carol").await;
    alice.offer("carol", "dc_4").await;
    assert_eq!(native.expect("message").await["from"], "alice");
}

#[tokio::test]
async fn i1_a_peerjs_id_has_one_owner_among_instances() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let mut first = PeerJs::connect(&one, "room", &token("ro*")).await;
    first.next().await.unwrap();
    // Somebody else who may be anybody that begins so.
    let mut other = PeerJs::connect(&two, "room", &token("roo*")).await;
    assert_eq!(other.next().await.unwrap()["type"], "ID-TAKEN");
    assert!(other.next().await.is_none());
    // The owner itself, and then its page anew.
    let mut owner = PeerJs::open(&two, "room").await;
    assert!(first.next().await.is_none());
    let mut again = PeerJs::open(&one, "room").await;
    assert!(owner.next().await.is_none());
    again.offer("room", "dc_1").await;
    assert_eq!(again.offered().await, ("room".to_owned(), "dc_1".to_owned()));
}

#[tokio::test]
async fn i2_what_waits_for_a_peerjs_client_outlives_its_instance() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let mut alice = PeerJs::open(&one, "alice").await;
    let mut bob = PeerJs::open(&two, "bob").await;
    for connection in ["dc_1", "dc_2"] {
        alice.offer("bob", connection).await;
        assert_eq!(bob.offered().await, from_alice(connection));
    }
    // Its pong acknowledges them.
    bob.expect_silence().await;
    two.until_metric("p2p_registry_queued_messages", &[], |waiting| waiting == 0.0).await;

    two.crash();
    assert!(bob.next().await.is_none());
    for n in 3..=9 {
        alice.offer("bob", &format!("dc_{n}")).await;
    }
    alice.expect_silence().await;
    let mut bob = PeerJs::open(&one, "bob").await;
    for n in 3..=9 {
        assert_eq!(bob.offered().await, from_alice(&format!("dc_{n}")), "once and in order");
    }
    alice.offer("bob", "dc_10").await;
    assert_eq!(bob.offered().await, from_alice("dc_10"));
    // Nobody was told that anybody had gone.
    alice.expect_silence().await;
}

#[tokio::test]
async fn i12_peerjs_clients_of_a_drained_instance_go_on_elsewhere() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let mut alice = PeerJs::open(&one, "alice").await;
    let mut bob = PeerJs::open(&two, "bob").await;
    let leaving = async {
        assert!(bob.next().await.is_none());
        drop(bob);
    };
    let (clean, ()) = tokio::join!(two.drain(), leaving);
    assert!(clean, "the instance ends well");
    alice.offer("bob", "dc_1").await;
    let mut bob = PeerJs::open(&one, "bob").await;
    assert_eq!(bob.offered().await, from_alice("dc_1"));
}
