//! A WebSocket client that speaks as PeerJS does.

use futures_util::{SinkExt as _, StreamExt as _};
use p2p_auth::Claims;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::{HANG, World, claims, token};

pub(crate) struct PeerJs {
    socket: WebSocketStream<TcpStream>,
}

impl PeerJs {
    /// Where a client with this token connects, as `new Peer(id, { path: '/peerjs', token })` does.
    pub(crate) fn path(id: &str, claims: &Claims) -> String {
        let id = id.replace(' ', "%20");
        format!("/peerjs/peerjs?key=peerjs&id={id}&token={}&version=1.5.5", token(claims).expose())
    }

    /// A client that has heard OPEN. Its token is for exactly this id.
    pub(crate) async fn open(world: &World, id: &str) -> Self {
        Self::with(world, id, &claims(id)).await
    }

    /// The same with another token.
    pub(crate) async fn with(world: &World, id: &str, claims: &Claims) -> Self {
        Self::connect_as(world, id, claims).await.opened().await
    }

    /// A client that has heard nothing yet.
    pub(crate) async fn connect_as(world: &World, id: &str, claims: &Claims) -> Self {
        Self::at(world, &Self::path(id, claims)).await
    }

    /// The same with this query.
    pub(crate) async fn connect(world: &World, query: &str) -> Self {
        Self::at(world, &format!("/peerjs/peerjs?{query}")).await
    }

    pub(crate) async fn at(world: &World, path: &str) -> Self {
        Self::upgrade(world, path, None).await.expect("the upgrade succeeds")
    }

    /// The status of the answer to a page of this origin.
    pub(crate) async fn refused(world: &World, path: &str, origin: &str) -> u16 {
        Self::upgrade(world, path, Some(origin)).await.err().expect("it is refused")
    }

    async fn upgrade(world: &World, path: &str, origin: Option<&str>) -> Result<Self, u16> {
        let address = world.signaling.local_addr();
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        let stream = TcpStream::connect(address).await.unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, response)) => {
                assert!(response.headers().get("sec-websocket-protocol").is_none());
                Ok(Self { socket })
            }
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("the handshake broke: {error}"),
        }
    }

    pub(crate) async fn opened(mut self) -> Self {
        self.expect("OPEN").await;
        self
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("the frame is sent");
    }

    /// Sends to a server that may be closing the connection.
    pub(crate) async fn try_send(&mut self, message: Message) {
        let _ = self.socket.send(message).await;
    }

    /// The text of the next frame. Pings are answered on the way, as every WebSocket does.
    pub(crate) async fn next_text(&mut self) -> String {
        loop {
            match timeout(HANG, self.socket.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_))) => self.socket.flush().await.expect("a pong is sent"),
                Some(Ok(Message::Pong(_))) => {}
                other => panic!("expected a frame, got {other:?}"),
            }
        }
    }

    /// The next frame, which must be of this type.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        let text = self.next_text().await;
        let frame: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// The server has heard by now that everything so far has arrived: what is asked for behind the
    /// pong is answered.
    pub(crate) async fn acknowledge(&mut self) {
        self.expect_silence().await;
    }

    /// Nothing was sent before the answer to this ping, which is behind all that was.
    pub(crate) async fn expect_silence(&mut self) {
        self.socket.send(Message::Ping("silence".into())).await.expect("a ping is sent");
        loop {
            match timeout(HANG, self.socket.next()).await.expect("a pong in time") {
                Some(Ok(Message::Pong(payload))) if payload.as_ref() == b"silence" => return,
                Some(Ok(Message::Ping(_))) => self.socket.flush().await.expect("a pong is sent"),
                Some(Ok(Message::Pong(_))) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The close code; frames before it are skipped.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            match timeout(HANG, self.socket.next()).await.expect("a close in time") {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                other => panic!("expected a close frame, got {other:?}"),
            }
        }
    }

    /// The code with which a server closes that gets no pong and no frame.
    pub(crate) async fn closed_without_answering(&mut self) -> Option<u16> {
        use tokio::io::AsyncReadExt as _;
        let mut bytes = Vec::new();
        timeout(HANG, self.socket.get_mut().read_to_end(&mut bytes))
            .await
            .expect("an end")
            .unwrap();
        // A close frame of a server: 0x88, its length, the code (RFC 6455 §5.5.1).
        let at = bytes.windows(2).rposition(|head| head[0] == 0x88 && head[1] >= 2)?;
        Some(u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]))
    }

    /// Waits until the server is done with the connection.
    pub(crate) async fn ended(mut self) {
        while let Some(Ok(_)) = self.socket.next().await {}
    }

    /// Closes with this code, or without one, and waits until the server has closed as well.
    pub(crate) async fn close(mut self, code: Option<u16>) {
        let frame = code.map(|code| CloseFrame { code: code.into(), reason: "".into() });
        self.socket.close(frame).await.unwrap();
        self.ended().await;
    }
}
