//! What a pair is told to try, in which order and with what chance.

use p2p_wire::TcpProfile;

use super::*;

const ALL: [NatType; 8] = [
    NatType::Open,
    NatType::SymmetricFirewall,
    NatType::FullCone,
    NatType::RestrictedCone,
    NatType::PortRestrictedCone,
    NatType::Symmetric,
    NatType::UdpBlocked,
    NatType::Unknown,
];

fn nat(nat_type: NatType) -> NatProfile {
    let (mapping, filtering) = match nat_type {
        NatType::Symmetric => {
            (Mapping::AddressAndPortDependent, Filtering::AddressAndPortDependent)
        }
        NatType::RestrictedCone => (Mapping::EndpointIndependent, Filtering::AddressDependent),
        NatType::FullCone | NatType::Open => {
            (Mapping::EndpointIndependent, Filtering::EndpointIndependent)
        }
        NatType::UdpBlocked | NatType::Unknown => (Mapping::Unknown, Filtering::Unknown),
        NatType::PortRestrictedCone | NatType::SymmetricFirewall => {
            (Mapping::EndpointIndependent, Filtering::AddressAndPortDependent)
        }
    };
    let udp = nat_type != NatType::UdpBlocked;
    NatProfile { nat_type, mapping, filtering, udp, ..NatProfile::default() }
}

fn with_tcp(nat_type: NatType, mapping: Mapping) -> NatProfile {
    let tcp = Some(TcpProfile { mapping, public_address: None });
    NatProfile { tcp, ..nat(nat_type) }
}

fn pair<'a>(caller: &'a NatProfile, callee: &'a NatProfile) -> Pair<'a> {
    Pair {
        caller: Some(caller),
        callee: Some(callee),
        policy: Policy::Auto,
        relays: RelayLegs::ALL,
        recorded: Recorded::default(),
    }
}

fn steps(caller: NatType, callee: NatType) -> Vec<PlanStep> {
    plan(&pair(&nat(caller), &nat(callee)))
}

fn of(steps: &[PlanStep], method: Method) -> Option<PlanStep> {
    steps.iter().find(|step| step.method == method).copied()
}

fn chance(a: NatType, b: NatType, method: Method) -> Option<f64> {
    of(&steps(a, b), method).map(|step| step.chance)
}

#[test]
fn cones_punch_and_an_open_side_is_dialled() {
    use NatType::{FullCone, Open, PortRestrictedCone, RestrictedCone, Symmetric};
    assert_eq!(chance(PortRestrictedCone, PortRestrictedCone, Method::UdpHolePunch), Some(0.85));
    assert_eq!(chance(Open, Symmetric, Method::Direct), Some(0.95));
    assert_eq!(chance(PortRestrictedCone, FullCone, Method::Direct), Some(0.95));
    assert_eq!(chance(RestrictedCone, Symmetric, Method::UdpHolePunch), Some(0.85));
    assert_eq!(chance(PortRestrictedCone, RestrictedCone, Method::Direct), None);
}

#[test]
fn the_side_that_can_be_dialled_decides_who_dials() {
    let dialling = |a, b| of(&steps(a, b), Method::Direct).and_then(|step| step.tactic);
    assert_eq!(dialling(NatType::PortRestrictedCone, NatType::Open), Some(Tactic::Dial));
    assert_eq!(dialling(NatType::Open, NatType::Symmetric), Some(Tactic::ReversedDial));
}

#[test]
fn a_symmetric_side_s_port_is_learnt_where_the_other_side_lets_it_in() {
    let punch = |a, b| of(&steps(a, b), Method::UdpHolePunch).unwrap();
    let learnt = punch(NatType::Symmetric, NatType::RestrictedCone);
    assert_eq!((learnt.tactic, learnt.chance), (Some(Tactic::LearnPort), 0.85));
    let cones = punch(NatType::PortRestrictedCone, NatType::RestrictedCone);
    assert_eq!(cones.tactic, Some(Tactic::Simultaneous));
}

