//! What the coordinator sends.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, IceServer};
use crate::candidate::Candidate;
use crate::client::is_object;
pub use crate::frame::{MessageFrame, ReceiptFrame};
use crate::ids::{AttemptId, PeerId, RequestId, RoomName, SessionId};
use crate::limits::Limits;
use crate::payload::{Meta, Payload};
use crate::problem::{Code, Problem};
use crate::secret::Secret;

/// A frame to a client.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ServerMessage {
    /// The answer to `hello`.
    Welcome(Box<Welcome>),
    /// The answer to `join`: who is there.
    Joined(Joined),
    /// Somebody's coming and going in a room.
    Room(RoomEvent),
    /// What became of a message.
    Receipt(Receipt),
    /// A message from a peer.
    Message(Message),
    /// Two peers are to connect.
    Attempt(Box<Attempt>),
    /// A further candidate of the other side.
    Candidate(Trickle),
    /// An attempt that will not succeed: the other side is gone or gave up.
    Ended(Ended),
    /// The answer to `ping`.
    Pong(Pong),
    /// The answer to `refresh`: the session goes on with the newer token.
    Refreshed(Refreshed),
    /// A request or frame that was not accepted.
    Error(ErrorMessage),
    /// The instance is going away: connect again, to whichever instance answers.
    Goaway(Goaway),
}

/// See [`ServerMessage::Welcome`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Welcome {
    /// The registered peer id.
    pub peer: PeerId,
    /// The session.
    pub session: SessionId,
    /// What proves the session when it is taken up again.
    pub secret: Secret,
    /// Whether an earlier session goes on: its rooms are kept and missed messages follow.
    pub resumed: bool,
    /// Milliseconds between the client's `ping`s.
    pub heartbeat_ms: u64,
    /// What the client must keep to.
    pub limits: Limits,
    /// STUN and TURN servers, with credentials where the token grants `relay`.
    pub ice_servers: Vec<IceServer>,
    /// Where the WebSocket came from, as this instance sees it.
    pub observed_address: SocketAddr,
    /// Milliseconds until the token ends, and with it the connection, unless a `refresh` comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires_ms: Option<u64>,
}

/// Whether a peer's WebSocket is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// Connected.
    #[default]
    On,
    /// Its connection is lost and its resume window open.
    Away,
}

/// One member of a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// The peer.
    pub peer: PeerId,
    /// What it says about itself.
    #[serde(default)]
    pub meta: Meta,
    /// Whether it is connected.
    #[serde(default)]
    pub state: PeerState,
    /// What it is in this room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// See [`ServerMessage::Joined`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Joined {
    /// The `join` that this answers.
    pub id: RequestId,
    /// The room.
    pub room: RoomName,
    /// Everybody in it, the joining peer included.
    pub members: Vec<Member>,
    /// Counts the room's changes; the next `room` event has the next number.
    pub version: u64,
}

/// What happened in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoomChange {
    /// A peer came.
    Join,
    /// A peer left, or its resume window passed.
    Leave,
    /// A peer's connection is lost.
    Away,
    /// A peer's connection is back.
    Back,
    /// A peer changed its metadata.
    Meta,
}

/// See [`ServerMessage::Room`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoomEvent {
    /// The room.
    pub room: RoomName,
    /// What happened.
    pub event: RoomChange,
    /// To whom.
    pub peer: PeerId,
    /// The peer's metadata, on `join` and `meta`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
    /// The room's version after this change.
    pub version: u64,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptStatus {
    /// The receiver acknowledged it.
    Delivered,
    /// The receiver is away or has not acknowledged it; it is kept while the resume window is open.
    Queued,
    /// There is no such peer, or its window has passed.
    Gone,
    /// The coordinator did not take it; the reason says why.
    Rejected,
}

impl ReceiptStatus {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Queued => "queued",
            Self::Gone => "gone",
            Self::Rejected => "rejected",
        }
    }
}

/// See [`ServerMessage::Receipt`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// The `send` that this is about.
    pub id: RequestId,
    /// What became of it.
    pub status: ReceiptStatus,
    /// Why it was rejected, or how many of a room it reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// See [`ServerMessage::Message`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Counts this session's messages; `ack` names it.
    pub seq: u64,
    /// The sender, as the coordinator knows it.
    pub from: PeerId,
    /// What the payload is.
    pub kind: String,
    /// Opaque JSON.
    pub payload: Payload,
    /// The room it was sent to, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
}

/// See [`ServerMessage::Candidate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trickle {
    /// The attempt.
    pub attempt: AttemptId,
    /// The candidate.
    pub candidate: Candidate,
}

