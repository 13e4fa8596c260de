//! A running instance, clients that speak JSON to it, and a small HTTP client.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt as _, StreamExt as _};
use p2p_auth::{Claims, Scope, SigningSecret, Token, Verifier, mint};
use p2p_registry::{MemoryRegistry, Settings};
use p2p_signaling::{Signaling, SignalingConfig, SignalingHandle};
use p2p_stats::{SqliteStore, Store};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Longer than anything here takes; only a hang reaches it.
pub(crate) const HANG: Duration = Duration::from_secs(20);

const SECRET: &str = "a secret of this test that is long enough";

pub(crate) struct World {
    pub(crate) signaling: SignalingHandle,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// An instance with another configuration.
    pub(crate) async fn with(change: impl FnOnce(&mut SignalingConfig)) -> Self {
        Self::with_registry(change, Settings::default()).await
    }

    pub(crate) async fn with_registry(
        change: impl FnOnce(&mut SignalingConfig),
        settings: Settings,
    ) -> Self {
        let store = SqliteStore::in_memory().await.unwrap();
        let mut config = config();
        change(&mut config);
        Self::of(config, settings, Arc::new(store)).await
    }

    /// An instance whose statistics go to this store.
    pub(crate) async fn of(
        config: SignalingConfig,
        settings: Settings,
        store: Arc<dyn Store>,
    ) -> Self {
        let registry = MemoryRegistry::start(settings);
        let signaling = Signaling::bind(config, registry, store).await.unwrap();
        Self { signaling: signaling.start() }
    }

    /// A client that has been welcomed. Its token grants every room and scope.
    pub(crate) async fn client(&self, name: &str) -> Client {
        self.client_with(&all_for(name), json!({ "type": "hello", "peer": name })).await
    }

    /// A client with this token that has said this hello and been welcomed.
    pub(crate) async fn client_with(&self, claims: &Claims, hello: Value) -> Client {
        let mut client = self.connect(claims).await;
        client.send(hello).await;
        client.welcome = client.expect("welcome").await;
        client
    }

    /// A client that has not said hello.
    pub(crate) async fn connect(&self, claims: &Claims) -> Client {
        let token = token(claims);
        let headers = [("authorization", format!("Bearer {}", token.expose()))];
        self.open("/v1/ws", &headers).await.expect("the upgrade succeeds")
    }

    /// A WebSocket, or the HTTP answer that refused it.
    pub(crate) async fn open(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Client, Answer> {
        let address = self.signaling.local_addr();
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        let named = headers.iter().any(|(name, _)| *name == "sec-websocket-protocol");
        if !named {
            let protocol = HeaderValue::from_static("p2p.v1");
            request.headers_mut().insert("sec-websocket-protocol", protocol);
        }
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(address).await.unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol").cloned();
                assert_eq!(protocol.unwrap(), "p2p.v1");
                Ok(Client { socket, welcome: Value::Null })
            }
            Err(Error::Http(response)) => {
                let status = response.status().as_u16();
                let body = response.body().clone().unwrap_or_default();
                Err(Answer {
                    status,
                    headers: String::new(),
                    body: String::from_utf8(body).unwrap(),
                })
            }
            Err(error) => panic!("the handshake broke: {error}"),
        }
    }

    pub(crate) async fn get(&self, path: &str, claims: Option<&Claims>) -> Answer {
        self.request("GET", path, claims).await
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        claims: Option<&Claims>,
    ) -> Answer {
        let authorization = claims
            .map(|claims| format!("Authorization: Bearer {}\r\n", token(claims).expose()))
            .unwrap_or_default();
        raw_request(self.signaling.local_addr(), method, path, &authorization).await
    }
}

pub(crate) async fn raw_request(
    address: std::net::SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(HANG, stream.read_to_string(&mut text)).await.expect("an answer").unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = if head.to_lowercase().contains("transfer-encoding: chunked") {
        unchunk(body)
    } else {
        body.to_owned()
    };
    Answer { status, headers: head.to_lowercase(), body }
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// The code of a problem, which must be complete.
    pub(crate) fn problem(&self) -> String {
        let problem = self.json();
        for field in ["code", "title", "detail", "fix"] {
            let text = problem[field].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{field} is missing in {problem}");
        }
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// A WebSocket client that speaks JSON.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
    pub(crate) welcome: Value,
}

impl Client {
    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("the frame is sent");
    }

    /// Sends a frame that the server may have stopped waiting for.
    pub(crate) async fn try_send(&mut self, message: Message) -> bool {
        self.socket.send(message).await.is_ok()
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let message = timeout(HANG, self.socket.next()).await.expect("a frame in time");
            match message {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("expected a frame, got {other:?}"),
            }
        }
    }

    /// The next frame, which must be of this type.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// The next frame, which must be an error with this code and a fix.
    pub(crate) async fn expect_error(&mut self, code: &str) -> Value {
        let error = self.expect("error").await;
        assert_eq!(error["code"], code, "{error}");
        for field in ["message", "fix"] {
            assert!(!error[field].as_str().unwrap().is_empty(), "{error}");
        }
        error
    }

    /// Nothing was sent before the answer to this ping.
    pub(crate) async fn expect_silence(&mut self) {
        self.send(json!({ "type": "ping", "id": "silence" })).await;
        let pong = self.expect("pong").await;
        assert_eq!(pong["id"], "silence");
    }

    /// The close code and its reason; frames before it are skipped.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match timeout(HANG, self.socket.next()).await.expect("a close in time") {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("expected a close frame, got {other:?}"),
            }
        }
    }

    pub(crate) async fn join(&mut self, room: &str) -> Value {
        self.send(json!({ "type": "join", "id": "j", "room": room })).await;
        self.expect("joined").await
    }

    /// Leaves as a program does that ends on purpose.
    pub(crate) async fn goodbye(self) {
        self.close(Some(1000)).await;
    }

    /// Closes with this code, or without one, and waits until the server has closed as well.
    pub(crate) async fn close(mut self, code: Option<u16>) {
        let frame = code.map(|code| CloseFrame { code: code.into(), reason: "".into() });
        self.socket.close(frame).await.unwrap();
        while let Some(Ok(_)) = self.socket.next().await {}
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

pub(crate) fn config() -> SignalingConfig {
    crate::logs::subscribe();
    let secret = SigningSecret::new(SECRET).unwrap();
    let mut config =
        SignalingConfig::new("127.0.0.1:0".parse().unwrap(), Verifier::hs256([secret]));
    config.timing.linger = Duration::from_millis(200);
    config
}

/// A token for one peer that grants everything.
pub(crate) fn all_for(name: &str) -> Claims {
    claims(name).with_rooms(["*".parse().unwrap()]).with_scopes(Scope::ALL)
}

/// A token for one peer with the default grants.
pub(crate) fn claims(name: &str) -> Claims {
    Claims::new(name.parse().unwrap(), now() + 3600)
}

pub(crate) fn token(claims: &Claims) -> Token {
    mint(claims, &SigningSecret::new(SECRET).unwrap()).unwrap()
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
