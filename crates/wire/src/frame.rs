//! The frames that are many, written from parts that stay where they are.

use crate::ids::{PeerId, RequestId, RoomName};
use crate::payload::Payload;
use crate::server::ReceiptStatus;
#[cfg(doc)]
use crate::server::{Message, Receipt};

/// The frame of a [`Message`] whose parts stay where they are: every message that is carried is
/// written from one of these.
#[derive(Debug, Clone, Copy)]
pub struct MessageFrame<'a> {
    /// As [`Message::seq`].
    pub seq: u64,
    /// As [`Message::from`].
    pub from: &'a PeerId,
    /// As [`Message::kind`].
    pub kind: &'a str,
    /// As [`Message::payload`].
    pub payload: &'a Payload,
    /// As [`Message::room`].
    pub room: Option<&'a RoomName>,
}

impl MessageFrame<'_> {
    /// The frame's text. The payload is JSON already and ids have nothing that JSON escapes, so
    /// that every part is copied once, into one allocation.
    pub fn to_text(&self) -> String {
        let (from, payload) = (self.from.as_str(), self.payload.as_str());
        let room = self.room.map_or("", RoomName::as_str);
        // What stands between the parts, and the digits of the number.
        let between = 96;
        let parts = from.len() + self.kind.len() + payload.len() + room.len();
        let mut text = String::with_capacity(between + parts);
        text.push_str(r#"{"type":"message","seq":"#);
        push_number(&mut text, self.seq);
        text.push_str(r#","from":""#);
        text.push_str(from);
        text.push_str(r#"","kind":"#);
        push_json_string(&mut text, self.kind);
        text.push_str(r#","payload":"#);
        text.push_str(payload);
        if self.room.is_some() {
            for part in [r#","room":""#, room, "\""] {
                text.push_str(part);
            }
        }
        text.push('}');
        text
    }
}

/// The frame of a [`Receipt`] whose parts stay where they are: one follows every message.
#[derive(Debug, Clone, Copy)]
pub struct ReceiptFrame<'a> {
    /// As [`Receipt::id`].
    pub id: &'a RequestId,
    /// As [`Receipt::status`].
    pub status: ReceiptStatus,
    /// As [`Receipt::reason`].
    pub reason: Option<&'a str>,
}

impl ReceiptFrame<'_> {
    /// The frame's text, in one allocation.
    pub fn to_text(&self) -> String {
        let id = self.id.as_str();
        // What stands between the parts.
        let between = 72;
        let parts = id.len() + self.reason.map_or(0, str::len);
        let mut text = String::with_capacity(between + parts);
        for part in [r#"{"type":"receipt","id":""#, id, r#"","status":""#, self.status.as_str()] {
            text.push_str(part);
        }
        text.push('"');
        if let Some(reason) = self.reason {
            text.push_str(r#","reason":"#);
            push_json_string(&mut text, reason);
        }
        text.push('}');
        text
    }
}

fn push_number(text: &mut String, number: u64) {
    let mut digits = [0_u8; 20];
    let mut left = number;
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    text.extend(digits[first..].iter().copied().map(char::from));
}

/// A string as JSON. Most have nothing to escape.
pub(crate) fn push_json_string(text: &mut String, string: &str) {
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if string.bytes().all(plain) {
        for part in ["\"", string, "\""] {
            text.push_str(part);
        }
    } else {
        text.push_str(&serde_json::to_string(string).expect("a string is JSON"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Message, Receipt, ServerMessage};

    #[test]
    fn a_message_is_written_the_same_from_its_parts() {
        let (from, room) = ("\u{e4}lice@home +1".parse().unwrap(), "room".parse().unwrap());
        let payload: Payload = serde_json::from_str(r#"{"sdp" : "v=0\n", "n":[1,null]}"#).unwrap();
        for room in [None, Some(&room)] {
            for kind in ["offer", "a \"kind\" \\ of\nits \u{1} own \u{2028}"] {
                let message = Message {
                    seq: u64::MAX,
                    from: PeerId::clone(&from),
                    kind: kind.to_owned(),
                    payload: payload.clone(),
                    room: room.cloned(),
                };
                let frame =
                    MessageFrame { seq: u64::MAX, from: &from, kind, payload: &payload, room };
                assert_eq!(frame.to_text(), ServerMessage::Message(message).to_text());
            }
        }
    }

    #[test]
    fn a_number_is_written_as_json_writes_it() {
        for number in [0, 7, 10, 1_000, 1 << 32, u64::MAX] {
            let mut text = String::new();
            push_number(&mut text, number);
            assert_eq!(text, serde_json::to_string(&number).unwrap());
        }
    }

    #[test]
    fn a_receipt_is_written_the_same_from_its_parts() {
        let id: RequestId = "m\u{e4} 1".parse().unwrap();
        let reasons = [None, Some("2 of 3 members"), Some("a \"reason\" \\ of\nits \u{1} own")];
        for reason in reasons {
            for status in [
                ReceiptStatus::Delivered,
                ReceiptStatus::Queued,
                ReceiptStatus::Gone,
                ReceiptStatus::Rejected,
            ] {
                let receipt = Receipt { id: id.clone(), status, reason: reason.map(str::to_owned) };
                let frame = ReceiptFrame { id: &id, status, reason };
                assert_eq!(frame.to_text(), ServerMessage::Receipt(receipt).to_text());
            }
        }
    }
}
