//! Proof of the expected paths, without a line of the programs under test.
//!
//! A plain two-sided UDP punch of a few lines runs between two NATs. It must get through exactly
//! where [`expected_path`] says a direct path is possible, so a cell that fails later is the
//! programs' fault and not the lab's.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::cases::{Case, Context};
use crate::matrix::pairs;
use crate::nat::{NatKind, Path, expected_path};
use crate::process::{Finished, Running};
use crate::topology::{Lab, SERVER, Site};

/// Where the two meet.
const RENDEZVOUS: SocketAddrV4 = SocketAddrV4::new(SERVER, 7000);

const START_LIMIT: Duration = Duration::from_secs(5);
/// How long both knock before they give up: nothing in the lab takes a tenth of it.
const KNOCK_FOR: Duration = Duration::from_millis(1500);
const KNOCK_EVERY: Duration = Duration::from_millis(20);

const HELLO: &[u8] = b"hello";
const KNOCK: &[u8] = b"knock";
const HEARD: &[u8] = b"heard";

const LISTENING: &str = "listening";
const DIRECT: &str = "direct";
const NO_PATH: &str = "no path";

/// One case for each pair of kinds.
pub fn cases() -> Vec<Case> {
    let case = |(a, b)| {
        let words = match expected_path(a, b) {
            Path::Direct => "gets through",
            Path::Relay => "is kept out",
        };
        Case::new(format!("a plain punch {words} between {a} and {b}"), move |context| {
            punch(a, b, context)
        })
    };
    pairs().into_iter().map(case).collect()
}

fn punch(a: NatKind, b: NatKind, context: &Context<'_>) -> Result<String> {
    let lab = Lab::build(a, b, context.folder)?;
    let mut server = lab.wan.command(&context.programs.natlab);
    server.args(["rendezvous", &RENDEZVOUS.to_string()]);
    let server = Running::start("rendezvous", &mut server, &lab.folder)?;
    server.wait_for_line(START_LIMIT, |line| line == LISTENING)?;

    let start = |name: &str, site: &Site| {
        let mut command = site.host.command(&context.programs.natlab);
        command.args(["punch", &RENDEZVOUS.to_string()]);
        Running::start(name, &mut command, &lab.folder)
    };
    let (one, other) = (start("punch-a", &lab.a)?, start("punch-b", &lab.b)?);
    let limit = START_LIMIT + KNOCK_FOR;
    let (one, other) = (verdict(one.finish(limit)?)?, verdict(other.finish(limit)?)?);

    let expected = if expected_path(a, b) == Path::Direct { DIRECT } else { NO_PATH };
    ensure!(one == expected && other == expected, "a: {one}, b: {other}, expected: {expected}");
    Ok(one)
}

fn verdict(finished: Finished) -> Result<String> {
    ensure!(finished.status.success(), "{}: {}", finished.status, finished.last_words());
    finished.stdout.into_iter().next_back().context("the puncher printed nothing")
}

/// The meeting point, run by `natlab rendezvous`: tells each of two peers the other's address.
pub fn serve_rendezvous(listen: SocketAddrV4) -> Result<()> {
    let socket = UdpSocket::bind(listen).with_context(|| format!("cannot bind {listen}"))?;
    println!("{LISTENING}");
    let mut peers: Vec<SocketAddr> = Vec::with_capacity(2);
    loop {
        let (_, from) = socket.recv_from(&mut [0; 16])?;
        if !peers.contains(&from) && peers.len() < 2 {
            peers.push(from);
        }
        if let Some(other) = peers.iter().find(|peer| **peer != from) {
            socket.send_to(other.to_string().as_bytes(), from)?;
        }
    }
}

/// One peer, run by `natlab punch`: prints whether the other one heard it.
pub fn play_peer(server: SocketAddrV4) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot bind a socket")?;
    socket.set_read_timeout(Some(KNOCK_EVERY))?;
    let server = SocketAddr::V4(server);
    let deadline = Instant::now() + KNOCK_FOR;
    let (mut target, mut say) = (server, HELLO);
    let mut heard_back = false;
    while Instant::now() < deadline && !heard_back {
        send(&socket, say, target)?;
        let mut buffer = [0; 64];
        let (length, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let message = &buffer[..length];
        if from == server {
            if target == server {
                let address = std::str::from_utf8(message)?;
                (target, say) = (address.parse().context("the peer's address")?, KNOCK);
            }
        } else {
            // The address it came from is the one that works, whatever the server was shown.
            (target, say) = (from, HEARD);
            heard_back = message == HEARD;
        }
    }
    if heard_back {
        // The other side may not have heard yet that it was heard.
        for _ in 0..3 {
            send(&socket, HEARD, target)?;
        }
    }
    println!("{}", if heard_back { DIRECT } else { NO_PATH });
    Ok(())
}

fn send(socket: &UdpSocket, message: &[u8], to: SocketAddr) -> Result<()> {
    socket.send_to(message, to).map(drop).with_context(|| format!("cannot send to {to}"))
}
