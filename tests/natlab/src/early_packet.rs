//! Proof of rule R0: a packet that arrives too early changes nothing, but where the kind says so.
//!
//! The far side of a punch often sends first. The server plays it: it sends to a port of the NAT
//! that nobody inside has used, then the host sends from that very port. A NAT without R0 has
//! taken the port for the early packet's flow and maps the host to another one.

use std::net::{SocketAddrV4, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::cases::Context;
use crate::nat::{Dependence, NatKind};
use crate::process::{Running, run};
use crate::topology::{Lab, SERVER};

const LIMIT: Duration = Duration::from_secs(5);
const SERVER_PORT: u16 = 7000;
const HOST_PORT: u16 = 7001;

/// Checks rule R0 on site `a`, where its NAT promises to keep the port.
pub fn check(lab: &Lab, context: &Context<'_>) -> Result<()> {
    let site = &lab.a;
    let keeps_port = site.kind.mapping() == Some(Dependence::EndpointIndependent);
    let Some(nat) = lab.outermost(site).filter(|_| keeps_port) else { return Ok(()) };

    let before = nat.unsolicited_packets()?;
    let server = SocketAddrV4::new(SERVER, SERVER_PORT).to_string();
    let target = SocketAddrV4::new(site.public, HOST_PORT);
    let mut far_side = lab.wan.command(&context.programs.natlab);
    far_side.args(["early-packet", "--listen", &server, "--target", &target.to_string()]);
    let far_side = Running::start("early-packet", &mut far_side, &lab.folder)?;
    far_side.wait_for_line(LIMIT, |line| line == EARLY_PACKET_SENT)?;
    // On a busy machine what was sent may still be on its way.
    let deadline = Instant::now() + LIMIT;
    while nat.unsolicited_packets()? == before {
        ensure!(Instant::now() < deadline, "the early packet to {target} does not arrive");
        thread::sleep(Duration::from_millis(5));
    }

    let local = SocketAddrV4::new(site.local, HOST_PORT).to_string();
    let mut host = site.host.command(&context.programs.natlab);
    run(host.args(["udp-send", "--from", &local, "--to", &server]))?;

    let seen = far_side.wait_for_line(LIMIT, |line| line.starts_with(SEEN_FROM))?;
    let seen = seen.trim_start_matches(SEEN_FROM);
    let kept = seen == target.to_string();
    ensure!(
        kept == (site.kind != NatKind::EarlyPacket),
        "after an early packet to {target}, a {} NAT has mapped the host to {seen}",
        site.kind
    );
    Ok(())
}

const EARLY_PACKET_SENT: &str = "early packet sent";
const SEEN_FROM: &str = "seen from ";

/// The far side, run by `natlab early-packet`: sends the early packet, then prints where the next
/// packet comes from.
pub fn play_far_side(listen: SocketAddrV4, target: SocketAddrV4) -> Result<()> {
    let socket = UdpSocket::bind(listen).with_context(|| format!("cannot bind {listen}"))?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.send_to(b"early", target)?;
    println!("{EARLY_PACKET_SENT}");
    let (_, from) = socket.recv_from(&mut [0; 16]).context("no packet from the host")?;
    println!("{SEEN_FROM}{from}");
    Ok(())
}

/// The host, run by `natlab udp-send`: sends one packet.
pub fn send_one(from: SocketAddrV4, to: SocketAddrV4) -> Result<()> {
    let socket = UdpSocket::bind(from).with_context(|| format!("cannot bind {from}"))?;
    socket.send_to(b"late", to)?;
    Ok(())
}
