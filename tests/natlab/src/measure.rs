//! Measured runs through one pair of NATs, far apart: our client, and `webrtc-ice` as a yardstick.
//!
//! Every run has fresh programs on fresh ports, and so fresh mappings. A run that does not connect is
//! a sample like any other: misses are counted, not tried again.

use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::broker;
use crate::cases::{Case, Context};
use crate::fabric::Weather;
use crate::matrix;
use crate::nat::{NatKind, Path as NatPath, expected_path};
use crate::player::Event;
use crate::process::Running;
use crate::services::{Services, TURN_USER};
use crate::topology::{Lab, SERVER, Site};

/// Where the programs we compare with do their signaling.
const BROKER: SocketAddrV4 = SocketAddrV4::new(SERVER, 7001);

/// How long a direct path is waited for where one is expected, and where none is.
const DIRECT_WINDOW: Duration = Duration::from_secs(10);
const RELAY_WINDOW: Duration = Duration::from_secs(3);
/// How long the yardstick may take to connect.
const ICE_WINDOW: Duration = Duration::from_secs(10);

const READY_LIMIT: Duration = Duration::from_secs(30);
/// More than the client's own limit of 30 s.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// The listener's word for a byte that was answered is already on its way.
const WORD_LIMIT: Duration = Duration::from_secs(2);

/// What makes the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Stack {
    Ours,
    WebrtcIce,
    WebrtcIceTuned,
}

impl Stack {
    pub const ALL: [Self; 3] = [Self::Ours, Self::WebrtcIce, Self::WebrtcIceTuned];
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sample {
    pub caller: NatKind,
    pub listener: NatKind,
    /// Percent of the packets that every way loses.
    pub loss: f64,
    pub stack: Stack,
    /// The path at the end; `None` if it did not connect.
    pub path: Option<NatPath>,
    pub method: String,
    /// Milliseconds from the call to the first byte in the listener's hands.
    pub first_byte_ms: Option<f64>,
    /// Milliseconds from the call to a connection over a direct path.
    pub direct_ms: Option<f64>,
    /// STUN checks that left one site for the other, both ways together.
    pub checks: u64,
    pub failure: Option<String>,
}

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub caller: NatKind,
    pub listener: NatKind,
    pub loss: f64,
    pub runs: u32,
    /// What the losses are drawn from.
    pub seed: u64,
}

/// Measured runs as they are taken, beside those that were taken before.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    path: PathBuf,
    all: Arc<Mutex<Vec<Sample>>>,
}

