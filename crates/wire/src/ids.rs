//! Names and identifiers, checked when they are made so that nothing behind them checks again.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::limits::{MAX_ID_BYTES, MAX_REQUEST_ID_BYTES};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The text has no characters.
    #[error("an id must not be empty")]
    Empty,
    /// The text is longer than the kind of id allows.
    #[error("an id has at most {max} bytes, this one has {len}")]
    TooLong {
        /// Bytes in the text.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The text holds a character that ids do not have.
    #[error("an id has letters, digits and any of `-_.:@~+=` and inner spaces; this one has {0:?}")]
    Character(char),
}

/// Checks a text against the alphabet that every id shares.
///
/// Braces are left out so that an id can never steer a Redis Cluster hash slot, control characters
/// so that it can be logged, `/` and `*` so that it fits a path and a token's pattern.
fn check(text: &str, max: usize) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > max {
        return Err(InvalidId::TooLong { len: text.len(), max });
    }
    if text.starts_with(' ') || text.ends_with(' ') {
        return Err(InvalidId::Character(' '));
    }
    let allowed = |c: char| c.is_alphanumeric() || "-_.:@~+= ".contains(c);
    match text.chars().find(|&c| !allowed(c)) {
        Some(c) => Err(InvalidId::Character(c)),
        None => Ok(()),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(extend("minLength" = 1, "maxLength" = $max))]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps a text.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                check(&text, $max)?;
                Ok(Self(text))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

id!(
    /// A peer's name, unique within its app: the token's `sub`.
    PeerId,
    MAX_ID_BYTES
);
id!(
    /// A room's name, unique within its app.
    RoomName,
    MAX_ID_BYTES
);
id!(
    /// A tenant. Peers and rooms of different apps never meet.
    AppId,
    MAX_ID_BYTES
);
id!(
    /// One connection attempt between two peers, named by the coordinator.
    AttemptId,
    MAX_ID_BYTES
);
id!(
    /// One session of a peer; outlives a WebSocket while its resume window is open.
    SessionId,
    MAX_ID_BYTES
);
id!(
    /// A client's own name for one of its requests; echoed in the answer, and what makes a retried
    /// `send` the same message.
    RequestId,
    MAX_REQUEST_ID_BYTES
);

impl Default for AppId {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

/// A peer's Ed25519 public key, 32 bytes, base64url without padding on the wire.
///
/// Signaling carries it from peer to peer; the QUIC handshake of a direct or relayed path is pinned
/// to it, so neither relay nor network can stand in for the peer.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[A-Za-z0-9_-]{43}$"))]
pub struct PeerKey(String);

impl PeerKey {
    /// Wraps the base64url text of 32 bytes.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
        let text = text.into();
        if text.len() != 43 {
            return Err(InvalidId::TooLong { len: text.len(), max: 43 });
        }
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '_')) {
            Some(c) => Err(InvalidId::Character(c)),
            None => Ok(Self(text)),
        }
    }

    /// The key as base64url text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PeerKey {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::new(text)
    }
}

impl From<PeerKey> for String {
    fn from(key: PeerKey) -> String {
        key.0
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_what_people_call_their_peers() {
        for text in ["alice", "Büro-3", "my server 2", "user@example.org", "a:b.c_d~e+f="] {
            assert_eq!(PeerId::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn an_id_refuses_what_could_steer_a_hash_slot_or_a_log() {
        for text in ["", "a{b}", "line\nbreak", "a/b", "a*", " padded", "padded ", "\u{0}"] {
            assert!(PeerId::new(text).is_err(), "{text:?}");
        }
        assert!(PeerId::new("x".repeat(MAX_ID_BYTES + 1)).is_err());
    }

    #[test]
    fn an_id_is_checked_when_it_is_parsed() {
        assert!(serde_json::from_str::<PeerId>("\"a{b}\"").is_err());
        assert_eq!(serde_json::from_str::<PeerId>("\"bob\"").unwrap().as_str(), "bob");
    }

    #[test]
    fn a_peer_key_is_32_bytes_of_base64url() {
        assert!(PeerKey::new("A".repeat(43)).is_ok());
        assert!(PeerKey::new("A".repeat(42)).is_err());
        assert!(PeerKey::new(format!("{}+", "A".repeat(42))).is_err());
    }
}
