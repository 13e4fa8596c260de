//! `cargo xtask chaos`: builds the coordinator and runs it through faults.

use std::process::{Command, ExitStatus};

use anyhow::{Result, ensure};

use crate::packages::{self, CLUSTER};
use crate::run::stream;
use crate::workspace::Workspace;

pub(crate) fn chaos(workspace: &Workspace, arguments: &[String]) -> Result<bool> {
    packages::provide(CLUSTER)?;
    // The whole workspace and a test: everything is compiled with the features it has already.
    let mut build =
        workspace.cargo("build --workspace --bin coordinator --bin chaos --test instances");
    ensure!(stream(&mut build, |_| ())?.success(), "the build failed");
    Ok(run(workspace, arguments, |_| ())?.success())
}

/// Runs what is built.
pub(crate) fn run(
    workspace: &Workspace,
    arguments: &[String],
    on_line: impl FnMut(&str),
) -> Result<ExitStatus> {
    let mut command = Command::new(workspace.binary("chaos"));
    command.args(arguments).current_dir(&workspace.root);
    stream(&mut command, on_line)
}
