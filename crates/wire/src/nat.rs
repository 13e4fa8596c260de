//! A peer's network as RFC 4787 and RFC 5780 describe it: the two axes, the names people use, and
//! the profile a client publishes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a NAT picks the external port of a new flow (RFC 4787 §4.1).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// One external port per internal port, whatever the destination.
    EndpointIndependent,
    /// Another external port per destination address.
    AddressDependent,
    /// Another external port per destination address and port.
    AddressAndPortDependent,
    /// Not measured; the profile says why.
    #[default]
    Unknown,
}

/// Which inbound packets a NAT or firewall lets through (RFC 4787 §5).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// Any.
    EndpointIndependent,
    /// Those from an address that was sent to.
    AddressDependent,
    /// Those from an address and port that was sent to.
    AddressAndPortDependent,
    /// Not measured; the profile says why.
    #[default]
    Unknown,
}

/// Which external ports a NAT gives to new flows (RFC 4787 §4.2).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum PortAllocation {
    /// The internal port.
    Preserving,
    /// One after the other, by a small step.
    Sequential,
    /// Any of a block of at most 8192 ports that the subscriber has.
    Block,
    /// Any.
    Random,
}

/// The name that people know a network by. Derived from the axes, for display; strategy uses the
/// axes.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum NatType {
    /// A public address that anybody can reach.
    Open,
    /// A public address behind a firewall that wants to be asked first.
    #[serde(rename = "Symmetric Firewall")]
    SymmetricFirewall,
    /// Endpoint-independent mapping and filtering.
    #[serde(rename = "Full Cone")]
    FullCone,
    /// Endpoint-independent mapping, address-dependent filtering.
    #[serde(rename = "Restricted Cone")]
    RestrictedCone,
    /// Endpoint-independent mapping, address-and-port-dependent filtering.
    #[serde(rename = "Port-Restricted Cone")]
    PortRestrictedCone,
    /// The external port depends on the destination.
    Symmetric,
    /// No UDP passes.
    #[serde(rename = "UDP Blocked")]
    UdpBlocked,
    /// Not measured, or not enough to tell.
    #[default]
    Unknown,
}

impl fmt::Display for NatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "Open",
            Self::SymmetricFirewall => "Symmetric Firewall",
            Self::FullCone => "Full Cone",
            Self::RestrictedCone => "Restricted Cone",
            Self::PortRestrictedCone => "Port-Restricted Cone",
            Self::Symmetric => "Symmetric",
            Self::UdpBlocked => "UDP Blocked",
            Self::Unknown => "Unknown",
        })
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for PortAllocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preserving => "preserving",
            Self::Sequential => "sequential",
            Self::Block => "block",
            Self::Random => "random",
        })
    }
}

impl fmt::Display for Filtering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
            Self::Unknown => "unknown",
        })
    }
}

/// How a NAT maps TCP, which may differ from how it maps UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TcpProfile {
    /// The mapping axis.
    #[serde(default)]
    pub mapping: Mapping,
    /// The address and port that a STUN server saw over TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_address: Option<SocketAddr>,
}

/// Nobody who says nothing of UDP has found that it does not pass; [`NatProfile::settled`] sees to
/// those who have.
fn unless_blocked() -> bool {
    true
}

/// What a client measured about its own network.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct NatProfile {
    /// The name for people.
    #[serde(rename = "type", default)]
    pub nat_type: NatType,
    /// The mapping axis.
    #[serde(default)]
    pub mapping: Mapping,
    /// The filtering axis.
    #[serde(default)]
    pub filtering: Filtering,
    /// The address and port that a STUN server saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_address: Option<SocketAddr>,
    /// Whether the external port equals the local one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_preserving: Option<bool>,
    /// How external ports are chosen; absent where it was not measured or nothing is translated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_allocation: Option<PortAllocation>,
    /// Whether two hosts behind this NAT reach each other by their public addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hairpin: Option<bool>,
    /// Whether UDP reached any STUN server. Absent: true, unless the type is `UDP Blocked`.
    #[serde(default = "unless_blocked")]
    pub udp: bool,
    /// Whether IPv6 reached any STUN server; absent where the host has no IPv6 or none was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<bool>,
    /// TCP; absent where it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpProfile>,
    /// For every axis that is unknown, why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown_because: BTreeMap<String, String>,
}

impl NatProfile {
    /// The profile without a contradiction: where UDP is blocked by its type, it does not pass.
    pub(crate) fn settled(self) -> Self {
        Self { udp: self.udp && self.nat_type != NatType::UdpBlocked, ..self }
    }
}
