//! `cargo xtask test`: the tiers, in order, what failed in them, and one line at the end.
//!
//! A tier that fails does not stop the ones after it. A tier that cannot run is a failure where
//! `CI` is set; elsewhere it is skipped, and the reason is said at once and again at the end.

mod browser;
mod demo;
mod deploy;
mod node;
pub(crate) mod readme;
mod readme_commands;

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::failures::Failures;
use crate::packages::{self, CLUSTER, INTEROP, STATS};
use crate::run::stream;
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{chaos, lab, tidy};

/// A group of checks that run and are counted together.
struct Tier {
    name: &'static str,
    /// Runs it, and keeps what its output says of failures.
    run: fn(&Workspace, &mut Failures) -> Result<Outcome>,
}

/// What came of a tier.
enum Outcome {
    Counted(Tally),
    /// Counted, but this part of it could not run, and why.
    Without(Tally, String),
    /// It could not run at all, and why.
    CannotRun(String),
}

const TIERS: &[Tier] = &[
    Tier { name: "tidy", run: tidy_tree },
    Tier { name: "fmt", run: formatting },
    Tier { name: "clippy", run: clippy },
    Tier { name: "build", run: build },
    Tier { name: "tests", run: tests },
    Tier { name: "cluster", run: cluster },
    Tier { name: "chaos", run: chaos_run },
    Tier { name: "demo", run: demo::tier },
    Tier { name: "readme", run: readme::tier },
    Tier { name: "node", run: node::tier },
    Tier { name: "browser", run: browser::tier },
    Tier { name: "chart", run: deploy::chart },
    Tier { name: "containers", run: deploy::containers },
    Tier { name: "natlab", run: nat_lab },
];

const FAST_TIERS: &[Tier] = &[
    Tier { name: "tidy", run: tidy_tree },
    Tier { name: "fmt", run: formatting },
    Tier { name: "unit tests", run: unit_tests },
];

/// Runs the tiers; whether nothing failed.
pub(crate) fn test(workspace: &Workspace, fast: bool, only: Option<&str>) -> Result<bool> {
    let tiers = if fast { FAST_TIERS } else { TIERS };
    let wanted = |tier: &&Tier| only.is_none_or(|part| tier.name.contains(part));
    let in_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());

    let (mut total, mut notes) = (Tally::default(), Vec::new());
    let (mut summary, mut failed) = (String::new(), String::new());
    for tier in tiers.iter().filter(wanted) {
        println!("\n=== {} ===", tier.name);
        io::stdout().flush()?;
        let started = Instant::now();
        let mut failures = Failures::default();
        let (tally, note) = judge((tier.run)(workspace, &mut failures), in_ci);
        let took = minutes(started.elapsed());
        if let Some(note) = note {
            println!("!!! {}: {note}", tier.name);
            notes.push(format!("{}: {note}", tier.name));
        }
        println!("--- {}: {tally} ({took})", tier.name);
        summary.push_str(&format!("{:<12} {tally} ({took})\n", tier.name));
        total += tally;
        if !failures.is_empty() {
            failed.push_str(&format!("\nfailed in {}:\n{failures}", tier.name));
        }
    }

    println!("{failed}\n{summary}");
    for note in notes {
        println!("!!! {note}");
    }
    println!("{total}");
    Ok(total.failed == 0)
}

/// Counts a tier's outcome; where something could not run, says what.
fn judge(outcome: Result<Outcome>, in_ci: bool) -> (Tally, Option<String>) {
    let unable = if in_ci { Tally::FAILED } else { Tally::SKIPPED };
    let word = if in_ci { "FAILED, cannot run" } else { "SKIPPED" };
    match outcome {
        Ok(Outcome::Counted(tally)) => (tally, None),
        Ok(Outcome::Without(mut tally, why)) => {
            tally += unable;
            (tally, Some(format!("{word}: {why}")))
        }
        Ok(Outcome::CannotRun(why)) => (unable, Some(format!("{word}: {why}"))),
        Err(error) => (Tally::FAILED, Some(format!("FAILED: {error:#}"))),
    }
}

fn tidy_tree(workspace: &Workspace, _: &mut Failures) -> Result<Outcome> {
    Ok(Outcome::Counted(Tally::one(tidy::tidy(workspace)?)))
}

fn formatting(workspace: &Workspace, _: &mut Failures) -> Result<Outcome> {
    cargo_check(workspace, "fmt --all --check")
}

fn clippy(workspace: &Workspace, _: &mut Failures) -> Result<Outcome> {
    cargo_check(workspace, "clippy --workspace --all-targets -- -D warnings")
}

/// Builds every target once, with the features that tests have, so that `cargo test` and the
/// binaries that the later tiers run share one set of compiled dependencies.
fn build(workspace: &Workspace, _: &mut Failures) -> Result<Outcome> {
    cargo_check(workspace, "build --workspace --all-targets")
}

fn cargo_check(workspace: &Workspace, arguments: &str) -> Result<Outcome> {
    let status = stream(&mut workspace.cargo(arguments), |_| ())?;
    Ok(Outcome::Counted(Tally::one(status.success())))
}

