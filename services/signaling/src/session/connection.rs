//! One connection: hello, welcome, frames both ways, the end.
//!
//! One task holds everything. What makes it act is a frame from the client, a frame for the client,
//! one timer, or the instance going away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p_auth::{Grant, LEEWAY_SECS, Scope, TokenError};
use p2p_registry::{Claim, Claimed, Feed, Frame, Link, Ownership};
use p2p_stats::SessionRecord;
use p2p_telemetry::Phase;
use p2p_telemetry::metrics::SIGNALING_RESUMED;
use p2p_wire::client::{Hello, Rejected};
use p2p_wire::server::{ErrorMessage, Goaway, Welcome};
use p2p_wire::{ClientMessage, CloseCode, Code, IceServer, Problem, Redacted, ServerMessage};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tracing::{debug, info};

use super::closing::Closing;
use super::rate::Bucket;
use super::socket::{Inbound, Socket};
use crate::clock;
use crate::instance::Instance;
use crate::meters::{self, OpenConnection};
use crate::pacer::Slot;
use crate::random;

/// Frames in a row that may be no messages of the protocol before the connection is closed.
const MAX_BAD_MESSAGES: u32 = 3;
/// Far enough for any timer, near enough not to overflow.
const FAR_FUTURE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A connection that has said hello.
pub(super) struct Connection {
    pub(super) instance: Arc<Instance>,
    pub(super) grant: Arc<Grant>,
    pub(super) owner: Arc<Ownership>,
    pub(super) bucket: Bucket,
    /// Where its app's rate is kept.
    pub(super) app_pace: Slot,
    pub(super) bad_messages: u32,
    /// What the client has acknowledged and the registry has not been told.
    pub(super) acknowledged: Option<u64>,
    /// What statistics keep of it.
    record: SessionRecord,
    last_heard: Instant,
    token_ends: Instant,
    pub(super) drained: Option<Instant>,
}

/// Serves a WebSocket to its end.
pub(super) async fn run(
    instance: Arc<Instance>,
    mut socket: Box<Socket>,
    grant: Arc<Grant>,
    from: SocketAddr,
) {
    let mut open = OpenConnection::begin();
    let mut connection = None;
    // Boxed, as are the other long branches: a connection that idles holds none of their state.
    let closing = match Box::pin(Connection::begin(instance, &mut socket, grant, from)).await {
        Ok((begun, mut feed)) => {
            let closing = connection.insert(begun).serve(&mut socket, &mut feed).await;
            // Nothing takes frames from here on; the registry keeps what must not be lost.
            drop(feed);
            closing
        }
        Err(closing) => closing,
    };
    open.code = closing.frame().map_or(open.code, |(code, _)| code);
    Box::pin(async {
        say_goodbye(&mut socket, &closing).await;
        if let Some(connection) = connection {
            connection.end(&closing).await;
        }
        socket.linger().await;
    })
    .await;
}

/// Closes a connection that never became one.
pub(super) async fn farewell(mut socket: Box<Socket>, closing: Closing) {
    let mut open = OpenConnection::begin();
    open.code = closing.frame().map_or(open.code, |(code, _)| code);
    say_goodbye(&mut socket, &closing).await;
    socket.linger().await;
}

async fn say_goodbye(socket: &mut Socket, closing: &Closing) {
    if let Closing::Code(_, Some(problem)) = closing {
        let error = ErrorMessage::new(None, problem.clone());
        // The close frame says it again, shorter.
        let _ = socket.send(&ServerMessage::Error(error)).await;
    }
    socket.close(closing).await;
}

