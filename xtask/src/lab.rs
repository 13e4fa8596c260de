//! `cargo xtask lab`: builds the binaries and runs the NAT lab on them.

use std::process::{Command, ExitStatus};

use anyhow::{Result, bail, ensure};

use crate::packages::{self, LAB};
use crate::run::stream;
use crate::workspace::Workspace;

/// Where the lab's result is kept.
const PAGE: &str = "docs/nat-matrix.md";

pub(crate) fn lab(workspace: &Workspace, write: bool, only: Option<&str>) -> Result<bool> {
    ensure!(!(write && only.is_some()), "--write keeps a whole run: leave --only away");
    if let Err(why) = can_run() {
        bail!("{why:#}");
    }
    let mut build =
        workspace.cargo("build -p p2p-coordinator -p p2p-cli -p p2p-natlab -p p2p-node");
    ensure!(stream(&mut build, |_| ())?.success(), "the build failed");
    Ok(run(workspace, write, only, |_| ())?.success())
}

/// Why the lab cannot run here, if so. Installs what is missing.
pub(crate) fn can_run() -> Result<()> {
    ensure!(packages::is_root(), "the NAT lab needs root for network namespaces: use sudo");
    packages::check_namespaces()?;
    packages::provide(LAB)
}

/// Runs the lab on binaries that are built.
pub(crate) fn run(
    workspace: &Workspace,
    write: bool,
    only: Option<&str>,
    on_line: impl FnMut(&str),
) -> Result<ExitStatus> {
    let mut command = Command::new(workspace.binary("natlab"));
    command.arg("all").current_dir(&workspace.root);
    if write {
        command.args(["--write", PAGE]);
    }
    if let Some(part) = only {
        command.args(["--only", part]);
    }
    stream(&mut command, on_line)
}
