//! An address at which a peer may be reached (RFC 8445 §5.1.1).

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a candidate's address comes from.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum CandidateKind {
    /// An interface of the host.
    Host,
    /// What a STUN server saw: the NAT's side of the host's socket.
    #[serde(rename = "srflx")]
    ServerReflexive,
    /// What the other peer saw.
    #[serde(rename = "prflx")]
    PeerReflexive,
    /// An address at a TURN relay.
    Relay,
}

/// The transport of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// UDP.
    #[default]
    Udp,
    /// TCP, by simultaneous open.
    Tcp,
}

/// One candidate of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Where the address comes from.
    pub kind: CandidateKind,
    /// UDP unless said otherwise.
    #[serde(default)]
    pub transport: Transport,
    /// The address the other side sends to.
    pub address: SocketAddr,
    /// The local address behind a reflexive or relayed one (RFC 8445 §5.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub related: Option<SocketAddr>,
}

impl Candidate {
    /// A UDP candidate without a related address.
    pub fn udp(kind: CandidateKind, address: SocketAddr) -> Self {
        Self { kind, transport: Transport::Udp, address, related: None }
    }
}