impl Connection {
    /// Waits for hello, registers, and sends welcome and what was missed.
    async fn begin(
        instance: Arc<Instance>,
        socket: &mut Socket,
        grant: Arc<Grant>,
        from: SocketAddr,
    ) -> Result<(Self, Feed), Closing> {
        let hello = read_hello(&instance, socket).await?;
        if !grant.may_be(&hello.peer) {
            return Err(Closing::explained(
                CloseCode::NotAllowed,
                Problem::new(
                    Code::NotAllowed,
                    "Not this peer",
                    format!("the token is for {}, not for {}", grant.subject(), hello.peer),
                    "say hello as the token's `sub`, or mint a token for this peer",
                ),
            ));
        }
        let (link, feed) = Link::pair(instance.config.limits.outbox);
        let claim = Claim {
            app: grant.app().clone(),
            peer: hello.peer,
            meta: hello.meta,
            key: hello.key,
            resume: hello.resume,
            link,
        };
        let Claimed { ownership: owner, secret, resumed, replay } =
            instance.registry.claim(claim).await?;
        let record = SessionRecord::opened(
            owner.session.clone(),
            owner.app.clone(),
            owner.peer.clone(),
            instance.registry.instance(),
            from.ip(),
            resumed,
            clock::unix_millis(),
        );
        instance.recorder.record(record.clone());
        let now = Instant::now();
        let limits = &instance.config.limits;
        let connection = Self {
            record,
            bucket: Bucket::new(limits.messages_per_second, limits.message_burst, now),
            app_pace: instance.app_pace.slot(&owner.app),
            bad_messages: 0,
            acknowledged: None,
            last_heard: now,
            token_ends: token_end(&grant, now),
            drained: None,
            owner: Arc::new(owner),
            grant,
            instance,
        };
        connection.announce(resumed, from).await;
        let welcome = connection.welcome(secret, resumed, from);
        // From here on the peer is registered: an error must still end the registration.
        if let Err(closing) = connection.greet(socket, &welcome, replay).await {
            connection.end(&closing).await;
            return Err(closing);
        }
        Ok((connection, feed))
    }

    async fn greet(
        &self,
        socket: &mut Socket,
        welcome: &ServerMessage,
        replay: Vec<Frame>,
    ) -> Result<(), Closing> {
        let greeting = async {
            socket.send(welcome).await?;
            for frame in replay {
                socket.send_frame(frame).await?;
            }
            Ok(())
        };
        // Frame by frame in time is not enough: nothing of the client's is read meanwhile.
        let until = (self.last_heard + self.patience()).min(self.token_ends);
        let greeted = tokio::select! {
            biased;
            greeted = timeout_at(until, greeting) => greeted,
            () = self.instance.stop.forced() => return Err(Closing::code(CloseCode::Draining)),
        };
        greeted.unwrap_or_else(|_| {
            if self.token_ends <= Instant::now() {
                return self.check_deadlines(self.token_ends);
            }
            meters::limited("slow_answers");
            Err(Closing::TryLater("what was missed was taken too slowly; reconnect and resume"))
        })
    }

    async fn announce(&self, resumed: bool, from: SocketAddr) {
        let (app, peer) = (&self.owner.app, &self.owner.peer);
        if resumed {
            SIGNALING_RESUMED.get().increment(1);
            self.instance.attempts.peer_back(app, peer);
        } else {
            self.instance.attempts.peer_gone(app, peer).await;
        }
        info!(%app, %peer, resumed, from = %Redacted::from(from), "peer connected");
    }

    fn welcome(&self, secret: p2p_wire::Secret, resumed: bool, from: SocketAddr) -> ServerMessage {
        let instance = &self.instance;
        ServerMessage::Welcome(Box::new(Welcome {
            peer: self.owner.peer.clone(),
            session: self.owner.session.clone(),
            secret,
            resumed,
            heartbeat_ms: u64::try_from(instance.config.timing.heartbeat.as_millis())
                .unwrap_or(u64::MAX),
            limits: instance.client_limits(),
            ice_servers: self.ice_servers(),
            observed_address: SocketAddr::new(from.ip().to_canonical(), from.port()),
            token_expires_ms: Some(self.token_expires_ms()),
        }))
    }

