//! Classification: what a socket's STUN answers say about the NAT in front of it (RFC 5780 §4).
//!
//! A class is a prior, never a gate: RFC 5780 warns that NATs change their mind under load, so an
//! axis that was not measured is `unknown` with its reason, and every strategy is still tried.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use p2p_wire::{Filtering, Mapping, NatProfile, NatType, PortAllocation};

/// One STUN server's answer to a Binding request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The server's address and port.
    pub server: SocketAddr,
    /// The address and port that the server saw.
    pub mapped: SocketAddr,
}

/// Everything that one round of measuring found out. All answers came to the same socket.
#[derive(Debug, Clone, Default)]
pub struct Observations {
    /// The port of the socket that asked.
    pub local_port: u16,
    /// The host's own addresses.
    pub local_ips: Vec<IpAddr>,
    /// How many servers were asked.
    pub asked: usize,
    /// Who answered, with what.
    pub answers: Vec<Observation>,
    /// What fresh sockets found out with a server that has a second address.
    pub behaviour: Behaviour,
}

/// What takes sockets that have never sent to the server's second address (RFC 5780 §4.4), and
/// several of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Behaviour {
    /// The filtering axis.
    pub filtering: Filtering,
    /// Why that is unknown, if it is not for want of a server.
    pub filtering_unknown_because: Option<&'static str>,
    /// Whether two sockets reached each other by their external addresses.
    pub hairpin: Option<bool>,
    /// Which external ports they got.
    pub ports: Option<PortAllocation>,
}

/// What a server without a second address leaves open.
const NO_SECOND_ADDRESS: &str =
    "telling filtering apart takes a STUN server that answers from a second address (RFC 5780)";

/// Turns observations into a profile.
pub fn classify(seen: &Observations) -> NatProfile {
    let mut unknown = BTreeMap::new();
    let v4: Vec<_> = seen.answers.iter().filter(|o| o.mapped.is_ipv4()).copied().collect();
    let v6 = seen.answers.iter().any(|o| o.mapped.is_ipv6());
    // IPv6 is not translated, as a rule; the axes describe IPv4 where there is any.
    let answers = if v4.is_empty() { seen.answers.clone() } else { v4 };

    let Some(first) = answers.first() else {
        return without_answers(seen);
    };
    let mapping = mapping(&answers, &mut unknown);
    let translated = !seen.local_ips.contains(&first.mapped.ip());
    let Behaviour { filtering, filtering_unknown_because, hairpin, ports } = seen.behaviour;
    if filtering == Filtering::Unknown {
        let why = filtering_unknown_because.unwrap_or(NO_SECOND_ADDRESS);
        unknown.insert("filtering".to_owned(), why.to_owned());
    }
    // A socket's port is chosen at random: that a NAT chose the same every time is no coincidence.
    let preserving = answers.iter().all(|o| o.mapped.port() == seen.local_port);
    let ports = if preserving { Some(PortAllocation::Preserving) } else { ports };
    NatProfile {
        nat_type: name(translated, mapping, filtering, &mut unknown),
        mapping,
        filtering,
        public_address: Some(first.mapped),
        port_preserving: Some(first.mapped.port() == seen.local_port),
        port_allocation: ports.filter(|_| translated),
        hairpin: hairpin.filter(|_| translated),
        udp: true,
        ipv6: v6.then_some(true),
        tcp: None,
        unknown_because: unknown,
    }
}

fn without_answers(seen: &Observations) -> NatProfile {
    let (nat_type, reason) = if seen.asked == 0 {
        (NatType::Unknown, "no STUN server is configured".to_owned())
    } else {
        (NatType::UdpBlocked, format!("none of {} STUN servers answered over UDP", seen.asked))
    };
    let unknown_because =
        ["mapping", "filtering"].map(|axis| (axis.to_owned(), reason.clone())).into();
    NatProfile { nat_type, unknown_because, ..NatProfile::default() }
}

