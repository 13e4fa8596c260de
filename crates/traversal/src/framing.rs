//! TURN messages in a stream to the relay: one follows another without anything between them
//! (RFC 8489 §6.2.2, RFC 8656 §12.5).

use bytes::{Buf as _, Bytes, BytesMut};

/// A STUN header (RFC 8489 §5).
const STUN_HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// A ChannelData header (RFC 8656 §12.4).
const CHANNEL_HEADER: usize = 4;

/// What came is no TURN: whatever is at the other end, it is not a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what answers there does not speak TURN")]
pub(crate) struct NotTurn;

/// Puts the relay's messages together. Holds one incomplete message besides what was pushed last,
/// and no message is longer than 64 KiB.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    buffer: BytesMut,
}

impl Messages {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The cookie tells at once whether somebody speaks another protocol.
    fn has_cookie(&self) -> bool {
        COOKIE.starts_with(&self.buffer[4..self.buffer.len().min(8)])
    }

    /// The next whole message, without its padding.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, NotTurn> {
        let [first, _, l0, l1, ..] = self.buffer[..] else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        // RFC 8489 §5: STUN begins with two zeros and is whole fours long. Channel numbers begin with
        // a zero and a one (RFC 5766 §11; RFC 8656 §12 narrows the range).
        let length = match first {
            0x40..=0x7f => CHANNEL_HEADER + length,
            0x00..=0x3f if length.is_multiple_of(4) && self.has_cookie() => STUN_HEADER + length,
            _ => return Err(NotTurn),
        };
        let padded = length.next_multiple_of(4);
        if self.buffer.len() < padded {
            return Ok(None);
        }
        let message = self.buffer.split_to(length).freeze();
        self.buffer.advance(padded - length);
        Ok(Some(message))
    }
}

/// A message as it is written to a stream: RFC 8656 §12.5 rounds ChannelData up to four bytes, STUN
/// messages are whole fours anyway.
pub(crate) fn padded(message: Bytes) -> Bytes {
    if message.len().is_multiple_of(4) {
        return message;
    }
    let mut padded = BytesMut::with_capacity(message.len().next_multiple_of(4));
    padded.extend_from_slice(&message);
    padded.resize(message.len().next_multiple_of(4), 0);
    padded.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_however_the_stream_is_cut() {
        let stun = [&[1, 1, 0, 4][..], &COOKIE, &[7; 12], &[8; 4]].concat();
        let data = [0x40, 1, 0, 5, 1, 2, 3, 4, 5];
        let empty = [0x4f, 0xff, 0, 0];
        let expected = [&stun[..], &data, &empty, &stun];
        let stream: Vec<u8> = expected
            .iter()
            .flat_map(|message| padded(Bytes::copy_from_slice(message)).to_vec())
            .collect();
        for step in 1..=stream.len() {
            let mut messages = Messages::default();
            let mut got = Vec::new();
            for part in stream.chunks(step) {
                messages.push(part);
                got.extend(std::iter::from_fn(|| messages.next().unwrap()));
            }
            assert_eq!(got, expected, "steps of {step}");
            assert!(messages.buffer.is_empty());
        }
    }

    #[test]
    fn what_is_no_turn_is_noticed() {
        for other in [&b"\x16\x03\x01\x00\x7a\x02"[..], &[0, 1, 0, 3], &[0xff; 4]] {
            let mut messages = Messages::default();
            messages.push(other);
            assert_eq!(messages.next(), Err(NotTurn), "{other:?}");
        }
    }
}
