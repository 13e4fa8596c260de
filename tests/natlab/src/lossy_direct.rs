//! A direct path that loses packets beside a relay that does not: which of them is faster, and does
//! the traffic end up there?

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::cases::{Case, Context};
use crate::fabric::Weather;
use crate::nat::NatKind;
use crate::peer::{Peer, random_bytes, sha256_hex};
use crate::services::Services;
use crate::topology::Lab;

/// Percent, in each direction of the direct path.
const LOSS: f64 = 5.0;
const SEED: u64 = 5;
const FILE: &str = "payload";
const FILE_BYTES: usize = 4 * 1024 * 1024;
const LIMIT: Duration = Duration::from_secs(180);

/// One case, which measures and judges nothing.
pub fn cases() -> Vec<Case> {
    vec![Case::new("a file over a lossy direct path beside a clean relay", |context| {
        let policies = ["relay", "direct", "auto"];
        let told = policies.map(|policy| transfer(policy, context)).into_iter();
        Ok(told.collect::<Result<Vec<_>>>()?.join("; "))
    })]
}

/// Sends the file under this policy; says how fast it was and by which path it went.
fn transfer(policy: &str, context: &Context<'_>) -> Result<String> {
    let folder = context.folder.join(policy);
    let weather = Weather::FAR.with_loss(LOSS, SEED);
    let lab = Lab::build_in(weather, NatKind::PortRestricted, NatKind::PortRestricted, &folder)?;
    let services = Services::start(&lab, context.programs)?;
    let (file, inbox) = (lab.folder.join(FILE), lab.folder.join("inbox"));
    let payload = random_bytes(FILE_BYTES)?;
    fs::write(&file, &payload)?;
    fs::create_dir_all(&inbox)?;
    let alice = Peer::new("alice", &lab, &lab.a, &services, context.programs)?;
    let bob = Peer::new("bob", &lab, &lab.b, &services, context.programs)?;
    let receiving = bob.receive(&inbox)?;
    let started = Instant::now();
    let sent = alice.send_by(policy, &file, bob.id)?.finish(LIMIT)?;
    let took = started.elapsed();
    ensure!(sent.status.success(), "`p2p send` failed: {}", sent.last_words());
    receiving.finish(LIMIT)?;
    let arrived = fs::read(inbox.join(FILE))?;
    ensure!(sha256_hex(&arrived) == sha256_hex(&payload), "the file arrived changed");
    let kibibytes = FILE_BYTES as f64 / 1024.0 / took.as_secs_f64();
    let direct = lab.bytes_between_sites()? * 100 / FILE_BYTES as u64;
    Ok(format!("{policy}: {kibibytes:.0} KiB/s, {direct} % of it crossed directly"))
}
