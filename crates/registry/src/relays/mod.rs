//! Which relays there are, and which two are best for a pair of peers.
//!
//! Relays say so themselves, as a lease in Redis ([`RelayLease`]): a relay that dies is forgotten
//! when its lease ends, one that drains says it at once. Every instance has the list at hand
//! ([`RelayDirectory`]); [`best`] chooses from it.

mod choice;
mod directory;
mod lease;

use serde::{Deserialize, Serialize};

pub use self::choice::best;
pub use self::directory::RelayDirectory;
pub use self::lease::RelayLease;
pub(crate) use self::lease::{invoke, unavailable};

/// Relays that a directory holds. More are refused.
pub const MAX_RELAYS: usize = 1024;

/// One relay as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayRecord {
    /// Its name, another one at every start.
    pub id: String,
    /// Where it is, in the operator's words; empty where nobody said.
    #[serde(default)]
    pub region: String,
    /// `HOST:PORT` of its listeners as clients reach them, over UDP. At most 8.
    pub addresses: Vec<String>,
    /// The same over TCP. TLS is not told here: its certificate is for a name that the relay does
    /// not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<String>,
    /// What part of what it can hold it holds, in thousandths.
    #[serde(default)]
    pub load: u16,
    /// Whether it takes no new allocations.
    #[serde(default)]
    pub draining: bool,
}

impl RelayRecord {
    /// What clients are told, as TURN URIs.
    pub fn turn_urls(&self) -> Vec<String> {
        let over = |addresses: &[String], transport: &str| -> Vec<String> {
            let url = |address| format!("turn:{address}?transport={transport}");
            addresses.iter().map(url).collect()
        };
        [over(&self.addresses, "udp"), over(&self.tcp, "tcp")].concat()
    }

    /// Those over UDP, as STUN URIs.
    pub fn stun_urls(&self) -> Vec<String> {
        self.addresses.iter().map(|address| format!("stun:{address}")).collect()
    }
}
