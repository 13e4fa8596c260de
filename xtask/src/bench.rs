//! `cargo xtask bench`: release builds, the servers to compare with, and the load generator.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::packages::{self, BENCH, STATS};
use crate::run::{output_of, stream};
use crate::workspace::Workspace;

/// Where the figures are kept.
const PAGE: &str = "docs/benchmarks.md";
/// The scripts of the servers to compare with, and what they need from npm.
const NODE: &str = "tests/bench/node";

/// What of it to run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// What to measure: signaling, stats
    what: String,
    /// Write the figures to docs/benchmarks.md
    #[arg(long)]
    write: bool,
    /// Idle connections
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// How often each measurement is taken [default: 3, for stats 5]
    #[arg(long)]
    turns: Option<usize>,
    /// Seconds of one measurement [default: 3, for stats 6]
    #[arg(long)]
    seconds: Option<u64>,
    /// Attempts that the statistics are asked over
    #[arg(long, default_value_t = 10_000_000)]
    attempts: u64,
    /// Leave PeerServer and Socket.IO out: nothing is installed
    #[arg(long)]
    alone: bool,
}

pub(crate) fn bench(workspace: &Workspace, arguments: &Arguments) -> Result<bool> {
    match arguments.what.as_str() {
        "signaling" => signaling(workspace, arguments),
        "stats" => stats(workspace, arguments),
        what => bail!("there is no benchmark {what:?}; there are `signaling` and `stats`"),
    }
}

fn stats(workspace: &Workspace, arguments: &Arguments) -> Result<bool> {
    packages::provide(STATS)?;
    let release = build(workspace)?;
    let mut command = Command::new(release.join("bench-stats"));
    command
        .current_dir(&workspace.root)
        .arg("--coordinator")
        .arg(release.join("coordinator"))
        .args(["--attempts", &arguments.attempts.to_string()])
        .args(["--turns", &arguments.turns.unwrap_or(5).to_string()])
        .args(["--seconds", &arguments.seconds.unwrap_or(6).to_string()]);
    if arguments.write {
        command.args(["--write", PAGE]);
    }
    Ok(stream(&mut command, |_| ())?.success())
}

/// Builds for release, and says where.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut build = workspace.cargo("build --release -p p2p-coordinator -p p2p-bench");
    ensure!(stream(&mut build, |_| ())?.success(), "the build failed");
    Ok(workspace.root.join("target/release"))
}

fn signaling(workspace: &Workspace, arguments: &Arguments) -> Result<bool> {
    ensure!(!(arguments.write && arguments.alone), "--write keeps a whole run: leave --alone away");
    packages::provide(BENCH)?;
    let release = build(workspace)?;
    let mut command = Command::new(release.join("bench-signaling"));
    command
        .current_dir(&workspace.root)
        .arg("--coordinator")
        .arg(release.join("coordinator"))
        .arg("--floor")
        .arg(release.join("floor"))
        .args(["--connections", &arguments.connections.to_string()])
        .args(["--turns", &arguments.turns.unwrap_or(3).to_string()])
        .args(["--seconds", &arguments.seconds.unwrap_or(3).to_string()]);
    if !arguments.alone {
        command.arg("--node").arg(install(&workspace.root)?);
    }
    if arguments.write {
        command.args(["--write", PAGE]);
    }
    Ok(stream(&mut command, |_| ())?.success())
}

/// Copies the scripts and installs what they need beside them, outside of what git keeps.
fn install(root: &Path) -> Result<PathBuf> {
    let folder = root.join("target/bench-node");
    std::fs::create_dir_all(&folder)?;
    for entry in std::fs::read_dir(root.join(NODE)).context(NODE)? {
        let entry = entry?;
        std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock"]).current_dir(&folder);
    output_of(&mut npm)?;
    Ok(folder)
}
