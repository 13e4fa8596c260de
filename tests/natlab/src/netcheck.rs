//! `p2p netcheck` behind each kind of NAT: does it name what it is behind?

use anyhow::{Result, ensure};

use crate::cases::Case;
use crate::nat::{Dependence, NatKind};
use crate::peer::{self, Netcheck, Peer};
use crate::probe;
use crate::services::Services;
use crate::topology::{Lab, Site};

/// One case for each kind with our servers' answers, and one with an independent server's.
pub fn cases() -> Vec<Case> {
    let ours = NatKind::ALL.into_iter().map(|kind| {
        Case::new(format!("netcheck names a {kind} NAT with our answers"), move |context| {
            let lab = Lab::build(kind, NatKind::Open, context.folder)?;
            let services = Services::start(&lab, context.programs)?;
            let alice = Peer::new("alice", &lab, &lab.a, &services, context.programs)?;
            let seen = alice.netcheck()?;
            check(&lab.a, &seen)?;
            let works = kind != NatKind::UdpBlocked;
            let told = !seen.relays.is_empty() && seen.relays.iter().all(|relay| relay.ok == works);
            ensure!(told, "the relay should be reachable: {works}, but: {seen:?}");
            Ok(describe(&seen))
        })
    });
    let coturn = NatKind::ALL.into_iter().map(|kind| {
        Case::new(format!("netcheck names a {kind} NAT with coturn's answers"), move |context| {
            let lab = Lab::build(kind, NatKind::Open, context.folder)?;
            let _server = probe::start_coturn(&lab)?;
            let servers = Services::stun_servers();
            let seen = peer::netcheck(&lab, &lab.a, context.programs, &servers)?;
            check(&lab.a, &seen)?;
            Ok(describe(&seen))
        })
    });
    ours.chain(coturn).collect()
}

/// What netcheck says must be true; what it cannot know from the servers it had may be `unknown`.
fn check(site: &Site, seen: &Netcheck) -> Result<()> {
    let (kind, nat) = (site.kind, &seen.nat);
    let Some((mapping, filtering)) = kind.mapping().zip(kind.filtering()) else {
        ensure!(!seen.udp, "netcheck says UDP works: {seen:?}");
        ensure!(nat.nat_type == kind.nat_type(), "type {:?}: {seen:?}", nat.nat_type);
        return Ok(());
    };

    ensure!(seen.udp, "netcheck says UDP is blocked: {seen:?}");
    let address = nat.public_address.as_deref().unwrap_or("none");
    ensure!(address.starts_with(&site.public.to_string()), "public address {address}: {seen:?}");
    if mapping == Dependence::EndpointIndependent {
        ensure!(nat.mapping == mapping.to_string(), "mapping {:?}: {seen:?}", nat.mapping);
        ensure!(nat.nat_type != NatKind::Symmetric.nat_type(), "named symmetric: {seen:?}");
    } else {
        // Two servers on one port each show that the mapping changes, not by which of the two.
        let depends = [Dependence::AddressDependent, Dependence::AddressAndPortDependent];
        let told = depends.iter().any(|dependence| nat.mapping == dependence.to_string());
        ensure!(told, "mapping {:?}: {seen:?}", nat.mapping);
        ensure!(nat.nat_type == kind.nat_type(), "type {:?}: {seen:?}", nat.nat_type);
    }
    if !nat.filtering.starts_with("unknown") {
        ensure!(nat.filtering == filtering.to_string(), "filtering {:?}: {seen:?}", nat.filtering);
        ensure!(nat.nat_type == kind.nat_type(), "type {:?}: {seen:?}", nat.nat_type);
    }
    Ok(())
}

fn describe(seen: &Netcheck) -> String {
    let nat = &seen.nat;
    format!("{}: {} mapping, {} filtering", nat.nat_type, nat.mapping, nat.filtering)
}
