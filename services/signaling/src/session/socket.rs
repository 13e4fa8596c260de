//! The WebSocket as sessions see it: text in, text out, and every other thing has a name.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use p2p_registry::Frame;
use p2p_wire::{CloseCode, Code, Problem, ServerMessage};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as WebSocketFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};

use super::closing::Closing;
use super::upgrade::WebSocket;
use crate::meters;

/// Frames that are written together at most: the others wait no longer than for these.
const AT_ONCE: usize = 32;

/// What comes out of a WebSocket.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// A frame of the protocol.
    Text(Utf8Bytes),
    /// A binary message, which the protocol does not have.
    Binary,
    /// A WebSocket ping, which the library answers.
    Ping,
    /// A WebSocket pong, with what the ping had that it answers.
    Pong(Bytes),
    /// A message over the size limit.
    TooLarge,
    /// A text message that is not UTF-8.
    NotUtf8,
    /// The client closed, with this code if it gave one.
    Closed(Option<u16>),
    /// The connection broke.
    Broken,
}

impl Inbound {
    /// The text of a frame; `None` is a frame without one.
    pub(crate) fn into_text(self) -> Result<Option<Utf8Bytes>, Closing> {
        let bad = |code: Code, close: CloseCode, detail: &str, fix: &str| {
            meters::rejected(code);
            Err(Closing::explained(close, Problem::new(code, "Message rejected", detail, fix)))
        };
        match self {
            Self::Text(text) => Ok(Some(text)),
            Self::Ping | Self::Pong(_) => Ok(None),
            Self::Binary => bad(
                Code::BadMessage,
                CloseCode::BadMessage,
                "a binary message",
                "send JSON in text frames",
            ),
            Self::NotUtf8 => bad(
                Code::BadMessage,
                CloseCode::BadMessage,
                "a text message that is not UTF-8",
                "encode messages as UTF-8",
            ),
            Self::TooLarge => bad(
                Code::TooLarge,
                CloseCode::TooLarge,
                "a message of more than 65536 bytes",
                "keep messages at or under 65536 bytes",
            ),
            Self::Closed(code) => Err(Closing::by_client(code)),
            Self::Broken => Err(Closing::Lost),
        }
    }
}

/// A WebSocket with deadlines.
pub(crate) struct Socket {
    socket: WebSocket,
    write_deadline: Duration,
    linger: Duration,
}

impl Socket {
    pub(crate) fn new(socket: WebSocket, write_deadline: Duration, linger: Duration) -> Self {
        Self { socket, write_deadline, linger }
    }

    /// The next thing that arrives. Safe to drop and call again.
    pub(crate) async fn next(&mut self) -> Inbound {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Self::next`].
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Inbound> {
        self.socket.poll_next_unpin(context).map(|received| match received {
            Some(Ok(Message::Text(text))) => Inbound::Text(text),
            Some(Ok(Message::Binary(_))) => Inbound::Binary,
            Some(Ok(Message::Ping(_))) => Inbound::Ping,
            Some(Ok(Message::Pong(payload))) => Inbound::Pong(payload),
            Some(Ok(Message::Close(frame))) => Inbound::Closed(frame.map(|it| it.code.into())),
            Some(Err(error)) => name(&error),
            // A frame by itself is never received.
            Some(Ok(Message::Frame(_))) | None => Inbound::Broken,
        })
    }

    /// Sends a frame.
    pub(crate) async fn send(&mut self, message: &ServerMessage) -> Result<(), Closing> {
        self.send_frame(message.to_text().into()).await
    }

    /// Sends a frame's text. One that is not taken within the deadline ends the connection.
    pub(crate) async fn send_frame(&mut self, frame: Frame) -> Result<(), Closing> {
        Self::in_time(self.write_deadline, self.socket.send(text(frame))).await
    }

    /// Sends a frame's text and those that are ready behind it, with as few writes as they fit in.
    pub(crate) async fn send_frames(
        &mut self,
        first: Frame,
        mut more: impl FnMut() -> Option<Frame>,
    ) -> Result<(), Closing> {
        let sending = async {
            self.socket.feed(text(first)).await?;
            for _ in 1..AT_ONCE {
                let Some(frame) = more() else { break };
                self.socket.feed(text(frame)).await?;
            }
            self.socket.flush().await
        };
        Self::in_time(self.write_deadline, sending).await
    }

    /// Asks for a pong with this payload: it says that all before it has arrived.
    pub(crate) async fn ping(&mut self, payload: Bytes) -> Result<(), Closing> {
        Self::in_time(self.write_deadline, self.socket.send(Message::Ping(payload))).await
    }

    async fn in_time(
        deadline: Duration,
        sending: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Closing> {
        let mut sending = pin!(sending);
        // Most are taken at once and need no timer.
        let sent = match sending.as_mut().now_or_never() {
            Some(sent) => Ok(sent),
            None => timeout(deadline, sending).await,
        };
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Closing::Lost),
            Err(_) => Err(Closing::TryLater("frames were taken too slowly; reconnect and resume")),
        }
    }

    /// Sends the close frame, if this side is the one that closes.
    pub(crate) async fn close(&mut self, closing: &Closing) {
        let Some((code, reason)) = closing.frame() else { return };
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        let close = Message::Close(Some(frame));
        // The connection ends either way; whoever does not take the frame sees it break.
        let _ = timeout(self.linger, self.socket.send(close)).await;
    }

    /// Waits a moment for the client to close as well. A socket that is dropped with bytes still
    /// unread resets the connection, and the client may then never see the close frame.
    pub(crate) async fn linger(&mut self) {
        let until = Instant::now() + self.linger;
        loop {
            match timeout_at(until, self.socket.next()).await {
                Ok(Some(Ok(_))) => {}
                Ok(None) | Err(_) => return,
                // What the client is still sending cannot be read past the error.
                Ok(Some(Err(error))) => match name(&error) {
                    Inbound::TooLarge | Inbound::NotUtf8 => {
                        sleep_until(until).await;
                        return;
                    }
                    _ => return,
                },
            }
        }
    }
}

/// A frame of the registry's as the WebSocket takes it: still the same memory, and text already.
fn text(frame: Frame) -> Message {
    Message::Frame(WebSocketFrame::message(frame, OpCode::Data(Data::Text), true))
}

fn name(error: &Error) -> Inbound {
    match error {
        Error::Capacity(_) => Inbound::TooLarge,
        Error::Utf8(_) => Inbound::NotUtf8,
        _ => Inbound::Broken,
    }
}
