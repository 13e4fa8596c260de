//! The client's side of `p2p.v1`: one WebSocket at a time, taken up again when it is lost.
//!
//! A lost coordinator loses no connection (I8): paths and QUIC do not ask it for anything. This task
//! keeps trying with full jitter until the coordinator says that trying is no use. An instance that is
//! going away is used to the last moment: who leaves it early is not to be found meanwhile.

mod opening;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ::http::StatusCode;
use futures_util::{SinkExt, StreamExt};
use p2p_wire::IceServer;
use p2p_wire::client::{Ack, Hello, Ping, Refresh, Resume};
use p2p_wire::server::Welcome;
use p2p_wire::{
    ClientMessage, CloseCode, Code, Meta, PeerId, PeerKey, RequestId, Secret, ServerMessage,
};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as CloseFrameCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

use crate::backoff::{self, Tries};
use crate::credentials::Credentials;
use crate::error::{Error, ErrorCode};
use crate::http;

use self::opening::{open, rejected};

/// How long a WebSocket may take to open, and the coordinator to say welcome.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);
/// Heartbeats without any answer after which the WebSocket counts as lost.
const MISSED_HEARTBEATS: u32 = 2;

/// Requests that may wait for their answer and are remembered for the case that it does not come.
const MAX_UNANSWERED: usize = 256;

/// What part of a token's life is left when a newer one is asked for.
const TOKEN_ENDING: u32 = 10;

const GOING_AWAY: &str = "the instance is going away";
const CLOSED: &str = "the client is closed";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Whom to register where.
#[derive(Debug, Clone)]
pub struct SignalingConfig {
    /// The coordinator.
    pub server: String,
    /// The JWT.
    pub token: Secret,
    /// The peer id.
    pub peer: PeerId,
    /// The peer's metadata.
    pub meta: Meta,
    /// The key that others pin.
    pub key: Option<PeerKey>,
    /// How often the first connection is tried again.
    pub max_retries: u32,
    /// Whom to trust where the coordinator is reached over TLS.
    pub tls: Arc<rustls::ClientConfig>,
}

/// What comes from the coordinator.
#[derive(Debug)]
pub enum SignalEvent {
    /// Registered.
    Welcome(Box<Welcome>),
    /// Requests for attempts that went out by an earlier WebSocket, which was lost before their
    /// answer: whoever still waits for one asks again.
    Unanswered(Vec<RequestId>),
    /// STUN and TURN servers, with fresh credentials.
    Servers(Vec<IceServer>),
    /// Everything else that it says.
    Message(ServerMessage),
    /// The WebSocket is lost and tried again after a pause.
    Lost {
        /// Why.
        cause: String,
        /// The pause.
        retry_in: Duration,
    },
    /// The token ends after this long.
    TokenEnding(Duration),
    /// Trying again is no use.
    Ended(Error),
}

/// A newer token.
#[derive(Debug)]
pub struct Renewal {
    /// The token.
    pub token: Secret,
    /// What became of it.
    pub answer: oneshot::Sender<Result<(), Error>>,
}

/// Runs until cancelled or until the coordinator will not have this peer.
pub async fn run(
    config: SignalingConfig,
    mut outgoing: mpsc::Receiver<ClientMessage>,
    renewals: mpsc::Receiver<Renewal>,
    events: mpsc::Sender<SignalEvent>,
    cancel: CancellationToken,
) {
    let mut session = Session {
        config,
        resume: None,
        last_seq: 0,
        welcomed: false,
        renewals,
        asked: None,
        unanswered: VecDeque::new(),
    };
    let mut tries = Tries::default();
    loop {
        let lost = session.one_socket(&mut outgoing, &events, &mut tries, &cancel).await;
        let before = tries.lost(std::time::Instant::now());
        let jittered = || backoff::pause(before, &mut rand::rng());
        let (cause, pause) = match lost {
            Lost::Ended(error) => return drop(events.send(SignalEvent::Ended(error)).await),
            // The instance has given each of its clients another moment already.
            Lost::Goaway if before == 0 => (GOING_AWAY.to_owned(), Duration::ZERO),
            Lost::Goaway => (GOING_AWAY.to_owned(), jittered()),
            // An address where nobody has ever been a coordinator is a wrong one.
            Lost::Foreign(error) if !session.welcomed => {
                return drop(events.send(SignalEvent::Ended(error)).await);
            }
            Lost::Retry(error) if !session.welcomed && before >= session.config.max_retries => {
                return drop(events.send(SignalEvent::Ended(error)).await);
            }
            Lost::Retry(error) | Lost::Foreign(error) => (error.cause, jittered()),
        };
        if events.send(SignalEvent::Lost { cause, retry_in: pause }).await.is_err() {
            return;
        }
        tokio::select! {
            () = cancel.cancelled() => {
                let closed = Error::closed(CLOSED);
                return drop(events.send(SignalEvent::Ended(closed)).await);
            }
            () = sleep(pause) => {}
        }
        session.use_newest_token();
    }
}

