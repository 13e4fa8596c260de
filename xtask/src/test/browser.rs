//! What people see in a browser: `tests/browser`, by node's test runner in a real Chromium.

use std::process::Command;

use anyhow::{Result, ensure};

use super::{Outcome, node};
use crate::failures::Failures;
use crate::packages::{self, BROWSER};
use crate::run::stream;
use crate::tally::Tally;
use crate::workspace::Workspace;

pub(super) fn tier(workspace: &Workspace, failures: &mut Failures) -> Result<Outcome> {
    if let Err(why) = packages::provide(BROWSER) {
        return Ok(Outcome::CannotRun(format!("{why:#}")));
    }
    let built = super::build(workspace, failures)?;
    if !matches!(built, Outcome::Counted(Tally { failed: 0, .. })) {
        return Ok(built);
    }
    let folder = workspace.root.join("tests/browser");
    let npm = |arguments: &[&str]| {
        let mut command = Command::new("npm");
        command.args(arguments).current_dir(&folder);
        command.env("P2P_COORDINATOR", workspace.binary("coordinator"));
        command
    };
    // What the lock file says and nothing newer; no script of a package runs.
    let exactly = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    let installed = stream(&mut npm(&exactly), |_| ())?;
    ensure!(installed.success(), "npm ci: {installed}");

    let mut tally = Tally::default();
    let status = stream(&mut npm(&["test"]), |line| {
        failures.hear(line);
        node::count(line, &mut tally);
    })?;
    ensure!(tally.passed + tally.failed > 0, "npm test ran no test ({status})");
    // A file that dies before its first test has no failed test.
    if !status.success() && tally.failed == 0 {
        tally += Tally::FAILED;
    }
    Ok(Outcome::Counted(tally))
}
