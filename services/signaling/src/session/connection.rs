//! One connection: hello, welcome, frames both ways, the end.
//!
//! One task holds everything. What makes it act is a frame from the client, a frame for the client,
//! one timer, or the instance going away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p_auth::{Grant, Scope};
use p2p_registry::{Claim, Claimed, Feed, Frame, Link, RegistryError};
use p2p_wire::client::{Hello, Rejected};
use p2p_wire::server::{ErrorMessage, Goaway, Pong, Welcome};
use p2p_wire::{ClientMessage, CloseCode, Code, IceServer, Problem, ServerMessage};
use tokio::time::{Instant, timeout};

use super::closing::Closing;
use super::inbound::refuse;
use super::registered::Registered;
use super::serve::Talk;
use super::socket::{Inbound, Socket};
use crate::attempt::spans;
use crate::clock;
use crate::instance::Instance;
use crate::meters;

/// Frames in a row that may be no messages of the protocol before the connection is closed.
const MAX_BAD_MESSAGES: u32 = 3;
/// Pings that are answered before hello.
const MAX_EARLY_PINGS: u32 = 16;
/// What its connections are counted as.
const PROTOCOL: &str = "p2p.v1";

/// A connection that has said hello.
pub(super) struct Connection {
    pub(super) registered: Registered,
    pub(super) grant: Arc<Grant>,
    bad_messages: u32,
}

impl Connection {
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
        self.registered.greet(self.patience(), greeting).await
    }

    fn welcome(&self, secret: p2p_wire::Secret, resumed: bool, from: SocketAddr) -> ServerMessage {
        let Registered { instance, owner, .. } = &self.registered;
        ServerMessage::Welcome(Box::new(Welcome {
            peer: owner.peer.clone(),
            session: owner.session.clone(),
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
        let Registered { instance, owner, .. } = &self.registered;
        let (app, peer) = (&owner.app, &owner.peer);
        instance.relays.for_peer(app, peer, may_relay, clock::unix_seconds())
    }

    /// Puts a newer token in the place of the one that counted so far.
    pub(super) fn take_token(&mut self, grant: Arc<Grant>) {
        self.registered.last_until(grant.expires_unix());
        self.grant = grant;
    }

    /// How long the token lasts by its own account, without the leeway for clocks.
    pub(super) fn token_expires_ms(&self) -> u64 {
        let left = self.grant.expires_unix().saturating_sub(clock::unix_seconds());
        left.saturating_mul(1000)
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

    /// A client that misses two heartbeats in a row is gone; half of one is for the network.
    fn patience(&self) -> Duration {
        self.registered.instance.config.timing.heartbeat.mul_f64(2.5)
    }
}

impl Talk for Connection {
    const PROTOCOL: &'static str = PROTOCOL;
    type Client = Arc<Grant>;

    /// Waits for hello, registers, and sends welcome and what was missed.
    async fn begin(
        instance: Arc<Instance>,
        socket: &mut Socket,
        grant: Self::Client,
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
            standing: None,
            link,
        };
        let Claimed { ownership: owner, secret, resumed, replay } =
            instance.registry.claim(claim).await?;
        let registered = Registered::new(instance, owner, grant.expires_unix(), from, resumed);
        registered.announce(PROTOCOL, resumed, from).await;
        let connection = Self { registered, grant, bad_messages: 0 };
        let welcome = connection.welcome(secret, resumed, from);
        // From here on the peer is registered: an error must still end the registration.
        if let Err(closing) = connection.greet(socket, &welcome, replay).await {
            connection.registered.end(&closing).await;
            return Err(closing);
        }
        Ok((connection, feed))
    }

    async fn say_goodbye(socket: &mut Socket, closing: &Closing) {
        if let Closing::Code(_, Some(problem)) = closing {
            let error = ErrorMessage::new(None, problem.clone());
            // The close frame says it again, shorter.
            let _ = socket.send(&ServerMessage::Error(error)).await;
        }
        socket.close(closing).await;
    }

    fn registered(&mut self) -> &mut Registered {
        &mut self.registered
    }

    async fn on_inbound(&mut self, socket: &mut Socket, inbound: Inbound) -> Result<(), Closing> {
        // A client that was told to move closes in order to resume elsewhere.
        if self.registered.drained.is_some() && matches!(inbound, Inbound::Closed(None)) {
            return Err(Closing::Lost);
        }
        let Some(text) = inbound.into_text()? else { return Ok(()) };
        let now = Instant::now();
        self.registered.last_heard = now;
        let message = ClientMessage::parse(&text);
        // The WebSocket reads into the same memory again once nobody has a part of it.
        drop(text);
        match message {
            Ok(message) => {
                self.bad_messages = 0;
                self.registered.instance.meters.message(&message);
                self.on_message(socket, message, now).await
            }
            Err(rejected) => Box::pin(self.on_bad_message(socket, rejected)).await,
        }
    }

    async fn on_delivery(
        &mut self,
        socket: &mut Socket,
        feed: &mut Feed,
        first: Frame,
    ) -> Result<(), Closing> {
        let Registered { bucket, owner, .. } = &mut self.registered;
        bucket.delivered();
        spans::delivered(&first, &owner.peer);
        let more = || {
            let frame = feed.ready()?;
            spans::delivered(&frame, &owner.peer);
            bucket.delivered();
            Some(frame)
        };
        socket.send_frames(first, more).await
    }

    async fn on_refused(
        &mut self,
        socket: &mut Socket,
        error: RegistryError,
    ) -> Result<(), Closing> {
        refuse(socket, None, error.into()).await
    }

    async fn on_deadline(&mut self, _: &mut Socket, now: Instant) -> Result<(), Closing> {
        self.registered.check_deadlines(now, self.patience())
    }

    async fn go_away(&mut self, socket: &mut Socket) -> Result<(), Closing> {
        let after_ms = self.registered.move_on()?;
        let reason = "this instance is shutting down".to_owned();
        socket.send(&ServerMessage::Goaway(Goaway { after_ms, reason })).await
    }

    fn next_deadline(&self) -> Instant {
        self.registered.next_deadline(self.patience())
    }
}

async fn read_hello(instance: &Instance, socket: &mut Socket) -> Result<Hello, Closing> {
    let read = async {
        let mut pings = 0;
        loop {
            let Some(text) = socket.next().await.into_text()? else { continue };
            let message = ClientMessage::parse(&text).map_err(|rejected| {
                meters::rejected(rejected.problem.code);
                Closing::explained(CloseCode::BadMessage, rejected.problem)
            })?;
            instance.meters.message(&message);
            match message {
                ClientMessage::Hello(hello) => return Ok(hello),
                // Whoever looks whether a token is taken must not take its peer's place for that.
                ClientMessage::Ping(ping) if pings < MAX_EARLY_PINGS => {
                    pings += 1;
                    socket.send(&ServerMessage::Pong(Pong { id: ping.id })).await?;
                }
                _ => return Err(no_hello()),
            }
        }
    };
    tokio::select! {
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
        }),
        () = instance.stop.draining() => Err(Closing::code(CloseCode::Draining)),
    }
}

fn no_hello() -> Closing {
    Closing::explained(
        CloseCode::BadMessage,
        Problem::new(
            Code::BadMessage,
            "No hello",
            "the first frame is not `hello`",
            "send `hello` with the peer's id first",
        ),
    )
}
