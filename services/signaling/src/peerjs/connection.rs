//! One PeerJS client: OPEN, frames both ways, the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p_registry::{Claim, Claimed, Feed, Frame, Link, RegistryError};
use p2p_wire::peerjs::ServerFrame;
use p2p_wire::{CloseCode, Code, Meta, Problem};
use tokio::time::Instant;

use super::PROTOCOL;
use super::awaited::Awaited;
use super::client::Client;
use super::outbound::Outbound;
use super::waiting::Waiting;
use crate::instance::Instance;
use crate::meters;
use crate::session::closing::Closing;
use crate::session::registered::Registered;
use crate::session::serve::Talk;
use crate::session::socket::{Inbound, Socket};

/// A client that has its id.
pub(super) struct Connection {
    pub(super) registered: Registered,
    pub(super) waiting: Waiting,
    pub(super) awaited: Awaited,
    pub(super) outbound: Outbound,
    /// Frames in a row that were none.
    pub(super) malformed: u32,
}

fn in_words(problem: &Problem) -> String {
    format!("{}. Fix: {}", problem.detail, problem.fix)
}

impl Connection {
    async fn greet(&mut self, socket: &mut Socket, replay: Vec<Frame>) -> Result<(), Closing> {
        let patience = self.patience();
        let Self { registered, outbound, .. } = self;
        let peer = &registered.owner.peer;
        let greeting = async {
            socket.send_frame(ServerFrame::Open.to_text().into()).await?;
            for frame in replay {
                if let Some(frame) = outbound.replayed(&frame, peer) {
                    socket.send_frame(frame).await?;
                }
            }
            outbound.ask(socket).await
        };
        registered.greet(patience, greeting).await
    }

    /// A page in the background may run its timers once a minute.
    pub(super) fn patience(&self) -> Duration {
        self.registered.instance.config.timing.peerjs_silence
    }
}

/// What a claim that is refused is to a client.
fn turned_away(error: RegistryError) -> Closing {
    match error {
        // Not to be taken for a newer connection: the client is told that the id is another one's.
        RegistryError::PeerTaken => Closing::explained(CloseCode::Replaced, error.problem()),
        RegistryError::Full(_) => {
            let problem = Problem::new(
                Code::Overloaded,
                "Not possible",
                "Server has reached its concurrent user limit",
                "try again later, or at another instance",
            );
            Closing::explained(CloseCode::TooFast, problem)
        }
        error => error.into(),
    }
}

impl Talk for Connection {
    const PROTOCOL: &'static str = PROTOCOL;
    type Client = Client;

    /// Registers, and sends OPEN and what was missed.
    async fn begin(
        instance: Arc<Instance>,
        socket: &mut Socket,
        client: Client,
        from: SocketAddr,
    ) -> Result<(Self, Feed), Closing> {
        let Client { app, peer, standing, expires_unix } = client;
        let (link, feed) = Link::pair(instance.config.limits.outbox);
        let standing = Some(standing);
        let claim =
            Claim { app, peer, meta: Meta::default(), key: None, resume: None, standing, link };
        let claimed = instance.registry.claim(claim).await.map_err(|error| {
            meters::rejected(error.problem().code);
            turned_away(error)
        })?;
        let Claimed { ownership, secret: _, resumed, replay } = claimed;
        let registered = Registered::new(instance, ownership, expires_unix, from, resumed);
        registered.announce(PROTOCOL, resumed, from).await;
        let mut connection = Self {
            outbound: Outbound::new(registered.last_heard),
            registered,
            waiting: Waiting::default(),
            awaited: Awaited::new(),
            malformed: 0,
        };
        // From here on the peer is registered: an error must still end the registration.
        if let Err(closing) = connection.greet(socket, replay).await {
            connection.registered.end(&closing).await;
            return Err(closing);
        }
        Ok((connection, feed))
    }

    /// A client gives up for good where it hears ERROR or ID-TAKEN. Where another try is worth it, the
    /// connection just ends, and the page hears `disconnected`.
    async fn say_goodbye(socket: &mut Socket, closing: &Closing) {
        if let Closing::Code(_, Some(problem)) = closing {
            let text = match problem.code {
                Code::PeerTaken => ServerFrame::IdTaken.to_text(),
                _ => ServerFrame::Error(&in_words(problem)).to_text(),
            };
            let _ = socket.send_frame(text.into()).await;
        }
        socket.close(closing).await;
    }

    fn registered(&mut self) -> &mut Registered {
        &mut self.registered
    }

    async fn on_inbound(&mut self, socket: &mut Socket, inbound: Inbound) -> Result<(), Closing> {
        self.registered.last_heard = Instant::now();
        if let Inbound::Pong(payload) = &inbound {
            return self.on_pong(socket, payload).await;
        }
        let Some(text) = inbound.into_text()? else { return Ok(()) };
        self.on_text(socket, text).await
    }

    async fn on_delivery(
        &mut self,
        socket: &mut Socket,
        feed: &mut Feed,
        first: Frame,
    ) -> Result<(), Closing> {
        self.deliver(socket, feed, first).await
    }

    async fn on_refused(&mut self, _: &mut Socket, error: RegistryError) -> Result<(), Closing> {
        match error {
            RegistryError::NotOwner => Err(error.into()),
            // It is acknowledged with the next pong.
            _ => Ok(()),
        }
    }

    async fn on_deadline(&mut self, socket: &mut Socket, now: Instant) -> Result<(), Closing> {
        self.registered.check_deadlines(now, self.patience())?;
        self.keep_alive(socket, now).await?;
        self.ask_for_absent(socket, now).await
    }

    /// PeerJS has no word for it. The client is told by the end of its connection that it has to come
    /// again, and finds its session at another instance.
    async fn go_away(&mut self, _: &mut Socket) -> Result<(), Closing> {
        self.registered.move_on().map(drop)
    }

    fn next_deadline(&self) -> Instant {
        let ping = self.outbound.next_ping(self.registered.instance.config.timing.heartbeat);
        let common = self.registered.next_deadline(self.patience()).min(ping);
        self.sooner().map_or(common, |at| at.min(common))
    }

    fn sooner(&self) -> Option<Instant> {
        self.waiting.next()
    }
}
