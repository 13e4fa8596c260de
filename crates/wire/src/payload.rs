//! What users put into messages: opaque JSON that the coordinator carries and never reads.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::limits::MAX_META_BYTES;

/// A message's payload, kept as the text it came in.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Payload(#[schemars(with = "serde_json::Value")] Box<RawValue>);

impl Payload {
    /// Turns a value into a payload. Fails only if the value cannot be JSON.
    pub fn new(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Self)
    }

    /// The value that a text begins with, and what is behind it.
    pub(crate) fn leading(text: &str) -> Option<(Self, &str)> {
        let mut values = serde_json::Deserializer::from_str(text).into_iter();
        let value = values.next()?.ok()?;
        Some((value, &text[values.byte_offset()..]))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Reads the payload as a type of the user's.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.as_str())
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self(RawValue::NULL.to_owned())
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.as_str().len())
    }
}

/// What a peer tells others about itself: a JSON object of at most 2 KiB.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "serde_json::Map<String, serde_json::Value>")]
pub struct Meta(serde_json::Map<String, serde_json::Value>);

/// The metadata is too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metadata has at most {MAX_META_BYTES} bytes as JSON, this has {0}")]
pub struct MetaTooLarge(pub usize);

impl Meta {
    /// The object's entries.
    pub fn entries(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<serde_json::Map<String, serde_json::Value>> for Meta {
    type Error = MetaTooLarge;
    fn try_from(map: serde_json::Map<String, serde_json::Value>) -> Result<Self, MetaTooLarge> {
        let bytes = serde_json::to_string(&map).map_or(usize::MAX, |text| text.len());
        if bytes > MAX_META_BYTES {
            return Err(MetaTooLarge(bytes));
        }
        Ok(Self(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_over_its_limit_is_refused_when_parsed() {
        let small = r#"{"name":"My Server"}"#;
        assert_eq!(serde_json::from_str::<Meta>(small).unwrap().entries()["name"], "My Server");
        let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(MAX_META_BYTES));
        let error = serde_json::from_str::<Meta>(&large).unwrap_err();
        assert!(error.to_string().contains("2048"), "{error}");
    }

    #[test]
    fn a_payload_is_carried_as_the_text_it_came_in() {
        let payload: Payload = serde_json::from_str(r#"{"sdp" : "v=0"}"#).unwrap();
        assert_eq!(payload.as_str(), r#"{"sdp" : "v=0"}"#);
        assert_eq!(format!("{payload:?}"), "[15 bytes]");
    }
}
