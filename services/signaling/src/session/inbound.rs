//! What a client's frame asks for, and the answer.

use std::sync::Arc;

use p2p_auth::{Scope, Token};
use p2p_registry::{Outgoing, Published, RegistryError, Sent, Target};
use p2p_telemetry::metrics::SIGNALING_RECEIPTS;
use p2p_wire::client::{Connect, Join, Nat, Refresh, Send, Trickle};
use p2p_wire::server::{ErrorMessage, Joined, Pong, Receipt, ReceiptStatus, Refreshed};
use p2p_wire::{ClientMessage, Code, Problem, Report, RequestId, RoomName, ServerMessage};
use tokio::time::Instant;

use super::closing::Closing;
use super::connection::Connection;
use super::pace::Refusal;
use super::rate::Pace;
use super::registered::Registered;
use super::socket::Socket;
use crate::attempt;
use crate::clock;
use crate::meters;

/// The kind of a message that asks a peer for a connection.
const OFFER: &str = "offer";

/// What a frame is answered with. Most need no answer.
type Reply = Option<ServerMessage>;

impl Connection {
    /// Does what a message of this moment asks for. Most are messages to peers and their
    /// acknowledgements; what the others need is boxed, so that no idle connection has room for it.
    pub(super) async fn on_message(
        &mut self,
        socket: &mut Socket,
        message: ClientMessage,
        now: Instant,
    ) -> Result<(), Closing> {
        if let Err(refusal) = self.admit(&message, now) {
            let id = request_id(&message).cloned();
            return Box::pin(answer(socket, id, Err(refusal))).await;
        }
        // A `send` is answered by its receipt, which names it.
        let id = match &message {
            ClientMessage::Send(_) => None,
            other => request_id(other).cloned(),
        };
        match self.act_on(message).await {
            Ok(None) => Ok(()),
            reply => Box::pin(answer(socket, id, reply)).await,
        }
    }

    async fn act_on(&mut self, message: ClientMessage) -> Result<Reply, Refusal> {
        match message {
            ClientMessage::Hello(_) => Err(Refusal::Problem(Problem::new(
                Code::BadMessage,
                "Message rejected",
                "this connection has said hello already",
                "open another connection for another peer",
            ))),
            ClientMessage::Nat(nat) => Box::pin(self.publish(nat)).await,
            ClientMessage::Meta(update) => {
                let Registered { instance, owner, .. } = &self.registered;
                let told = instance.registry.set_meta(owner, update.meta).await?;
                self.registered.bucket.owe(0, told);
                Ok(None)
            }
            ClientMessage::Join(join) => Box::pin(self.join(join)).await,
            ClientMessage::Leave(leave) => done(
                self.registered.instance.registry.leave(&self.registered.owner, &leave.room).await,
            ),
            ClientMessage::Send(send) => self.send(send).await,
            ClientMessage::Ack(ack) => {
                // It acknowledges all before it, so that the highest says it all.
                self.registered.acknowledged = self.registered.acknowledged.max(Some(ack.seq));
                Ok(None)
            }
            ClientMessage::Connect(connect) => Box::pin(self.connect(connect)).await,
            ClientMessage::Candidate(trickle) => Box::pin(self.candidate(trickle)).await,
            ClientMessage::Report(report) => Box::pin(self.report(report)).await,
            ClientMessage::Refresh(refresh) => Box::pin(self.refresh(refresh)).await,
            ClientMessage::Ping(ping) => Ok(Some(ServerMessage::Pong(Pong { id: ping.id }))),
        }
    }

    /// Charges a message to every rate that it counts for.
    fn admit(&mut self, message: &ClientMessage, now: Instant) -> Result<(), Refusal> {
        let pace = match message {
            ClientMessage::Ack(_) => self.registered.bucket.take_ack(now),
            _ => self.registered.bucket.take(now),
        };
        match pace {
            Pace::Fine => Ok(self.common_pace(message, now)?),
            Pace::TooFast(strikes) => Err(self.registered.slow_down(strikes)),
        }
    }

