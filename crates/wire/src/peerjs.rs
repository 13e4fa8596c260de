//! The frames of PeerJS clients, as PeerServer 1.0 speaks with them.
//!
//! They say the same as messages of `p2p.v1` with the kinds of [`Signal`], so peers of both protocols
//! can reach each other. What a frame carries is never read.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::frame::push_json_string;
use crate::ids::PeerId;
use crate::payload::Payload;
use crate::server::{ReceiptStatus, ServerMessage};

/// The key of a client that names none, and of PeerServer where nobody chooses another one.
pub const DEFAULT_KEY: &str = "peerjs";

/// What one peer tells another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Asks for a connection.
    Offer,
    /// Agrees to it.
    Answer,
    /// Where it may be reached.
    Candidate,
    /// The sender goes: the receiver closes all its connections to it.
    Leave,
    /// The sender cannot be reached.
    Expire,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Offer, Self::Answer, Self::Candidate, Self::Leave, Self::Expire];

    /// The `type` of the frame.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "OFFER",
            Self::Answer => "ANSWER",
            Self::Candidate => "CANDIDATE",
            Self::Leave => "LEAVE",
            Self::Expire => "EXPIRE",
        }
    }

    /// The `kind` of the message that says the same in `p2p.v1`.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Candidate => "candidate",
            Self::Leave => "leave",
            Self::Expire => "expire",
        }
    }

    /// Whether it waits for a receiver who is not there yet. What speaks of the end of something does
    /// not.
    pub fn waits(self) -> bool {
        matches!(self, Self::Offer | Self::Answer | Self::Candidate)
    }
}

/// A frame from a client.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientFrame {
    /// It is there.
    Heartbeat,
    /// To be passed on.
    Signal {
        /// What it says.
        signal: Signal,
        /// To whom.
        dst: PeerId,
        /// Opaque JSON; `null` where there is none.
        payload: Payload,
    },
    /// To be passed on to somebody who cannot exist: this is no id.
    ToNobody {
        /// What it says.
        signal: Signal,
        /// What stands in the place of the id, and may have any length.
        dst: String,
    },
    /// The client is about to go, for good.
    Goodbye,
    /// Not for this server. PeerServer takes no notice of such a frame, nor does anybody else.
    Other,
}

impl ClientFrame {
    /// Reads one text frame, whatever order its fields are in.
    ///
    /// # Errors
    /// It is no JSON object with a `type`.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Read<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
            #[serde(default, borrow)]
            dst: Option<Cow<'a, str>>,
            #[serde(default)]
            payload: Payload,
        }
        let Read { kind, dst, payload } = serde_json::from_str(text)?;
        if kind == "HEARTBEAT" {
            return Ok(Self::Heartbeat);
        }
        let Some(signal) = Signal::ALL.into_iter().find(|signal| signal.as_str() == kind) else {
            return Ok(Self::Other);
        };
        Ok(match dst.filter(|dst| !dst.is_empty()) {
            Some(dst) => match PeerId::new(dst.as_ref()) {
                Ok(dst) => Self::Signal { signal, dst, payload },
                Err(_) => Self::ToNobody { signal, dst: dst.into_owned() },
            },
            None if signal == Signal::Leave => Self::Goodbye,
            None => Self::Other,
        })
    }
}

/// A frame to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerFrame<'a> {
    /// The client is registered.
    Open,
    /// The client is not served, or not any longer. It gives up.
    Error(&'a str),
    /// Another one has the id.
    IdTaken,
    /// What this client has sent to `src` does not reach it.
    Expire {
        /// Who cannot be reached.
        src: &'a str,
        /// The client.
        dst: &'a PeerId,
    },
}

