//! How well each method fits a pair of networks: its prior chance, by the axes of both.

use p2p_wire::{Filtering, Mapping, NatProfile, NatType, Tactic};

/// The first chances, where a method fits the pair. From the design's table.
const DIRECT: f64 = 0.95;
const UDP_HOLE_PUNCH: f64 = 0.85;
const TCP_HOLE_PUNCH: f64 = 0.70;
pub(super) const RELAY: f64 = 0.99;
/// The chance left to a punch that the measured classes say cannot work.
pub(super) const AGAINST_THE_CLASS: f64 = 0.05;
/// The chance that two hosts behind one public address share a network.
const SAME_NETWORK: f64 = 0.5;

/// A prior chance, and how the method would go about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fit {
    pub(super) chance: f64,
    pub(super) tactic: Tactic,
}

/// Whether UDP leaves the network, as far as known.
pub(super) fn udp(profile: &NatProfile) -> bool {
    match profile.nat_type {
        NatType::UdpBlocked => false,
        NatType::Unknown => profile.udp,
        _ => true,
    }
}

/// Whether no answer has come over UDP so far, and nobody has given up waiting for one: a network that
/// blocks UDP looks like this for seconds.
pub(super) fn udp_is_unanswered(profile: &NatProfile) -> bool {
    profile.nat_type == NatType::Unknown && profile.public_address.is_none()
}

/// Dialling: one side has an address that anybody reaches, or both share a network.
pub(super) fn direct(caller: &NatProfile, callee: &NatProfile) -> Option<Fit> {
    let dialable = |p: &NatProfile| matches!(p.nat_type, NatType::Open | NatType::FullCone);
    let public = |p: &NatProfile| p.public_address.map(|addr| addr.ip());
    let (chance, tactic) = if dialable(callee) {
        (DIRECT, Tactic::Dial)
    } else if dialable(caller) {
        (DIRECT, Tactic::ReversedDial)
    } else if public(caller).is_some() && public(caller) == public(callee) {
        (SAME_NETWORK, Tactic::Dial)
    } else if caller.ipv6 == Some(true) && callee.ipv6 == Some(true) {
        // A firewall is punched like a NAT, but nothing is translated.
        (UDP_HOLE_PUNCH, Tactic::Simultaneous)
    } else {
        return None;
    };
    Some(Fit { chance, tactic })
}

/// A UDP punch needs each side to send to where the other side's packets come from. A symmetric
/// NAT's port is not known beforehand, so its peer must not care about the port: filtering that is
/// address-dependent or freer. Unmeasured filtering leaves even odds.
pub(super) fn udp_punch(a: &NatProfile, b: &NatProfile) -> Fit {
    let learnt_by = |side| Fit { chance: learns_port(side), tactic: Tactic::LearnPort };
    match (symmetric(a), symmetric(b)) {
        (false, false) => Fit { chance: UDP_HOLE_PUNCH, tactic: Tactic::Simultaneous },
        (true, true) => Fit { chance: AGAINST_THE_CLASS, tactic: Tactic::LearnPort },
        (true, false) => learnt_by(b),
        (false, true) => learnt_by(a),
    }
}

/// A TCP punch needs both ports to be known, because NATs filter TCP by connection. Where nothing
/// was measured, the NAT's way with UDP is all there is to go by.
pub(super) fn tcp_punch(a: &NatProfile, b: &NatProfile) -> Fit {
    let chance = match (tcp_odds(a), tcp_odds(b)) {
        (Some(a), Some(b)) => TCP_HOLE_PUNCH * a * b,
        // One side has no port to aim at, so it has to be the one that dials.
        (Some(_), None) if open(a) => TCP_HOLE_PUNCH,
        (None, Some(_)) if open(b) => TCP_HOLE_PUNCH,
        _ => AGAINST_THE_CLASS,
    };
    Fit { chance, tactic: Tactic::Simultaneous }
}

/// Whether both sides let in nothing but the port they sent to: the pairs whose UDP punch is the
/// most delicate.
pub(super) fn port_restricted(a: &NatProfile, b: &NatProfile) -> bool {
    let strict = |p: &NatProfile| p.filtering == Filtering::AddressAndPortDependent;
    strict(a) && strict(b)
}

fn symmetric(profile: &NatProfile) -> bool {
    matches!(profile.mapping, Mapping::AddressDependent | Mapping::AddressAndPortDependent)
        && profile.nat_type == NatType::Symmetric
}

fn learns_port(side: &NatProfile) -> f64 {
    match (side.nat_type, side.filtering) {
        (NatType::Open, _) | (_, Filtering::EndpointIndependent | Filtering::AddressDependent) => {
            UDP_HOLE_PUNCH
        }
        (_, Filtering::Unknown) => UDP_HOLE_PUNCH / 2.0,
        (_, Filtering::AddressAndPortDependent) => AGAINST_THE_CLASS,
    }
}

fn open(profile: &NatProfile) -> bool {
    profile.nat_type == NatType::Open
}

/// The odds that the side's TCP port is the one it was measured at; `None` where it is another one
/// for every destination.
fn tcp_odds(profile: &NatProfile) -> Option<f64> {
    let measured = profile.tcp.map_or(Mapping::Unknown, |tcp| tcp.mapping);
    match measured {
        Mapping::EndpointIndependent => Some(1.0),
        Mapping::AddressDependent | Mapping::AddressAndPortDependent => None,
        Mapping::Unknown if open(profile) => Some(1.0),
        Mapping::Unknown if symmetric(profile) => None,
        Mapping::Unknown => Some(0.5),
    }
}