    /// What this connection shares with others.
    fn common_pace(&self, message: &ClientMessage, now: Instant) -> Result<(), Problem> {
        if !matches!(message, ClientMessage::Ack(_) | ClientMessage::Ping(_)) {
            self.registered.app_pace(now)?;
        }
        let to = match message {
            ClientMessage::Connect(connect) => Some(&connect.to),
            ClientMessage::Send(send) if send.kind == OFFER => send.to.as_ref(),
            _ => None,
        };
        to.map_or(Ok(()), |to| self.registered.offer_pace(to, now))
    }

    /// Keeps the candidates that may be passed on, and names the first that may not.
    async fn publish(&self, nat: Nat) -> Result<Reply, Refusal> {
        let (candidates, refused) =
            attempt::sift(self.registered.instance.attempts.addresses(), nat.candidates);
        let published = Published {
            nat: Some(nat.profile),
            candidates,
            region: self.registered.instance.config.region.clone(),
        };
        self.registered.instance.registry.publish(&self.registered.owner, published).await?;
        refused.map_or(Ok(None), |problem| Err(problem.into()))
    }

    /// Goes on with a newer token: what it allows counts for whatever comes after it, and the
    /// connection may last until it ends. A token that is refused leaves the earlier one in force.
    async fn refresh(&mut self, refresh: Refresh) -> Result<Reply, Refusal> {
        let token = Token::new(refresh.token.expose());
        let verified = self.registered.instance.keys.verify(&token, clock::unix_seconds()).await;
        let grant = verified.map_err(|error| error.problem())?;
        if *grant.app() != self.registered.owner.app || !grant.may_be(&self.registered.owner.peer) {
            return Err(Refusal::Problem(Problem::new(
                Code::NotAllowed,
                "Not this peer",
                format!(
                    "the token is for {} in the app {}, and this session is {} in {}",
                    grant.subject(),
                    grant.app(),
                    self.registered.owner.peer,
                    self.registered.owner.app
                ),
                "refresh with a token for the same app and peer; the earlier one stays in force",
            )));
        }
        self.take_token(Arc::new(grant));
        Ok(Some(ServerMessage::Refreshed(Refreshed {
            id: refresh.id,
            token_expires_ms: self.token_expires_ms(),
            ice_servers: self.ice_servers(),
        })))
    }

    async fn join(&mut self, join: Join) -> Result<Reply, Refusal> {
        if !self.grant.may_join(&join.room) {
            return Err(room_not_granted(&join.room).into());
        }
        let room = join.room.clone();
        let Registered { instance, owner, .. } = &self.registered;
        let view = instance.registry.join(owner, join.room, join.role).await?;
        self.registered.bucket.owe(0, view.members.len());
        Ok(Some(ServerMessage::Joined(Joined {
            id: join.id,
            room,
            members: view.members,
            version: view.version,
        })))
    }

    /// Every `send` is answered by a receipt, whatever becomes of it; some later, by the registry.
    async fn send(&mut self, send: Send) -> Result<Reply, Refusal> {
        let Send { id, to, room, kind, payload } = send;
        let target = match (to, room) {
            (_, Some(room)) if !self.grant.may_send_to(&room) => {
                return Ok(Some(rejected(id, &room_not_granted(&room))));
            }
            (_, Some(room)) => Target::Room(room),
            (Some(peer), None) => Target::Peer(peer),
            (None, None) => {
                let problem = Problem::new(
                    Code::BadMessage,
                    "Message rejected",
                    "`send` names neither `to` nor `room`",
                    "name exactly one of them",
                );
                return Ok(Some(rejected(id, &problem)));
            }
        };
        let outgoing = Outgoing { id, target, kind, payload };
        let Registered { instance, owner, .. } = &self.registered;
        let sent = instance.registry.send(owner, &outgoing).await;
        if let Ok(sent) = &sent {
            self.registered.bucket.owe(outgoing.payload.as_str().len(), sent.receivers());
        }
        match sent {
            Ok(Sent::OnItsWay { .. }) => Ok(None),
            Ok(Sent::Receipt { status, reason, .. }) => {
                Ok(Some(receipt(outgoing.id, status, reason)))
            }
            Err(RegistryError::NotOwner) => Err(RegistryError::NotOwner.into()),
            Err(error) => Ok(Some(rejected(outgoing.id, &error.problem()))),
        }
    }

