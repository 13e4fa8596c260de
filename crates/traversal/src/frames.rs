//! Datagrams in a stream between peers: each behind its length in two bytes (RFC 4571 §2), as ICE over
//! TCP has it (RFC 6544 §3).

use bytes::{Buf, Bytes, BytesMut};

/// The most that one frame carries.
pub const MAX_FRAME: usize = u16::MAX as usize;

/// A datagram as it is written to the stream; `None` where it is too long for a frame.
#[must_use]
pub fn frame(datagram: &[u8]) -> Option<Bytes> {
    let length = u16::try_from(datagram.len()).ok()?;
    let mut framed = BytesMut::with_capacity(2 + datagram.len());
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(datagram);
    Some(framed.freeze())
}

/// Takes datagrams out of what came. It holds one unfinished frame and what was passed in with it.
#[derive(Debug, Default)]
pub struct Deframer {
    buffer: BytesMut,
}

impl Deframer {
    /// Takes in what the stream brought.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that wait for the rest of their frame.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole datagram; empty frames are skipped.
    pub fn next_frame(&mut self) -> Option<Bytes> {
        loop {
            let (head, rest) = self.buffer.split_at_checked(2)?;
            let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
            if rest.len() < length {
                return None;
            }
            self.buffer.advance(2);
            let datagram = self.buffer.split_to(length).freeze();
            if !datagram.is_empty() {
                return Some(datagram);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_out_as_they_went_in_however_the_stream_cuts_them() {
        let datagrams = [vec![1; 1], vec![2; 1200], vec![3; MAX_FRAME], vec![4; 3]];
        let mut stream = Vec::new();
        for datagram in &datagrams {
            stream.extend_from_slice(&frame(&[]).unwrap());
            stream.extend_from_slice(&frame(datagram).unwrap());
        }
        for piece in [1, 2, 3, 1000, stream.len()] {
            let mut deframer = Deframer::default();
            let mut out = Vec::new();
            for bytes in stream.chunks(piece) {
                deframer.extend(bytes);
                out.extend(std::iter::from_fn(|| deframer.next_frame()).map(|f| f.to_vec()));
            }
            assert_eq!(out, datagrams, "in pieces of {piece}");
        }
        assert_eq!(frame(&vec![0; MAX_FRAME + 1]), None);
    }
}
