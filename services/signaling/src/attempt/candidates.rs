//! Which candidates one peer may send another to (invariant I9).
//!
//! A candidate makes the other side send packets to an address of this side's choosing. Addresses
//! that mean something else on every host are refused: a peer must not be made to probe its own
//! loopback, or everybody at once.

use std::net::IpAddr;

use p2p_wire::{Candidate, CandidateKind, Code, Policy, Problem};

/// What a candidate's address may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AddressPolicy {
    /// Peers on the same host may connect by loopback: for a demo, or development.
    pub(crate) allow_loopback: bool,
}

impl AddressPolicy {
    pub(crate) fn check(self, candidate: &Candidate) -> Result<(), Problem> {
        // An IPv4-mapped address is judged as the IPv4 address it stands for.
        let ip = candidate.address.ip().to_canonical();
        let what = if ip.is_unspecified() {
            "the unspecified address"
        } else if ip.is_multicast() || is_broadcast(ip) {
            "a multicast or broadcast address"
        } else if ip.is_loopback() && !self.allow_loopback {
            "a loopback address"
        } else if candidate.address.port() == 0 {
            "port 0"
        } else {
            return Ok(());
        };
        Err(Problem::new(
            Code::BadMessage,
            "Candidate refused",
            format!("a candidate names {what}, which no other peer can reach"),
            "send candidates of the network interfaces, of STUN servers and of relays",
        ))
    }
}

/// Whether the other side gets this candidate. With the relay policy the peers do not learn each
/// other's addresses.
pub(super) fn is_visible(candidate: &Candidate, policy: Policy) -> bool {
    match policy {
        Policy::Auto => true,
        Policy::Direct => candidate.kind != CandidateKind::Relay,
        Policy::Relay => candidate.kind == CandidateKind::Relay,
    }
}

/// The candidates that the other side gets, without what is behind a relayed one.
pub(super) fn visible(candidates: &[Candidate], policy: Policy) -> Vec<Candidate> {
    let mut seen: Vec<_> = candidates.iter().copied().filter(|c| is_visible(c, policy)).collect();
    seen.iter_mut().for_each(|candidate| strip(candidate, policy));
    seen
}

/// The address behind a relayed candidate is the peer's own.
pub(super) fn strip(candidate: &mut Candidate, policy: Policy) {
    if policy == Policy::Relay {
        candidate.related = None;
    }
}

fn is_broadcast(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(v4) if v4.is_broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_addresses_that_mean_another_host_everywhere_are_refused() {
        let strict = AddressPolicy { allow_loopback: false };
        for address in [
            "127.0.0.1:5000",
            "[::1]:5000",
            "[::ffff:127.0.0.1]:5000",
            "0.0.0.0:5000",
            "[::]:5000",
            "224.0.0.1:5000",
            "[ff02::1]:5000",
            "255.255.255.255:5000",
            "203.0.113.7:0",
        ] {
            let problem = strict.check(&host(address)).unwrap_err();
            assert_eq!(problem.code, Code::BadMessage, "{address}");
        }
        for address in ["192.168.1.5:5000", "203.0.113.7:5000", "[2001:db8::1]:5000"] {
            assert!(strict.check(&host(address)).is_ok(), "{address}");
        }
    }

    #[test]
    fn loopback_is_for_demos_only() {
        let demo = AddressPolicy { allow_loopback: true };
        assert!(demo.check(&host("127.0.0.1:5000")).is_ok());
        assert!(demo.check(&host("0.0.0.0:5000")).is_err());
    }

    #[test]
    fn with_the_relay_policy_only_relayed_candidates_pass_and_nothing_behind_them() {
        let mut relayed = host("198.51.100.1:49152");
        relayed.kind = CandidateKind::Relay;
        relayed.related = Some("203.0.113.7:5000".parse().unwrap());
        let all = [host("192.168.1.5:5000"), relayed];
        let seen = visible(&all, Policy::Relay);
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].address, seen[0].related), (relayed.address, None));
        assert_eq!(visible(&all, Policy::Auto), all);
        assert_eq!(visible(&all, Policy::Direct), [all[0]]);
    }

    fn host(address: &str) -> Candidate {
        Candidate::udp(CandidateKind::Host, address.parse().unwrap())
    }
}
