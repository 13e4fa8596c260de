//! How the NAT maps TCP (RFC 5780 §4.3 over TCP), which may differ from how it maps UDP.
//!
//! Connections from one local port ask a server and its other address which port they see. The caller
//! makes the connections; which to make, and what the answers mean, is decided here.

use std::net::SocketAddr;

use p2p_nat::classify::{Observation, Observations, classify};
use p2p_wire::TcpProfile;

use crate::detect::{is_plausible, second_targets};
use crate::stream_binding::Seen;

/// Servers that are asked besides the other address of the first.
const MAX_SERVERS: usize = 3;

/// One measurement. It takes two round trips to a server with a second address, after two for the
/// first.
#[derive(Debug)]
pub struct TcpMapping {
    asked: Vec<SocketAddr>,
    to_ask: Vec<SocketAddr>,
    open: usize,
    second: bool,
    answers: Vec<Observation>,
}

impl TcpMapping {
    /// Asks the first of these that are of one address family, IPv4 where there is any.
    #[must_use]
    pub fn new(servers: &[SocketAddr]) -> Self {
        let v4 = servers.iter().any(SocketAddr::is_ipv4);
        let mut asked: Vec<_> = servers.iter().copied().filter(|s| s.is_ipv4() == v4).collect();
        asked.truncate(MAX_SERVERS);
        Self { to_ask: asked.clone(), asked, open: 0, second: false, answers: Vec::new() }
    }

    /// The next server to connect to from the port; how it went is told to [`TcpMapping::answered`] or
    /// [`TcpMapping::failed`].
    pub fn poll_ask(&mut self) -> Option<SocketAddr> {
        let server = self.to_ask.pop()?;
        self.open += 1;
        Some(server)
    }

    /// A server has answered.
    pub fn answered(&mut self, server: SocketAddr, seen: Seen) {
        self.open = self.open.saturating_sub(1);
        self.answers.push(Observation { server, mapped: seen.mapped });
        let Some(other) = seen.other.filter(|other| is_plausible(server, *other)) else { return };
        if !std::mem::replace(&mut self.second, true) {
            for target in second_targets(server, other) {
                if !self.asked.contains(&target) {
                    self.asked.push(target);
                    self.to_ask.push(target);
                }
            }
        }
    }

    /// A server did not.
    pub fn failed(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// Whether nobody is being asked any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.open == 0 && self.to_ask.is_empty()
    }

    /// What the answers so far say; `None` where nobody has answered: a server need not offer TCP.
    #[must_use]
    pub fn profile(&self) -> Option<TcpProfile> {
        let public_address = self.answers.first().map(|answer| answer.mapped)?;
        let seen = Observations {
            asked: self.asked.len(),
            answers: self.answers.clone(),
            ..Observations::default()
        };
        Some(TcpProfile { mapping: classify(&seen).mapping, public_address: Some(public_address) })
    }
}

#[cfg(test)]
mod tests {
    use p2p_wire::Mapping;

    use super::*;

    const SERVER: &str = "203.0.113.1:3478";
    const OTHER: &str = "203.0.113.2:3479";

    fn seen(port: u16, other: Option<&str>) -> Seen {
        let mapped = SocketAddr::from(([203, 0, 113, 11], port));
        Seen { mapped, other: other.map(|other| other.parse().unwrap()) }
    }

    fn measured(ports: [u16; 3]) -> TcpProfile {
        let mut mapping = TcpMapping::new(&[SERVER.parse().unwrap()]);
        let first = mapping.poll_ask().unwrap();
        assert!(mapping.poll_ask().is_none() && !mapping.is_over());
        mapping.answered(first, seen(ports[0], Some(OTHER)));
        let mut others: Vec<_> = std::iter::from_fn(|| mapping.poll_ask()).collect();
        others.sort();
        let expected: [SocketAddr; 2] =
            ["203.0.113.2:3478".parse().unwrap(), OTHER.parse().unwrap()];
        assert_eq!(others, expected);
        for (server, port) in others.into_iter().zip(&ports[1..]) {
            assert!(!mapping.is_over());
            mapping.answered(server, seen(*port, Some(SERVER)));
        }
        assert!(mapping.is_over() && mapping.poll_ask().is_none(), "nobody is asked twice");
        mapping.profile().unwrap()
    }

    #[test]
    fn one_server_with_a_second_address_tells_how_tcp_is_mapped() {
        for (ports, expected) in [
            ([4000, 4000, 4000], Mapping::EndpointIndependent),
            ([4000, 4001, 4001], Mapping::AddressDependent),
            ([4000, 4001, 4002], Mapping::AddressAndPortDependent),
        ] {
            let profile = measured(ports);
            assert_eq!(profile.mapping, expected);
            assert_eq!(profile.public_address.unwrap().port(), 4000);
        }
    }

    #[test]
    fn a_second_address_that_is_silent_leaves_the_mapping_unknown_and_the_port_known() {
        let mut mapping = TcpMapping::new(&[SERVER.parse().unwrap()]);
        let first = mapping.poll_ask().unwrap();
        mapping.answered(first, seen(4000, Some(OTHER)));
        while mapping.poll_ask().is_some() {
            mapping.failed();
        }
        assert!(mapping.is_over());
        let profile = mapping.profile().unwrap();
        assert_eq!(profile.mapping, Mapping::Unknown);
        assert_eq!(profile.public_address.unwrap().port(), 4000);
    }

    #[test]
    fn i9_a_server_leads_nowhere_but_to_an_address_of_its_own_reach_and_few_are_asked() {
        let many: Vec<SocketAddr> =
            (1..=50).map(|n| SocketAddr::from(([203, 0, 113, n], 3478))).collect();
        let mut mapping = TcpMapping::new(&many);
        let mut asked = 0;
        while let Some(server) = mapping.poll_ask() {
            asked += 1;
            mapping.answered(server, seen(4000, Some("192.168.1.1:3479")));
        }
        assert_eq!(asked, MAX_SERVERS);
        let silent = TcpMapping::new(&[]);
        assert!(silent.is_over() && silent.profile().is_none());
    }
}