    async fn connect(&self, connect: Connect) -> Result<Reply, Refusal> {
        if !self.grant.may(Scope::Connect) {
            return Err(scope_not_granted(Scope::Connect).into());
        }
        let instance = &self.registered.instance;
        if instance.stop.is_draining() {
            return Err(Refusal::Problem(Problem::new(
                Code::Draining,
                "Attempt refused",
                "this instance is shutting down",
                "reconnect, resume, and connect again",
            )));
        }
        let relays = self.grant.may(Scope::Relay).then_some(&instance.relays);
        Ok(Some(instance.attempts.connect(&self.registered.owner, connect, relays).await?))
    }

    async fn candidate(&self, trickle: Trickle) -> Result<Reply, Refusal> {
        let (app, peer) = (&self.registered.owner.app, &self.registered.owner.peer);
        self.registered.instance.attempts.candidate(app, peer, trickle).await?;
        Ok(None)
    }

    async fn report(&self, report: Report) -> Result<Reply, Refusal> {
        let (app, peer) = (&self.registered.owner.app, &self.registered.owner.peer);
        self.registered.instance.attempts.report(app, peer, &report).await?;
        Ok(None)
    }
}

async fn answer(
    socket: &mut Socket,
    id: Option<RequestId>,
    reply: Result<Reply, Refusal>,
) -> Result<(), Closing> {
    match reply {
        Ok(None) => Ok(()),
        Ok(Some(reply)) => socket.send(&reply).await,
        Err(refusal) => refuse(socket, id, refusal).await,
    }
}

pub(super) async fn refuse(
    socket: &mut Socket,
    id: Option<RequestId>,
    refusal: Refusal,
) -> Result<(), Closing> {
    match refusal {
        Refusal::Problem(problem) => {
            meters::rejected(problem.code);
            socket.send(&ServerMessage::Error(ErrorMessage::new(id, problem))).await
        }
        Refusal::Closing(closing) => Err(closing),
    }
}

/// An act that is answered only where it fails.
fn done(result: Result<(), RegistryError>) -> Result<Reply, Refusal> {
    result.map(|()| None).map_err(Refusal::from)
}

fn request_id(message: &ClientMessage) -> Option<&RequestId> {
    match message {
        ClientMessage::Join(join) => Some(&join.id),
        ClientMessage::Send(send) => Some(&send.id),
        ClientMessage::Connect(connect) => Some(&connect.id),
        ClientMessage::Ping(ping) => ping.id.as_ref(),
        ClientMessage::Refresh(refresh) => Some(&refresh.id),
        ClientMessage::Hello(_)
        | ClientMessage::Nat(_)
        | ClientMessage::Meta(_)
        | ClientMessage::Leave(_)
        | ClientMessage::Ack(_)
        | ClientMessage::Candidate(_)
        | ClientMessage::Report(_) => None,
    }
}

fn receipt(id: RequestId, status: ReceiptStatus, reason: Option<String>) -> ServerMessage {
    SIGNALING_RECEIPTS.with([status.as_str()]).increment(1);
    ServerMessage::Receipt(Receipt { id, status, reason })
}

fn rejected(id: RequestId, problem: &Problem) -> ServerMessage {
    let reason = format!("{}: {}", problem.code.as_str(), problem.detail);
    receipt(id, ReceiptStatus::Rejected, Some(reason))
}

fn room_not_granted(room: &RoomName) -> Problem {
    Problem::new(
        Code::NotAllowed,
        "Not this room",
        format!("the token does not grant the room {room}"),
        "mint a token with this room in `rooms`",
    )
}

fn scope_not_granted(scope: Scope) -> Problem {
    Problem::new(
        Code::NotAllowed,
        "Not granted",
        format!("the token does not have the scope {scope}"),
        format!("mint a token with `{scope}` in `scope`"),
    )
}
