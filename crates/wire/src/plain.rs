//! Reads the two frames that are many, messages and their acknowledgements, as most clients write
//! them: the type first, no spaces between the parts, nothing escaped in a name. Any other spelling
//! is left to the parser that knows them all, and so is whatever is wrong.

use crate::client::{Ack, ClientMessage, Send};
use crate::ids::{PeerId, RequestId, RoomName};
use crate::payload::Payload;

/// The message, if the frame is one of those. It is the one that the other parser finds, before its
/// bounds are checked.
pub(crate) fn read(text: &str) -> Option<ClientMessage> {
    let body = text.strip_prefix(r#"{"type":""#)?;
    if let Some(seq) = body.strip_prefix(r#"ack","seq":"#) {
        let seq = number(seq.strip_suffix('}')?)?;
        return Some(ClientMessage::Ack(Ack { seq }));
    }
    send(body.strip_prefix(r#"send""#)?).map(ClientMessage::Send)
}

/// The fields behind the type. Each is there once: twice is an error, which this does not name.
fn send(mut rest: &str) -> Option<Send> {
    let (mut id, mut to, mut room, mut kind, mut payload) = (None, None, None, None, None);
    while rest != "}" {
        if let Some(value) = rest.strip_prefix(r#","id":""#).filter(|_| id.is_none()) {
            let (text, behind) = string(value)?;
            (id, rest) = (Some(RequestId::new(text).ok()?), behind);
        } else if let Some(value) = rest.strip_prefix(r#","to":""#).filter(|_| to.is_none()) {
            let (text, behind) = string(value)?;
            (to, rest) = (Some(PeerId::new(text).ok()?), behind);
        } else if let Some(value) = rest.strip_prefix(r#","kind":""#).filter(|_| kind.is_none()) {
            let (text, behind) = string(value)?;
            (kind, rest) = (Some(text.to_owned()), behind);
        } else if let Some(value) = rest.strip_prefix(r#","room":""#).filter(|_| room.is_none()) {
            let (text, behind) = string(value)?;
            (room, rest) = (Some(RoomName::new(text).ok()?), behind);
        } else {
            let value = rest.strip_prefix(r#","payload":"#).filter(|_| payload.is_none())?;
            let (json, behind) = Payload::leading(value)?;
            (payload, rest) = (Some(json), behind);
        }
    }
    Some(Send { id: id?, to, room, kind: kind?, payload: payload.unwrap_or_default() })
}

/// A string without escapes, and what is behind its closing quote.
fn string(text: &str) -> Option<(&str, &str)> {
    let ends = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    let (string, behind) = text.split_at(text.bytes().position(ends)?);
    Some((string, behind.strip_prefix('"')?))
}

/// Digits as JSON has them.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let plain = plain && (digits.len() == 1 || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_the_other_parser(text: &str) -> Option<ClientMessage> {
        #[derive(serde::Deserialize)]
        struct Tag {
            r#type: String,
        }
        match serde_json::from_str::<Tag>(text).ok()?.r#type.as_str() {
            "send" => serde_json::from_str(text).ok().map(ClientMessage::Send),
            "ack" => serde_json::from_str(text).ok().map(ClientMessage::Ack),
            _ => None,
        }
    }

    #[test]
    fn the_frames_that_clients_write_are_read() {
        for text in [
            r#"{"type":"ack","seq":0}"#,
            r#"{"type":"ack","seq":18446744073709551615}"#,
            r#"{"type":"send","id":"m1","to":"bob","kind":"offer","payload":{"sdp":"v=0\r\n\"}"}}"#,
            r#"{"type":"send","id":"m 1","room":"räume","kind":"","payload":"}"}"#,
            r#"{"type":"send","payload":[1,-2.5e3,{"}":null}],"kind":"x","to":"bob","id":"m1"}"#,
            r#"{"type":"send","id":"m1","to":"bob","kind":"x"}"#,
            r#"{"type":"send","id":"m1","to":"bob","kind":"x","payload":12}"#,
        ] {
            let read = read(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(Some(read), by_the_other_parser(text), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_or_written_otherwise_is_left_to_the_other_parser() {
        for text in [
            r#"{"type":"ack","seq":07}"#,
            r#"{"type":"ack","seq":+7}"#,
            r#"{"type":"ack","seq":}"#,
            r#"{"type":"ack","seq":18446744073709551616}"#,
            r#"{"type":"ack","seq":7,"more":1}"#,
            r#"{"type":"ack","seq":7}}"#,
            r#"{"type":"send","id":"m1","id":"m2","to":"bob","kind":"x"}"#,
            r#"{"type":"send","id":"m1","to":"bob","kind":"x","payload":1,"payload":2}"#,
            r#"{"type":"send","id":"m1","to":"bob","kind":"x","payload":tru}"#,
            r#"{"type":"send","id":"m1","to":"bob","kind":"x","payload":"a"b}"#,
            r#"{"type":"send","id":"m1","to":"bob","kind":"x","payload":12.}"#,
            r#"{"type":"send","id":"m1","to":"b/b","kind":"x"}"#,
            r#"{"type":"send","id":"m1","to":"bob","kind":"\u0041"}"#,
            r#"{"type":"send","id":"m1","to":null,"room":"r","kind":"x"}"#,
            r#"{"type":"send","id":"m1","to":"bob"}"#,
            r#"{"type":"send","id":"m1","to":"bob","kind":"x"} "#,
            r#"{"type":"send","id":"m1","to":"bob","kind":"x""#,
            r#"{"type":"sender","id":"m1","to":"bob","kind":"x"}"#,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        /// Frames that are nearly right, cut up and put together anew.
        #[test]
        fn nothing_is_read_that_the_other_parser_does_not_read_the_same(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    r#","id":"m1""#, r#","id":"m2""#, r#","to":"bob""#, r#","room":"r""#,
                    r#","kind":"x""#, r#","kind":"a\n""#, r#","payload":"#, r#""text""#, "{}",
                    "[1,2]", "12", "-0", "1.5", "null", "tru", "true", r#"{"a":"\"}"}"#, "}", " ",
                    ",", r#"""#, r"\", "\u{1}", r#","seq":7"#, r#","more":1"#, "ä",
                ]),
                0..8,
            ),
            kind in prop::sample::select(vec!["send", "ack", "sen"]),
            end in prop::sample::select(vec!["}", "", "} "]),
        ) {
            let text = format!("{{\"type\":\"{kind}\"{}{end}", parts.concat());
            if let Some(message) = read(&text) {
                prop_assert_eq!(Some(message), by_the_other_parser(&text));
            }
        }
    }
}