    /// STUN and TURN servers, with credentials of this moment.
    pub(super) fn ice_servers(&self) -> Vec<IceServer> {
        let may_relay = self.grant.may(Scope::Relay);
        let (app, peer) = (&self.owner.app, &self.owner.peer);
        self.instance.relays.for_peer(app, peer, may_relay, clock::unix_seconds())
    }

    /// Puts a newer token in the place of the one that counted so far.
    pub(super) fn take_token(&mut self, grant: Arc<Grant>) {
        self.token_ends = token_end(&grant, Instant::now());
        self.grant = grant;
    }

    /// How long the token lasts by its own account, without the leeway for clocks.
    pub(super) fn token_expires_ms(&self) -> u64 {
        let left = self.grant.expires_unix().saturating_sub(clock::unix_seconds());
        left.saturating_mul(1000)
    }

    pub(super) async fn on_inbound(
        &mut self,
        socket: &mut Socket,
        inbound: Inbound,
    ) -> Result<(), Closing> {
        // A client that was told to move closes in order to resume elsewhere.
        if self.drained.is_some() && matches!(inbound, Inbound::Closed(None)) {
            return Err(Closing::Lost);
        }
        let Some(text) = text_of(inbound)? else { return Ok(()) };
        self.last_heard = Instant::now();
        let message = ClientMessage::parse(&text);
        // The WebSocket reads into the same memory again once nobody has a part of it.
        drop(text);
        match message {
            Ok(message) => {
                self.bad_messages = 0;
                self.instance.meters.message(&message);
                self.on_message(socket, message, self.last_heard).await
            }
            Err(rejected) => Box::pin(self.on_bad_message(socket, rejected)).await,
        }
    }

    async fn on_bad_message(
        &mut self,
        socket: &mut Socket,
        rejected: Rejected,
    ) -> Result<(), Closing> {
        meters::rejected(rejected.problem.code);
        self.bad_messages += 1;
        if self.bad_messages >= MAX_BAD_MESSAGES {
            return Err(Closing::explained(CloseCode::BadMessage, rejected.problem));
        }
        let error = ErrorMessage::new(rejected.id, rejected.problem);
        socket.send(&ServerMessage::Error(error)).await
    }

    pub(super) fn next_deadline(&self) -> Instant {
        let silent = self.last_heard + self.patience();
        self.drained.into_iter().chain([silent, self.token_ends]).min().unwrap_or(silent)
    }

    pub(super) fn check_deadlines(&self, now: Instant) -> Result<(), Closing> {
        if self.drained.is_some_and(|at| at <= now) {
            return Err(Closing::code(CloseCode::Draining));
        }
        if self.token_ends <= now {
            let (exp, now) = (self.grant.expires_unix(), clock::unix_seconds());
            let expired = TokenError::Expired { exp, now, ago: now.saturating_sub(exp) };
            return Err(Closing::explained(CloseCode::Auth, expired.problem()));
        }
        if self.last_heard + self.patience() <= now {
            return Err(Closing::code(CloseCode::HeartbeatLost));
        }
        Ok(())
    }

    /// A client that misses two heartbeats in a row is gone; half of one is for the network.
    fn patience(&self) -> Duration {
        self.instance.config.timing.heartbeat.mul_f64(2.5)
    }

    /// Spreads the reconnects of everybody over the drain's window (invariant I12).
    pub(super) async fn go_away(&mut self, socket: &mut Socket) -> Result<(), Closing> {
        if self.instance.stop.phase() == Phase::Forced {
            return Err(Closing::code(CloseCode::Draining));
        }
        let window = self.instance.config.timing.drain.as_millis();
        let after_ms = random::below(u64::try_from(window).unwrap_or(u64::MAX));
        self.drained = Some(Instant::now() + Duration::from_millis(after_ms));
        let reason = "this instance is shutting down".to_owned();
        socket.send(&ServerMessage::Goaway(Goaway { after_ms, reason })).await
    }

