//! A JWT as it travels: bounded in size, redacted in every log (invariant I10).

use std::fmt;

/// Bytes in a token. Real ones have a few hundred; HTTP servers commonly cut headers at 8 KiB.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// A JWT's text. `Debug` and `Display` are redacted; [`Token::expose`] gives the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Wraps a text; whether it is a valid token is for [`crate::Verifier::verify`] to say.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends or verifies it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Token {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted token]")
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i10_a_token_prints_redacted() {
        let token = Token::new("eyJhbGciOi.payload.signature");
        assert_eq!(format!("{token} {token:?}"), "[redacted token] [redacted token]");
        assert_eq!(token.expose(), "eyJhbGciOi.payload.signature");
    }
}
