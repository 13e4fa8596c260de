//! A file transfer while its path is taken away: it keeps its checksum and hardly stops.
//!
//! The stall is measured where it hurts, at the receiver: the longest time that the file did not
//! grow. The transfer must be the one that was begun: `p2p send` tries again by itself where a
//! connection is lost, and that counts as a failure here.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::cases::{Case, Context};
use crate::fabric::Weather;
use crate::nat::{self, NatKind};
use crate::peer::{Peer, random_bytes, sha256_hex};
use crate::services::Services;
use crate::topology::Lab;

const FILE: &str = "payload";
/// At [`RATE`], some six seconds.
const FILE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes a second on every way: slow enough that all happens in the middle of the transfer.
const RATE: u64 = 1_500_000;
/// On the direct path, or at the receiver where all goes by relay, before it is taken away.
const UNDER_WAY_BYTES: u64 = 2 * 1024 * 1024;

/// The promise, where stalls are measured on a machine that does nothing else.
const PROMISED: Duration = Duration::from_secs(2);
/// Where it is only to be seen that the transfer goes on, on whatever machine.
const AT_MOST: Duration = Duration::from_secs(6);

const UNDER_WAY_LIMIT: Duration = Duration::from_secs(30);
const TRANSFER_LIMIT: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What happens in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    DirectPathCut,
    NatRebooted,
    AddressChanged,
    RelayRestarted,
    EveryServerKilled,
}

impl Blow {
    fn words(self) -> &'static str {
        match self {
            Self::DirectPathCut => "while the direct path is cut",
            Self::NatRebooted => "while the sender's NAT is rebooted",
            Self::AddressChanged => "while the sender's host changes its address",
            Self::RelayRestarted => "while the relay is restarted",
            Self::EveryServerKilled => "while every server is killed (I8)",
        }
    }

    fn strike(self, lab: &mut Lab, services: &mut Services, context: &Context<'_>) -> Result<()> {
        match self {
            Self::DirectPathCut => {
                lab.switch.change_weather(|weather| weather.between_sites.cut = true);
                Ok(())
            }
            Self::NatRebooted => {
                lab.a.routers.iter().try_for_each(|router| router.reboot(&lab.folder))
            }
            Self::AddressChanged => lab.a.change_address(3),
            Self::RelayRestarted => services.restart_relay(lab, context.programs),
            Self::EveryServerKilled => {
                services.kill();
                Ok(())
            }
        }
    }
}

/// A blow, and the pair that it is dealt to.
type Dealt = (Blow, NatKind, NatKind);

/// What must hold in every run.
const HELD: [Dealt; 7] = [
    (Blow::EveryServerKilled, NatKind::PortRestricted, NatKind::PortRestricted),
    (Blow::RelayRestarted, NatKind::PortRestricted, NatKind::PortRestricted),
    (Blow::RelayRestarted, NatKind::Symmetric, NatKind::PortRestricted),
    (Blow::NatRebooted, NatKind::PortRestricted, NatKind::PortRestricted),
    (Blow::NatRebooted, NatKind::Symmetric, NatKind::FullCone),
    (Blow::DirectPathCut, NatKind::PortRestricted, NatKind::PortRestricted),
    (Blow::AddressChanged, NatKind::PortRestricted, NatKind::PortRestricted),
];

/// One case for each blow.
pub fn cases() -> Vec<Case> {
    HELD.into_iter().map(|dealt| case(dealt, "", AT_MOST)).collect()
}

/// Every blow, so often, with the stall that is promised.
pub fn all(runs: u32) -> Vec<Case> {
    let which = move |run: u32| format!(", {run} of {runs}");
    let each = |dealt: Dealt| (1..=runs).map(move |run| case(dealt, &which(run), PROMISED));
    HELD.into_iter().flat_map(each).collect()
}

fn case((blow, a, b): Dealt, which: &str, limit: Duration) -> Case {
    let name = format!("a transfer from {a} to {b} goes on {}{which}", blow.words());
    Case::new(name, move |context| transfer(blow, a, b, limit, context))
}

