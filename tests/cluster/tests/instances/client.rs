//! A client that speaks JSON over a WebSocket.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::instance::{HANG, token};

pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    pub(crate) welcome: Value,
}

impl Client {
    pub(crate) fn new(socket: WebSocketStream<TcpStream>) -> Self {
        Self { socket, welcome: Value::Null }
    }

    /// One that has said this hello to the instance there and been welcomed; `None` where it was
    /// not.
    pub(crate) async fn hello(address: &str, name: &str, hello: Value) -> Option<Self> {
        Self::hello_with(address, name, &[], hello).await
    }

    /// The same with these headers.
    pub(crate) async fn hello_with(
        address: &str,
        name: &str,
        more: &[(&'static str, &str)],
        hello: Value,
    ) -> Option<Self> {
        let bearer = format!("Bearer {}", token(name));
        let headers: Vec<_> =
            [("authorization", bearer.as_str())].iter().chain(more).copied().collect();
        Self::hello_at(address, "/v1/ws", &headers, hello).await
    }

    /// One that comes as a browser does: a ticket in the URL, no token.
    pub(crate) async fn hello_by_ticket(address: &str, ticket: &str, hello: Value) -> Option<Self> {
        Self::hello_at(address, &format!("/v1/ws?ticket={ticket}"), &[], hello).await
    }

    async fn hello_at(
        address: &str,
        path: &str,
        headers: &[(&'static str, &str)],
        hello: Value,
    ) -> Option<Self> {
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "p2p.v1".parse().unwrap());
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(address).await.ok()?;
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.ok()?;
        let mut client = Self::new(socket);
        client.socket.send(Message::text(hello.to_string())).await.ok()?;
        client.welcome = client.next().await.filter(|frame| frame["type"] == "welcome")?;
        Some(client)
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.socket.send(Message::text(frame.to_string())).await.expect("the frame is sent");
    }

    /// Says goodbye: the session ends.
    pub(crate) async fn say_goodbye(mut self) {
        self.socket.close(None).await.expect("the close frame is sent");
        while self.next().await.is_some() {}
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            match timeout(HANG, self.socket.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(other)) => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The next frame, which must be of this type.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        let frame = self.next().await.expect("the connection is there");
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// The next frame of this type; others are skipped.
    pub(crate) async fn await_type(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await.expect("the connection is there");
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// Nothing was sent before the answer to this ping.
    pub(crate) async fn expect_silence(&mut self) {
        self.send(json!({ "type": "ping", "id": "silence" })).await;
        assert_eq!(self.expect("pong").await["id"], "silence");
    }

    pub(crate) async fn tell(&mut self, to: &str, id: &str) {
        let message = json!({ "type": "send", "id": id, "to": to, "kind": id, "payload": null });
        self.send(message).await;
    }

    /// Sends to a server that may be closing the connection.
    pub(crate) async fn try_send(&mut self, frame: Value) {
        let _ = self.socket.send(Message::text(frame.to_string())).await;
    }

    /// The same of a message.
    pub(crate) async fn try_tell(&mut self, to: &str, id: &str) {
        let message = json!({ "type": "send", "id": id, "to": to, "kind": id, "payload": null });
        self.try_send(message).await;
    }

    pub(crate) async fn ack(&mut self, seq: u64) {
        self.send(json!({ "type": "ack", "seq": seq })).await;
    }

    /// The kind and number of the next message.
    pub(crate) async fn message(&mut self) -> (String, u64) {
        let message = self.expect("message").await;
        (message["kind"].as_str().unwrap().to_owned(), message["seq"].as_u64().unwrap())
    }

    /// The id and status of the next receipt.
    pub(crate) async fn receipt(&mut self) -> (String, String) {
        let receipt = self.await_type("receipt").await;
        let text = |field: &str| receipt[field].as_str().unwrap().to_owned();
        (text("id"), text("status"))
    }

    pub(crate) async fn join(&mut self, room: &str) -> Value {
        self.send(json!({ "type": "join", "id": "j", "room": room })).await;
        self.expect("joined").await
    }

    /// A hello that takes this client's session up again.
    pub(crate) fn resume(&self, last_seq: u64) -> Value {
        json!({
            "type": "hello",
            "peer": self.welcome["peer"],
            "resume": {
                "session": self.welcome["session"],
                "secret": self.welcome["secret"],
                "last_seq": last_seq,
            },
        })
    }
}
