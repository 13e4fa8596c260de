//! What both peers get in the same moment when one of them asks to connect.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::candidate::Candidate;
use crate::ids::{AttemptId, PeerId, PeerKey, RequestId};
use crate::nat::NatProfile;
use crate::payload::Meta;
use crate::plan::PlanStep;
use crate::secret::Secret;
use crate::trace::TraceParent;

/// Which paths a connection may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The relay at once, the best direct path as soon as there is one.
    #[default]
    Auto,
    /// Never the relay.
    Direct,
    /// Only the relay: the peers do not learn each other's addresses.
    Relay,
}

/// The credentials that authenticate one side's connectivity checks (RFC 8445 §7.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IceCredentials {
    /// The username fragment.
    pub ufrag: String,
    /// The password.
    pub pwd: Secret,
}

/// Both sides' credentials as one side sees them. The coordinator makes them, so neither side waits
/// for the other before its first check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IcePair {
    /// What the receiver of this message answers to.
    pub local: IceCredentials,
    /// What the other peer answers to.
    pub remote: IceCredentials,
}

/// STUN and TURN servers, in the form that `RTCPeerConnection` takes as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IceServer {
    /// `stun:host:port` and `turn:host:port?transport=udp` URIs.
    pub urls: Vec<String>,
    /// The TURN username, absent for STUN alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The TURN password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Secret>,
}

/// One attempt, from one side's point of view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// The attempt's name, the same for both sides.
    pub attempt: AttemptId,
    /// The caller's `connect` id; absent for the side that was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RequestId>,
    /// The other peer.
    pub peer: PeerId,
    /// The other peer's metadata.
    #[serde(default, skip_serializing_if = "Meta::is_empty")]
    pub peer_meta: Meta,
    /// Whether the receiver nominates pairs and is the QUIC client. The caller is controlling.
    pub controlling: bool,
    /// The stricter of both sides' wishes.
    #[serde(default)]
    pub policy: Policy,
    /// The credentials of the connectivity checks.
    pub ice: IcePair,
    /// Where the other peer may be reached, as far as it has said.
    #[serde(default)]
    pub peer_candidates: Vec<Candidate>,
    /// The other peer's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_nat: Option<NatProfile>,
    /// The key that the other peer must prove to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_key: Option<PeerKey>,
    /// Relays for this pair, with this peer's credentials.
    #[serde(default)]
    pub relays: Vec<IceServer>,
    /// What to try, in which order.
    #[serde(default)]
    pub plan: Vec<PlanStep>,
    /// Milliseconds after which an attempt without a path has failed.
    pub timeout_ms: u64,
    /// The attempt's trace, for spans of the peer's own; absent where it is not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
    /// For the side that was called: the caller's `first_flight`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_flight: Vec<String>,
}
