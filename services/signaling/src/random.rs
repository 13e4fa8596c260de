//! Texts that nobody can guess.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// `BYTES` random bytes as base64url, fit for a URL.
pub(crate) fn url_text<const BYTES: usize>() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<BYTES>())
}

/// `BYTES` random bytes in ice-chars, which are letters, digits, `+` and `/` (RFC 8839 §5.4).
pub(crate) fn ice_text<const BYTES: usize>() -> String {
    STANDARD_NO_PAD.encode(bytes::<BYTES>())
}

/// A random number below `end`, or 0 for 0. The bias of at most `end` in 2^64 does not matter to
/// the times that are spread with it.
pub(crate) fn below(end: u64) -> u64 {
    u64::from_le_bytes(bytes()).checked_rem(end).unwrap_or(0)
}

fn bytes<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
