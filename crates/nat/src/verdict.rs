//! How an attempt ended, in one sentence that a person can act on (invariant I11).

use p2p_wire::{Mapping, Method, NatProfile, NatType, Outcome, Policy, PortAllocation};

/// What is known when an attempt has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    /// How it ended.
    pub outcome: Outcome,
    /// The path in use.
    pub method: Option<Method>,
    /// Which paths were allowed.
    pub policy: Policy,
    /// The near side's network.
    pub near: Option<&'a NatProfile>,
    /// The far side's network.
    pub far: Option<&'a NatProfile>,
    /// The far side's name.
    pub peer: &'a str,
}

/// The sentence: the outcome first, then why it was not a better one.
pub fn sentence(ending: &Ending<'_>) -> String {
    match ending.outcome {
        Outcome::Direct => match ending.method {
            Some(Method::UdpHolePunch) => "direct: both NATs were punched over UDP".to_owned(),
            Some(Method::TcpHolePunch) => format!("direct: {}", why_over_tcp(ending)),
            Some(Method::Direct | Method::Relay) | None => {
                "direct: one side reaches the other's address".to_owned()
            }
        },
        Outcome::Relay => format!("relay: {}", why_not_direct(ending)),
        Outcome::Failed => format!("failed: {}", why_nothing(ending)),
    }
}

fn why_over_tcp(ending: &Ending<'_>) -> String {
    let peer = ending.peer;
    let (near, far) = (kind(ending.near), kind(ending.far));
    let how = match (near, far) {
        (_, NatType::Open) => format!("TCP reaches {peer}'s address"),
        (NatType::Open, _) => format!("{peer} reaches this address over TCP"),
        _ => "both NATs were punched over TCP".to_owned(),
    };
    match (near, far) {
        (NatType::UdpBlocked, _) => format!("no UDP leaves this network, and {how}"),
        (_, NatType::UdpBlocked) => format!("no UDP leaves {peer}'s network, and {how}"),
        _ => how,
    }
}

fn why_not_direct(ending: &Ending<'_>) -> String {
    if ending.policy == Policy::Relay {
        return "direct paths are forbidden by the policy".to_owned();
    }
    let (near, far) = (kind(ending.near), kind(ending.far));
    let peer = ending.peer;
    let udp = match (near, far) {
        (NatType::UdpBlocked, _) => "no UDP leaves this network".to_owned(),
        (_, NatType::UdpBlocked) => format!("no UDP leaves {peer}'s network"),
        (NatType::Symmetric, NatType::Symmetric) => {
            let (ours, theirs) = (ports(ending.near), ports(ending.far));
            format!("both NATs are symmetric, this one{ours} and {peer}'s{theirs}")
        }
        (NatType::Symmetric, _) => {
            let ports = ports(ending.near);
            format!("this NAT is symmetric{ports}, {peer}'s lets only known ports in")
        }
        (_, NatType::Symmetric) => {
            let ports = ports(ending.far);
            format!("{peer}'s NAT is symmetric{ports}, this one lets only known ports in")
        }
        _ => format!("no packet of {peer}'s came through directly"),
    };
    match why_no_tcp(ending) {
        Some(tcp) => format!("{udp}, and {tcp}"),
        None => udp,
    }
}

/// What is known against TCP; nothing where neither side has measured it.
fn why_no_tcp(ending: &Ending<'_>) -> Option<String> {
    let peer = ending.peer;
    let mapping = |profile: Option<&NatProfile>| profile.and_then(|p| p.tcp).map(|tcp| tcp.mapping);
    let changes = |mapping: Option<Mapping>| {
        matches!(mapping, Some(Mapping::AddressDependent | Mapping::AddressAndPortDependent))
    };
    let (near, far) = (mapping(ending.near), mapping(ending.far));
    match (changes(near), changes(far)) {
        (true, true) => Some("both TCP mappings change per destination".to_owned()),
        (true, false) => Some("this NAT's TCP mapping changes per destination".to_owned()),
        (false, true) => Some(format!("{peer}'s TCP mapping changes per destination")),
        (false, false) if near.is_some() && far.is_some() => {
            Some(format!("no TCP connection to {peer} came about"))
        }
        (false, false) => None,
    }
}

/// How a symmetric NAT chooses its ports, where that is known.
fn ports(profile: Option<&NatProfile>) -> &'static str {
    match profile.and_then(|profile| profile.port_allocation) {
        Some(PortAllocation::Random) => " with random ports",
        Some(PortAllocation::Sequential) => " with ports in sequence",
        Some(PortAllocation::Block) => " with ports of a block",
        Some(PortAllocation::Preserving) | None => "",
    }
}

