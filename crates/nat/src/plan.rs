//! Plans: for a pair of networks, what to try, in which order, with what chance.
//!
//! The chances are priors until outcomes of the same pair of classes replace them. No class ever
//! rules a method out for good, because classes are measured and measurements are wrong; a pair that
//! no punch can join only gets a small chance.

use p2p_wire::{Filtering, Mapping, Method, NatProfile, NatType, PlanStep, Policy};

/// Prior chances of the methods where they fit the pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chances {
    /// One side can be dialled.
    pub direct: f64,
    /// Both sides punch over UDP.
    pub udp_hole_punch: f64,
    /// Both sides punch over TCP.
    pub tcp_hole_punch: f64,
    /// A relay carries the packets.
    pub relay: f64,
}

impl Default for Chances {
    fn default() -> Self {
        Self { direct: 0.95, udp_hole_punch: 0.85, tcp_hole_punch: 0.70, relay: 0.99 }
    }
}

/// The chance left to a punch that the measured classes say cannot work.
const AGAINST_THE_CLASS: f64 = 0.05;
/// The chance that two hosts behind one public address share a network.
const SAME_NETWORK: f64 = 0.5;
/// Packets each side may spend on dialling.
const DIRECT_PACKETS: u32 = 32;
/// Packets each side may spend on punching.
const PUNCH_PACKETS: u32 = 200;

/// What to try for a pair. A profile is `None` for a peer that has not told its network.
pub fn plan(
    caller: Option<&NatProfile>,
    callee: Option<&NatProfile>,
    policy: Policy,
) -> Vec<PlanStep> {
    plan_with(&Chances::default(), caller, callee, policy)
}

/// [`plan`] with other chances than the priors.
pub fn plan_with(
    chances: &Chances,
    caller: Option<&NatProfile>,
    callee: Option<&NatProfile>,
    policy: Policy,
) -> Vec<PlanStep> {
    let unknown = NatProfile { udp: true, ..NatProfile::default() };
    let (a, b) = (caller.unwrap_or(&unknown), callee.unwrap_or(&unknown));
    let mut steps = Vec::new();
    if policy != Policy::Relay && udp(a) && udp(b) {
        steps.extend(direct_chance(chances, a, b).map(|chance| step(Method::Direct, chance)));
        steps.push(step(Method::UdpHolePunch, punch_chance(chances, a, b)));
    }
    if policy != Policy::Direct && udp(a) && udp(b) {
        steps.push(step(Method::Relay, chances.relay));
    }
    steps
}

/// The method a peer can expect to use towards an average peer, and its chance in percent.
pub fn recommend(profile: &NatProfile) -> (Method, f64) {
    let chances = Chances::default();
    let (method, chance) = match profile.nat_type {
        NatType::Open | NatType::FullCone => (Method::Direct, chances.direct),
        NatType::RestrictedCone | NatType::PortRestrictedCone | NatType::SymmetricFirewall => {
            (Method::UdpHolePunch, chances.udp_hole_punch)
        }
        NatType::Unknown if profile.udp => (Method::UdpHolePunch, chances.udp_hole_punch),
        NatType::Symmetric | NatType::UdpBlocked | NatType::Unknown => {
            (Method::Relay, chances.relay)
        }
    };
    (method, chance * 100.0)
}

/// All methods race from the start: the relay carries data at once, and whatever is better takes
/// over when it is there.
fn step(method: Method, chance: f64) -> PlanStep {
    let packets = match method {
        Method::Direct => DIRECT_PACKETS,
        Method::UdpHolePunch | Method::TcpHolePunch => PUNCH_PACKETS,
        Method::Relay => 0,
    };
    PlanStep { method, chance, after_ms: 0, packets }
}

fn udp(profile: &NatProfile) -> bool {
    profile.nat_type != NatType::UdpBlocked
}

fn direct_chance(chances: &Chances, a: &NatProfile, b: &NatProfile) -> Option<f64> {
    let dialable = |p: &NatProfile| matches!(p.nat_type, NatType::Open | NatType::FullCone);
    let public = |p: &NatProfile| p.public_address.map(|addr| addr.ip());
    if dialable(a) || dialable(b) {
        Some(chances.direct)
    } else if public(a).is_some() && public(a) == public(b) {
        Some(SAME_NETWORK)
    } else if a.ipv6 == Some(true) && b.ipv6 == Some(true) {
        Some(chances.udp_hole_punch)
    } else {
        None
    }
}

