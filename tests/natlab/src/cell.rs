//! One cell of the matrix: a caller and a listener, each behind its NAT.
//!
//! The caller pings until the path is direct, then sends 1 MiB to an echo server behind the
//! listener and compares what comes back. The path is believed only if the program's exit code, its
//! words, the address it names and the lab's own count of bytes on the segment agree.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::ChildStdin;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::cases::Context;
use crate::nat::{NatKind, Path, expected_path};
use crate::peer::{Peer, Ping, random_bytes, sha256_hex};
use crate::process::Running;
use crate::services::Services;
use crate::topology::{Lab, Site};

/// At one every 50 ms: 5 s for a direct path to appear.
const PINGS: u32 = 100;
const PAYLOAD_BYTES: usize = 1024 * 1024;

/// Of the payload, what is written at once and what is kept for after the switch to the direct path.
const HEAD_BYTES: usize = 128 * 1024;
const TAIL_BYTES: usize = 512 * 1024;

/// The pace of the data in between: a program with something to say now and then, for up to 8 s.
const TRICKLE_BYTES: usize = 1024;
const TRICKLE_EVERY: Duration = Duration::from_millis(20);

/// More than checks alone put on the segment while the trickle goes on.
const DATA_CROSSES_BYTES: u64 = 16 * 1024;

/// What may cross between the sites while all data goes by the relay: checks that are dropped by a
/// NAT, far less than the payload.
const PROBES_ONLY_BYTES: u64 = 128 * 1024;

const ECHO_LIMIT: Duration = Duration::from_secs(10);

/// Exit codes of `p2p ping --until-direct`.
const EXIT_DIRECT: i32 = 0;
const EXIT_RELAYED: i32 = 5;

/// What was seen in one cell.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    pub caller: NatKind,
    pub listener: NatKind,
    pub expected: Path,
    pub path: Path,
    pub method: String,
    /// Milliseconds from the start of the attempt to the first usable path.
    pub connected_ms: Option<u64>,
    /// Milliseconds from the start of the attempt to the direct path.
    pub direct_ms: Option<u64>,
    /// Milliseconds from the start of the attempt to the first pong over the final path: with the
    /// QUIC handshake, so the time to something usable.
    pub first_pong_ms: Option<u64>,
    /// Milliseconds of a whole `p2p connect`: start, attempt, 1 MiB there and back. `None` if the
    /// cell failed before.
    pub transfer_ms: Option<u64>,
    /// Bytes the segment carried between the sites.
    pub direct_bytes: u64,
}

/// Runs the cell; tells `on_seen` of the path as soon as it is known, and again at the end.
pub fn run(
    caller: NatKind,
    listener: NatKind,
    context: &Context<'_>,
    mut on_seen: impl FnMut(Seen),
) -> Result<String> {
    let lab = Lab::build(caller, listener, context.folder)?;
    let services = Services::start(&lab, context.programs)?;
    let alice = Peer::new("alice", &lab, &lab.a, &services, context.programs)?;
    let bob = Peer::new("bob", &lab, &lab.b, &services, context.programs)?;
    let (_echo, target) = start_echo(&lab, &lab.b, context)?;
    let _listening = bob.listen(&target)?;

    let expected = expected_path(caller, listener);
    let ping = alice.ping(bob.id, PINGS)?;
    let summary = ping.summary.clone().with_context(|| {
        format!("no summary from `p2p ping` (code {}): {}", ping.code, ping.finished.last_words())
    })?;
    let mut seen = Seen {
        caller,
        listener,
        expected,
        path: summary.path,
        method: summary.method.clone(),
        connected_ms: summary.connected_ms,
        direct_ms: summary.direct_ms,
        first_pong_ms: first_pong_ms(&ping, summary.path),
        transfer_ms: None,
        direct_bytes: lab.bytes_between_sites()?,
    };
    on_seen(seen.clone());
    check_path(&ping, &seen, &lab)?;

    let payload = random_bytes(PAYLOAD_BYTES)?;
    let (returned, took) = match expected {
        Path::Direct => alice.pipe(bob.id, |pipe| feed_across_the_switch(pipe, &payload, &lab))?,
        Path::Relay => alice.pipe(bob.id, |pipe| Ok(pipe.write_all(&payload)?))?,
    };
    ensure!(
        sha256_hex(&returned) == sha256_hex(&payload),
        "1 MiB came back changed: {} of {PAYLOAD_BYTES} bytes, sha256 differs",
        returned.len()
    );
    seen.transfer_ms = Some(u64::try_from(took.as_millis())?);
    let before = std::mem::replace(&mut seen.direct_bytes, lab.bytes_between_sites()?);
    on_seen(seen.clone());
    check_wire(expected, seen.direct_bytes - before)?;
    lab.switch.check()?;
    Ok(describe(&seen))
}

