//! What a profile means for the person behind it, and what that person can do.

use p2p_wire::{NatProfile, NatType};

/// One sentence on what this network can expect.
pub fn outlook(profile: &NatProfile) -> &'static str {
    match profile.nat_type {
        NatType::Open => "direct with everybody",
        NatType::FullCone | NatType::RestrictedCone => {
            "direct with every network that lets UDP out"
        }
        NatType::SymmetricFirewall | NatType::PortRestrictedCone => {
            "direct with most networks, relay with symmetric NATs"
        }
        NatType::Symmetric => {
            "direct with open and address-restricted networks, relay with port-restricted and \
             symmetric NATs"
        }
        NatType::UdpBlocked => "no UDP leaves this network: neither direct paths nor the UDP relay",
        NatType::Unknown if profile.udp => "UDP works; the kind of NAT is not known, so try",
        NatType::Unknown => "unknown: nothing was measured",
    }
}

/// What would help, most effective first. Empty when nothing needs help.
pub fn advice(profile: &NatProfile) -> Vec<String> {
    let mut advice = Vec::new();
    match profile.nat_type {
        NatType::Symmetric => advice.push(
            "the NAT gives every destination another port: enable UPnP or NAT-PMP on the router, \
             or forward one UDP port, and direct paths become possible"
                .to_owned(),
        ),
        NatType::UdpBlocked => advice.push(
            "let UDP out to port 3478 and above, or ask the network's owner to; \
             until then no peer can be reached"
                .to_owned(),
        ),
        NatType::Unknown if !profile.udp => {
            advice.push(
                "name a STUN server with --stun HOST:PORT or a server with --server URL".to_owned(),
            );
        }
        NatType::Open
        | NatType::SymmetricFirewall
        | NatType::FullCone
        | NatType::RestrictedCone
        | NatType::PortRestrictedCone
        | NatType::Unknown => {}
    }
    if profile.unknown_because.contains_key("mapping") && profile.udp {
        advice.push(
            "name a second STUN server on another address to learn the NAT's mapping".to_owned(),
        );
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_networks_that_need_help_get_advice() {
        let of = |nat_type, udp| advice(&NatProfile { nat_type, udp, ..NatProfile::default() });
        assert!(of(NatType::Open, true).is_empty());
        assert!(of(NatType::Symmetric, true)[0].contains("UPnP"));
        assert!(of(NatType::UdpBlocked, false)[0].contains("3478"));
    }
}
