//! A host whose firewall lets no UDP through: not connected, and told so.

use anyhow::{Context as _, Result, ensure};

use crate::cases::{self, Case};
use crate::cell::start_echo;
use crate::nat::NatKind;
use crate::peer::Peer;
use crate::services::Services;
use crate::topology::Lab;

/// "Unreachable", of the exit codes that all commands share.
const EXIT_UNREACHABLE: i32 = 4;

pub fn cases() -> Vec<Case> {
    vec![Case::new("a host without UDP gets a clear verdict", no_path_and_a_reason)]
}

/// Signaling passes over TCP, every path needs UDP: `p2p ping` must say so and end.
fn no_path_and_a_reason(context: &cases::Context<'_>) -> Result<String> {
    let lab = Lab::build(NatKind::UdpBlocked, NatKind::Open, context.folder)?;
    let services = Services::start(&lab, context.programs)?;
    let alice = Peer::new("alice", &lab, &lab.a, &services, context.programs)?;
    let bob = Peer::new("bob", &lab, &lab.b, &services, context.programs)?;
    let (_echo, target) = start_echo(&lab, &lab.b, context)?;
    let _listening = bob.listen(&target)?;

    let ping = alice.ping(bob.id, 3)?;
    // With `--json` the verdict is one of the lines on standard output.
    let lines = || ping.finished.stdout.iter().chain(&ping.finished.stderr);
    ensure!(ping.pongs.is_empty(), "a pong came through though UDP is blocked");
    ensure!(
        ping.code == EXIT_UNREACHABLE,
        "exit code {}, expected {EXIT_UNREACHABLE}: {}",
        ping.code,
        ping.finished.last_words()
    );
    let verdict = lines().find(|line| line.contains("UDP"));
    let verdict = verdict.with_context(|| {
        let said: Vec<&str> = lines().map(String::as_str).collect();
        format!("no verdict names UDP: {}", said.join(" | "))
    })?;
    Ok(format!("exit code {}: {verdict}", ping.code))
}
