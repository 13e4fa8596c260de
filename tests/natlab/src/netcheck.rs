//! `p2p netcheck` behind each kind of NAT: does it name what it is behind?

use anyhow::{Context as _, Result, ensure};

use crate::cases::Case;
use crate::nat::NatKind;
use crate::peer::{self, Netcheck, Peer};
use crate::probe;
use crate::services::Services;
use crate::topology::{Lab, Site};

/// For each kind: our client with our server, our client with an independent server, and an
/// independent client with our server.
pub fn cases() -> Vec<Case> {
    let ours = NatKind::ALL.into_iter().map(|kind| {
        Case::new(format!("netcheck names a {kind} NAT with our answers"), move |context| {
            let lab = Lab::build(kind, NatKind::Open, context.folder)?;
            let services = Services::start(&lab, context.programs)?;
            let alice = Peer::new("alice", &lab, &lab.a, &services, context.programs)?;
            let seen = alice.netcheck()?;
            check(&lab.a, &seen)?;
            check_tcp(&lab.a, &seen)?;
            let works = kind.mapping().is_some();
            let told = |transport: &str, works: bool| {
                let mut relays = seen.relays.iter().filter(|relay| relay.transport == transport);
                relays.next().is_some_and(|relay| relay.ok == works)
            };
            ensure!(told("udp", works), "the relay over UDP should work: {works}, but: {seen:?}");
            for (transport, works) in [("tcp", kind != NatKind::OnlyTcp443), ("tls", true)] {
                let told = told(transport, works);
                ensure!(told, "the relay over {transport} should work: {works}, but: {seen:?}");
            }
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
    let independent = NatKind::ALL.into_iter().map(|kind| {
        Case::new(format!("natdiscovery finds a {kind} NAT with our answers"), move |context| {
            let lab = Lab::build(kind, NatKind::Open, context.folder)?;
            let _services = Services::start(&lab, context.programs)?;
            let (seen, built) = (probe::discover(&lab, &lab.a)?, probe::Behaviour::of(kind));
            ensure!(seen == built, "natdiscovery saw {seen:?}, a {kind} NAT is {built:?}");
            Ok(probe::describe(seen))
        })
    });
    ours.chain(coturn).chain(independent).collect()
}

/// What netcheck says must be exactly what the lab has built.
fn check(site: &Site, seen: &Netcheck) -> Result<()> {
    let (kind, nat) = (site.kind, &seen.nat);
    ensure!(nat.nat_type == kind.nat_type(), "type {:?}: {seen:?}", nat.nat_type);
    let Some((mapping, filtering)) = kind.mapping().zip(kind.filtering()) else {
        ensure!(!seen.udp, "netcheck says UDP works: {seen:?}");
        return Ok(());
    };

    ensure!(seen.udp, "netcheck says UDP is blocked: {seen:?}");
    let address = nat.public_address.as_deref().unwrap_or("none");
    ensure!(address.starts_with(&site.public.to_string()), "public address {address}: {seen:?}");
    ensure!(nat.mapping == mapping.to_string(), "mapping {:?}: {seen:?}", nat.mapping);
    ensure!(nat.filtering == filtering.to_string(), "filtering {:?}: {seen:?}", nat.filtering);
    ensure!(nat.unknown_because.is_empty(), "something is left unknown: {seen:?}");
    let ports = kind.port_allocation();
    // Where nobody translates there is nothing to send back in.
    let hairpin = (kind != NatKind::Open).then(|| kind.carrier_hairpin().unwrap_or(false));
    ensure!(nat.port_allocation.as_deref() == ports, "ports {:?}: {seen:?}", nat.port_allocation);
    ensure!(nat.hairpin == hairpin, "hairpin {:?}: {seen:?}", nat.hairpin);
    Ok(())
}

/// The relay answers over TCP on both of its addresses.
fn check_tcp(site: &Site, seen: &Netcheck) -> Result<()> {
    let Some(built) = site.kind.tcp_mapping() else {
        ensure!(seen.nat.tcp.is_none(), "STUN over TCP is let out: {seen:?}");
        return Ok(());
    };
    let tcp = seen.nat.tcp.as_ref().with_context(|| format!("TCP is unknown: {seen:?}"))?;
    let built = built.to_string();
    ensure!(tcp.mapping == built, "TCP mapping {:?}, built {built}: {seen:?}", tcp.mapping);
    let address = tcp.public_address.as_deref().unwrap_or("none");
    ensure!(address.starts_with(&site.public.to_string()), "TCP address {address}: {seen:?}");
    Ok(())
}

fn describe(seen: &Netcheck) -> String {
    let (nat, ms) = (&seen.nat, seen.detect_ms);
    let ports = nat.port_allocation.as_deref().unwrap_or("no");
    let tcp = nat.tcp.as_ref().map_or("unknown", |tcp| tcp.mapping.as_str());
    format!(
        "{}: {} mapping, {} filtering, {ports} ports, in {ms} ms; TCP {tcp}",
        nat.nat_type, nat.mapping, nat.filtering
    )
}
