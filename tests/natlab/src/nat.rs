//! The kinds of NAT in the lab, each rendered to one nftables ruleset.
//!
//! The two axes are RFC 4787's: how a NAT maps (§4.1) and how it filters (§5).
//!
//! Rule R0 holds in every NAT: what the inside did not ask for is dropped in `input`, before
//! conntrack confirms it. Without it a probe that arrives before the inside host has sent leaves a
//! conntrack entry that owns the port, the host's own packet is then mapped to another port, and an
//! endpoint-independent NAT looks symmetric.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// What stands between a host and the public segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatKind {
    /// No NAT and no filter: the host has a public address.
    Open,
    /// Endpoint-independent mapping and filtering.
    FullCone,
    /// Endpoint-independent mapping, address-dependent filtering.
    AddressRestricted,
    /// Endpoint-independent mapping, address-and-port-dependent filtering: the home router.
    PortRestricted,
    /// A random port for every destination, address-and-port-dependent filtering.
    Symmetric,
    /// The next port for every destination, address-and-port-dependent filtering.
    SymmetricSequential,
    /// A port-restricted home router behind a carrier's NAT, which is endpoint-independent.
    DoubleNat,
    /// The same, and the other site of this kind is behind the same carrier's NAT.
    SharedCgn,
    /// The same with a carrier's NAT that hairpins with the external source (RFC 4787 REQ-9).
    SharedCgnHairpin,
    /// A port-restricted NAT without rule R0: an unsolicited packet takes the port it came to.
    EarlyPacket,
    /// A port-restricted NAT whose firewall lets no UDP through. TCP passes.
    UdpBlocked,
    /// The same, and of TCP nothing but port 443; and signaling, whose port in the lab is another.
    #[serde(rename = "only-tcp-443")]
    OnlyTcp443,
}

/// RFC 4787 §4.1 and §5: what the mapping, or the filter, depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dependence {
    EndpointIndependent,
    AddressDependent,
    AddressAndPortDependent,
}

/// The path that two peers are expected to end up on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    Direct,
    Relay,
}

impl NatKind {
    /// The kinds whose pairs make up the matrix.
    pub const MATRIX: [Self; 7] = [
        Self::Open,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::DoubleNat,
        Self::Symmetric,
        Self::SymmetricSequential,
    ];

    /// The kinds that stand for one NAT with two homes behind it.
    pub const SHARED: [Self; 2] = [Self::SharedCgn, Self::SharedCgnHairpin];

    /// Every kind the lab can build.
    pub const ALL: [Self; 11] = [
        Self::Open,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::DoubleNat,
        Self::SharedCgn,
        Self::SharedCgnHairpin,
        Self::Symmetric,
        Self::SymmetricSequential,
        Self::UdpBlocked,
        Self::OnlyTcp443,
    ];

