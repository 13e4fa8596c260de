//! One client of any of the servers: opens, says who it is, sends to a peer, hears.

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::{Kind, Server};

/// Bytes of a client's buffers: there are ten thousand of them in this process.
const BUFFER: usize = 2 * 1024;

/// A connected client.
pub(crate) struct Client {
    kind: Kind,
    socket: WebSocketStream<TcpStream>,
    sent: u64,
    unflushed: bool,
}

/// What a client makes of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A message of a peer: the number at its beginning.
    Message(u64),
    /// Something of the server's own.
    Other,
}

/// What is sent to a peer: a number, and text up to the size asked for.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    padding: String,
}

impl Sender {
    pub(crate) fn of_size(bytes: usize) -> Self {
        Self { padding: "x".repeat(bytes.saturating_sub(21)) }
    }

    fn payload(&self, number: u64) -> String {
        format!("{number:020};{}", self.padding)
    }
}

impl Client {
    /// Connects as `name` and returns once the server has it.
    pub(crate) async fn connect(server: &Server, token: &str, name: &str) -> Result<Self> {
        let address = &server.address;
        let path = match server.kind {
            Kind::Floor => format!("/{name}"),
            Kind::Ours => "/v1/ws".to_owned(),
            Kind::PeerServer => {
                format!("/peerjs?key=peerjs&id={name}&token={name}&version=1.5.5")
            }
            Kind::SocketIo => format!("/socket.io/?EIO=4&transport=websocket&id={name}"),
        };
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        if server.kind == Kind::Ours {
            let headers = request.headers_mut();
            headers.insert("authorization", format!("Bearer {token}").parse()?);
            headers.insert("sec-websocket-protocol", "p2p.v1".parse()?);
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(BUFFER).write_buffer_size(BUFFER);
        let (socket, _) =
            tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
        let mut client = Self { kind: server.kind, socket, sent: 0, unflushed: false };
        client.register(name).await.with_context(|| format!("{} as {name}", server.kind.name()))?;
        Ok(client)
    }

    async fn register(&mut self, name: &str) -> Result<()> {
        let answer = match self.kind {
            Kind::Floor => return Ok(()),
            Kind::Ours => {
                self.write(format!(r#"{{"type":"hello","peer":"{name}"}}"#)).await?;
                r#""type":"welcome""#
            }
            Kind::PeerServer => r#""type":"OPEN""#,
            Kind::SocketIo => {
                self.write("40".to_owned()).await?;
                "40{"
            }
        };
        loop {
            let text = self.read().await?;
            if text.contains(answer) {
                return Ok(());
            }
            anyhow::ensure!(text.starts_with("0{"), "unexpected: {text}");
        }
    }

    /// Sends a numbered message to a peer.
    pub(crate) async fn send(&mut self, sender: &Sender, to: &str, number: u64) -> Result<()> {
        self.sent += 1;
        let (id, payload) = (self.sent, sender.payload(number));
        let frame = match self.kind {
            Kind::Floor => format!(r#"{{"to":"{to}","payload":"{payload}"}}"#),
            Kind::Ours => format!(
                r#"{{"type":"send","id":"{id}","to":"{to}","kind":"bench","payload":"{payload}"}}"#
            ),
            Kind::PeerServer => {
                format!(r#"{{"type":"OFFER","dst":"{to}","payload":"{payload}"}}"#)
            }
            Kind::SocketIo => format!(r#"42["m","{to}","{payload}"]"#),
        };
        self.write(frame).await
    }

    /// The next frame, answered where the protocol asks for an answer.
    pub(crate) async fn hear(&mut self) -> Result<Heard> {
        let text = self.read().await?;
        let message = match self.kind {
            Kind::Floor => true,
            Kind::PeerServer => text.contains(r#""type":"OFFER""#),
            Kind::SocketIo => {
                if text == "2" {
                    self.write("3".to_owned()).await?;
                }
                text.starts_with("42")
            }
            Kind::Ours => {
                let message = text.starts_with(r#"{"type":"message""#);
                if message {
                    let seq = number_behind(&text, r#""seq":"#).context("no seq")?;
                    // It travels with the next frame, if there is one at once.
                    let ack = format!(r#"{{"type":"ack","seq":{seq}}}"#);
                    self.socket.feed(Message::text(ack)).await?;
                    self.unflushed = true;
                }
                if text.starts_with(r#"{"type":"error""#) {
                    bail!("refused: {text}");
                }
                message
            }
        };
        if !message {
            return Ok(Heard::Other);
        }
        let mark = if self.kind == Kind::SocketIo { r#"["m",""# } else { r#""payload":""# };
        let number = number_behind(&text, mark);
        Ok(Heard::Message(number.with_context(|| format!("no number in {text:.80}"))?))
    }

    /// The next message of a peer.
    pub(crate) async fn message(&mut self) -> Result<u64> {
        loop {
            if let Heard::Message(number) = self.hear().await? {
                return Ok(number);
            }
        }
    }

    /// Sends a frame as it is.
    #[allow(dead_code, reason = "the benchmark of statistics connects")]
    pub(crate) async fn say(&mut self, frame: String) -> Result<()> {
        self.write(frame).await
    }

    /// The next frame of a type, whatever comes before it.
    #[allow(dead_code, reason = "the benchmark of statistics connects")]
    pub(crate) async fn told(&mut self, kind: &str) -> Result<String> {
        let begins = format!(r#"{{"type":"{kind}""#);
        loop {
            let text = self.read().await?;
            if text.starts_with(r#"{"type":"error""#) {
                bail!("refused: {text}");
            }
            if text.starts_with(&begins) {
                return Ok(text);
            }
        }
    }

    async fn write(&mut self, text: String) -> Result<()> {
        self.unflushed = false;
        self.socket.send(Message::text(text)).await.context("the connection broke")
    }

    async fn read(&mut self) -> Result<String> {
        if std::mem::take(&mut self.unflushed) {
            self.socket.flush().await?;
        }
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => bail!("the server ended the connection: {other:?}"),
            }
        }
    }
}

/// The digits behind a mark.
fn number_behind(text: &str, mark: &str) -> Option<u64> {
    let rest = &text[text.find(mark)? + mark.len()..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_the_size_that_was_asked_for_and_its_number_is_found() {
        let sender = Sender::of_size(1024);
        let payload = sender.payload(77);
        assert_eq!(payload.len(), 1024);
        let frame = format!(r#"{{"to":"b","payload":"{payload}"}}"#);
        assert_eq!(number_behind(&frame, r#""payload":""#), Some(77));
        let parsed: serde_json::Value = serde_json::from_str(&frame).unwrap();
        assert_eq!(parsed["payload"], payload);
        assert_eq!(number_behind("nothing", "seq"), None);
    }
}
