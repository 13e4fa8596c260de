//! `deploy/`, `helm/` and `docker-compose.yml`: the programs in `tests/deploy`, started with what they
//! need.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::Outcome;
use crate::failures::Failures;
use crate::packages::{self, CHART, CONTAINERS};
use crate::run::{output_of, stream};
use crate::tally::Tally;
use crate::workspace::Workspace;

/// The chart, rendered by the real Helm engine, and what has to agree with it.
pub(super) fn chart(workspace: &Workspace, failures: &mut Failures) -> Result<Outcome> {
    let python = match packages::provide(CHART).and_then(|()| environment(workspace)) {
        Ok(python) => python,
        Err(why) => return Ok(Outcome::CannotRun(format!("{why:#}"))),
    };
    if let Some(broken) = built(workspace, failures)? {
        return Ok(broken);
    }
    let mut command = Command::new(python);
    command.arg(program(workspace)).arg("chart");
    // The engine keeps its releases in memory, which it has to know from its start.
    command.env("HELM_DRIVER", "memory").env("P2P_COORDINATOR", workspace.binary("coordinator"));
    counted(&mut command, failures)
}

/// docker-compose.yml, the image and the lab, in a Docker Engine of the test's own.
pub(super) fn containers(workspace: &Workspace, failures: &mut Failures) -> Result<Outcome> {
    if !packages::is_root() {
        return Ok(Outcome::CannotRun("a Docker Engine of its own needs root".into()));
    }
    let tools = workspace.root.join("target/deploy-tools");
    let provided = packages::provide(CONTAINERS).and_then(|()| {
        let mut command = Command::new("python3");
        output_of(command.arg(program(workspace)).arg("packages").arg(&tools))
    });
    if let Err(why) = provided {
        return Ok(Outcome::CannotRun(format!("{why:#}")));
    }
    if let Some(broken) = built(workspace, failures)? {
        return Ok(broken);
    }
    let binary = workspace.binary("coordinator");
    let binaries = binary.parent().context("a binary is in a folder")?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["--propagation", "private", "python3"]).arg(program(workspace));
    counted(command.arg("containers").arg(&tools).arg(binaries), failures)
}

fn program(workspace: &Workspace) -> PathBuf {
    workspace.root.join("tests/deploy/run.py")
}

/// What came of the build, if it did not succeed.
fn built(workspace: &Workspace, failures: &mut Failures) -> Result<Option<Outcome>> {
    let outcome = super::build(workspace, failures)?;
    let succeeded = matches!(outcome, Outcome::Counted(Tally { failed: 0, .. }));
    Ok((!succeeded).then_some(outcome))
}

/// A Python with the packages of `requirements.txt`, made once for each state of that file.
fn environment(workspace: &Workspace) -> Result<PathBuf> {
    let requirements = workspace.root.join("tests/deploy/requirements.txt");
    let folder = workspace.root.join("target/deploy-python");
    let (python, made_for) = (folder.join("bin/python"), folder.join("requirements.txt"));
    let wanted = fs::read_to_string(&requirements).context("requirements.txt")?;
    if fs::read_to_string(&made_for).is_ok_and(|text| text == wanted) {
        return Ok(python);
    }
    output_of(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = Command::new(&python);
    // helm-sdkpy asks for Python 3.12 and does with 3.11, which Debian 12 has.
    pip.args(["-m", "pip", "install", "--quiet", "--ignore-requires-python", "--requirement"]);
    output_of(pip.arg(&requirements)).context("packages from PyPI")?;
    fs::copy(&requirements, &made_for)?;
    Ok(python)
}

fn counted(command: &mut Command, failures: &mut Failures) -> Result<Outcome> {
    // Nothing of Python's may be left in the tree.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let mut tally = None;
    let status = stream(command, |line| {
        failures.hear(line);
        tally = Tally::of_last_line(line).or(tally);
    })?;
    let tally = tally.with_context(|| format!("it ended without its last line: {status}"))?;
    ensure!(tally.passed + tally.failed > 0, "it checked nothing");
    Ok(Outcome::Counted(tally))
}