#[test]
fn a_symmetric_pair_leans_on_the_relay_but_still_tries() {
    use NatType::{PortRestrictedCone, Symmetric};
    for (a, b) in [(Symmetric, Symmetric), (PortRestrictedCone, Symmetric)] {
        let steps = steps(a, b);
        assert_eq!(steps[0].method, Method::Relay, "what is likely comes first");
        assert_eq!(of(&steps, Method::UdpHolePunch).unwrap().chance, fit::AGAINST_THE_CLASS);
    }
}

#[test]
fn tcp_is_punched_beside_udp_where_udp_is_delicate_or_bad_and_later_elsewhere() {
    use NatType::{Open, PortRestrictedCone, RestrictedCone, Symmetric, UdpBlocked};
    let after = |a, b| {
        let (a, b) = (with_tcp(a, Mapping::Unknown), with_tcp(b, Mapping::Unknown));
        of(&plan(&pair(&a, &b)), Method::TcpHolePunch).unwrap().after_ms
    };
    assert_eq!(after(PortRestrictedCone, PortRestrictedCone), 0);
    assert_eq!(after(PortRestrictedCone, Symmetric), 0);
    assert_eq!(after(UdpBlocked, PortRestrictedCone), 0);
    assert_eq!(after(RestrictedCone, PortRestrictedCone), AFTER_UDP_MS);
    assert_eq!(after(RestrictedCone, NatType::Unknown), 0, "UDP has not answered yet");
    assert_eq!(after(Open, Symmetric), AFTER_UDP_MS);
}

#[test]
fn tcp_goes_by_its_own_mapping_which_may_differ_from_udp_s() {
    let endpoint = Mapping::EndpointIndependent;
    let dependent = Mapping::AddressAndPortDependent;
    let chance = |a: &NatProfile, b: &NatProfile| {
        of(&plan(&pair(a, b)), Method::TcpHolePunch).unwrap().chance
    };
    let symmetric = with_tcp(NatType::Symmetric, endpoint);
    let blocked = with_tcp(NatType::UdpBlocked, endpoint);
    let cone = with_tcp(NatType::PortRestrictedCone, endpoint);
    let random = with_tcp(NatType::PortRestrictedCone, dependent);
    assert_eq!(chance(&symmetric, &cone), 0.70);
    assert_eq!(chance(&blocked, &cone), 0.70);
    assert_eq!(plan(&pair(&blocked, &cone))[0].method, Method::TcpHolePunch);
    assert_eq!(chance(&random, &cone), fit::AGAINST_THE_CLASS);
    let open = with_tcp(NatType::Open, Mapping::Unknown);
    assert_eq!(chance(&random, &open), 0.70, "that side dials");
    assert_eq!(chance(&random, &random), fit::AGAINST_THE_CLASS);
}

#[test]
fn tcp_is_punched_by_clients_that_tell_of_their_tcp() {
    let told = with_tcp(NatType::PortRestrictedCone, Mapping::EndpointIndependent);
    let silent = nat(NatType::PortRestrictedCone);
    for (a, b) in [(&told, &silent), (&silent, &told), (&silent, &silent)] {
        assert_eq!(of(&plan(&pair(a, b)), Method::TcpHolePunch), None);
    }
}

#[test]
fn a_network_without_udp_gets_what_does_without_it() {
    let steps = steps(NatType::UdpBlocked, NatType::Open);
    assert!(of(&steps, Method::UdpHolePunch).is_none() && of(&steps, Method::Direct).is_none());
    let relays: Vec<_> = steps.iter().filter(|s| s.method == Method::Relay).collect();
    let tactics: Vec<_> = relays.iter().filter_map(|s| s.tactic).collect();
    assert_eq!(tactics, [Tactic::Tcp, Tactic::Tls]);
    assert_eq!(relays[0].after_ms, 0);
    assert!(relays[1].after_ms > 0);
}

