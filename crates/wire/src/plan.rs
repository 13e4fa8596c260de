//! The strategies for a pair of peers, in the order they are tried.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A way to connect two peers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// One side dials an address of the other: same network, IPv6, or no NAT in the way.
    Direct,
    /// Both sides send at once, so that each NAT expects the other.
    UdpHolePunch,
    /// Both sides open TCP connections at once.
    TcpHolePunch,
    /// A TURN relay carries the packets.
    Relay,
}

impl Method {
    /// All methods, best path first.
    pub const ALL: [Self; 4] = [Self::Direct, Self::UdpHolePunch, Self::TcpHolePunch, Self::Relay];

    /// The name on the wire and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::UdpHolePunch => "udp-hole-punch",
            Self::TcpHolePunch => "tcp-hole-punch",
            Self::Relay => "relay",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One step of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanStep {
    /// What is tried.
    pub method: Method,
    /// The expected chance that it works, 0 to 1.
    pub chance: f64,
    /// Milliseconds after the attempt's start at which it begins.
    pub after_ms: u64,
    /// Packets that each side may spend on it before it counts as failed.
    pub packets: u32,
}
