//! Values that must not reach a log: secrets, and addresses above DEBUG (invariant I10).
//!
//! Redaction is a property of the type. A struct that holds a [`Secret`] can derive `Debug` and be
//! logged; whoever needs the text says so with [`Secret::expose`].

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A password, a resume secret, a credential: readable on the wire, redacted everywhere else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Shows an address with its host part cut off: `203.0.113.x`, `2001:db8:1::x`.
///
/// IPv4 keeps 24 bits and IPv6 keeps 48, which is what an operator needs to recognise a network and
/// too little to recognise a person.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Redacted(pub IpAddr);

impl From<SocketAddr> for Redacted {
    fn from(addr: SocketAddr) -> Self {
        Self(addr.ip())
    }
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                write!(f, "{a}.{b}.{c}.x")
            }
            IpAddr::V6(ip) => {
                let [a, b, c, ..] = ip.segments();
                write!(f, "{a:x}:{b:x}:{c:x}::x")
            }
        }
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_redacted_but_travels_as_text() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"hunter2\"");
    }

    #[test]
    fn i10_an_address_prints_without_its_host_part() {
        let v4 = Redacted("203.0.113.77".parse().unwrap());
        let v6 = Redacted("2001:db8:77:1::5".parse().unwrap());
        let mapped = Redacted("::ffff:203.0.113.77".parse().unwrap());
        assert_eq!(v4.to_string(), "203.0.113.x");
        assert_eq!(v6.to_string(), "2001:db8:77::x");
        assert_eq!(mapped.to_string(), "203.0.113.x");
    }
}