/// An echo server on the site's own loopback; returns it with its address.
pub fn start_echo(lab: &Lab, site: &Site, context: &Context<'_>) -> Result<(Running, String)> {
    let mut command = site.host.command(&context.programs.natlab);
    command.args(["echo", "127.0.0.1:0"]);
    let echo = Running::start("echo", &mut command, &lab.folder)?;
    let line = echo.wait_for_line(ECHO_LIMIT, |line| line.starts_with("listening on "))?;
    let address = line.trim_start_matches("listening on ").to_owned();
    Ok((echo, address))
}

fn first_pong_ms(ping: &Ping, path: Path) -> Option<u64> {
    ping.pongs.iter().find(|pong| pong.path == path).map(|pong| pong.since_start_ms)
}

/// The program's exit code, its summary, its last pong and the address it names must agree.
fn check_path(ping: &Ping, seen: &Seen, lab: &Lab) -> Result<()> {
    let (expected, words) = (seen.expected, ping.finished.last_words());
    ensure!(seen.path == expected, "path is {:?}, expected {expected:?}: {words}", seen.path);
    let code = if expected == Path::Direct { EXIT_DIRECT } else { EXIT_RELAYED };
    ensure!(ping.code == code, "exit code {}, expected {code}: {words}", ping.code);

    let relayed = seen.method == "relay";
    ensure!(relayed == (expected == Path::Relay), "method {} on a {expected:?} path", seen.method);
    // A ping that is direct at once ends before the attempt has said how it went.
    let timed = seen.connected_ms.is_some() || expected == Path::Direct;
    ensure!(timed, "no time to the first path");
    let timed = seen.direct_ms.is_some();
    ensure!(timed == (expected == Path::Direct), "direct_ms {:?} on {expected:?}", seen.direct_ms);

    let summary = ping.summary.as_ref().context("no summary")?;
    let (sent, received) = (summary.sent, summary.received);
    ensure!(sent > 0 && sent == received, "{received} pongs for {sent} pings");

    let last = ping.pongs.last().context("no pong")?;
    ensure!(last.path == expected, "the last pong came by {:?}", last.path);
    // By the relay, the remote address is the peer's own or its relayed one: either leg will do.
    let (remote, far_end) = (last.remote.ip(), IpAddr::V4(lab.b.public));
    ensure!(
        expected == Path::Relay || remote == far_end,
        "the pong came from {remote}, expected {far_end}"
    );
    Ok(())
}

/// Writes the payload so that the stream is in use when the direct path takes over: the head at
/// once, then a trickle until the segment shows that data has left the relay, then the rest.
fn feed_across_the_switch(pipe: &mut ChildStdin, payload: &[u8], lab: &Lab) -> Result<()> {
    let (head, rest) = payload.split_at(HEAD_BYTES);
    let before = lab.bytes_between_sites()?;
    pipe.write_all(head)?;
    let mut trickle = rest[..rest.len() - TAIL_BYTES].chunks(TRICKLE_BYTES);
    let mut trickled = 0;
    while lab.bytes_between_sites()? - before < DATA_CROSSES_BYTES {
        let drop = trickle.next().context("the stream stayed on the relay")?;
        pipe.write_all(drop)?;
        trickled += drop.len();
        thread::sleep(TRICKLE_EVERY);
    }
    Ok(pipe.write_all(&rest[trickled..])?)
}

/// What the segment carried between the sites during the transfer must fit the expected path.
fn check_wire(expected: Path, bytes: u64) -> Result<()> {
    match expected {
        // There and back.
        Path::Direct => ensure!(
            bytes >= 2 * TAIL_BYTES as u64,
            "only {bytes} bytes crossed between the sites on a direct path"
        ),
        Path::Relay => ensure!(
            bytes < PROBES_ONLY_BYTES,
            "{bytes} bytes crossed between the sites though the path is the relay"
        ),
    }
    Ok(())
}

fn describe(seen: &Seen) -> String {
    let ms = |time: Option<u64>| time.map_or("? ms".into(), |ms| format!("{ms} ms"));
    let direct = seen.direct_ms.map(|after| format!(", direct after {after} ms"));
    format!(
        "{}: connected after {}{}, first pong after {}; 1 MiB there and back in {}, \
         {} bytes site to site",
        seen.method,
        ms(seen.connected_ms),
        direct.unwrap_or_default(),
        ms(seen.first_pong_ms),
        ms(seen.transfer_ms),
        seen.direct_bytes,
    )
}