impl ServerFrame<'_> {
    /// The frame's text.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        match self {
            Self::Open => text.push_str(r#"{"type":"OPEN"}"#),
            Self::IdTaken => {
                text.push_str(r#"{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}"#);
            }
            Self::Error(msg) => {
                text.push_str(r#"{"type":"ERROR","payload":{"msg":"#);
                push_json_string(&mut text, msg);
                text.push_str("}}");
            }
            Self::Expire { src, dst } => {
                text.push_str(r#"{"type":"EXPIRE","src":"#);
                push_json_string(&mut text, src);
                text.push_str(r#","dst":"#);
                push_json_string(&mut text, dst.as_str());
                text.push('}');
            }
        }
        text
    }
}

/// What a frame of `p2p.v1` is to a PeerJS client.
#[derive(Debug, Clone, PartialEq)]
pub enum Translated {
    /// A message for it.
    Message {
        /// Its number in the inbox.
        seq: u64,
        /// The frame that says it. Without one where PeerJS has none for its kind.
        text: Option<String>,
    },
    /// What became of a message of its own. PeerJS has no word for it, except where it is lost.
    Receipt {
        /// The message.
        id: String,
        /// What became of it.
        status: ReceiptStatus,
    },
    /// Somebody asks for a connection in a way that PeerJS does not have.
    Attempt(crate::AttemptId),
    /// Nothing to it.
    Nothing,
}

/// Reads a frame of `p2p.v1` for a PeerJS client.
pub fn translate(frame: &str, to: &PeerId) -> Translated {
    if let Some(message) = message(frame, to) {
        return message;
    }
    match ServerMessage::parse(frame) {
        Ok(Some(ServerMessage::Receipt(receipt))) => {
            Translated::Receipt { id: receipt.id.into(), status: receipt.status }
        }
        Ok(Some(ServerMessage::Attempt(attempt))) => Translated::Attempt(attempt.attempt.clone()),
        _ => Translated::Nothing,
    }
}

/// Most frames are messages: read in one pass, their payload copied once.
fn message(frame: &str, to: &PeerId) -> Option<Translated> {
    #[derive(Deserialize)]
    struct Read<'a> {
        seq: u64,
        #[serde(borrow)]
        from: Cow<'a, str>,
        #[serde(borrow)]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    if !frame.starts_with(r#"{"type":"message","#) {
        return None;
    }
    let Read { seq, from, kind, payload } = serde_json::from_str(frame).ok()?;
    let signal = Signal::ALL.into_iter().find(|signal| signal.kind() == kind);
    let text = signal.map(|signal| {
        let payload = payload.get();
        let (from, to) = (from.as_ref(), to.as_str());
        // What stands between the parts.
        let between = 64;
        let mut text = String::with_capacity(between + from.len() + to.len() + payload.len());
        text.push_str(r#"{"type":""#);
        text.push_str(signal.as_str());
        text.push_str(r#"","src":"#);
        push_json_string(&mut text, from);
        text.push_str(r#","dst":"#);
        push_json_string(&mut text, to);
        if payload != "null" {
            text.push_str(r#","payload":"#);
            text.push_str(payload);
        }
        text.push('}');
        text
    });
    Some(Translated::Message { seq, text })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::server::{Message, Receipt};

    fn peer(name: &str) -> PeerId {
        name.parse().unwrap()
    }

    #[test]
    fn the_frames_that_clients_write_are_read() {
        // As peerjs 1.5 writes them: the type, the payload, the receiver.
        let offer = r#"{"type":"OFFER","payload":{"sdp":{"type":"offer","sdp":"v=0"},"type":"data"},"dst":"bob 2"}"#;
        let ClientFrame::Signal { signal, dst, payload } = ClientFrame::parse(offer).unwrap()
        else {
            panic!("{offer}");
        };
        assert_eq!((signal, dst), (Signal::Offer, peer("bob 2")));
        assert_eq!(payload.as_str(), r#"{"sdp":{"type":"offer","sdp":"v=0"},"type":"data"}"#);
        for (text, frame) in [
            (r#"{"type":"HEARTBEAT"}"#, ClientFrame::Heartbeat),
            (r#"{"type":"LEAVE"}"#, ClientFrame::Goodbye),
            (r#"{"type":"LEAVE","dst":null}"#, ClientFrame::Goodbye),
            (r#"{"type":"OFFER","payload":1}"#, ClientFrame::Other),
            (r#"{"type":"OPEN","dst":"bob"}"#, ClientFrame::Other),
            (r#"{"type":"offer","dst":"bob"}"#, ClientFrame::Other),
            (
                r#"{"dst":"a\/b","type":"ANSWER"}"#,
                ClientFrame::ToNobody { signal: Signal::Answer, dst: "a/b".to_owned() },
            ),
        ] {
            assert_eq!(ClientFrame::parse(text).unwrap(), frame, "{text}");
        }
        for text in ["", "[]", "{}", "null", "\"OFFER\"", r#"{"type":7}"#, r#"{"type":"OFFER""#] {
            assert!(ClientFrame::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_message_of_either_protocol_is_the_other_s_frame() {
        for signal in Signal::ALL {
            let payload = Payload::new(&json!({ "connectionId": "dc_1", "n": [1, null] })).unwrap();
            let message = Message {
                seq: 7,
                from: peer("\u{e4}lice"),
                kind: signal.kind().to_owned(),
                payload: payload.clone(),
                room: None,
            };
            let text = ServerMessage::Message(message).to_text();
            let Translated::Message { seq: 7, text: Some(frame) } = translate(&text, &peer("bob"))
            else {
                panic!("{text}");
            };
            let expected = format!(
                r#"{{"type":"{}","src":"älice","dst":"bob","payload":{}}}"#,
                signal.as_str(),
                payload.as_str()
            );
            assert_eq!(frame, expected, "with the fields in the order of PeerServer");
            let back = ClientFrame::parse(&frame).unwrap();
            assert_eq!(back, ClientFrame::Signal { signal, dst: peer("bob"), payload });
        }
    }

    #[test]
    fn what_peerjs_has_no_word_for_is_no_frame() {
        let message = |kind: &str| {
            let (payload, from) = (Payload::default(), peer("alice"));
            let kind = kind.to_owned();
            ServerMessage::Message(Message { seq: 1, from, kind, payload, room: None }).to_text()
        };
        // Above all nothing that only the server may say.
        for kind in ["chat", "open", "OPEN", "error", "ERROR", "id-taken", "OFFER", "heartbeat"] {
            let translated = translate(&message(kind), &peer("bob"));
            assert_eq!(translated, Translated::Message { seq: 1, text: None }, "{kind}");
        }
        let bare = translate(&message("leave"), &peer("bob"));
        let text = Some(r#"{"type":"LEAVE","src":"alice","dst":"bob"}"#.to_owned());
        assert_eq!(bare, Translated::Message { seq: 1, text });
        let receipt =
            Receipt { id: "m1".parse().unwrap(), status: ReceiptStatus::Gone, reason: None };
        assert_eq!(
            translate(&ServerMessage::Receipt(receipt).to_text(), &peer("bob")),
            Translated::Receipt { id: "m1".to_owned(), status: ReceiptStatus::Gone }
        );
        assert_eq!(translate(r#"{"type":"pong"}"#, &peer("bob")), Translated::Nothing);
    }

    #[test]
    fn the_server_s_own_frames_are_those_of_peerserver() {
        let bob = peer("bob");
        for (frame, text) in [
            (ServerFrame::Open, r#"{"type":"OPEN"}"#),
            (ServerFrame::IdTaken, r#"{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}"#),
            (ServerFrame::Error("a \"b\""), r#"{"type":"ERROR","payload":{"msg":"a \"b\""}}"#),
            (
                ServerFrame::Expire { src: "a\"/b", dst: &bob },
                r#"{"type":"EXPIRE","src":"a\"/b","dst":"bob"}"#,
            ),
        ] {
            assert_eq!(frame.to_text(), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_passed_on_is_json(text in "\\PC*") {
            let _ = ClientFrame::parse(&text);
            let _ = translate(&text, &peer("bob"));
            let quoted = serde_json::to_string(&text).unwrap();
            let frame = format!(r#"{{"type":"OFFER","dst":"bob","payload":{quoted}}}"#);
            let Ok(ClientFrame::Signal { payload, .. }) = ClientFrame::parse(&frame) else {
                panic!("{frame}");
            };
            prop_assert_eq!(payload.as_str(), quoted.as_str());
            let dst = ServerFrame::Expire { src: &text, dst: &peer("bob") }.to_text();
            prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&dst).unwrap()["src"], &text);
        }
    }
}
