//! How an attempt ended, in one sentence that a person can act on (invariant I11).

use p2p_wire::{Method, NatProfile, NatType, Outcome, Policy};

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
            Some(Method::TcpHolePunch) => "direct: both NATs were punched over TCP".to_owned(),
            Some(Method::Direct | Method::Relay) | None => {
                "direct: one side reaches the other's address".to_owned()
            }
        },
        Outcome::Relay => format!("relay: {}", why_not_direct(ending)),
        Outcome::Failed => format!("failed: {}", why_nothing(ending)),
    }
}

fn why_not_direct(ending: &Ending<'_>) -> String {
    if ending.policy == Policy::Relay {
        return "direct paths are forbidden by the policy".to_owned();
    }
    let (near, far) = (kind(ending.near), kind(ending.far));
    let peer = ending.peer;
    match (near, far) {
        (NatType::Symmetric, NatType::Symmetric) => {
            format!("both this NAT and {peer}'s give every destination another port")
        }
        (NatType::Symmetric, _) => {
            format!(
                "this NAT gives every destination another port, and {peer}'s lets only known ports in"
            )
        }
        (_, NatType::Symmetric) => {
            format!(
                "{peer}'s NAT gives every destination another port, and this one lets only known ports in"
            )
        }
        _ => format!("no packet of {peer}'s came through directly"),
    }
}

fn why_nothing(ending: &Ending<'_>) -> String {
    let peer = ending.peer;
    match (kind(ending.near), kind(ending.far)) {
        (NatType::UdpBlocked, _) => "no UDP leaves this network".to_owned(),
        (_, NatType::UdpBlocked) => format!("no UDP leaves {peer}'s network"),
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
        assert!(sentence(&ending).contains("bob's NAT gives every destination another port"));
        ending.policy = Policy::Relay;
        assert!(sentence(&ending).contains("policy"));
        ending.outcome = Outcome::Failed;
        ending.policy = Policy::Direct;
        assert!(sentence(&ending).contains("forbids the relay"));
        let blocked = nat(NatType::UdpBlocked);
        ending.far = Some(&blocked);
        assert_eq!(sentence(&ending), "failed: no UDP leaves bob's network");
    }
}