fn transfer(
    blow: Blow,
    a: NatKind,
    b: NatKind,
    limit: Duration,
    context: &Context<'_>,
) -> Result<String> {
    let mut lab = Lab::build_in(Weather::FAR.with_rate(RATE), a, b, context.folder)?;
    let mut services = Services::start(&lab, context.programs)?;
    let (file, inbox) = (lab.folder.join(FILE), lab.folder.join("inbox"));
    let payload = random_bytes(FILE_BYTES)?;
    fs::write(&file, &payload)?;
    fs::create_dir_all(&inbox)?;
    let alice = Peer::new("alice", &lab, &lab.a, &services, context.programs)?;
    let bob = Peer::new("bob", &lab, &lab.b, &services, context.programs)?;
    let receiving = bob.receive(&inbox)?;
    let sending = alice.send(&file, bob.id)?;

    let growth = Growth::new(&inbox);
    let stop = AtomicBool::new(false);
    let (struck, gaps) = thread::scope(|scope| {
        let watching = scope.spawn(|| growth.watch(&stop));
        let struck = wait_until_under_way(&lab, &growth, a, b)
            .and_then(|()| blow.strike(&mut lab, &mut services, context))
            .and_then(|()| sending.finish(TRANSFER_LIMIT));
        stop.store(true, Ordering::Relaxed);
        (struck, watching.join())
    });
    let gap = gaps.map_err(|_| anyhow::anyhow!("the watch panicked"))?;
    let sent = struck?;
    ensure!(
        sent.status.success(),
        "`p2p send` failed: {}: {}; the longest stall was {} ms",
        sent.status,
        sent.last_words(),
        gap.as_millis()
    );
    let received = receiving.finish(TRANSFER_LIMIT)?;
    ensure!(received.status.success(), "`p2p recv` failed: {}", received.last_words());
    let arrived = fs::read(inbox.join(FILE)).context("the received file")?;
    ensure!(sha256_hex(&arrived) == sha256_hex(&payload), "the file arrived changed");
    let again = sent.stderr.iter().find(|line| line.contains("trying again in"));
    let stall = gap.as_millis();
    ensure!(again.is_none(), "the connection was lost, {stall} ms of stall: {again:?}");
    ensure!(gap < limit, "the file did not grow for {stall} ms");
    Ok(format!("{} MiB, sha256 as sent, longest stall {stall} ms", FILE_BYTES >> 20))
}

/// Until enough has gone over the path that is to be taken away.
fn wait_until_under_way(lab: &Lab, growth: &Growth, a: NatKind, b: NatKind) -> Result<()> {
    let direct = nat::expected_path(a, b) == nat::Path::Direct;
    let deadline = Instant::now() + UNDER_WAY_LIMIT;
    loop {
        let carried = if direct { lab.bytes_between_sites()? } else { growth.len() };
        if carried >= UNDER_WAY_BYTES {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "only {carried} bytes in {UNDER_WAY_LIMIT:?}");
        thread::sleep(LOOK_AGAIN);
    }
}

/// The file as it grows: first beside its place, hidden, then in it.
struct Growth {
    part: PathBuf,
    whole: PathBuf,
}

impl Growth {
    fn new(inbox: &Path) -> Self {
        Self { part: inbox.join(format!(".{FILE}.p2p-part")), whole: inbox.join(FILE) }
    }

    fn len(&self) -> u64 {
        let len = |path: &PathBuf| fs::metadata(path).map(|meta| meta.len());
        len(&self.part).or_else(|_| len(&self.whole)).unwrap_or(0)
    }

    /// The longest time between two growths, to the last byte or until stopped.
    fn watch(&self, stop: &AtomicBool) -> Duration {
        let (mut len, mut since, mut longest) = (0, None::<Instant>, Duration::ZERO);
        while len < FILE_BYTES as u64 {
            let now = self.len();
            if let Some(since) = since {
                longest = longest.max(since.elapsed());
            }
            if now > len {
                (len, since) = (now, Some(Instant::now()));
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
            thread::sleep(LOOK_AGAIN);
        }
        longest
    }
}
