//! `cargo xtask bench`: release builds, the servers to compare with, and the load generator.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::packages::{self, BENCH};
use crate::run::{output_of, stream};
use crate::workspace::Workspace;

/// Where the figures are kept.
const PAGE: &str = "docs/benchmarks.md";
/// The scripts of the servers to compare with, and what they need from npm.
const NODE: &str = "tests/bench/node";

/// What of it to run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// What to measure: signaling
    what: String,
    /// Write the figures to docs/benchmarks.md
    #[arg(long)]
    write: bool,
    /// Idle connections
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// How often each measurement is taken
    #[arg(long, default_value_t = 3)]
    turns: usize,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Leave PeerServer and Socket.IO out: nothing is installed
    #[arg(long)]
    alone: bool,
}

pub(crate) fn bench(workspace: &Workspace, arguments: &Arguments) -> Result<bool> {
    if arguments.what != "signaling" {
        bail!("there is no benchmark {:?}; there is `signaling`", arguments.what);
    }
    ensure!(!(arguments.write && arguments.alone), "--write keeps a whole run: leave --alone away");
    packages::provide(BENCH)?;
    let mut build = workspace.cargo("build --release -p p2p-coordinator -p p2p-bench");
    ensure!(stream(&mut build, |_| ())?.success(), "the build failed");
    let release = workspace.root.join("target/release");
    let mut command = Command::new(release.join("bench-signaling"));
    command
        .current_dir(&workspace.root)
        .arg("--coordinator")
        .arg(release.join("coordinator"))
        .arg("--floor")
        .arg(release.join("floor"))
        .args(["--connections", &arguments.connections.to_string()])
        .args(["--turns", &arguments.turns.to_string()])
        .args(["--seconds", &arguments.seconds.to_string()]);
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
