//! Proof of the switch: datagrams take as long, and as many are lost, as it was asked.
//!
//! A host sends numbered datagrams to an echo on the other side and notes when each comes back. The
//! times are compared with what was asked for, the losses with the switch's own count.

use std::io::ErrorKind;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::cases::{Case, Context};
use crate::fabric::Weather;
use crate::nat::NatKind;
use crate::process::{Running, run};
use crate::topology::{Lab, SERVER, Site};

const PORT: u16 = 7000;
const LISTENING: &str = "listening";
const START_LIMIT: Duration = Duration::from_secs(10);

/// How long answers are waited for after the last datagram: no way in the lab is half as long.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Percent of the datagrams that the way between the sites loses, in each direction.
const LOSS: f64 = 5.0;
/// Any will do: the same losses for the same frames.
const SEED: u64 = 5;
/// Sent to the other site: twice this number crosses, or would without loss.
const COUNT: u32 = 1000;
/// What a fair coin of 5 % shows at 1000 throws there and the rest back, four deviations wide.
const EXPECTED_LOSSES: std::ops::Range<u64> = 55..145;

/// The way there and back again.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Crossing {
    pub sent: u32,
    pub received: u32,
    /// Round trips in microseconds.
    pub min_us: u64,
    pub p50_us: u64,
    pub p95_us: u64,
}

pub fn cases() -> Vec<Case> {
    vec![Case::new("the switch takes as long and loses as much as it is asked to", measure)]
}

fn measure(context: &Context<'_>) -> Result<String> {
    let weather = Weather::FAR.with_loss(LOSS, SEED);
    let lab = Lab::build_in(weather, NatKind::Open, NatKind::Open, context.folder)?;
    let _site = echo(&lab, "echo-b", context, &lab.b)?;
    let mut command = lab.wan.command(&context.programs.natlab);
    command.args(["udp-echo", &SocketAddrV4::new(SERVER, PORT).to_string()]);
    let server = Running::start("echo-servers", &mut command, &lab.folder)?;
    server.wait_for_line(START_LIMIT, |line| line == LISTENING)?;

    let to_server = cross(&lab, context, SocketAddrV4::new(SERVER, PORT), COUNT / 10)?;
    ensure!(to_server.received == to_server.sent, "lost on a clean way: {to_server:?}");
    ensure!(lab.switch.counts().lost == 0, "a clean way loses: {:?}", lab.switch.counts());
    check_time(&to_server, weather.to_servers.delay)?;

    let far_end = SocketAddrV4::new(lab.b.public, PORT);
    let across = cross(&lab, context, far_end, COUNT)?;
    let (counts, missing) = (lab.switch.counts(), u64::from(across.sent - across.received));
    ensure!(counts.lost == missing, "{missing} are missing, the switch lost {}", counts.lost);
    ensure!(EXPECTED_LOSSES.contains(&missing), "{missing} of {COUNT} lost at {LOSS} % each way");
    check_time(&across, weather.between_sites.delay)?;

    lab.switch.change_weather(|weather| weather.between_sites.cut = true);
    let cut = cross(&lab, context, far_end, 10)?;
    ensure!(cut.received == 0, "{} datagrams came through a cut way", cut.received);
    let beside = cross(&lab, context, SocketAddrV4::new(SERVER, PORT), 10)?;
    ensure!(beside.received == beside.sent, "a cut elsewhere took some of {beside:?}");
    lab.switch.check()?;
    Ok(format!(
        "{} ms asked: {}; {} ms asked: {}, {missing} of {COUNT} lost at {LOSS} % each way",
        2 * weather.to_servers.delay.as_millis(),
        describe(&to_server),
        2 * weather.between_sites.delay.as_millis(),
        describe(&across),
    ))
}

/// Never early; how late is the machine's affair, and told.
fn check_time(crossing: &Crossing, one_way: Duration) -> Result<()> {
    let asked = u64::try_from(2 * one_way.as_micros())?;
    ensure!(crossing.min_us >= asked, "{} µs, {asked} µs were asked for", crossing.min_us);
    Ok(())
}

fn describe(crossing: &Crossing) -> String {
    let ms = |us: u64| Duration::from_micros(us).as_secs_f64() * 1e3;
    let Crossing { min_us, p50_us, p95_us, .. } = *crossing;
    format!("{:.1} ms at best, {:.1} p50, {:.1} p95", ms(min_us), ms(p50_us), ms(p95_us))
}

fn echo(lab: &Lab, name: &str, context: &Context<'_>, site: &Site) -> Result<Running> {
    let mut command = site.host.command(&context.programs.natlab);
    command.args(["udp-echo", &SocketAddrV4::new(site.local, PORT).to_string()]);
    let echo = Running::start(name, &mut command, &lab.folder)?;
    echo.wait_for_line(START_LIMIT, |line| line == LISTENING)?;
    Ok(echo)
}

/// Sends datagrams from site `a`.
fn cross(lab: &Lab, context: &Context<'_>, to: SocketAddrV4, count: u32) -> Result<Crossing> {
    let mut command = lab.a.host.command(&context.programs.natlab);
    command.args(["udp-cross", "--to", &to.to_string(), "--count", &count.to_string()]);
    let line = run(&mut command)?;
    serde_json::from_str(&line).with_context(|| format!("`natlab udp-cross` printed {line:?}"))
}

/// The far end, run by `natlab udp-echo`: sends back what it gets until killed.
pub fn serve_echo(listen: SocketAddrV4) -> Result<()> {
    let socket = UdpSocket::bind(listen).with_context(|| format!("cannot bind {listen}"))?;
    println!("{LISTENING}");
    let mut buffer = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..length], from)?;
    }
}

/// The near end, run by `natlab udp-cross`: prints a [`Crossing`].
pub fn play_near_end(to: SocketAddrV4, count: u32) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("cannot bind a socket")?;
    socket.connect(SocketAddr::V4(to))?;
    let receiver = socket.try_clone()?;
    receiver.set_read_timeout(Some(LAST_ANSWER))?;
    let start = Instant::now();
    let answers = thread::spawn(move || receive(&receiver, start, count));
    for number in 0..count {
        let sent = u64::try_from(start.elapsed().as_micros())?;
        let datagram = [u64::from(number).to_be_bytes(), sent.to_be_bytes()].concat();
        socket.send(&datagram)?;
        // The pace, not an event that is waited for.
        thread::sleep(Duration::from_millis(2));
    }
    let mut times = answers.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))??;
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    let crossing = Crossing {
        sent: count,
        received: u32::try_from(times.len())?,
        min_us: at(0),
        p50_us: at(50),
        p95_us: at(95),
    };
    println!("{}", serde_json::to_string(&crossing)?);
    Ok(())
}

/// The round trips, until all are back or none has come for a while.
fn receive(socket: &UdpSocket, start: Instant, count: u32) -> Result<Vec<u64>> {
    let mut times = Vec::new();
    let mut buffer = [0; 16];
    while times.len() < count as usize {
        match socket.recv(&mut buffer) {
            Ok(16) => {}
            Ok(_) => continue,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => return Err(error.into()),
        }
        let (_, sent) = buffer.split_at(8);
        let sent = u64::from_be_bytes(sent.try_into()?);
        times.push(u64::try_from(start.elapsed().as_micros())? - sent);
    }
    Ok(times)
}