/// Why an attempt will not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The other peer's session is gone.
    PeerGone,
    /// The other peer reported failure.
    PeerFailed,
    /// Nobody reported in time.
    Timeout,
}

/// See [`ServerMessage::Ended`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// The attempt.
    pub attempt: AttemptId,
    /// Why.
    pub reason: EndReason,
}

/// See [`ServerMessage::Pong`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pong {
    /// The `ping`'s id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RequestId>,
}

/// See [`ServerMessage::Refreshed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refreshed {
    /// The `refresh`'s id.
    pub id: RequestId,
    /// Milliseconds until the newer token ends.
    pub token_expires_ms: u64,
    /// STUN and TURN servers, with credentials that are good for longer than the earlier ones.
    pub ice_servers: Vec<IceServer>,
}

/// See [`ServerMessage::Error`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorMessage {
    /// The request that was not accepted, if it named itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RequestId>,
    /// What went wrong, for programs.
    pub code: Code,
    /// What went wrong, for people.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

impl ErrorMessage {
    /// The frame for a problem.
    pub fn new(id: Option<RequestId>, problem: Problem) -> Self {
        Self { id, code: problem.code, message: problem.detail, fix: problem.fix }
    }
}

/// See [`ServerMessage::Goaway`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Goaway {
    /// Milliseconds to wait before connecting again.
    pub after_ms: u64,
    /// Why, for people.
    pub reason: String,
}

impl ServerMessage {
    /// The frame's text.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("server messages have string keys and finite numbers")
    }

    /// Reads a frame. A type that this client does not know is `Ok(None)`: newer coordinators may
    /// say more than older clients understand.
    pub fn parse(text: &str) -> Result<Option<Self>, serde_json::Error> {
        #[derive(Deserialize)]
        struct Tag<'a> {
            #[serde(rename = "type", borrow)]
            kind: std::borrow::Cow<'a, str>,
        }
        if !is_object(text) {
            return Err(serde::de::Error::custom("the frame is no JSON object"));
        }
        let tag: Tag<'_> = serde_json::from_str(text)?;
        Ok(Some(match tag.kind.as_ref() {
            "welcome" => Self::Welcome(serde_json::from_str(text)?),
            "joined" => Self::Joined(serde_json::from_str(text)?),
            "room" => Self::Room(serde_json::from_str(text)?),
            "receipt" => Self::Receipt(serde_json::from_str(text)?),
            "message" => Self::Message(serde_json::from_str(text)?),
            "attempt" => Self::Attempt(serde_json::from_str(text)?),
            "candidate" => Self::Candidate(serde_json::from_str(text)?),
            "ended" => Self::Ended(serde_json::from_str(text)?),
            "pong" => Self::Pong(serde_json::from_str(text)?),
            "refreshed" => Self::Refreshed(serde_json::from_str(text)?),
            "error" => Self::Error(serde_json::from_str(text)?),
            "goaway" => Self::Goaway(serde_json::from_str(text)?),
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_as_it_was_written() {
        let message = ServerMessage::Message(Message {
            seq: 18,
            from: "alice".parse().unwrap(),
            kind: "offer".to_owned(),
            payload: Payload::new(&serde_json::json!({"sdp": "v=0"})).unwrap(),
            room: None,
        });
        let text = message.to_text();
        assert!(text.starts_with(r#"{"type":"message","seq":18,"from":"alice""#), "{text}");
        assert_eq!(ServerMessage::parse(&text).unwrap(), Some(message));
    }

    #[test]
    fn an_array_is_no_frame() {
        assert!(ServerMessage::parse(r#"["pong","p1"]"#).is_err());
        assert!(ServerMessage::parse(r#"["hologram"]"#).is_err());
    }

    #[test]
    fn a_type_from_the_future_is_skipped() {
        assert_eq!(ServerMessage::parse(r#"{"type":"hologram"}"#).unwrap(), None);
    }

    #[test]
    fn i10_a_welcome_is_logged_without_its_secret() {
        let welcome = Welcome {
            peer: "alice".parse().unwrap(),
            session: "s".parse().unwrap(),
            secret: Secret::new("resume-me"),
            resumed: false,
            heartbeat_ms: 25_000,
            limits: Limits::default(),
            ice_servers: Vec::new(),
            observed_address: "203.0.113.7:1".parse().unwrap(),
            token_expires_ms: Some(3_600_000),
        };
        assert!(!format!("{welcome:?}").contains("resume-me"));
    }
}
