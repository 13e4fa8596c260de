//! Plans: for a pair of networks, what to try, in which order, with what chance.
//!
//! The chances are priors until outcomes of the same pair of classes replace them. No class ever
//! rules a method out for good, because classes are measured and measurements are wrong; a pair that
//! no punch can join only gets a small chance. Everything that is planned races from its offset on,
//! and nothing waits for what is less likely.
//!
//! Predicting ports, searching for them and mapping them on the router are not there. Each will be a
//! [`Tactic`] of a method that is: the first two of the UDP punch, the third of dialling.

mod fit;
mod recorded;

use p2p_wire::{
    Filtering, Mapping, Method, NatProfile, NatType, PlanStep, Policy, Tactic, TcpProfile,
};

use self::fit::Fit;
pub use self::recorded::{Recorded, Tally};

/// What a step's chance has to be at least for it to be expected rather than hoped for.
pub const LIKELY: f64 = 0.5;
/// Checks each side may spend on dialling, unanswered ones: some dozens for each of a few pairs of
/// interfaces.
const DIRECT_PACKETS: u32 = 200;
/// The same on punching over UDP.
const UDP_PUNCH_PACKETS: u32 = 200;
/// The same over TCP: the first packets of connections.
const TCP_PUNCH_PACKETS: u32 = 64;
/// The same through the relays of both sides, which are four ways for each pair of addresses.
const RELAY_PACKETS: u32 = 400;
/// How long UDP may show that it works before a pair that should not need TCP punches over it.
const AFTER_UDP_MS: u64 = 300;
/// The head start of each kind of leg to a relay over the next, which crosses stricter networks and
/// is slower.
const NEXT_LEG_MS: u64 = 1_000;

/// Over what a relay can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayLegs {
    /// UDP.
    pub udp: bool,
    /// TCP.
    pub tcp: bool,
    /// TLS.
    pub tls: bool,
}

impl RelayLegs {
    /// Every kind.
    pub const ALL: Self = Self { udp: true, tcp: true, tls: true };
    /// No relay.
    pub const NONE: Self = Self { udp: false, tcp: false, tls: false };

    /// What the URIs of relays say (RFC 7065 §3.1).
    pub fn of<'a>(uris: impl IntoIterator<Item = &'a str>) -> Self {
        let mut legs = Self::NONE;
        for uri in uris {
            if uri.starts_with("turns:") {
                legs.tls = true;
            } else if uri.starts_with("turn:") {
                let tcp = uri.ends_with("transport=tcp");
                legs.tcp |= tcp;
                legs.udp |= !tcp;
            }
        }
        legs
    }
}

/// The pair that a plan is for.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// The caller's network; `None` for a peer that has not told.
    pub caller: Option<&'a NatProfile>,
    /// The callee's.
    pub callee: Option<&'a NatProfile>,
    /// Which paths are allowed.
    pub policy: Policy,
    /// How the relays on offer can be reached.
    pub relays: RelayLegs,
    /// What became of earlier attempts between such networks.
    pub recorded: Recorded,
}

/// What to try for a pair: what is expected to work first, the best path at the head; what is merely
/// hoped for after that.
pub fn plan(pair: &Pair<'_>) -> Vec<PlanStep> {
    let unknown = NatProfile { udp: true, ..NatProfile::default() };
    let (caller, callee) = (pair.caller.unwrap_or(&unknown), pair.callee.unwrap_or(&unknown));
    let recorded = |method, fit: Fit| pair.recorded.chance(method, fit.chance);
    let mut steps = Vec::new();
    if pair.policy != Policy::Relay {
        let mut udp_chance = 0.0_f64;
        if fit::udp(caller) && fit::udp(callee) {
            let direct = fit::direct(caller, callee).map(|fit| (Method::Direct, fit));
            let punch = (Method::UdpHolePunch, fit::udp_punch(caller, callee));
            for (method, fit) in direct.into_iter().chain([punch]) {
                let chance = recorded(method, fit);
                udp_chance = udp_chance.max(chance);
                steps.push(step(method, fit.tactic, chance, 0));
            }
        }
        // A client that punches TCP tells how its TCP is mapped.
        if caller.tcp.is_some() && callee.tcp.is_some() {
            let fit = fit::tcp_punch(caller, callee);
            let unanswered = fit::udp_is_unanswered(caller) || fit::udp_is_unanswered(callee);
            let at_once = udp_chance < LIKELY || unanswered || fit::port_restricted(caller, callee);
            let after = if at_once { 0 } else { AFTER_UDP_MS };
            let chance = recorded(Method::TcpHolePunch, fit);
            steps.push(step(Method::TcpHolePunch, fit.tactic, chance, after));
        }
    }
    if pair.policy != Policy::Direct {
        let both = fit::udp(caller) && fit::udp(callee);
        let chance = pair.recorded.chance(Method::Relay, fit::RELAY);
        let mut after = 0;
        for (offered, tactic) in [
            (pair.relays.udp && both, Tactic::Udp),
            (pair.relays.tcp, Tactic::Tcp),
            (pair.relays.tls, Tactic::Tls),
        ] {
            if offered {
                steps.push(step(Method::Relay, tactic, chance, after));
                after += NEXT_LEG_MS;
            }
        }
    }
    // Stable: the order of the methods stays within either half.
    steps.sort_by_key(|step| step.chance < LIKELY);
    steps
}

/// The method a peer can expect to use towards an average peer, and its chance in percent: the first
/// of the plan for it and the NAT of a home router that is likely.
pub fn recommend(profile: &NatProfile) -> (Method, f64) {
    let average = NatProfile {
        nat_type: NatType::PortRestrictedCone,
        mapping: Mapping::EndpointIndependent,
        filtering: Filtering::AddressAndPortDependent,
        udp: true,
        tcp: Some(TcpProfile { mapping: Mapping::EndpointIndependent, public_address: None }),
        ..NatProfile::default()
    };
    let steps = plan(&Pair {
        caller: Some(profile),
        callee: Some(&average),
        policy: Policy::Auto,
        relays: RelayLegs::ALL,
        recorded: Recorded::default(),
    });
    let best = steps.first().filter(|step| step.chance >= LIKELY);
    let (method, chance) =
        best.map_or((Method::Relay, fit::RELAY), |step| (step.method, step.chance));
    (method, chance * 100.0)
}

fn step(method: Method, tactic: Tactic, chance: f64, after_ms: u64) -> PlanStep {
    let packets = match method {
        Method::Direct => DIRECT_PACKETS,
        Method::UdpHolePunch => UDP_PUNCH_PACKETS,
        Method::TcpHolePunch => TCP_PUNCH_PACKETS,
        Method::Relay => RELAY_PACKETS,
    };
    PlanStep { method, tactic: Some(tactic), chance, after_ms, packets }
}

#[cfg(test)]
mod tests;
