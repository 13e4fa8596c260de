//! What an attempt begins with, and what its policy lets it use.

use std::net::IpAddr;
use std::time::Duration;

use p2p_wire::{AttemptId, Candidate, IcePair, NatProfile, PeerId, PlanStep, Policy};

/// What the coordinator said about the attempt.
#[derive(Debug, Clone)]
pub struct AttemptConfig {
    /// The attempt.
    pub id: AttemptId,
    /// The other peer.
    pub peer: PeerId,
    /// Whether this side nominates.
    pub controlling: bool,
    /// Which paths are allowed.
    pub policy: Policy,
    /// Both sides' credentials.
    pub ice: IcePair,
    /// The other side's candidates, as far as known.
    pub remote: Vec<Candidate>,
    /// The other side's network.
    pub remote_nat: Option<NatProfile>,
    /// What to try. Dialling and punching over UDP go without saying; TCP is punched where there is a
    /// step for it.
    pub plan: Vec<PlanStep>,
    /// How long the attempt may take.
    pub timeout: Duration,
}

pub(super) fn allowed(policy: Policy, relay: bool) -> bool {
    match policy {
        Policy::Auto => true,
        Policy::Direct => !relay,
        Policy::Relay => relay,
    }
}

/// Addresses that no peer can have: probing them would only serve to aim packets.
pub(super) fn probeable(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    }
}