/// The STUN and TURN servers that the coordinator offers for this token, without registering.
pub(crate) async fn ice_servers(
    server: &str,
    token: &Secret,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<Vec<IceServer>, Error> {
    #[derive(serde::Deserialize)]
    struct Answer {
        #[serde(rename = "iceServers")]
        ice_servers: Vec<IceServer>,
    }
    let asked = http::get(server, "/v1/ice-servers", token, tls).await;
    let (status, body) = asked.map_err(|cause| unreachable(server, &cause))?;
    if status != StatusCode::OK {
        return Err(rejected(server, status, &body).error());
    }
    let answer: Result<Answer, _> = serde_json::from_slice(&body);
    answer
        .map(|a| a.ice_servers)
        .map_err(|e| unreachable(server, &format!("its answer is odd: {e}")))
}

/// Opens a WebSocket, says nothing and closes it.
pub(crate) async fn knock(
    server: &str,
    token: &Secret,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<(), Error> {
    let mut socket = match timeout(OPEN_DEADLINE, open(server, token, tls)).await {
        Ok(opened) => opened.map_err(Lost::error)?,
        Err(_) => return Err(unreachable(server, "it does not answer")),
    };
    let _ = socket.close(None).await;
    Ok(())
}

enum Lost {
    Retry(Error),
    /// The instance goes away, and another one or its successor takes the session.
    Goaway,
    /// Something that is no coordinator has answered: a proxy in front of it, or a captive portal.
    Foreign(Error),
    Ended(Error),
}

impl Lost {
    /// The same, with what the coordinator said before it closed the WebSocket.
    fn because(self, said: Option<Error>) -> Self {
        match (self, said) {
            (Self::Retry(_), Some(error)) => Self::Retry(error),
            (Self::Ended(_), Some(error)) => Self::Ended(error),
            (lost, _) => lost,
        }
    }

    fn error(self) -> Error {
        match self {
            Self::Retry(error) | Self::Foreign(error) | Self::Ended(error) => error,
            Self::Goaway => Error::closed(GOING_AWAY),
        }
    }
}

struct Session {
    config: SignalingConfig,
    resume: Option<(p2p_wire::SessionId, Secret)>,
    last_seq: u64,
    welcomed: bool,
    renewals: mpsc::Receiver<Renewal>,
    /// The newer token that the coordinator has been shown.
    asked: Option<(RequestId, Renewal)>,
    /// Requests for attempts that have gone out and were not answered, the oldest first.
    unanswered: VecDeque<RequestId>,
}

impl Session {
    /// What came while there was no connection counts from the next one on, which proves it.
    fn use_newest_token(&mut self) {
        let waiting = self.asked.take().map(|(_, renewal)| renewal);
        let came = std::iter::from_fn(|| self.renewals.try_recv().ok());
        for Renewal { token, answer } in waiting.into_iter().chain(came) {
            self.config.token = token;
            // Whoever asked may have gone.
            let _ = answer.send(Ok(()));
        }
    }

    async fn one_socket(
        &mut self,
        outgoing: &mut mpsc::Receiver<ClientMessage>,
        events: &mpsc::Sender<SignalEvent>,
        tries: &mut Tries,
        cancel: &CancellationToken,
    ) -> Lost {
        let registered = tokio::select! {
            () = cancel.cancelled() => return closed_here(),
            registered = self.register() => registered,
        };
        let (socket, welcome) = match registered {
            Ok(registered) => registered,
            Err(lost) => return lost,
        };
        tries.connected(std::time::Instant::now());
        self.welcomed = true;
        if !welcome.resumed {
            self.last_seq = 0;
        }
        self.resume = Some((welcome.session.clone(), welcome.secret.clone()));
        let heartbeat = Duration::from_millis(welcome.heartbeat_ms.max(1_000));
        let token_left = welcome.token_expires_ms.map(Duration::from_millis);
        let mut credentials = Credentials::default();
        credentials.came(&welcome.ice_servers);
        if events.send(SignalEvent::Welcome(Box::new(welcome))).await.is_err() {
            return closed_here();
        }
        let unanswered: Vec<_> = self.unanswered.drain(..).collect();
        if !unanswered.is_empty() && events.send(SignalEvent::Unanswered(unanswered)).await.is_err()
        {
            return closed_here();
        }
        self.converse(socket, heartbeat, token_left, credentials, outgoing, events, cancel).await
    }

    /// Opens a WebSocket and says hello.
    async fn register(&mut self) -> Result<(Socket, Welcome), Lost> {
        let server = self.config.server.clone();
        let late = |cause| move |_| Lost::Retry(unreachable(&server, cause));
        let SignalingConfig { server, token, tls, .. } = &self.config;
        let opened = timeout(OPEN_DEADLINE, open(server, token, tls)).await;
        let mut socket = opened.map_err(late.clone()("it does not answer"))??;
        let welcome = timeout(OPEN_DEADLINE, self.hello(&mut socket)).await;
        let welcome = welcome.map_err(late("no welcome came"))??;
        Ok((socket, welcome))
    }

    async fn hello(&mut self, socket: &mut Socket) -> Result<Welcome, Lost> {
        let resume = self.resume.clone().map(|(session, secret)| Resume {
            session,
            secret,
            last_seq: self.last_seq,
        });
        let hello = ClientMessage::Hello(Hello {
            peer: self.config.peer.clone(),
            meta: self.config.meta.clone(),
            key: self.config.key.clone(),
            resume,
        });
        send(socket, &hello).await?;
        let mut refusal = None;
        loop {
            match receive(socket).await {
                Ok(Some(ServerMessage::Welcome(welcome))) => return Ok(*welcome),
                Ok(Some(ServerMessage::Error(error))) => {
                    refusal = Some(refused(error.code, error.message, error.fix));
                }
                Ok(Some(_) | None) => {}
                // The error says why; whether to come back is what the close code says.
                Err(lost) => return Err(self.unresumable(lost).because(refusal)),
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one conversation, and what it is about")]
    async fn converse(
        &mut self,
        mut socket: Socket,
        heartbeat: Duration,
        token_left: Option<Duration>,
        mut credentials: Credentials,
        outgoing: &mut mpsc::Receiver<ClientMessage>,
        events: &mpsc::Sender<SignalEvent>,
        cancel: &CancellationToken,
    ) -> Lost {
        let mut next_ping = Instant::now() + heartbeat;
        let mut heard = Instant::now();
        let mut token_ends = token_left.map(token_ends_in);
        let mut leave_at = None;
        loop {
            tokio::select! {
                biased;
                // What is on its way goes out before the goodbye: the last reports among it.
                Some(message) = outgoing.recv() => {
                    if let ClientMessage::Connect(connect) = &message {
                        self.remember(connect.id.clone());
                        // An instance that goes away begins no attempts.
                        if leave_at.is_some() {
                            return Lost::Goaway;
                        }
                    }
                    if let Err(lost) = send(&mut socket, &message).await {
                        return lost;
                    }
                }
                // A goodbye, so that others need not wait for the resume window to close.
                () = cancel.cancelled() => {
                    let goodbye = CloseFrame { code: CloseFrameCode::Normal, reason: "".into() };
                    let _ = socket.close(Some(goodbye)).await;
                    return closed_here();
                }
                Some(renewal) = self.renewals.recv(), if self.asked.is_none() => {
                    let id = RequestId::new("token").expect("a word is an id");
                    let refresh = Refresh { id: id.clone(), token: renewal.token.clone() };
                    self.asked = Some((id, renewal));
                    if let Err(lost) = send(&mut socket, &ClientMessage::Refresh(refresh)).await {
                        return lost;
                    }
                }
                () = until(leave_at) => return Lost::Goaway,
                () = until(token_ends.map(|(ask, _)| ask)) => {
                    let left = token_ends.take().map_or(Duration::ZERO, |(_, end)| {
                        end.saturating_duration_since(Instant::now())
                    });
                    if events.send(SignalEvent::TokenEnding(left)).await.is_err() {
                        return closed_here();
                    }
                }
                () = until(credentials.due()) => {
                    credentials.asked();
                    let token = self.config.token.clone();
                    let refresh = ClientMessage::Refresh(Refresh { id: credentials_id(), token });
                    if let Err(lost) = send(&mut socket, &refresh).await {
                        return lost;
                    }
                }
                received = receive(&mut socket) => {
                    heard = Instant::now();
                    match received {
                        Ok(Some(ServerMessage::Goaway(goaway))) => {
                            let after = Duration::from_millis(goaway.after_ms);
                            leave_at.get_or_insert(Instant::now() + after);
                        }
                        Ok(Some(ServerMessage::Error(error)))
                            if error.code == Code::Draining && self.is_unanswered(&error.id) =>
                        {
                            return Lost::Goaway;
                        }
                        Ok(Some(ServerMessage::Refreshed(refreshed))) => {
                            if refreshed.id != credentials_id() {
                                if let Some((_, renewal)) = self.asked.take() {
                                    self.config.token = renewal.token;
                                    let _ = renewal.answer.send(Ok(()));
                                }
                                let left = Duration::from_millis(refreshed.token_expires_ms);
                                token_ends = Some(token_ends_in(left));
                            }
                            credentials.came(&refreshed.ice_servers);
                            let servers = SignalEvent::Servers(refreshed.ice_servers);
                            if events.send(servers).await.is_err() {
                                return closed_here();
                            }
                        }
                        Ok(Some(ServerMessage::Error(error))) if self.is_of_renewal(&error.id) => {
                            if let Some((_, renewal)) = self.asked.take() {
                                let error = refused(error.code, error.message, error.fix);
                                let _ = renewal.answer.send(Err(error));
                            }
                        }
                        Ok(Some(message)) => {
                            if let Err(lost) = self.take(&mut socket, message, events).await {
                                return lost;
                            }
                        }
                        Ok(None) => {}
                        Err(Lost::Retry(_)) if leave_at.is_some() => return Lost::Goaway,
                        Err(lost) => return self.unresumable(lost),
                    }
                }
                () = tokio::time::sleep_until(next_ping) => {
                    if heard.elapsed() > heartbeat * MISSED_HEARTBEATS {
                        let cause = "it has stopped answering";
                        return Lost::Retry(unreachable(&self.config.server, cause));
                    }
                    next_ping += heartbeat;
                    if let Err(lost) = send(&mut socket, &ClientMessage::Ping(Ping::default())).await {
                        return lost;
                    }
                }
            }
        }
    }

    fn remember(&mut self, request: RequestId) {
        if self.unanswered.len() >= MAX_UNANSWERED {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back(request);
    }

    fn is_unanswered(&self, id: &Option<RequestId>) -> bool {
        id.as_ref().is_some_and(|id| self.unanswered.contains(id))
    }

    fn is_of_renewal(&self, id: &Option<RequestId>) -> bool {
        self.asked.as_ref().is_some_and(|(asked, _)| id.as_ref() == Some(asked))
    }

    async fn take(
        &mut self,
        socket: &mut Socket,
        message: ServerMessage,
        events: &mpsc::Sender<SignalEvent>,
    ) -> Result<(), Lost> {
        let (seq, answered) = match &message {
            ServerMessage::Message(message) => (Some(message.seq), None),
            ServerMessage::Attempt(attempt) => (None, attempt.id.as_ref()),
            ServerMessage::Error(error) => (None, error.id.as_ref()),
            _ => (None, None),
        };
        if let Some(answered) = answered {
            self.unanswered.retain(|id| id != answered);
        }
        if seq.is_some_and(|seq| seq <= self.last_seq) {
            return Ok(());
        }
        if events.send(SignalEvent::Message(message)).await.is_err() {
            return Err(closed_here());
        }
        if let Some(seq) = seq {
            self.last_seq = seq;
            send(socket, &ClientMessage::Ack(Ack { seq })).await?;
        }
        Ok(())
    }

    /// A session that cannot be resumed is begun anew.
    fn unresumable(&mut self, lost: Lost) -> Lost {
        match lost {
            Lost::Ended(error) if error.cause.starts_with("4410") => {
                self.resume = None;
                Lost::Retry(error)
            }
            other => other,
        }
    }
}

/// The request for fresh TURN credentials: the token that the session has, shown again.
fn credentials_id() -> RequestId {
    RequestId::new("credentials").expect("a word is an id")
}

/// When to ask for a newer token, and when this one ends.
fn token_ends_in(left: Duration) -> (Instant, Instant) {
    let now = Instant::now();
    (now + left - left / TOKEN_ENDING, now + left)
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn closed_here() -> Lost {
    Lost::Ended(Error::closed(CLOSED))
}

fn refused(code: Code, cause: String, fix: String) -> Error {
    let code = match code {
        Code::TokenMissing
        | Code::TokenInvalid
        | Code::TokenExpired
        | Code::TokenNotYetValid
        | Code::NotAllowed => ErrorCode::Auth,
        Code::PeerNotFound => ErrorCode::PeerNotFound,
        Code::Draining | Code::Overloaded | Code::Timeout => ErrorCode::Unreachable,
        Code::Internal => ErrorCode::Internal,
        _ => ErrorCode::Usage,
    };
    Error::new(code, cause, fix)
}

pub(crate) fn unreachable(server: &str, cause: &str) -> Error {
    Error::new(
        ErrorCode::Unreachable,
        format!("the coordinator at {server} cannot be reached: {cause}"),
        "check the address, and that the coordinator is running: `coordinator healthcheck URL`",
    )
}

async fn send(socket: &mut Socket, message: &ClientMessage) -> Result<(), Lost> {
    let sent = socket.send(Message::text(message.to_text())).await;
    sent.map_err(|error| Lost::Retry(Error::closed(error.to_string())))
}

/// The next message; `None` for frames that are not for this layer or this version.
async fn receive(socket: &mut Socket) -> Result<Option<ServerMessage>, Lost> {
    let lost = |cause: String| Lost::Retry(Error::closed(cause));
    match socket.next().await {
        Some(Ok(Message::Text(text))) => match ServerMessage::parse(text.as_str()) {
            Ok(message) => Ok(message),
            Err(error) => {
                tracing::debug!(%error, "a message of the coordinator's cannot be read");
                Ok(None)
            }
        },
        Some(Ok(Message::Close(frame))) => {
            Err(closed(frame.map(|f| (u16::from(f.code), f.reason.to_string()))))
        }
        Some(Ok(_)) => Ok(None),
        Some(Err(error)) => Err(lost(error.to_string())),
        None => Err(lost("the coordinator has closed the WebSocket".to_owned())),
    }
}

fn closed(frame: Option<(u16, String)>) -> Lost {
    let Some((code, reason)) = frame else {
        return Lost::Retry(Error::closed("the coordinator has closed the WebSocket"));
    };
    let cause = format!("{code} {reason}");
    match CloseCode::from_code(code) {
        Some(code) if code.is_terminal() => {
            let (kind, fix) = match code {
                CloseCode::Auth => (ErrorCode::Auth, "get a fresh token"),
                CloseCode::NotAllowed => (ErrorCode::Auth, "use a token that allows this peer id"),
                CloseCode::Replaced => {
                    (ErrorCode::Closed, "another program uses this peer id: give each its own")
                }
                _ => (ErrorCode::Closed, "see the coordinator's log"),
            };
            Lost::Ended(Error::new(kind, cause, fix))
        }
        Some(_) | None => Lost::Retry(Error::closed(cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_close_ends_and_others_are_tried_again() {
        assert!(matches!(closed(Some((4409, String::new()))), Lost::Ended(_)));
        assert!(matches!(closed(Some((4503, String::new()))), Lost::Retry(_)));
        assert!(matches!(closed(Some((1006, String::new()))), Lost::Retry(_)));
        assert!(matches!(closed(None), Lost::Retry(_)));
    }
}
