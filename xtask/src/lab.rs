//! `cargo xtask lab`: builds the binaries and runs the NAT lab on them.

use std::process::{Command, ExitStatus};

use anyhow::{Result, bail, ensure};

use crate::packages::{self, LAB};
use crate::run::stream;
use crate::workspace::Workspace;

/// Where the measured matrix is kept, for readers and for the next run.
const PAGE: &str = "docs/nat-matrix.md";
const SAMPLES: &str = "target/nat-matrix.json";

/// How the matrix is measured.
#[derive(Debug)]
pub(crate) struct Matrix<'a> {
    pub(crate) runs: Option<u32>,
    pub(crate) loss: Option<f64>,
    pub(crate) stack: &'a [String],
}

impl Matrix<'_> {
    fn words(&self) -> Vec<String> {
        let mut words =
            ["matrix", "--write", PAGE, "--samples", SAMPLES].map(str::to_owned).to_vec();
        words.extend(self.runs.iter().flat_map(|runs| ["--runs".into(), runs.to_string()]));
        words.extend(self.loss.iter().flat_map(|loss| ["--loss".into(), loss.to_string()]));
        words.extend(self.stack.iter().flat_map(|stack| ["--stack".into(), stack.clone()]));
        words
    }
}

pub(crate) fn lab(
    workspace: &Workspace,
    matrix: Option<&Matrix<'_>>,
    only: Option<&str>,
) -> Result<bool> {
    if let Err(why) = can_run() {
        bail!("{why:#}");
    }
    let mut build =
        workspace.cargo("build -p p2p-coordinator -p p2p-cli -p p2p-natlab -p p2p-node");
    ensure!(stream(&mut build, |_| ())?.success(), "the build failed");
    Ok(run(workspace, matrix, only, |_| ())?.success())
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
    matrix: Option<&Matrix<'_>>,
    only: Option<&str>,
    on_line: impl FnMut(&str),
) -> Result<ExitStatus> {
    let mut command = Command::new(workspace.binary("natlab"));
    command.args(matrix.map_or_else(|| vec!["all".to_owned()], Matrix::words));
    command.current_dir(&workspace.root);
    if let Some(part) = only {
        command.args(["--only", part]);
    }
    stream(&mut command, on_line)
}