/// A punch needs each side to send to where the other side's packets come from. A symmetric NAT's
/// port is not known beforehand, so its peer must not care about the port: filtering that is
/// address-dependent or freer. Unmeasured filtering leaves even odds.
fn punch_chance(chances: &Chances, a: &NatProfile, b: &NatProfile) -> f64 {
    match (symmetric(a), symmetric(b)) {
        (false, false) => chances.udp_hole_punch,
        (true, true) => AGAINST_THE_CLASS,
        (true, false) => learns_port(chances, b),
        (false, true) => learns_port(chances, a),
    }
}

fn symmetric(profile: &NatProfile) -> bool {
    matches!(profile.mapping, Mapping::AddressDependent | Mapping::AddressAndPortDependent)
        && profile.nat_type == NatType::Symmetric
}

fn learns_port(chances: &Chances, side: &NatProfile) -> f64 {
    match (side.nat_type, side.filtering) {
        (NatType::Open, _) | (_, Filtering::EndpointIndependent | Filtering::AddressDependent) => {
            chances.udp_hole_punch
        }
        (_, Filtering::Unknown) => chances.udp_hole_punch / 2.0,
        (_, Filtering::AddressAndPortDependent) => AGAINST_THE_CLASS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nat(nat_type: NatType) -> NatProfile {
        let (mapping, filtering) = match nat_type {
            NatType::Symmetric => {
                (Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent)
            }
            NatType::RestrictedCone => (Mapping::EndpointIndependent, Filtering::AddressDependent),
            NatType::FullCone | NatType::Open => {
                (Mapping::EndpointIndependent, Filtering::EndpointIndependent)
            }
            _ => (Mapping::EndpointIndependent, Filtering::AddressAndPortDependent),
        };
        NatProfile { nat_type, mapping, filtering, udp: true, ..NatProfile::default() }
    }

    fn chance(a: NatType, b: NatType, method: Method) -> Option<f64> {
        plan(Some(&nat(a)), Some(&nat(b)), Policy::Auto)
            .into_iter()
            .find(|s| s.method == method)
            .map(|s| s.chance)
    }

    #[test]
    fn cones_punch_and_an_open_side_is_dialled() {
        use NatType::{FullCone, Open, PortRestrictedCone, RestrictedCone, Symmetric};
        assert_eq!(
            chance(PortRestrictedCone, PortRestrictedCone, Method::UdpHolePunch),
            Some(0.85)
        );
        assert_eq!(chance(Open, Symmetric, Method::Direct), Some(0.95));
        assert_eq!(chance(PortRestrictedCone, FullCone, Method::Direct), Some(0.95));
        assert_eq!(chance(RestrictedCone, Symmetric, Method::UdpHolePunch), Some(0.85));
        assert_eq!(chance(PortRestrictedCone, RestrictedCone, Method::Direct), None);
    }

    #[test]
    fn a_symmetric_pair_leans_on_the_relay_but_still_tries() {
        use NatType::{PortRestrictedCone, Symmetric};
        for (a, b) in [(Symmetric, Symmetric), (PortRestrictedCone, Symmetric)] {
            assert_eq!(chance(a, b, Method::UdpHolePunch), Some(AGAINST_THE_CLASS));
            assert_eq!(chance(a, b, Method::Relay), Some(0.99));
        }
    }

    #[test]
    fn a_plan_does_not_depend_on_who_calls() {
        let all = [
            NatType::Open,
            NatType::FullCone,
            NatType::RestrictedCone,
            NatType::PortRestrictedCone,
            NatType::Symmetric,
            NatType::UdpBlocked,
        ];
        for a in all {
            for b in all {
                let there = plan(Some(&nat(a)), Some(&nat(b)), Policy::Auto);
                assert_eq!(there, plan(Some(&nat(b)), Some(&nat(a)), Policy::Auto), "{a} {b}");
            }
        }
    }

    #[test]
    fn the_policy_is_kept() {
        let methods =
            |policy| plan(None, None, policy).into_iter().map(|s| s.method).collect::<Vec<_>>();
        assert_eq!(methods(Policy::Relay), [Method::Relay]);
        assert!(!methods(Policy::Direct).contains(&Method::Relay));
        assert!(methods(Policy::Auto).contains(&Method::Relay));
    }

    #[test]
    fn blocked_udp_leaves_nothing_that_needs_udp() {
        let blocked = nat(NatType::UdpBlocked);
        assert!(plan(Some(&blocked), Some(&nat(NatType::Open)), Policy::Auto).is_empty());
    }

    #[test]
    fn the_recommendation_is_the_design_table() {
        assert_eq!(recommend(&nat(NatType::Open)), (Method::Direct, 95.0));
        assert_eq!(recommend(&nat(NatType::PortRestrictedCone)), (Method::UdpHolePunch, 85.0));
        assert_eq!(recommend(&nat(NatType::Symmetric)), (Method::Relay, 99.0));
    }
}