    /// Ends the registration: for good after a goodbye, for a while after anything else.
    async fn end(&self, closing: &Closing) {
        let (app, peer) = (&self.owner.app, &self.owner.peer);
        let ended = match closing {
            Closing::Goodbye => self.instance.registry.release(&self.owner).await,
            Closing::Code(..) | Closing::TryLater(_) | Closing::Lost => {
                self.instance.registry.detach(&self.owner).await
            }
        };
        // Where a newer connection owns the id, the attempts are its own.
        match ended {
            Ok(true) if matches!(closing, Closing::Goodbye) => {
                self.instance.attempts.peer_gone(app, peer).await;
            }
            Ok(true) => self.instance.attempts.peer_lost(app, peer),
            Ok(false) => {}
            Err(error) => debug!(%app, %peer, %error, "the registry was not told of an end"),
        }
        let code = closing.frame().map(|(code, _)| code);
        self.instance.recorder.record(self.record.clone().closed(clock::unix_millis(), code));
        info!(%app, %peer, code, "peer disconnected");
    }
}

async fn read_hello(instance: &Instance, socket: &mut Socket) -> Result<Hello, Closing> {
    let read = async {
        loop {
            if let Some(text) = text_of(socket.next().await)? {
                return Ok(text);
            }
        }
    };
    let text = tokio::select! {
        read = timeout(instance.config.timing.hello, read) => read.unwrap_or_else(|_| {
            meters::rejected(Code::Timeout);
            Err(Closing::explained(
                CloseCode::HeartbeatLost,
                Problem::new(
                    Code::Timeout,
                    "No hello",
                    format!("no hello within {} ms", instance.config.timing.hello.as_millis()),
                    "send `hello` as the first frame, at once",
                ),
            ))
        })?,
        () = instance.stop.draining() => return Err(Closing::code(CloseCode::Draining)),
    };
    let message = ClientMessage::parse(&text).map_err(|rejected| {
        meters::rejected(rejected.problem.code);
        Closing::explained(CloseCode::BadMessage, rejected.problem)
    })?;
    instance.meters.message(&message);
    match message {
        ClientMessage::Hello(hello) => Ok(hello),
        _ => Err(Closing::explained(
            CloseCode::BadMessage,
            Problem::new(
                Code::BadMessage,
                "No hello",
                "the first frame is not `hello`",
                "send `hello` with the peer's id first",
            ),
        )),
    }
}

/// The text of a frame; `None` is a frame without one.
fn text_of(inbound: Inbound) -> Result<Option<Utf8Bytes>, Closing> {
    let bad = |code: Code, close: CloseCode, detail: &str, fix: &str| {
        meters::rejected(code);
        Err(Closing::explained(close, Problem::new(code, "Message rejected", detail, fix)))
    };
    match inbound {
        Inbound::Text(text) => Ok(Some(text)),
        Inbound::Control => Ok(None),
        Inbound::Binary => bad(
            Code::BadMessage,
            CloseCode::BadMessage,
            "a binary message",
            "send JSON in text frames",
        ),
        Inbound::NotUtf8 => bad(
            Code::BadMessage,
            CloseCode::BadMessage,
            "a text message that is not UTF-8",
            "encode messages as UTF-8",
        ),
        Inbound::TooLarge => bad(
            Code::TooLarge,
            CloseCode::TooLarge,
            "a message of more than 65536 bytes",
            "keep messages at or under 65536 bytes",
        ),
        Inbound::Closed(code) => Err(Closing::by_client(code)),
        Inbound::Broken => Err(Closing::Lost),
    }
}

/// When the token ends, by the clock that timers use.
fn token_end(grant: &Grant, now: Instant) -> Instant {
    let left = (grant.expires_unix().saturating_add(LEEWAY_SECS + 1))
        .saturating_sub(clock::unix_seconds());
    now + Duration::from_secs(left).min(FAR_FUTURE)
}
