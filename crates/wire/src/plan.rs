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

/// How a method goes about it, where it has more than one way.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Tactic {
    /// The caller dials the callee.
    Dial,
    /// The callee dials the caller, which is the one that can be dialled.
    ReversedDial,
    /// Both sides send at once to addresses that are known.
    Simultaneous,
    /// One side's port is not known: it sends first, and the other side learns the port from that.
    LearnPort,
    /// A leg to the relay over UDP.
    Udp,
    /// A leg to the relay over TCP.
    Tcp,
    /// A leg to the relay over TLS.
    Tls,
    /// A tactic of a newer version, which this one leaves out.
    #[serde(other)]
    Unknown,
}

/// One step of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanStep {
    /// What is tried.
    pub method: Method,
    /// How, where there is a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tactic: Option<Tactic>,
    /// The expected chance that it works, 0 to 1.
    pub chance: f64,
    /// Milliseconds after the attempt's start at which it begins, unless a better path is there by
    /// then.
    pub after_ms: u64,
    /// Packets that each side may spend on it before it counts as failed.
    pub packets: u32,
}
