//! Finding messages in a stream: over TCP and TLS one follows another without anything between them
//! (RFC 8489 §6.2.2, RFC 8656 §12.5).
//!
//! The length of a message is in its first four bytes, so a stream that has once been misread can
//! not be read again: whatever is neither STUN nor ChannelData ends it.

use crate::channel_data;

/// A STUN header (RFC 8489 §5).
const STUN_HEADER_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Room that is kept for the next messages; more is given back.
const KEPT_CAPACITY: usize = 4096;

/// Why a stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("the stream is neither STUN nor ChannelData")]
    NotStun,
    #[error("a message is longer than its sender may make it")]
    TooLong,
}

/// Puts the messages of one direction of a stream together.
///
/// It holds at most one incomplete message besides what was pushed last: take every message out
/// with [`next`](Self::next) before more is pushed.
#[derive(Debug, Default)]
pub struct StreamReader {
    buffer: Vec<u8>,
    /// What is before it has been handed out.
    start: usize,
}

impl StreamReader {
    /// Takes in what came, whole messages or parts of them.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete message of at most `longest` bytes, without its padding.
    ///
    /// # Errors
    /// The stream is of no use any more.
    pub fn next(&mut self, longest: usize) -> Result<Option<&[u8]>, StreamError> {
        let rest = &self.buffer[self.start..];
        let Some(length) = message_len(rest)? else { return Ok(self.wait()) };
        if length > longest {
            return Err(StreamError::TooLong);
        }
        // The padding belongs to the message: it is complete when that is there.
        let padded = length.next_multiple_of(4);
        if rest.len() < padded {
            return Ok(self.wait());
        }
        let begin = self.start;
        self.start += padded;
        Ok(Some(&self.buffer[begin..begin + length]))
    }

    /// Whether a message has begun and is not complete.
    #[must_use]
    pub fn is_within_message(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// Nothing to hand out: an idle stream keeps no buffer of its busiest time.
    fn wait(&mut self) -> Option<&[u8]> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_CAPACITY);
            self.start = 0;
        }
        None
    }
}

/// How many zero bytes follow a message in a stream: RFC 8656 §12.5 rounds ChannelData up to four
/// bytes, STUN messages are whole fours anyway.
#[must_use]
pub fn stream_padding(message_len: usize) -> usize {
    message_len.next_multiple_of(4) - message_len
}

/// The length of the message that begins here, without padding; `None` until enough of it has come.
fn message_len(bytes: &[u8]) -> Result<Option<usize>, StreamError> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    // RFC 8489 §5: STUN begins with two zeros. Channel numbers begin with a zero and a one, in the
    // range that a client may bind (RFC 5766 §11, which RFC 8656 §12 narrows).
    let is_channel_data = (0x40..=0x7f).contains(&first);
    if !is_channel_data && first & 0xc0 != 0 {
        return Err(StreamError::NotStun);
    }
    let [_, _, l0, l1, ..] = *bytes else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    if is_channel_data {
        return Ok(Some(channel_data::HEADER_LEN + length));
    }
    // The cookie tells at once whether somebody speaks another protocol.
    let cookie = &bytes[4..bytes.len().min(8)];
    if length % 4 != 0 || !MAGIC_COOKIE.starts_with(cookie) {
        return Err(StreamError::NotStun);
    }
    Ok(Some(STUN_HEADER_LEN + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: usize = usize::MAX;

    fn binding() -> Vec<u8> {
        let mut message = vec![0, 1, 0, 8];
        message.extend(MAGIC_COOKIE);
        message.extend([7; 12 + 8]);
        message
    }

    fn all(reader: &mut StreamReader) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| reader.next(ANY).unwrap().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn messages_are_told_apart_however_the_stream_is_cut() {
        let data = [0x40, 0x01, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0];
        let old_range = [0x7f, 0xff, 0, 4, 1, 2, 3, 4];
        let stream = [&binding()[..], &data, &old_range, &binding()].concat();
        let expected = [binding(), data[..9].to_vec(), old_range.to_vec(), binding()];
        for cut in 1..stream.len() {
            let mut reader = StreamReader::default();
            let mut got = Vec::new();
            for part in stream.chunks(cut) {
                reader.push(part);
                got.extend(all(&mut reader));
            }
            assert_eq!(got, expected, "parts of {cut} bytes");
            assert!(!reader.is_within_message());
        }
    }

    #[test]
    fn channel_data_is_complete_with_its_padding() {
        let mut reader = StreamReader::default();
        reader.push(&[0x40, 0x01, 0, 1, 9, 0, 0]);
        assert_eq!(reader.next(ANY), Ok(None));
        assert!(reader.is_within_message());
        reader.push(&[0]);
        assert_eq!(reader.next(ANY), Ok(Some(&[0x40, 0x01, 0, 1, 9][..])));
        reader.push(&[0x40, 0x01, 0, 0]);
        assert_eq!(reader.next(ANY), Ok(Some(&[0x40, 0x01, 0, 0][..])));
    }

    #[test]
    fn another_protocol_is_noticed_by_its_first_bytes() {
        let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
        let odd_length = [0, 1, 0, 3];
        for garbage in [&[0x80][..], &[0xff; 40], &hello, &odd_length] {
            let mut reader = StreamReader::default();
            reader.push(garbage);
            assert_eq!(reader.next(ANY), Err(StreamError::NotStun), "{garbage:?}");
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_it_has_come() {
        let mut reader = StreamReader::default();
        // Reads as ChannelData of 21,536 bytes.
        reader.push(b"GET / HTTP/1.1\r\n");
        assert_eq!(reader.next(4096), Err(StreamError::TooLong));
    }

    #[test]
    fn a_reader_that_waits_gives_memory_back() {
        let mut reader = StreamReader::default();
        let mut long = vec![0x40, 0x01, 0xff, 0xfc];
        long.extend(vec![0; 0xfffc]);
        reader.push(&long);
        assert_eq!(reader.next(ANY).unwrap().map(<[u8]>::len), Some(long.len()));
        assert_eq!(reader.next(ANY), Ok(None));
        assert!(reader.buffer.capacity() <= KEPT_CAPACITY);
    }

    #[test]
    fn padding_rounds_up_to_four() {
        assert_eq!([4, 5, 6, 7, 8].map(stream_padding), [0, 3, 2, 1, 0]);
    }
}