    /// The name used in test names, tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::FullCone => "full-cone",
            Self::AddressRestricted => "address-restricted",
            Self::PortRestricted => "port-restricted",
            Self::Symmetric => "symmetric",
            Self::SymmetricSequential => "symmetric-sequential",
            Self::DoubleNat => "double-nat",
            Self::SharedCgn => "shared-cgn",
            Self::SharedCgnHairpin => "shared-hairpin-cgn",
            Self::EarlyPacket => "early-packet",
            Self::UdpBlocked => "udp-blocked",
            Self::OnlyTcp443 => "only-tcp-443",
        }
    }

    /// What `p2p netcheck` calls this kind once it knows both axes.
    pub fn nat_type(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::FullCone => "Full Cone",
            Self::AddressRestricted => "Restricted Cone",
            Self::PortRestricted
            | Self::DoubleNat
            | Self::SharedCgn
            | Self::SharedCgnHairpin
            | Self::EarlyPacket => "Port-Restricted Cone",
            Self::Symmetric | Self::SymmetricSequential => "Symmetric",
            Self::UdpBlocked | Self::OnlyTcp443 => "UDP Blocked",
        }
    }

    /// How the kind maps, or `None` where no UDP passes.
    pub fn mapping(self) -> Option<Dependence> {
        match self {
            Self::Open
            | Self::FullCone
            | Self::AddressRestricted
            | Self::PortRestricted
            | Self::DoubleNat
            | Self::SharedCgn
            | Self::SharedCgnHairpin
            | Self::EarlyPacket => Some(Dependence::EndpointIndependent),
            Self::Symmetric | Self::SymmetricSequential => {
                Some(Dependence::AddressAndPortDependent)
            }
            Self::UdpBlocked | Self::OnlyTcp443 => None,
        }
    }

    /// How the kind maps TCP. The kinds that choose a port for every destination do so with TCP too; the
    /// others keep the port, and conntrack lets both sides' SYNs cross. `None` where STUN is not let out.
    pub fn tcp_mapping(self) -> Option<Dependence> {
        match self {
            Self::OnlyTcp443 => None,
            _ => Some(self.mapping().unwrap_or(Dependence::EndpointIndependent)),
        }
    }

    /// How the kind filters, or `None` where no UDP passes.
    pub fn filtering(self) -> Option<Dependence> {
        match self {
            Self::Open | Self::FullCone => Some(Dependence::EndpointIndependent),
            Self::AddressRestricted => Some(Dependence::AddressDependent),
            Self::PortRestricted
            | Self::DoubleNat
            | Self::SharedCgn
            | Self::SharedCgnHairpin
            | Self::EarlyPacket
            | Self::Symmetric
            | Self::SymmetricSequential => Some(Dependence::AddressAndPortDependent),
            Self::UdpBlocked | Self::OnlyTcp443 => None,
        }
    }

    /// How netcheck names the way ports are chosen, where there is a choice.
    pub fn port_allocation(self) -> Option<&'static str> {
        match self {
            Self::Open | Self::UdpBlocked | Self::OnlyTcp443 => None,
            Self::Symmetric => Some("random"),
            Self::SymmetricSequential => Some("sequential"),
            _ => Some("preserving"),
        }
    }

    /// Whether the carrier's NAT sends packets back inside, where there is one.
    pub fn carrier_hairpin(self) -> Option<bool> {
        match self {
            Self::DoubleNat | Self::SharedCgn => Some(false),
            Self::SharedCgnHairpin => Some(true),
            _ => None,
        }
    }

    /// The same for a carrier's NAT that both sites are behind.
    pub fn shared_hairpin(self) -> Option<bool> {
        self.carrier_hairpin().filter(|_| Self::SHARED.contains(&self))
    }

    /// The nftables ruleset of the router with `wan` outside and the network `inside`.
    ///
    /// `None` for [`NatKind::Open`], which has no router.
    pub fn ruleset(self, wan: Ipv4Addr, inside: &str) -> Option<String> {
        let (translate, inbound) = match self {
            Self::Open => return None,
            Self::FullCone => (endpoint_independent(wan), ACCEPT_ANY),
            Self::AddressRestricted => (endpoint_independent(wan), ACCEPT_SEEN_ADDRESSES),
            Self::PortRestricted
            | Self::DoubleNat
            | Self::SharedCgn
            | Self::SharedCgnHairpin
            | Self::EarlyPacket
            | Self::UdpBlocked
            | Self::OnlyTcp443 => (plain_source_nat(&format!("snat to {wan}")), ACCEPT_ESTABLISHED),
            Self::Symmetric => (plain_source_nat("masquerade fully-random"), ACCEPT_ESTABLISHED),
            Self::SymmetricSequential => (sequential(wan), ACCEPT_ESTABLISHED),
        };
        let unsolicited = if self == Self::EarlyPacket { TAKE_UNSOLICITED } else { R0 };
        let first = match self {
            Self::UdpBlocked => "meta l4proto udp drop",
            Self::OnlyTcp443 => ONLY_TCP_443,
            _ => "",
        };
        Some(format!("{}{translate}", filter(wan, inside, unsolicited, first, inbound)))
    }
}

impl fmt::Display for NatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The path a pair reaches by hole punching without port prediction.
///
/// A symmetric side's port is not known to the other side before a packet from it arrives, and a
/// filter by port lets that packet in only from the port it already knows: so symmetric meets
/// port-restricted or symmetric by relay, and everything more lenient directly.
///
/// Behind one carrier's NAT both have its one address: they meet where it hairpins.
///
/// Where one lets no UDP through there is TCP, which takes a known port on both sides, or a side that
/// can be dialled.
pub fn expected_path(one: NatKind, other: NatKind) -> Path {
    if one == other && one.shared_hairpin() == Some(false) {
        return Path::Relay;
    }
    if one.mapping().is_none() || other.mapping().is_none() {
        let known_port =
            |kind: NatKind| kind.tcp_mapping() == Some(Dependence::EndpointIndependent);
        let is_open = one == NatKind::Open || other == NatKind::Open;
        let only_443 = one == NatKind::OnlyTcp443 || other == NatKind::OnlyTcp443;
        let met = !only_443 && (is_open || (known_port(one) && known_port(other)));
        return if met { Path::Direct } else { Path::Relay };
    }
    let unknown_port = |kind: NatKind| kind.mapping() != Some(Dependence::EndpointIndependent);
    let filters_by_port =
        |kind: NatKind| kind.filtering() == Some(Dependence::AddressAndPortDependent);
    let stuck = |x, y| unknown_port(x) && (filters_by_port(y) || unknown_port(y));
    if stuck(one, other) || stuck(other, one) { Path::Relay } else { Path::Direct }
}

