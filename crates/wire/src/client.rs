//! What a client sends.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt::Policy;
use crate::candidate::Candidate;
use crate::ids::{AttemptId, PeerId, PeerKey, RequestId, RoomName, SessionId};
use crate::limits::{
    MAX_CANDIDATES, MAX_FLIGHT_DATAGRAMS, MAX_FLIGHT_TEXT_BYTES, MAX_KIND_BYTES, MAX_MESSAGE_BYTES,
    MAX_REPORT_PATHS, MAX_REPORT_STEPS,
};
use crate::limits::{MAX_REPORT_TEXT_BYTES, MAX_ROLE_BYTES};
use crate::nat::NatProfile;
use crate::payload::{Meta, Payload};
use crate::plain;
use crate::problem::{Code, Problem};
use crate::report::Report;
use crate::secret::Secret;
use crate::trace::TraceParent;

/// A frame from a client.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ClientMessage {
    /// The first frame: who this is.
    Hello(Hello),
    /// What the client measured about its network, and where it may be reached.
    Nat(Nat),
    /// Changes this peer's metadata.
    Meta(MetaUpdate),
    /// Enters a room.
    Join(Join),
    /// Leaves a room.
    Leave(Leave),
    /// A message to a peer or a room.
    Send(Send),
    /// Everything up to this sequence number has arrived.
    Ack(Ack),
    /// Asks for a connection to a peer.
    Connect(Connect),
    /// A further candidate of an attempt.
    Candidate(Trickle),
    /// How an attempt ended.
    Report(Report),
    /// An application heartbeat.
    Ping(Ping),
    /// A newer token, so that the session outlives the one it began with.
    Refresh(Refresh),
}

/// See [`ClientMessage::Hello`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    /// The peer id to register; the token must allow it.
    pub peer: PeerId,
    /// What others learn about this peer.
    #[serde(default, skip_serializing_if = "Meta::is_empty")]
    pub meta: Meta,
    /// The key that connections to this peer are pinned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PeerKey>,
    /// Takes an earlier session up again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// Names the session to take up again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resume {
    /// The session.
    pub session: SessionId,
    /// The secret that `welcome` gave for it.
    pub secret: Secret,
    /// The last message that arrived; the rest is sent again.
    #[serde(default)]
    pub last_seq: u64,
}

/// See [`ClientMessage::Nat`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Nat {
    /// What was measured.
    pub profile: NatProfile,
    /// Where this peer may be reached; goes to the other side of its attempts, nowhere else.
    /// Replaces what was said before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
}

/// See [`ClientMessage::Meta`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetaUpdate {
    /// The new metadata.
    pub meta: Meta,
}

/// See [`ClientMessage::Join`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Join {
    /// Echoed in `joined`.
    pub id: RequestId,
    /// The room.
    pub room: RoomName,
    /// What this peer is in the room, in the application's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// See [`ClientMessage::Leave`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Leave {
    /// The room.
    pub room: RoomName,
}

/// See [`ClientMessage::Send`]. Exactly one of `to` and `room` is present.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Send {
    /// Echoed in the receipt; sending the same id again does not deliver twice.
    pub id: RequestId,
    /// The peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<PeerId>,
    /// The room; everybody in it but the sender gets the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
    /// What the payload is, in the application's words: `offer`, `chat`, …
    pub kind: String,
    /// Opaque JSON.
    #[serde(default)]
    pub payload: Payload,
}

/// See [`ClientMessage::Ack`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ack {
    /// The last message that arrived.
    pub seq: u64,
}

/// See [`ClientMessage::Connect`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Connect {
    /// Echoed in `attempt` or `error`.
    pub id: RequestId,
    /// The peer to connect to.
    pub to: PeerId,
    /// Which paths may be used.
    #[serde(default)]
    pub policy: Policy,
    /// What the caller is doing, for whoever reads traces: the attempt's trace links to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
    /// The first datagrams of the caller's QUIC handshake, each in base64url without padding. The
    /// callee gets them with its `attempt`, so that its answer need not wait for them to find a way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_flight: Vec<String>,
}

/// See [`ClientMessage::Candidate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trickle {
    /// The attempt.
    pub attempt: AttemptId,
    /// The candidate.
    pub candidate: Candidate,
}

/// See [`ClientMessage::Refresh`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refresh {
    /// Echoed in `refreshed` or `error`.
    pub id: RequestId,
    /// The JWT, for the same app and this peer.
    pub token: Secret,
}

