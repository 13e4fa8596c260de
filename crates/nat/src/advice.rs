//! What a profile means for the person behind it, and what that person can do.

use p2p_wire::{Mapping, NatProfile, NatType};

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
        NatType::UdpBlocked => match profile.tcp.map(|tcp| tcp.mapping) {
            Some(Mapping::EndpointIndependent) => {
                "no UDP leaves this network: direct over TCP with open networks and with NATs that keep \
                 a TCP port, relay over TCP or TLS with all others"
            }
            Some(_) => {
                "no UDP leaves this network: direct over TCP with open networks, relay over TCP or TLS \
                 with all others"
            }
            None => "no UDP leaves this network: relay over TCP or TLS, where one is offered",
        },
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
            "let UDP out to port 3478 and above, or ask the network's owner to: direct paths become \
             more and faster; until then TCP and relays over TCP and TLS have to do"
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
    use p2p_wire::TcpProfile;

    use super::*;

    #[test]
    fn only_networks_that_need_help_get_advice() {
        let of = |nat_type, udp| advice(&NatProfile { nat_type, udp, ..NatProfile::default() });
        assert!(of(NatType::Open, true).is_empty());
        assert!(of(NatType::Symmetric, true)[0].contains("UPnP"));
        assert!(of(NatType::UdpBlocked, false)[0].contains("3478"));
    }

    #[test]
    fn a_network_without_udp_is_told_of_tcp_and_of_relays() {
        let of = |tcp: Option<Mapping>| {
            let tcp = tcp.map(|mapping| TcpProfile { mapping, public_address: None });
            outlook(&NatProfile { nat_type: NatType::UdpBlocked, tcp, ..NatProfile::default() })
        };
        assert!(of(Some(Mapping::EndpointIndependent)).contains("NATs that keep a TCP port"));
        let dependent = of(Some(Mapping::AddressAndPortDependent));
        assert!(dependent.contains("direct over TCP with open networks, relay"), "{dependent}");
        for tcp in [None, Some(Mapping::EndpointIndependent), Some(Mapping::Unknown)] {
            assert!(of(tcp).contains("relay over TCP or TLS"));
        }
    }
}