/// RFC 5780 §4.3: the same external port towards another address means endpoint-independent;
/// towards another port of one address tells the two dependent kinds apart.
fn mapping(answers: &[Observation], unknown: &mut BTreeMap<String, String>) -> Mapping {
    let pairs = || {
        answers.iter().enumerate().flat_map(|(i, a)| answers[i + 1..].iter().map(move |b| (a, b)))
    };
    let other_ip = pairs().filter(|(a, b)| a.server.ip() != b.server.ip());
    let same_ip = pairs().filter(|(a, b)| a.server.ip() == b.server.ip() && a.server != b.server);

    if same_ip.clone().any(|(a, b)| a.mapped != b.mapped) {
        return Mapping::AddressAndPortDependent;
    }
    let mut other_ip = other_ip.peekable();
    if other_ip.peek().is_none() {
        unknown.insert(
            "mapping".to_owned(),
            "one STUN address cannot tell whether the mapping depends on the destination; name a second"
                .to_owned(),
        );
        return Mapping::Unknown;
    }
    if other_ip.all(|(a, b)| a.mapped == b.mapped) {
        return Mapping::EndpointIndependent;
    }
    if same_ip.count() > 0 {
        return Mapping::AddressDependent;
    }
    unknown.insert(
        "mapping_port".to_owned(),
        "the mapping changes with the address; whether also with the port was not measured, \
         so the stricter kind is assumed"
            .to_owned(),
    );
    Mapping::AddressAndPortDependent
}

