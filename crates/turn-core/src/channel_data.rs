//! ChannelData messages: four bytes of header and the payload (RFC 8656 §12.4).

use std::ops::Range;

use crate::channel::ChannelNumber;

pub(crate) const HEADER_LEN: usize = 4;

/// A datagram that starts like ChannelData and is shorter than it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Whether the first byte is that of a ChannelData message (RFC 8656 §12, RFC 7983).
pub(crate) fn looks_like(first_byte: u8) -> bool {
    (0x40..=0x7f).contains(&first_byte)
}

/// Finds the payload. Over UDP, bytes behind it are padding and ignored (§12.5).
pub(crate) fn parse(datagram: &[u8]) -> Result<(ChannelNumber, Range<usize>), Malformed> {
    let [n0, n1, l0, l1, payload @ ..] = datagram else {
        return Err(Malformed);
    };
    let number = u16::from_be_bytes([*n0, *n1]);
    let number = ChannelNumber::new(number).ok_or(Malformed)?;
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    if length > payload.len() {
        return Err(Malformed);
    }
    Ok((number, HEADER_LEN..HEADER_LEN + length))
}

/// The header for a payload of this length.
pub(crate) fn header(number: ChannelNumber, length: u16) -> [u8; HEADER_LEN] {
    let [n0, n1] = number.get().to_be_bytes();
    let [l0, l1] = length.to_be_bytes();
    [n0, n1, l0, l1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_what_the_length_says_and_padding_is_ignored() {
        let (number, payload) = parse(&[0x40, 0x01, 0, 3, b'a', b'b', b'c', 0]).unwrap();
        assert_eq!((number.get(), payload), (0x4001, 4..7));
        assert_eq!(parse(&[0x40, 0x01, 0, 0]).unwrap().1, 4..4);
    }

    #[test]
    fn a_length_beyond_the_datagram_is_malformed() {
        assert_eq!(parse(&[0x40, 0x01, 0, 4, 1, 2, 3]), Err(Malformed));
        assert_eq!(parse(&[0x40, 0x01, 0]), Err(Malformed));
    }

    #[test]
    fn a_header_parses_back() {
        let number = ChannelNumber::new(0x4abc).unwrap();
        let mut datagram = header(number, 2).to_vec();
        datagram.extend([7, 7]);
        assert_eq!(parse(&datagram), Ok((number, 4..6)));
    }
}
