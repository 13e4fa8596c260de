//! Whole messages over a stream of bytes.
//!
//! A side that has messages to send opens one stream for them and begins it with [`PREFACE`]; any
//! other stream is the user's own. The side that was connected to begins at once, and the other one
//! when it sees that: so both know that messages are understood, and a program of another kind that
//! waits for streams, such as `p2p listen --to`, is not sent one that it does not expect. Each
//! message is a header of five bytes, the kind and the length in network byte order, and the
//! payload.
//!
//! The last one may be a goodbye. QUIC tells a peer that a connection is closed in one packet that
//! nobody repeats; a goodbye is repeated until it has arrived.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of a stream that carries messages. A program's own stream begins with the same
/// 16 bytes by chance once in 2^128.
pub(crate) const PREFACE: [u8; 16] = *b"\x00p2p\x9f\xe3\x51\xb8\x2d\xc6msgs\x01\n";

/// Bytes in one message, either way.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

pub(crate) const HEADER_BYTES: usize = 5;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Binary(Vec<u8>),
    Text(String),
    /// The sender closes the connection, and why.
    Goodbye(String),
}

impl Message {
    /// Bytes of the payload.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Binary(bytes) => bytes.len(),
            Self::Text(text) | Self::Goodbye(text) => text.len(),
        }
    }

    /// The message as it travels.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, payload) = match self {
            Self::Binary(bytes) => (0, bytes.as_slice()),
            Self::Text(text) => (1, text.as_bytes()),
            Self::Goodbye(reason) => (2, reason.as_bytes()),
        };
        let length = u32::try_from(payload.len()).expect("messages are at most 16 MiB");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
        bytes.push(kind);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }
}

/// What a stream turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It carries messages, and its preface is read.
    Messages,
    /// It is the user's own, and these are its first bytes.
    Own(Vec<u8>),
}

/// Reads until it is certain what a stream is: at most the length of the preface, and not a byte
/// more than it takes to differ from it.
pub(crate) async fn opening(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Opening> {
    let mut seen = Vec::with_capacity(PREFACE.len());
    while PREFACE.starts_with(&seen) {
        if seen.len() == PREFACE.len() {
            return Ok(Opening::Messages);
        }
        let mut limited = (&mut *stream).take((PREFACE.len() - seen.len()) as u64);
        if limited.read_buf(&mut seen).await? == 0 {
            break;
        }
    }
    Ok(Opening::Own(seen))
}

/// The next message; `None` where the stream ends between two.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Message>> {
    let mut header = [0; HEADER_BYTES];
    if stream.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut header[1..]).await?;
    let [kind, length @ ..] = header;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE_BYTES {
        return Err(invalid(format!("a message of {length} bytes, at most {MAX_MESSAGE_BYTES}")));
    }
    // The length is the other side's word: memory grows with what has arrived.
    let mut payload = Vec::with_capacity(length.min(64 * 1024));
    (&mut *stream).take(length as u64).read_to_end(&mut payload).await?;
    if payload.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match kind {
        0 => Ok(Some(Message::Binary(payload))),
        1 | 2 => match String::from_utf8(payload) {
            Ok(text) if kind == 1 => Ok(Some(Message::Text(text))),
            Ok(reason) => Ok(Some(Message::Goodbye(reason))),
            Err(_) => Err(invalid("a text message that is not UTF-8".to_owned())),
        },
        kind => Err(invalid(format!("a message of the unknown kind {kind}"))),
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail")]
    use super::*;

    #[tokio::test]
    async fn messages_come_back_whole_and_of_their_kind() {
        let sent = [
            Message::Binary(vec![0, 255, 7]),
            Message::Text("grüß dich".to_owned()),
            Message::Binary(Vec::new()),
            Message::Text(String::new()),
            Message::Goodbye("done".to_owned()),
        ];
        let bytes: Vec<u8> = sent.iter().flat_map(Message::encode).collect();
        let mut stream = bytes.as_slice();
        for message in &sent {
            assert_eq!(read(&mut stream).await.unwrap().as_ref(), Some(message));
        }
        assert_eq!(read(&mut stream).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_stream_with_the_preface_carries_messages_and_keeps_what_follows() {
        let bytes = [&PREFACE[..], b"rest"].concat();
        let mut stream = bytes.as_slice();
        assert_eq!(opening(&mut stream).await.unwrap(), Opening::Messages);
        assert_eq!(stream, b"rest");
    }

    #[tokio::test]
    async fn any_other_stream_loses_no_byte() {
        for own in [&b""[..], b"\x00", b"\x00p2p", b"hello", b"a stream longer than the preface"] {
            let mut stream = own;
            let Opening::Own(mut seen) = opening(&mut stream).await.unwrap() else {
                panic!("{own:?} is no preface");
            };
            seen.extend_from_slice(stream);
            assert_eq!(seen, own);
        }
    }

    #[tokio::test]
    async fn what_no_sender_writes_is_an_error() {
        for (bytes, cause) in [
            (&[0, 255, 255, 255, 255][..], "at most"),
            (&[1, 0, 0, 0, 1, 0xff], "UTF-8"),
            (&[9, 0, 0, 0, 0], "unknown kind"),
        ] {
            let error = read(&mut &*bytes).await.unwrap_err();
            assert!(error.to_string().contains(cause), "{error}");
        }
        let cut = read(&mut &[0, 0, 0, 0, 9, 1][..]).await.unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }
}