/// See [`ClientMessage::Ping`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ping {
    /// Echoed in `pong`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RequestId>,
}

impl ClientMessage {
    /// Reads one text frame and checks the bounds that the types alone do not.
    ///
    /// The problem says what is wrong with the frame and names the request it belongs to where that
    /// can be read (`Rejected::id`).
    pub fn parse(text: &str) -> Result<Self, Rejected> {
        if text.len() > MAX_MESSAGE_BYTES {
            return Err(Rejected::new(
                Code::TooLarge,
                format!("the message has {} bytes", text.len()),
                format!("keep messages at or under {MAX_MESSAGE_BYTES} bytes"),
            ));
        }
        if !is_object(text) {
            return Err(Rejected::malformed(&"the frame is no JSON object"));
        }
        if let Some(message) = plain::read(text).filter(|message| message.check().is_ok()) {
            return Ok(message);
        }
        if let Some(message) = leading_type(text).and_then(|kind| read(kind, text).ok()) {
            return Ok(message);
        }
        let tag: Tag<'_> = serde_json::from_str(text).map_err(|e| Rejected::malformed(&e))?;
        read(&tag.kind, text).map_err(|rejected| rejected.with_id(tag.id.as_deref()))
    }

    /// The frame's text.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("client messages have string keys and finite numbers")
    }

    fn check(&self) -> Result<(), Rejected> {
        let bounded = |what: &str, len: usize, max: usize| {
            if len <= max {
                return Ok(());
            }
            Err(Rejected::new(
                Code::BadMessage,
                format!("{what} has {len}"),
                format!("send at most {max}"),
            ))
        };
        match self {
            Self::Nat(nat) => bounded("`candidates`", nat.candidates.len(), MAX_CANDIDATES),
            Self::Join(join) => bounded(
                "`role` in bytes",
                join.role.as_ref().map_or(0, String::len),
                MAX_ROLE_BYTES,
            ),
            Self::Send(send) => {
                if send.to.is_some() == send.room.is_some() {
                    return Err(Rejected::new(
                        Code::BadMessage,
                        "`send` names both or neither of `to` and `room`",
                        "name exactly one of them",
                    ));
                }
                bounded("`kind` in bytes", send.kind.len(), MAX_KIND_BYTES)
            }
            Self::Report(report) => {
                bounded("`steps`", report.steps.len(), MAX_REPORT_STEPS)?;
                bounded("`paths`", report.paths.len(), MAX_REPORT_PATHS)?;
                bounded("`verdict` in bytes", report.verdict.len(), MAX_REPORT_TEXT_BYTES)?;
                report.steps.iter().try_for_each(|s| {
                    bounded("`detail` in bytes", s.detail.len(), MAX_REPORT_TEXT_BYTES)
                })
            }
            Self::Connect(connect) => {
                let flight = &connect.first_flight;
                bounded("`first_flight`", flight.len(), MAX_FLIGHT_DATAGRAMS)?;
                flight.iter().try_for_each(|datagram| {
                    bounded("`first_flight` in bytes", datagram.len(), MAX_FLIGHT_TEXT_BYTES)
                })
            }
            Self::Hello(_)
            | Self::Meta(_)
            | Self::Leave(_)
            | Self::Ack(_)
            | Self::Candidate(_)
            | Self::Ping(_)
            | Self::Refresh(_) => Ok(()),
        }
    }
}

/// A frame that the coordinator does not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The request that the frame named, if that much could be read.
    pub id: Option<RequestId>,
    /// What is wrong and how to mend it.
    pub problem: Problem,
}

impl Rejected {
    fn new(code: Code, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { id: None, problem: Problem::new(code, "Message rejected", detail, fix) }
    }

    fn malformed(error: &dyn std::fmt::Display) -> Self {
        Self::new(
            Code::BadMessage,
            error.to_string(),
            "send one JSON object per frame, as docs/protocol.md describes it",
        )
    }

    fn with_id(mut self, id: Option<&str>) -> Self {
        self.id = id.and_then(|id| RequestId::new(id).ok());
        self
    }
}

#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(default, borrow)]
    id: Option<std::borrow::Cow<'a, str>>,
}

