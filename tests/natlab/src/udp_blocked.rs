//! Hosts whose firewall lets no UDP through: they meet over TCP whoever has a port that is known or can
//! be dialled, everybody else by a relay over TCP, and are told so where that is blocked too.

use std::io::Write as _;
use std::process::ChildStdin;

use anyhow::{Context as _, Result, ensure};

use crate::cases::{self, Case};
use crate::cell::start_echo;
use crate::fabric::Weather;
use crate::nat::{NatKind, Path};
use crate::peer::{Peer, random_bytes};
use crate::services::Services;
use crate::topology::Lab;

/// "Unreachable" and "relay though direct was required", of the exit codes that all commands share.
const EXIT_UNREACHABLE: i32 = 4;
const EXIT_RELAYED: i32 = 5;

/// Bytes that go there and back.
const PAYLOAD: usize = 300_000;

pub fn cases() -> Vec<Case> {
    let over_tcp = [
        NatKind::Open,
        NatKind::FullCone,
        NatKind::AddressRestricted,
        NatKind::PortRestricted,
        NatKind::DoubleNat,
        NatKind::UdpBlocked,
    ];
    let over_tcp = over_tcp.map(|other| {
        let name = format!("a host without UDP meets one that is {other} over TCP");
        Case::new(name, move |context| direct(context, NatKind::UdpBlocked, other))
    });
    let called = Case::new("a host without UDP is met over TCP by one that is open", |context| {
        direct(context, NatKind::Open, NatKind::UdpBlocked)
    });
    let relay = NatKind::Symmetric;
    let name = format!("a host without UDP meets one that is {relay} by a relay over TCP");
    let pairs = [Case::new(name, move |context| relayed(context, NatKind::UdpBlocked, relay))];
    let only_443 = [NatKind::PortRestricted, NatKind::OnlyTcp443].map(|other| {
        let name = format!("a host with TCP 443 alone meets one that is {other} by TLS");
        Case::new(name, move |context| relayed(context, NatKind::OnlyTcp443, other))
    });
    let no_path =
        Case::new("a host without UDP or a relay gets a clear verdict", no_path_and_a_reason);
    over_tcp.into_iter().chain([called]).chain(pairs).chain(only_443).chain([no_path]).collect()
}

/// Connected over TCP and not by the relay: by the program's words and by the segment's count.
fn direct(context: &cases::Context<'_>, caller: NatKind, listener: NatKind) -> Result<String> {
    let lab = Lab::build_in(Weather::FAR, caller, listener, context.folder)?;
    let services = Services::start(&lab, context.programs)?;
    let alice = Peer::new("alice", &lab, &lab.a, &services, context.programs)?;
    let bob = Peer::new("bob", &lab, &lab.b, &services, context.programs)?;
    let (_echo, target) = start_echo(&lab, &lab.b, context)?;
    let _listening = bob.listen(&target)?;

    let ping = alice.ping(bob.id, 100)?;
    let words = ping.finished.last_words();
    ensure!(ping.code == 0, "exit code {}: {words}", ping.code);
    let summary = ping.summary.as_ref().context("no summary")?;
    ensure!(summary.method == "tcp-hole-punch", "method {}: {words}", summary.method);
    let took = summary.direct_ms.context("no time to the direct path")?;

    let before = lab.bytes_between_sites()?;
    let payload = random_bytes(PAYLOAD)?;
    // With the relay allowed, the data might be across before the direct path is there.
    let feed = |pipe: &mut ChildStdin| Ok(pipe.write_all(&payload)?);
    let (echoed, moved) = alice.pipe_by("direct", bob.id, feed)?;
    ensure!(echoed == payload, "the echo of {PAYLOAD} bytes differs ({} came)", echoed.len());
    let direct = lab.bytes_between_sites()? - before;
    ensure!(
        direct > 2 * PAYLOAD as u64,
        "{direct} bytes went straight of {PAYLOAD}, there and back"
    );
    lab.switch.check()?;
    Ok(format!("direct after {took} ms, {PAYLOAD} bytes there and back in {moved:?}"))
}

/// Drops what the host sends to these TCP ports, in the host itself.
fn block_tcp(lab: &Lab, ports: &[u16]) -> Result<()> {
    let rule = |port: &u16| format!("    tcp dport {port} drop\n");
    let rules: String = ports.iter().map(rule).collect();
    let chain = format!("chain output {{\n    type filter hook output priority 0\n{rules}  }}");
    lab.a.host.nft(&format!("table inet firewall {{\n  {chain}\n}}\n"), &lab.folder)
}

fn relayed(context: &cases::Context<'_>, near: NatKind, other: NatKind) -> Result<String> {
    let lab = Lab::build(near, other, context.folder)?;
    let services = Services::start(&lab, context.programs)?;
    let alice = Peer::new("alice", &lab, &lab.a, &services, context.programs)?;
    let bob = Peer::new("bob", &lab, &lab.b, &services, context.programs)?;
    let (_echo, target) = start_echo(&lab, &lab.b, context)?;
    let _listening = bob.listen(&target)?;

    let payload = random_bytes(PAYLOAD)?;
    let (echoed, took) = alice.pipe(bob.id, |pipe| Ok(pipe.write_all(&payload)?))?;
    ensure!(echoed == payload, "the echo of {PAYLOAD} bytes differs ({} came)", echoed.len());
    let ping = alice.ping(bob.id, 3)?;
    let relayed = ping.pongs.iter().all(|pong| pong.path == Path::Relay);
    ensure!(!ping.pongs.is_empty() && relayed, "not by relay: {:?}", ping.pongs);
    ensure!(ping.code == EXIT_RELAYED, "exit code {}: {}", ping.code, ping.finished.last_words());
    let connected = ping.summary.as_ref().and_then(|summary| summary.connected_ms);
    let connected = connected.context("no summary says when it was connected")?;
    Ok(format!("connected after {connected} ms, {PAYLOAD} bytes there and back in {took:?}"))
}

/// Signaling passes over TCP, and nothing else: `p2p ping` must say so and end.
fn no_path_and_a_reason(context: &cases::Context<'_>) -> Result<String> {
    let lab = Lab::build(NatKind::UdpBlocked, NatKind::Open, context.folder)?;
    block_tcp(&lab, &[3478, 443])?;
    let services = Services::start(&lab, context.programs)?;
    let alice = Peer::new("alice", &lab, &lab.a, &services, context.programs)?;
    let bob = Peer::new("bob", &lab, &lab.b, &services, context.programs)?;
    let (_echo, target) = start_echo(&lab, &lab.b, context)?;
    let _listening = bob.listen(&target)?;

    let ping = alice.ping(bob.id, 3)?;
    // With `--json` the verdict is one of the lines on standard output.
    let lines = || ping.finished.stdout.iter().chain(&ping.finished.stderr);
    ensure!(ping.pongs.is_empty(), "a pong came through though everything is blocked");
    ensure!(
        ping.code == EXIT_UNREACHABLE,
        "exit code {}, expected {EXIT_UNREACHABLE}: {}",
        ping.code,
        ping.finished.last_words()
    );
    let verdict = lines().find(|line| line.contains("UDP") && line.contains("TCP"));
    let verdict = verdict.with_context(|| {
        let said: Vec<&str> = lines().map(String::as_str).collect();
        format!("no verdict names UDP and TCP: {}", said.join(" | "))
    })?;
    Ok(format!("exit code {}: {verdict}", ping.code))
}