fn why_nothing(ending: &Ending<'_>) -> String {
    let peer = ending.peer;
    match (kind(ending.near), kind(ending.far)) {
        (NatType::UdpBlocked, _) | (_, NatType::UdpBlocked) => why_not_direct(ending),
        _ if ending.policy == Policy::Direct => {
            format!("{}, and the policy forbids the relay", why_not_direct(ending))
        }
        _ => format!("neither a direct packet nor the relay reached {peer}"),
    }
}

fn kind(profile: Option<&NatProfile>) -> NatType {
    profile.map_or(NatType::Unknown, |p| p.nat_type)
}

#[cfg(test)]
mod tests {
    use p2p_wire::TcpProfile;

    use super::*;

    fn nat(nat_type: NatType) -> NatProfile {
        NatProfile { nat_type, ..NatProfile::default() }
    }

    #[test]
    fn i11_a_verdict_says_why_the_path_is_not_better() {
        let (near, far) = (nat(NatType::PortRestrictedCone), nat(NatType::Symmetric));
        let mut ending = Ending {
            outcome: Outcome::Relay,
            method: Some(Method::Relay),
            policy: Policy::Auto,
            near: Some(&near),
            far: Some(&far),
            peer: "bob",
        };
        assert_eq!(
            sentence(&ending),
            "relay: bob's NAT is symmetric, this one lets only known ports in"
        );
        ending.policy = Policy::Relay;
        assert!(sentence(&ending).contains("policy"));
        ending.outcome = Outcome::Failed;
        ending.policy = Policy::Direct;
        assert!(sentence(&ending).contains("forbids the relay"));
        let blocked = nat(NatType::UdpBlocked);
        ending.far = Some(&blocked);
        assert_eq!(sentence(&ending), "failed: no UDP leaves bob's network");
    }

    #[test]
    fn i11_a_verdict_says_why_it_took_tcp_and_who_was_dialled() {
        let said = |near, far| {
            sentence(&Ending {
                outcome: Outcome::Direct,
                method: Some(Method::TcpHolePunch),
                policy: Policy::Auto,
                near: Some(&nat(near)),
                far: Some(&nat(far)),
                peer: "bob",
            })
        };
        use NatType::{Open, PortRestrictedCone, UdpBlocked};
        assert_eq!(
            said(UdpBlocked, Open),
            "direct: no UDP leaves this network, and TCP reaches bob's address"
        );
        assert_eq!(
            said(Open, UdpBlocked),
            "direct: no UDP leaves bob's network, and bob reaches this address over TCP"
        );
        assert_eq!(
            said(UdpBlocked, UdpBlocked),
            "direct: no UDP leaves this network, and both NATs were punched over TCP"
        );
        assert_eq!(
            said(PortRestrictedCone, PortRestrictedCone),
            "direct: both NATs were punched over TCP"
        );
    }

    #[test]
    fn i11_a_verdict_tells_what_is_known_of_ports_and_of_tcp() {
        let tcp = |mapping| Some(TcpProfile { mapping, public_address: None });
        let near = NatProfile {
            tcp: tcp(Mapping::EndpointIndependent),
            ..nat(NatType::PortRestrictedCone)
        };
        let far = NatProfile {
            port_allocation: Some(PortAllocation::Random),
            tcp: tcp(Mapping::AddressAndPortDependent),
            ..nat(NatType::Symmetric)
        };
        let ending = |near, far| Ending {
            outcome: Outcome::Relay,
            method: Some(Method::Relay),
            policy: Policy::Auto,
            near: Some(near),
            far: Some(far),
            peer: "bob",
        };
        assert_eq!(
            sentence(&ending(&near, &far)),
            "relay: bob's NAT is symmetric with random ports, this one lets only known ports in, \
             and bob's TCP mapping changes per destination"
        );
        assert_eq!(
            sentence(&ending(&far, &near)),
            "relay: this NAT is symmetric with random ports, bob's lets only known ports in, \
             and this NAT's TCP mapping changes per destination"
        );
        assert!(sentence(&ending(&far, &far)).contains("both TCP mappings change"));
        let blocked = NatProfile { tcp: near.tcp, ..nat(NatType::UdpBlocked) };
        assert_eq!(
            sentence(&ending(&near, &blocked)),
            "relay: no UDP leaves bob's network, and no TCP connection to bob came about"
        );
    }
}
