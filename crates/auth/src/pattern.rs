//! A name, or a prefix of names followed by `*`.

use std::fmt;
use std::str::FromStr;

use p2p_wire::{InvalidId, PeerId};
use serde::{Deserialize, Serialize};

/// Matches one name exactly, or every name that begins with a prefix. `*` alone matches all.
///
/// The star stands only at the end: a pattern is then one comparison, and what it grants can be
/// read at a glance. Ids never hold a star, so a pattern is never mistaken for a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pattern {
    /// This name.
    Exact(String),
    /// Every name that begins so.
    Prefix(String),
}

impl Pattern {
    /// Whether the pattern covers the name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }
}

impl FromStr for Pattern {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.strip_suffix('*') {
            Some("") => Ok(Self::Prefix(String::new())),
            Some(prefix) => {
                // A prefix may end where an id may not: in the space between two words.
                PeerId::new(format!("{prefix}x")).map(|_| Self::Prefix(prefix.to_owned()))
            }
            None => PeerId::new(text).map(|_| Self::Exact(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<PeerId> for Pattern {
    fn from(peer: PeerId) -> Self {
        Self::Exact(peer.into())
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_matches_itself_and_a_prefix_matches_what_begins_so() {
        let exact: Pattern = "alice".parse().unwrap();
        assert!(exact.matches("alice") && !exact.matches("alice2"));
        let prefix: Pattern = "alice-*".parse().unwrap();
        assert!(prefix.matches("alice-phone") && !prefix.matches("alice"));
        assert!("*".parse::<Pattern>().unwrap().matches("anyone"));
    }

    #[test]
    fn a_star_inside_a_pattern_is_refused() {
        for text in ["a*b", "**", "*a", "", "a{b}*", "a/*"] {
            assert!(text.parse::<Pattern>().is_err(), "{text:?}");
        }
    }
}
