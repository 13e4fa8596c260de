//! The one piece of a trace that travels: which span something belongs to.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes of version 00; later versions may append.
const LEN: std::ops::RangeInclusive<usize> = 55..=128;

/// A W3C Trace Context `traceparent` (§3.2): `00-<trace id>-<span id>-<flags>`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("minLength" = 55, "maxLength" = 128))]
pub struct TraceParent(String);

/// A text that is no `traceparent`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a traceparent has 55 to 128 lower-case hexadecimal digits and dashes (W3C Trace Context)")]
pub struct InvalidTraceParent;

impl TraceParent {
    /// Checks its length and alphabet; whoever uses it reads its parts.
    ///
    /// # Errors
    /// [`InvalidTraceParent`].
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidTraceParent> {
        let text = text.into();
        let fits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-';
        let good = LEN.contains(&text.len()) && text.bytes().all(fits);
        good.then_some(Self(text)).ok_or(InvalidTraceParent)
    }

    /// As it stands in the header of that name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TraceParent {
    type Error = InvalidTraceParent;
    fn try_from(text: String) -> Result<Self, InvalidTraceParent> {
        Self::new(text)
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> Self {
        parent.0
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_parent_is_digits_and_dashes_and_bounded() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceParent::new(good).map(String::from).as_deref(), Ok(good));
        let long = "0".repeat(129);
        for bad in ["", "00-0af", &good.replace('a', "A"), &good.replace('0', " "), &long] {
            assert_eq!(TraceParent::new(bad), Err(InvalidTraceParent), "{bad:?}");
        }
    }
}