/// The name people know: RFC 3489's, from RFC 4787's axes.
fn name(
    translated: bool,
    mapping: Mapping,
    filtering: Filtering,
    unknown: &mut BTreeMap<String, String>,
) -> NatType {
    if !translated {
        return match filtering {
            Filtering::EndpointIndependent | Filtering::Unknown => NatType::Open,
            Filtering::AddressDependent | Filtering::AddressAndPortDependent => {
                NatType::SymmetricFirewall
            }
        };
    }
    match (mapping, filtering) {
        (Mapping::AddressDependent | Mapping::AddressAndPortDependent, _) => NatType::Symmetric,
        (Mapping::EndpointIndependent, Filtering::EndpointIndependent) => NatType::FullCone,
        (Mapping::EndpointIndependent, Filtering::AddressDependent) => NatType::RestrictedCone,
        (Mapping::EndpointIndependent, Filtering::AddressAndPortDependent) => {
            NatType::PortRestrictedCone
        }
        (Mapping::EndpointIndependent, Filtering::Unknown) => {
            unknown.insert(
                "type".to_owned(),
                "filtering was not measured; the strictest cone, which is also the commonest, \
                 is assumed"
                    .to_owned(),
            );
            NatType::PortRestrictedCone
        }
        (Mapping::Unknown, _) => NatType::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(answers: &[(&str, &str)]) -> Observations {
        Observations {
            local_port: 5000,
            local_ips: vec!["192.168.1.2".parse().unwrap(), "198.51.100.9".parse().unwrap()],
            asked: answers.len().max(1),
            answers: answers
                .iter()
                .map(|(server, mapped)| Observation {
                    server: server.parse().unwrap(),
                    mapped: mapped.parse().unwrap(),
                })
                .collect(),
            behaviour: Behaviour::default(),
        }
    }

    const S1: &str = "203.0.113.1:3478";
    const S1_OTHER_PORT: &str = "203.0.113.1:3479";
    const S2: &str = "203.0.113.2:3478";

    #[test]
    fn the_same_port_towards_two_addresses_is_endpoint_independent() {
        let profile = classify(&seen(&[(S1, "203.0.113.11:5000"), (S2, "203.0.113.11:5000")]));
        assert_eq!(profile.mapping, Mapping::EndpointIndependent);
        assert_eq!(profile.nat_type, NatType::PortRestrictedCone);
        assert_eq!(profile.port_preserving, Some(true));
        assert!(profile.unknown_because.contains_key("filtering"));
    }

    #[test]
    fn another_port_towards_another_address_is_symmetric() {
        let profile = classify(&seen(&[(S1, "203.0.113.11:6000"), (S2, "203.0.113.11:6001")]));
        assert_eq!(profile.mapping, Mapping::AddressAndPortDependent);
        assert_eq!(profile.nat_type, NatType::Symmetric);
        assert!(profile.unknown_because.contains_key("mapping_port"));
    }

    #[test]
    fn a_second_port_of_one_address_tells_the_dependent_kinds_apart() {
        let dependent = [(S1, "203.0.113.11:6000"), (S1_OTHER_PORT, "203.0.113.11:6000")];
        let by_address = [dependent[0], dependent[1], (S2, "203.0.113.11:6001")];
        assert_eq!(classify(&seen(&by_address)).mapping, Mapping::AddressDependent);
        let by_port = [dependent[0], (S1_OTHER_PORT, "203.0.113.11:6002")];
        assert_eq!(classify(&seen(&by_port)).mapping, Mapping::AddressAndPortDependent);
    }

    #[test]
    fn one_server_leaves_the_mapping_unknown_and_says_why() {
        let profile = classify(&seen(&[(S1, "203.0.113.11:5000")]));
        assert_eq!(profile.mapping, Mapping::Unknown);
        assert_eq!(profile.nat_type, NatType::Unknown);
        assert!(profile.unknown_because["mapping"].contains("second"));
    }

    #[test]
    fn an_own_address_seen_from_outside_is_open() {
        let profile = classify(&seen(&[(S1, "198.51.100.9:5000"), (S2, "198.51.100.9:5000")]));
        assert_eq!(profile.nat_type, NatType::Open);
    }

    #[test]
    fn silence_is_blocked_udp_only_if_somebody_was_asked() {
        assert_eq!(classify(&seen(&[])).nat_type, NatType::UdpBlocked);
        assert!(!classify(&seen(&[])).udp);
        let nobody = Observations { asked: 0, ..seen(&[]) };
        assert_eq!(classify(&nobody).nat_type, NatType::Unknown);
    }

    #[test]
    fn measured_filtering_gives_each_cone_its_name() {
        for (filtering, expected) in [
            (Filtering::EndpointIndependent, NatType::FullCone),
            (Filtering::AddressDependent, NatType::RestrictedCone),
            (Filtering::AddressAndPortDependent, NatType::PortRestrictedCone),
        ] {
            let mut seen = seen(&[(S1, "203.0.113.11:5000"), (S2, "203.0.113.11:5000")]);
            seen.behaviour.filtering = filtering;
            let profile = classify(&seen);
            assert_eq!(profile.nat_type, expected);
            assert!(profile.unknown_because.is_empty());
        }
    }

    #[test]
    fn a_public_address_with_a_filter_is_a_firewall() {
        let mut seen = seen(&[(S1, "198.51.100.9:5000"), (S2, "198.51.100.9:5000")]);
        seen.behaviour.filtering = Filtering::AddressAndPortDependent;
        seen.behaviour.hairpin = Some(true);
        let profile = classify(&seen);
        assert_eq!(profile.nat_type, NatType::SymmetricFirewall);
        assert_eq!((profile.hairpin, profile.port_allocation), (None, None), "nothing translates");
    }

    #[test]
    fn ports_are_preserving_only_if_every_destination_saw_the_same_one() {
        let all = classify(&seen(&[(S1, "203.0.113.11:5000"), (S2, "203.0.113.11:5000")]));
        assert_eq!(all.port_allocation, Some(PortAllocation::Preserving));
        let mut one = seen(&[(S1, "203.0.113.11:5000"), (S2, "203.0.113.11:6000")]);
        assert_eq!(classify(&one).port_allocation, None);
        one.behaviour.ports = Some(PortAllocation::Random);
        assert_eq!(classify(&one).port_allocation, Some(PortAllocation::Random));
    }

    #[test]
    fn filtering_that_could_not_be_measured_says_why() {
        let mut seen = seen(&[(S1, "203.0.113.11:5000"), (S2, "203.0.113.11:5000")]);
        assert!(classify(&seen).unknown_because["filtering"].contains("second address"));
        seen.behaviour.filtering_unknown_because = Some("the server is busy");
        assert_eq!(classify(&seen).unknown_because["filtering"], "the server is busy");
    }
}