#[test]
fn a_relay_is_planned_as_it_is_offered() {
    let legs = RelayLegs::of(["stun:h", "turn:h:3478?transport=udp", "turns:h:443?transport=tcp"]);
    assert_eq!(legs, RelayLegs { udp: true, tcp: false, tls: true });
    assert_eq!(RelayLegs::of(["turn:h?transport=tcp"]), RelayLegs { tcp: true, ..RelayLegs::NONE });
    let cone = nat(NatType::PortRestrictedCone);
    let none = plan(&Pair { relays: RelayLegs::NONE, ..pair(&cone, &cone) });
    assert!(of(&none, Method::Relay).is_none());
}

#[test]
fn what_was_recorded_changes_chances_and_order() {
    let (cone, symmetric) = (nat(NatType::PortRestrictedCone), nat(NatType::Symmetric));
    let mut recorded = Recorded::default();
    recorded.add(Method::UdpHolePunch, Tally { tried: 100, worked: 97 });
    let steps = plan(&Pair { recorded, ..pair(&cone, &symmetric) });
    assert_eq!(steps[0].method, Method::UdpHolePunch, "against the class, with the evidence");
    assert!(steps[0].chance > 0.85);
}

/// Every pair under every policy, with and without evidence.
#[test]
fn every_plan_is_bounded_ordered_and_within_its_policy() {
    let tally = |worked| Tally { tried: 50, worked };
    let records = [0, 25, 50].map(|w| Recorded {
        direct: tally(w),
        udp_hole_punch: tally(50 - w),
        tcp_hole_punch: tally(w),
        relay: tally(50),
    });
    let told = |nat_type| with_tcp(nat_type, Mapping::Unknown);
    for (a, b) in ALL.iter().flat_map(|a| ALL.map(|b| (told(*a), told(b)))) {
        for policy in [Policy::Auto, Policy::Direct, Policy::Relay] {
            for recorded in records.into_iter().chain([Recorded::default()]) {
                let there = plan(&Pair { policy, recorded, ..pair(&a, &b) });
                let back = plan(&Pair { policy, recorded, ..pair(&b, &a) });
                let context = format!("{} {} {policy:?}", a.nat_type, b.nat_type);
                assert!(!there.is_empty() && there.len() <= 6, "{context}: {there:?}");
                let relays = there.iter().filter(|s| s.method == Method::Relay).count();
                match policy {
                    Policy::Direct => assert_eq!(relays, 0, "{context}"),
                    Policy::Relay => assert_eq!(relays, there.len(), "{context}"),
                    Policy::Auto => assert!(relays > 0 && relays < there.len(), "{context}"),
                }
                for step in &there {
                    assert!(step.chance > 0.0 && step.chance < 1.0, "{context}: {step:?}");
                    assert!(step.packets > 0 && step.after_ms <= 2_000, "{context}: {step:?}");
                }
                let likely = there.iter().filter(|step| step.chance >= LIKELY).count();
                assert!(there[likely..].iter().all(|step| step.chance < LIKELY), "{context}");
                let outline = |plan: &[PlanStep]| -> Vec<_> {
                    plan.iter().map(|s| (s.method, s.chance.to_bits(), s.after_ms)).collect()
                };
                assert_eq!(outline(&there), outline(&back), "{context}: who calls is no matter");
            }
        }
    }
}

#[test]
fn the_recommendation_is_the_design_table() {
    assert_eq!(recommend(&nat(NatType::Open)), (Method::Direct, 95.0));
    assert_eq!(recommend(&nat(NatType::FullCone)), (Method::Direct, 95.0));
    assert_eq!(recommend(&nat(NatType::PortRestrictedCone)), (Method::UdpHolePunch, 85.0));
    assert_eq!(recommend(&nat(NatType::Symmetric)), (Method::Relay, 99.0));
    assert_eq!(recommend(&nat(NatType::UdpBlocked)), (Method::Relay, 99.0));
    assert_eq!(recommend(&NatProfile::default()), (Method::Relay, 99.0));
    let tcp = with_tcp(NatType::UdpBlocked, Mapping::EndpointIndependent);
    assert_eq!(recommend(&tcp), (Method::TcpHolePunch, 70.0));
    let cone = with_tcp(NatType::PortRestrictedCone, Mapping::EndpointIndependent);
    assert_eq!(recommend(&cone), (Method::UdpHolePunch, 85.0));
}