/// Whether a text can only be an object. Read into a struct, an array of its fields in their order would
/// do as well.
pub(crate) fn is_object(text: &str) -> bool {
    text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{')
}

/// The type of a frame that begins with it, as most do: those are read in one pass. Whatever is
/// not in order there is found, and named, by the two passes that any other frame takes.
fn leading_type(text: &str) -> Option<&str> {
    text.strip_prefix(r#"{"type":""#)?.split_once('"').map(|(kind, _)| kind)
}

/// With the type known, the frame is read straight into its struct, so that a payload stays the
/// text it is and an error names the field it is about.
fn read(kind: &str, text: &str) -> Result<ClientMessage, Rejected> {
    fn body<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Rejected> {
        serde_json::from_str(text).map_err(|e| Rejected::malformed(&e))
    }
    let message = match kind {
        "hello" => ClientMessage::Hello(body(text)?),
        "nat" => {
            let nat: Nat = body(text)?;
            ClientMessage::Nat(Nat { profile: nat.profile.settled(), ..nat })
        }
        "meta" => ClientMessage::Meta(body(text)?),
        "join" => ClientMessage::Join(body(text)?),
        "leave" => ClientMessage::Leave(body(text)?),
        "send" => ClientMessage::Send(body(text)?),
        "ack" => ClientMessage::Ack(body(text)?),
        "connect" => ClientMessage::Connect(body(text)?),
        "candidate" => ClientMessage::Candidate(body(text)?),
        "report" => ClientMessage::Report(body(text)?),
        "ping" => ClientMessage::Ping(body(text)?),
        "refresh" => ClientMessage::Refresh(body(text)?),
        other => {
            let shown: String = other.chars().take(40).collect();
            return Err(Rejected::new(
                Code::UnknownType,
                format!("there is no message type {shown:?}"),
                "see docs/protocol.md for the types; a newer client needs a newer coordinator",
            ));
        }
    };
    message.check()?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_the_interface_page_are_read() {
        for text in [
            r#"{"type":"hello","peer":"alice","meta":{"name":"A"}}"#,
            r#"{"type":"hello","peer":"alice","resume":{"session":"s","secret":"x","last_seq":17}}"#,
            r#"{"type":"nat","profile":{"type":"Full Cone","mapping":"endpoint-independent","filtering":"unknown"}}"#,
            r#"{"type":"join","id":"c1","room":"demo","role":"host"}"#,
            r#"{"type":"leave","room":"demo"}"#,
            r#"{"type":"send","id":"m1","to":"bob","kind":"offer","payload":{"sdp":"v=0"}}"#,
            r#"{"type":"send","id":"m1","room":"demo","kind":"chat","payload":"hi"}"#,
            r#"{"type":"ack","seq":18}"#,
            r#"{"type":"connect","id":"a1","to":"bob","policy":"direct"}"#,
            r#"{"type":"connect","id":"a1","to":"bob","first_flight":["wAAAAAE"]}"#,
            r#"{"type":"candidate","attempt":"x","candidate":{"kind":"srflx","address":"203.0.113.7:5000"}}"#,
            r#"{"type":"report","attempt":"x","outcome":"direct","method":"udp-hole-punch","ms":93,"steps":[]}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"refresh","id":"t1","token":"a.b.c"}"#,
        ] {
            let message = ClientMessage::parse(text).unwrap_or_else(|r| panic!("{text}: {r:?}"));
            assert_eq!(ClientMessage::parse(&message.to_text()).unwrap(), message);
        }
    }

    #[test]
    fn a_frame_means_the_same_wherever_its_type_stands() {
        for (first, last) in [
            (
                r#"{"type":"send","id":"m1","to":"bob","kind":"offer","payload":[1]}"#,
                r#"{"id":"m1","to":"bob","kind":"offer","payload":[1],"type":"send"}"#,
            ),
            (r#"{"type":"ack","seq":7}"#, r#"{ "seq": 7, "type": "ack" }"#),
            (r#"{"type":"p\u0069ng","id":"p1"}"#, r#"{"id":"p1","type":"ping"}"#),
        ] {
            assert_eq!(ClientMessage::parse(first).unwrap(), ClientMessage::parse(last).unwrap());
        }
        for (first, last) in [
            (r#"{"type":"send","id":"m1","kind":"x"}"#, r#"{"id":"m1","kind":"x","type":"send"}"#),
            (r#"{"type":"send","id":"m1","to":""}"#, r#"{"id":"m1","to":"","type":"send"}"#),
            (r#"{"type":"dance","id":"m1"}"#, r#"{"id":"m1","type":"dance"}"#),
            (r#"{"type":"ack","seq":-1}"#, r#"{"seq":-1,"type":"ack"}"#),
            (r#"{"type":"ack"#, r#"{"seq":7,"type":"ack"#),
        ] {
            let refused = |text| {
                let Rejected { id, problem } = ClientMessage::parse(text).unwrap_err();
                (id, problem.code)
            };
            assert_eq!(refused(first), refused(last));
        }
    }

    #[test]
    fn unknown_fields_are_ignored_and_an_unknown_type_is_named() {
        assert!(ClientMessage::parse(r#"{"type":"ping","colour":"blue"}"#).is_ok());
        let rejected = ClientMessage::parse(r#"{"type":"dance","id":"d1"}"#).unwrap_err();
        assert_eq!(rejected.problem.code, Code::UnknownType);
        assert!(rejected.problem.detail.contains("dance"));
    }

    #[test]
    fn a_rejected_request_keeps_its_id() {
        let rejected = ClientMessage::parse(r#"{"type":"send","id":"m1","kind":"x","payload":1}"#)
            .unwrap_err();
        assert_eq!(rejected.id.unwrap().as_str(), "m1");
        assert_eq!(rejected.problem.code, Code::BadMessage);
    }

    #[test]
    fn a_message_over_64_kib_is_refused_by_its_size() {
        let text = format!(r#"{{"type":"ping","pad":"{}"}}"#, "x".repeat(MAX_MESSAGE_BYTES));
        assert_eq!(ClientMessage::parse(&text).unwrap_err().problem.code, Code::TooLarge);
    }

    #[test]
    fn more_candidates_than_allowed_are_refused() {
        let one = r#"{"kind":"host","address":"192.0.2.1:1"}"#;
        let many = vec![one; MAX_CANDIDATES + 1].join(",");
        let text = format!(r#"{{"type":"nat","profile":{{}},"candidates":[{many}]}}"#);
        assert_eq!(ClientMessage::parse(&text).unwrap_err().problem.code, Code::BadMessage);
    }

    #[test]
    fn a_first_flight_is_two_datagrams_at_the_most() {
        let read = |datagrams: usize, bytes: usize| {
            let flight = vec![format!("\"{}\"", "A".repeat(bytes)); datagrams].join(",");
            let text =
                format!(r#"{{"type":"connect","id":"a","to":"b","first_flight":[{flight}]}}"#);
            ClientMessage::parse(&text).map_err(|rejected| rejected.problem.code)
        };
        assert!(read(2, 2_048).is_ok());
        assert_eq!(read(3, 8), Err(Code::BadMessage));
        assert_eq!(read(1, 2_049), Err(Code::BadMessage));
    }

    #[test]
    fn who_names_a_network_and_says_nothing_of_udp_has_it_unless_it_is_blocked() {
        let udp = |profile: &str| {
            let text = format!(r#"{{"type":"nat","profile":{profile}}}"#);
            match ClientMessage::parse(&text).unwrap() {
                ClientMessage::Nat(nat) => nat.profile.udp,
                other => panic!("{other:?}"),
            }
        };
        for profile in [
            r#"{"type":"Full Cone","mapping":"endpoint-independent","filtering":"unknown"}"#,
            r#"{"type":"Symmetric"}"#,
            r#"{"type":"Unknown"}"#,
            "{}",
        ] {
            assert!(udp(profile), "{profile}");
        }
        for profile in [
            r#"{"type":"UDP Blocked"}"#,
            r#"{"type":"UDP Blocked","udp":true}"#,
            r#"{"type":"Unknown","udp":false}"#,
        ] {
            assert!(!udp(profile), "{profile}");
        }
    }

    #[test]
    fn an_array_is_no_frame_even_with_the_fields_in_their_order() {
        for text in [
            r#"["ping"]"#,
            r#"["ping","p1"]"#,
            r#" ["join","c1","demo",null]"#,
            r#"["ack",7]"#,
            r#"["leave","demo"]"#,
        ] {
            let rejected = ClientMessage::parse(text).unwrap_err();
            assert_eq!(rejected.problem.code, Code::BadMessage, "{text}");
            assert!(rejected.problem.detail.contains("object"), "{:?}", rejected.problem);
        }
        assert!(ClientMessage::parse("\r\n\t {\"type\":\"ping\"} ").is_ok());
    }

    #[test]
    fn garbage_is_refused_with_a_fix() {
        for text in ["", "[]", "{}", "null", "{\"type\":7}", "{\"type\":\"hello\"}", "\u{0}"] {
            let rejected = ClientMessage::parse(text).unwrap_err();
            assert!(!rejected.problem.fix.is_empty(), "{text:?}");
        }
    }
}
