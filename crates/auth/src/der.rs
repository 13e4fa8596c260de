//! As much of PEM (RFC 7468) and DER (X.690) as the containers of keys need.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::KeyError;

/// The elements that keys are packed in, by their identifier octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Integer = 0x02,
    BitString = 0x03,
    OctetString = 0x04,
    Sequence = 0x30,
}

/// The contents of the element that begins here; what follows it is left in `input`.
pub(crate) fn take<'a>(input: &mut &'a [u8], element: Element) -> Result<&'a [u8], KeyError> {
    let (&tag, rest) = input.split_first().ok_or(KeyError::Malformed)?;
    let (&first, mut rest) = rest.split_first().ok_or(KeyError::Malformed)?;
    if tag != element as u8 {
        return Err(KeyError::Malformed);
    }
    let mut length = usize::from(first);
    // X.690 §8.1.3: the long form says in how many bytes the length is. Keys need at most two.
    if first >= 0x80 {
        let bytes = usize::from(first & 0x7f);
        if !(1..=2).contains(&bytes) || rest.len() < bytes {
            return Err(KeyError::Malformed);
        }
        let (written, after) = rest.split_at(bytes);
        length = written.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte));
        rest = after;
    }
    if rest.len() < length {
        return Err(KeyError::Malformed);
    }
    let (contents, after) = rest.split_at(length);
    *input = after;
    Ok(contents)
}

/// The contents of the one element that there is.
pub(crate) fn only(mut input: &[u8], element: Element) -> Result<&[u8], KeyError> {
    let contents = take(&mut input, element)?;
    if input.is_empty() { Ok(contents) } else { Err(KeyError::Malformed) }
}

/// The label and the bytes of each block of a PEM text. What stands between them is explanation.
pub(crate) fn pem_blocks(text: &str) -> Result<Vec<(String, Vec<u8>)>, KeyError> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let begin = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
        let Some(label) = begin else { continue };
        let end = format!("-----END {label}-----");
        let mut written = String::new();
        loop {
            match lines.next() {
                Some(line) if line == end => break,
                Some(line) => written.push_str(line),
                None => return Err(KeyError::Malformed),
            }
        }
        let bytes = STANDARD.decode(written).map_err(|_| KeyError::Malformed)?;
        blocks.push((label.to_owned(), bytes));
    }
    if blocks.is_empty() { Err(KeyError::NoKey) } else { Ok(blocks) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_that_claims_more_than_there_is_is_malformed() {
        for bytes in [&b"\x30"[..], b"\x30\x02\x00", b"\x30\x82\x01", b"\x30\x84\0\0\0\0", b""] {
            assert_eq!(take(&mut &bytes[..], Element::Sequence), Err(KeyError::Malformed));
        }
        assert_eq!(only(b"\x02\x01\x07\x00", Element::Integer), Err(KeyError::Malformed), "rest");
    }

    #[test]
    fn a_pem_text_may_explain_itself_and_must_be_closed() {
        let text = "made today\n-----BEGIN X-----\nAAE=\n-----END X-----\n";
        assert_eq!(pem_blocks(text).unwrap(), [("X".to_owned(), vec![0, 1])]);
        assert_eq!(pem_blocks("nothing here"), Err(KeyError::NoKey));
        assert_eq!(pem_blocks("-----BEGIN X-----\nAAE=\n"), Err(KeyError::Malformed));
    }
}