/// Full cone: whatever was mapped by `pre` is let in. Only mapped ports reach `forward`.
const ACCEPT_ANY: &str = r#"iifname "wan" oifname "lan" accept"#;

/// Address-restricted: from an address the inside port has sent to, any port.
const ACCEPT_SEEN_ADDRESSES: &str = r#"iifname "wan" oifname "lan" meta l4proto udp ip daddr . udp dport . ip saddr @seen accept
    iifname "wan" oifname "lan" meta l4proto tcp ct state established,related accept"#;

/// Port-restricted: only the answer to what was sent.
const ACCEPT_ESTABLISHED: &str =
    r#"iifname "wan" oifname "lan" ct state established,related accept"#;

/// A firewall that takes everything but the web for an attack.
const ONLY_TCP_443: &str = r#"iifname "lan" meta l4proto != tcp drop
    iifname "lan" tcp dport != { 443, 8080 } drop comment "8080 is the lab's signaling""#;

/// Rule R0: what nobody inside has asked for leaves no trace.
const R0: &str = r#"iifname "wan" counter name unsolicited drop comment "R0""#;

/// The same without it: conntrack confirms what is let in, and its flow owns the port.
const TAKE_UNSOLICITED: &str = r#"iifname "wan" counter name unsolicited accept comment "no R0""#;

/// The filter table: rule R0 and the kind's own rule for `inbound` packets.
///
/// `inside` limits forwarding to the LAN: a router does not forward foreign sources.
fn filter(wan: Ipv4Addr, inside: &str, unsolicited: &str, first: &str, inbound: &str) -> String {
    format!(
        r#"table ip filter {{
  counter unsolicited {{ }}
  set seen {{
    type ipv4_addr . inet_service . ipv4_addr
    flags dynamic,timeout
    timeout 120s
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "wan" ct state established,related accept
    {unsolicited}
    iifname "lan" ip daddr {wan} drop comment "no hairpin"
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    {first}
    iifname "lan" ip saddr != {inside} drop
    iifname "lan" oifname "wan" meta l4proto udp update @seen {{ ip saddr . udp sport . ip daddr timeout 120s }}
    iifname "lan" oifname "wan" accept
    {inbound}
  }}
}}
"#
    )
}

/// Endpoint-independent, port-preserving mapping that is open to every sender.
///
/// The first packet of an inside port enters the port in `mapped` before `snat` keeps it, and
/// `pre` sends what arrives at a mapped port inside, whoever sent it.
fn endpoint_independent(wan: Ipv4Addr) -> String {
    format!(
        r#"table ip nat {{
  map mapped {{
    type inet_service : ipv4_addr . inet_service
    flags dynamic,timeout
    timeout 300s
    size 65536
  }}
  chain pre {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "wan" meta l4proto udp dnat to udp dport map @mapped
  }}
  chain post {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "wan" meta l4proto udp update @mapped {{ udp sport timeout 300s : ip saddr . udp sport }}
    oifname "wan" snat to {wan}
  }}
}}
"#
    )
}

/// Conntrack's own translation: `snat` keeps the port, `masquerade fully-random` draws one for
/// every destination. The empty `pre` chain makes conntrack translate the answers.
fn plain_source_nat(action: &str) -> String {
    format!(
        r#"table ip nat {{
  chain pre {{
    type nat hook prerouting priority dstnat; policy accept;
  }}
  chain post {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "wan" {action}
  }}
}}
"#
    )
}

/// A symmetric NAT that hands out ports in turn, as some CGNs and MAP-E routers do. All flows share
/// the one counter.
fn sequential(wan: Ipv4Addr) -> String {
    let count = 4096;
    let ports: Vec<String> = (0..count).map(|n| format!("{n} : {wan} . {}", 40_000 + n)).collect();
    let ports = ports.join(", ");
    format!(
        r#"table ip nat {{
  chain pre {{
    type nat hook prerouting priority dstnat; policy accept;
  }}
  chain post {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "wan" meta l4proto {{ tcp, udp }} snat to numgen inc mod {count} map {{ {ports} }}
    oifname "wan" snat to {wan}
  }}
}}
"#
    )
}

