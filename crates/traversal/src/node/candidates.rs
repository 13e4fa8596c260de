//! Where this client can be reached, as it tells its peers.

use std::net::{IpAddr, SocketAddr};

use p2p_wire::{Candidate, CandidateKind, Transport};

use super::Node;

impl Node {
    /// Where peers can reach this client at the moment.
    pub fn candidates(&self) -> Vec<Candidate> {
        let port = self.config.local_port;
        let host = |ip: &IpAddr| Candidate::udp(CandidateKind::Host, SocketAddr::new(*ip, port));
        let mut candidates: Vec<_> = self.config.local_ips.iter().map(host).collect();
        if let Some(public) = self.profile.public_address {
            let reflexive = Candidate {
                related: self.config.local_ips.first().map(|ip| SocketAddr::new(*ip, port)),
                ..Candidate::udp(CandidateKind::ServerReflexive, public)
            };
            if candidates.iter().all(|c| c.address != public) {
                candidates.push(reflexive);
            }
        }
        let relayed = self.relays.relayed();
        candidates.extend(relayed.map(|addr| Candidate::udp(CandidateKind::Relay, addr)));
        candidates.extend(self.tcp_candidates());
        candidates
    }

    /// Where peers can dial this client.
    fn tcp_candidates(&self) -> Vec<Candidate> {
        let Some((port, profile)) = self.tcp.port() else { return Vec::new() };
        let tcp = |kind, address| Candidate {
            transport: Transport::Tcp,
            ..Candidate::udp(kind, address)
        };
        let hosts: Vec<_> =
            self.config.local_ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        let public = profile.public_address.filter(|public| !hosts.contains(public));
        let reflexive = public.map(|public| Candidate {
            related: hosts.first().copied(),
            ..tcp(CandidateKind::ServerReflexive, public)
        });
        let hosts = hosts.into_iter().map(|host| tcp(CandidateKind::Host, host));
        hosts.chain(reflexive).collect()
    }
}
