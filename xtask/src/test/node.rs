//! The Node.js package: `npm install && npm test` in its folder, with the addon of this build.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::process::Command;

use anyhow::{Result, ensure};

use super::Outcome;
use crate::failures::Failures;
use crate::packages::{self, NODE};
use crate::run::stream;
use crate::tally::Tally;
use crate::workspace::Workspace;

pub(super) fn tier(workspace: &Workspace, failures: &mut Failures) -> Result<Outcome> {
    if let Err(why) = packages::provide(NODE) {
        return Ok(Outcome::CannotRun(format!("{why:#}")));
    }
    // Built with the whole workspace: alone it would have other features of shared dependencies and
    // compile them again.
    let built = super::build(workspace, failures)?;
    if !matches!(built, Outcome::Counted(Tally { failed: 0, .. })) {
        return Ok(built);
    }
    let library = format!("{DLL_PREFIX}p2p_node{DLL_SUFFIX}");
    let folder = workspace.root.join("clients/node");
    let npm = |arguments: &[&str]| {
        let mut command = Command::new("npm");
        command.args(arguments).current_dir(&folder);
        command.env("P2P_NODE_LIBRARY", workspace.binary(&library));
        command
    };
    let installed = stream(&mut npm(&["install", "--no-audit", "--no-fund"]), |_| ())?;
    ensure!(installed.success(), "npm install: {installed}");

    let mut tally = Tally::default();
    let status = stream(&mut npm(&["test"]), |line| {
        failures.hear(line);
        count(line, &mut tally);
    })?;
    ensure!(tally.passed > 0, "npm test ran no test ({status})");
    // A file that dies before its first test has no failed test.
    if !status.success() && tally.failed == 0 {
        tally += Tally::FAILED;
    }
    Ok(Outcome::Counted(tally))
}

/// Takes a line of node's summary, such as `ℹ pass 83` or `# pass 83`, into the tally.
pub(super) fn count(line: &str, tally: &mut Tally) {
    let mut words = line.split_whitespace();
    if !matches!(words.next(), Some("ℹ" | "#")) {
        return;
    }
    let (Some(what), Some(Ok(number))) = (words.next(), words.next().map(str::parse::<usize>))
    else {
        return;
    };
    match what {
        "pass" => tally.passed += number,
        // A test that runs out of time is cancelled, which is no success.
        "fail" | "cancelled" => tally.failed += number,
        "skipped" | "todo" => tally.skipped += number,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_node_is_counted_and_nothing_else() {
        let mut tally = Tally::default();
        for line in [
            "✔ pass 9 (3ms)",
            "ℹ tests 9",
            "ℹ pass 5",
            "ℹ fail 1",
            "ℹ cancelled 1",
            "ℹ skipped 2",
            "ℹ duration_ms 100.5",
        ] {
            count(line, &mut tally);
        }
        assert_eq!(tally, Tally { passed: 5, failed: 2, skipped: 2 });
    }
}