/// A carrier's NAT (RFC 6888): endpoint-independent in both senses, so that the homes behind it
/// decide who gets in. With `hairpin`, what one home sends to the public address reaches another.
pub fn carrier_ruleset(wan: Ipv4Addr, hairpin: bool) -> String {
    let (refuse, reach) = if hairpin {
        ("", format!("ip daddr {wan}"))
    } else {
        (r#"iifname "lan" drop comment "no hairpin""#, r#"iifname "wan""#.to_owned())
    };
    format!(
        r#"table ip filter {{
  counter hairpinned {{ }}
  counter unsolicited {{ }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "wan" ct state established,related accept
    {R0}
    {refuse}
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname "lan" oifname "lan" ct status dnat counter name hairpinned accept
    iifname "lan" oifname "wan" accept
    {ACCEPT_ANY}
  }}
}}
table ip nat {{
  map mapped {{
    type inet_service : ipv4_addr . inet_service
    flags dynamic,timeout
    timeout 300s
    size 65536
  }}
  chain pre {{
    type nat hook prerouting priority dstnat; policy accept;
    {reach} meta l4proto udp dnat to udp dport map @mapped
  }}
  chain post {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "wan" meta l4proto udp update @mapped {{ udp sport timeout 300s : ip saddr . udp sport }}
    iifname "lan" oifname "lan" ct status dnat snat to {wan}
    oifname "wan" snat to {wan}
  }}
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
    const LAN: &str = "192.168.1.0/24";

    #[test]
    fn every_nat_drops_what_the_inside_did_not_ask_for() {
        for kind in NatKind::ALL {
            let Some(rules) = kind.ruleset(WAN, LAN) else { continue };
            let input = rules.split("chain input").nth(1).expect("an input chain");
            let established = input.find("established,related accept").expect("answers pass");
            let drop = input.find(R0).expect("rule R0");
            assert!(established < drop, "{kind}: R0 comes right after the answers");
        }
    }

    #[test]
    fn an_open_host_has_no_router() {
        assert_eq!(NatKind::Open.ruleset(WAN, LAN), None);
    }

    #[test]
    fn only_the_symmetric_kind_draws_random_ports() {
        for kind in NatKind::ALL {
            let random = kind.ruleset(WAN, LAN).is_some_and(|rules| rules.contains("random"));
            assert_eq!(random, kind == NatKind::Symmetric, "{kind}");
        }
    }

    #[test]
    fn udp_is_dropped_before_any_other_forwarding_rule_where_it_is_blocked() {
        let rules = NatKind::UdpBlocked.ruleset(WAN, LAN).expect("a router");
        let forward = rules.split("chain forward").nth(1).expect("a forward chain");
        let drop = forward.find("meta l4proto udp drop").expect("the block");
        assert!(drop < forward.find("accept").expect("TCP passes"));
    }

    #[test]
    fn where_one_has_no_udp_known_tcp_ports_meet_and_nothing_meets_through_443_alone() {
        let met = |one, other| expected_path(one, other) == Path::Direct;
        use NatKind::{OnlyTcp443, Open, PortRestricted, Symmetric, UdpBlocked};
        assert!(met(UdpBlocked, UdpBlocked) && met(PortRestricted, UdpBlocked));
        assert!(met(UdpBlocked, Open) && !met(UdpBlocked, Symmetric));
        assert!(!met(OnlyTcp443, Open) && !met(OnlyTcp443, OnlyTcp443));
    }

    #[test]
    fn symmetric_meets_port_restricted_and_symmetric_by_relay_and_everything_else_is_direct() {
        let symmetric = |kind| matches!(kind, NatKind::Symmetric | NatKind::SymmetricSequential);
        let by_port = |kind| matches!(kind, NatKind::PortRestricted | NatKind::DoubleNat);
        for one in NatKind::MATRIX {
            for other in NatKind::MATRIX {
                let relayed = (symmetric(one) && (symmetric(other) || by_port(other)))
                    || (by_port(one) && symmetric(other));
                let expected = if relayed { Path::Relay } else { Path::Direct };
                assert_eq!(expected_path(one, other), expected, "{one} x {other}");
            }
        }
    }
}