/// Unit, integration and interop tests: one cargo run, because leaving a package out changes the
/// features of shared dependencies and compiles them again.
fn tests(workspace: &Workspace, failures: &mut Failures) -> Result<Outcome> {
    let mut without = Vec::new();
    // Without it, the tests of the statistics store that need a server skip, and fail in CI.
    if let Err(why) = packages::provide(STATS) {
        without.push(format!("PostgreSQL: {why:#}"));
    }
    let mut arguments = "--workspace --exclude p2p-cluster".to_owned();
    if let Err(why) = packages::provide(INTEROP) {
        arguments.push_str(" --exclude p2p-interop");
        without.push(format!("tests/interop: {why:#}"));
    }
    let tally = cargo_test(workspace, &arguments, failures)?;
    Ok(match without.as_slice() {
        [] => Outcome::Counted(tally),
        parts => Outcome::Without(tally, parts.join("; ")),
    })
}

/// Several signaling instances, a Redis and a PostgreSQL. Named by their targets, so that everything
/// else is compiled with the features it has already.
fn cluster(workspace: &Workspace, failures: &mut Failures) -> Result<Outcome> {
    if let Err(why) = packages::provide(CLUSTER) {
        return Ok(Outcome::CannotRun(format!("{why:#}")));
    }
    let built = cargo_check(workspace, "build --workspace --all-targets")?;
    if let Outcome::Counted(Tally { failed: 1.., .. }) = built {
        return Ok(built);
    }
    let tests = "--workspace --test registry --test instances --test statistics";
    let tally = cargo_test(workspace, tests, failures)?;
    Ok(Outcome::Counted(tally))
}

/// Long with one node; with several as far as each way in which another node takes over has come.
const CHAOS: [&str; 3] = [
    "--redis single --seed 7041 --messages 200000 --within 600",
    "--redis sentinel --seed 7041 --messages 20000 --faults 8 --within 300",
    "--redis cluster --seed 7041 --messages 60000 --faults 6 --within 300",
];

/// Messages through faults. Every change answers for the same schedule; `cargo xtask chaos` with other
/// seeds looks for what is not known yet.
fn chaos_run(workspace: &Workspace, failures: &mut Failures) -> Result<Outcome> {
    if let Err(why) = packages::provide(CLUSTER) {
        return Ok(Outcome::CannotRun(format!("{why:#}")));
    }
    let built = cargo_check(workspace, "build --workspace --all-targets")?;
    if let Outcome::Counted(Tally { failed: 1.., .. }) = built {
        return Ok(built);
    }
    let mut tally = Tally::default();
    for run in CHAOS {
        let arguments: Vec<String> = run.split(' ').map(str::to_owned).collect();
        let ran = chaos::run(workspace, &arguments, |line| failures.hear(line))?;
        tally += Tally::one(ran.success());
    }
    Ok(Outcome::Counted(tally))
}

fn unit_tests(workspace: &Workspace, failures: &mut Failures) -> Result<Outcome> {
    let tally = cargo_test(
        workspace,
        "--workspace --exclude p2p-cluster --exclude p2p-interop --lib --bins",
        failures,
    )?;
    Ok(Outcome::Counted(tally))
}

fn cargo_test(workspace: &Workspace, arguments: &str, failures: &mut Failures) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut command = workspace.cargo(&format!("test {arguments} --no-fail-fast"));
    let status = stream(&mut command, |line| {
        failures.hear(line);
        if let Some(counted) = Tally::of_test_result(line) {
            tally += counted;
        }
    })?;
    // A test that does not compile, or a binary that dies, has no result line.
    if !status.success() && tally.failed == 0 {
        tally += Tally::FAILED;
    }
    Ok(tally)
}

fn nat_lab(workspace: &Workspace, failures: &mut Failures) -> Result<Outcome> {
    if let Err(why) = lab::can_run() {
        return Ok(Outcome::CannotRun(format!("{why:#}")));
    }
    let mut tally = None;
    let status = lab::run(workspace, None, None, |line| {
        failures.hear(line);
        tally = Tally::of_last_line(line).or(tally);
    })?;
    let tally = tally.context("the lab ended without its last line")?;
    anyhow::ensure!(status.success() == (tally.failed == 0), "the lab: {status} with {tally}");
    Ok(Outcome::Counted(tally))
}

fn minutes(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{}:{:02} min", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: Tally = Tally { passed: 5, failed: 0, skipped: 0 };

    #[test]
    fn a_tier_that_cannot_run_fails_in_ci_and_is_skipped_loudly_elsewhere() {
        let outcome = || Ok(Outcome::CannotRun("no root".into()));
        let (tally, note) = judge(outcome(), true);
        assert_eq!((tally.failed, tally.skipped), (1, 0));
        assert!(note.is_some_and(|note| note.contains("no root")));
        let (tally, note) = judge(outcome(), false);
        assert_eq!((tally.failed, tally.skipped), (0, 1));
        assert!(note.is_some_and(|note| note.contains("SKIPPED")));
    }

    #[test]
    fn what_ran_of_a_tier_counts_besides_what_could_not() {
        let (tally, _) = judge(Ok(Outcome::Without(FIVE, "no coturn".into())), true);
        assert_eq!(tally, Tally { passed: 5, failed: 1, skipped: 0 });
    }

    #[test]
    fn an_error_in_a_tier_is_a_failure_everywhere() {
        let (tally, note) = judge(Err(anyhow::anyhow!("no cargo")), false);
        assert_eq!(tally, Tally::FAILED);
        assert!(note.is_some());
    }
}