impl Samples {
    /// Begins with what an earlier run has written, if it has.
    pub fn read(path: &Path) -> Result<Self> {
        let all = match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("{} holds no samples", path.display()))?,
            Err(_) => Vec::new(),
        };
        Ok(Self { path: path.to_owned(), all: Arc::new(Mutex::new(all)) })
    }

    pub fn all(&self) -> Vec<Sample> {
        self.lock().clone()
    }

    /// One case for each pair: its runs take the place of what there was of them.
    pub fn case(&self, setting: Setting, stacks: Vec<Stack>) -> Case {
        let Setting { caller, listener, loss, .. } = setting;
        let (samples, path) = (self.clone(), self.path.clone());
        Case::new(format!("{caller} to {listener} at {loss} % loss"), move |context| {
            let mut taken = Vec::new();
            let seen = measure(setting, &stacks, context, |sample| taken.push(sample))?;
            let mut all = samples.lock();
            let again = |old: &Sample| {
                (old.caller, old.listener) == (caller, listener)
                    && old.loss == loss
                    && stacks.contains(&old.stack)
            };
            all.retain(|old| !again(old));
            all.append(&mut taken);
            // A long run that is stopped keeps what it has.
            write_to(&path, &all)?;
            Ok(seen)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sample>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_to(path: &Path, samples: &[Sample]) -> Result<()> {
    let text = serde_json::to_string(samples)?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The pairs that are measured: those of the matrix, and those that only TCP or patience can
/// connect.
pub fn pairs() -> Vec<(NatKind, NatKind)> {
    let blocked = NatKind::MATRIX.map(|kind| (NatKind::UdpBlocked, kind));
    let hard =
        [(NatKind::UdpBlocked, NatKind::UdpBlocked), (NatKind::EarlyPacket, NatKind::EarlyPacket)];
    let with_443 = [
        NatKind::Open,
        NatKind::PortRestricted,
        NatKind::Symmetric,
        NatKind::UdpBlocked,
        NatKind::OnlyTcp443,
    ];
    let with_443 = with_443.map(|kind| (NatKind::OnlyTcp443, kind));
    matrix::pairs().into_iter().chain(blocked).chain(hard).chain(with_443).collect()
}

/// Runs the stacks through the pair and hands over each sample as it comes.
fn measure(
    setting: Setting,
    stacks: &[Stack],
    context: &Context<'_>,
    mut record: impl FnMut(Sample),
) -> Result<String> {
    let Setting { caller, listener, loss, seed, .. } = setting;
    let weather = Weather::FAR.with_loss_everywhere(loss, seed);
    let lab = Lab::build_in(weather, caller, listener, context.folder)?;
    let services = Services::start(&lab, context.programs)?;
    let tokens = (services.token("alice-*")?, services.token("bob-*")?);
    let mut seen = Vec::new();
    for stack in stacks.iter().copied() {
        for run in 0..runs_of(stack, setting) {
            let players = match stack {
                Stack::Ours => Players::ours(&services, &tokens, run, expected(setting)),
                Stack::WebrtcIce | Stack::WebrtcIceTuned => Players::ice(stack),
            };
            let before = lab.counts()?.checks;
            let played = play(&lab, &players, context);
            let checks = lab.counts()?.checks - before;
            let sample = sample(setting, stack, checks, played);
            seen.push((stack, sample.path, sample.failure.clone()));
            record(sample);
        }
    }
    lab.switch.check()?;
    Ok(format!(
        "seed {seed}{}",
        stacks.iter().map(|stack| tally(*stack, &seen)).collect::<String>()
    ))
}

fn tally(stack: Stack, seen: &[(Stack, Option<NatPath>, Option<String>)]) -> String {
    let seen = || seen.iter().filter(|(of, ..)| *of == stack);
    let on = |path| seen().filter(|(_, on, _)| *on == path).count();
    let (direct, relay) = (on(Some(NatPath::Direct)), on(Some(NatPath::Relay)));
    let why = seen().find_map(|(_, path, why)| why.clone().filter(|_| path.is_none()));
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    format!("; {stack:?}: {direct} direct, {relay} relay, {} missed{why}", on(None))
}

/// The yardstick has nothing but UDP: where that is blocked, a few runs show it.
fn runs_of(stack: Stack, setting: Setting) -> u32 {
    let blocked = |kind: NatKind| kind.mapping().is_none();
    if stack != Stack::Ours && (blocked(setting.caller) || blocked(setting.listener)) {
        return setting.runs.min(2);
    }
    setting.runs
}

fn expected(setting: Setting) -> NatPath {
    expected_path(setting.caller, setting.listener)
}

/// The words after `natlab` for each player.
struct Players {
    listener: Vec<String>,
    caller: Vec<String>,
    broker: bool,
}

impl Players {
    fn ours(services: &Services, tokens: &(String, String), run: u32, expected: NatPath) -> Self {
        let (alice, bob) = (format!("alice-{run}"), format!("bob-{run}"));
        let window = if expected == NatPath::Direct { DIRECT_WINDOW } else { RELAY_WINDOW };
        let words = |verb: &str, token: &str, name: &str| {
            let server = services.url();
            words([verb, "--server", &server, "--token", token, "--name", name])
        };
        let mut caller = words("call", &tokens.0, &alice);
        let window = window.as_millis().to_string();
        caller.extend(["--peer".into(), bob.clone(), "--window-ms".into(), window]);
        Self { listener: words("listen", &tokens.1, &bob), caller, broker: false }
    }

    fn ice(stack: Stack) -> Self {
        let (username, password) = TURN_USER;
        let (broker, relay) = (BROKER.to_string(), Services::relay().to_string());
        let window = ICE_WINDOW.as_millis().to_string();
        let words = |verb| {
            let mut all = words([verb, "--broker", &broker, "--relay", &relay]);
            let credentials = ["--username", username, "--password", password];
            all.extend(credentials.map(str::to_owned));
            all.extend(["--window-ms".into(), window.clone()]);
            all.extend((stack == Stack::WebrtcIceTuned).then(|| "--tuned".to_owned()));
            all
        };
        Self { listener: words("ice-listen"), caller: words("ice-call"), broker: true }
    }
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

/// Plays one run and returns what the caller and the listener said.
fn play(lab: &Lab, players: &Players, context: &Context<'_>) -> Result<Vec<Event>> {
    let _broker = if players.broker { Some(start_broker(lab, context)?) } else { None };
    let start = |site: &Site, name: &str, words: &[String]| {
        let mut command = site.host.command(&context.programs.natlab);
        Running::start(name, command.args(words), &lab.folder)
    };
    let is_ready = |line: &str| parse(line) == Some(Event::Ready);
    let listener = start(&lab.b, "listener", &players.listener)?;
    listener.wait_for_line(READY_LIMIT, is_ready)?;
    let caller = start(&lab.a, "caller", &players.caller)?;
    let finished = caller.finish(CALL_LIMIT)?;
    let mut events: Vec<Event> = finished.stdout.iter().filter_map(|line| parse(line)).collect();
    if !finished.status.success() {
        let cause = format!("{}: {}", finished.status, finished.last_words());
        events.push(Event::Failed { cause });
    }
    if events.iter().any(|event| matches!(event, Event::Connected { .. })) {
        let first = |line: &str| matches!(parse(line), Some(Event::FirstByte { .. }));
        let line = listener.wait_for_line(WORD_LIMIT, first).ok();
        events.extend(line.and_then(|line| parse(&line)));
    }
    Ok(events)
}

fn start_broker(lab: &Lab, context: &Context<'_>) -> Result<Running> {
    let mut command = lab.wan.command(&context.programs.natlab);
    command.args(["broker", &BROKER.to_string()]);
    let broker = Running::start("broker", &mut command, &lab.folder)?;
    broker.wait_for_line(READY_LIMIT, |line| line == broker::LISTENING)?;
    Ok(broker)
}

fn parse(line: &str) -> Option<Event> {
    serde_json::from_str(line).ok()
}

fn sample(setting: Setting, stack: Stack, checks: u64, played: Result<Vec<Event>>) -> Sample {
    let Setting { caller, listener, loss, .. } = setting;
    let (events, mut failure) = match played {
        Ok(events) => (events, None),
        Err(error) => (Vec::new(), Some(format!("{error:#}"))),
    };
    let (mut asked, mut first_byte, mut direct) = (None, None, None);
    let (mut path, mut how) = (None, String::new());
    for event in events {
        match event {
            Event::Ready => {}
            Event::Asked { us } => asked = Some(us),
            Event::Connected { path: first, method, .. } => (path, how) = (Some(first), method),
            Event::FirstByte { us } => first_byte = Some(us),
            Event::Direct { us, method } => (direct, how) = (Some(us), method),
            Event::Failed { cause } => failure = Some(cause),
            Event::End { path: last } => path = last.or(path),
        }
    }
    let since = |us: Option<u64>| {
        let us = us?.checked_sub(asked?)?;
        Some(Duration::from_micros(us).as_secs_f64() * 1e3)
    };
    let (first_byte_ms, direct_ms) = (since(first_byte), since(direct));
    // Connected is who got a byte across.
    let path = path.filter(|_| first_byte_ms.is_some());
    Sample {
        caller,
        listener,
        loss,
        stack,
        path,
        method: how,
        first_byte_ms,
        direct_ms,
        checks,
        failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTING: Setting = Setting {
        caller: NatKind::FullCone,
        listener: NatKind::Symmetric,
        loss: 0.0,
        runs: 1,
        seed: 1,
    };

    fn direct_run() -> Vec<Event> {
        vec![
            Event::Ready,
            Event::Asked { us: 1_000_000 },
            Event::Connected { us: 1_160_000, path: NatPath::Relay, method: "relay".into() },
            Event::Direct { us: 1_093_000, method: "udp-hole-punch".into() },
            Event::End { path: Some(NatPath::Direct) },
            Event::FirstByte { us: 1_130_000 },
        ]
    }

    #[test]
    fn times_count_from_the_call() {
        let sample = sample(SETTING, Stack::Ours, 4, Ok(direct_run()));
        assert_eq!((sample.first_byte_ms, sample.direct_ms), (Some(130.0), Some(93.0)));
        assert_eq!(
            (sample.path, sample.method.as_str()),
            (Some(NatPath::Direct), "udp-hole-punch")
        );
    }

    #[test]
    fn who_gets_no_byte_across_has_not_connected() {
        let mut events = direct_run();
        events.pop();
        assert_eq!(sample(SETTING, Stack::Ours, 4, Ok(events)).path, None);
        let failed = sample(SETTING, Stack::Ours, 0, Err(anyhow::anyhow!("it died")));
        assert_eq!((failed.path, failed.failure.as_deref()), (None, Some("it died")));
    }
}
