//! `cargo xtask`: every check of the repository, from the rules of the tree to the NAT lab.

mod bench;
mod chaos;
mod failures;
mod lab;
mod packages;
mod run;
mod tally;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// The repository's own checks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Every test there is; installs what it needs when run as root.
    Test {
        /// The inner loop: no root, no servers, under a minute once built.
        #[arg(long)]
        fast: bool,
        /// Only the tiers with this in their name.
        #[arg(long)]
        only: Option<String>,
    },
    /// The NAT lab alone: proves the NATs, then runs the real binaries through every pair.
    Lab {
        /// Measure every pair far apart, again and again, and write docs/nat-matrix.md.
        #[arg(long)]
        matrix: bool,
        /// Runs of each pair [default: 10]
        #[arg(long, requires = "matrix")]
        runs: Option<u32>,
        /// Percent of the packets that are lost in the second half of the matrix [default: 2]
        #[arg(long, requires = "matrix")]
        loss: Option<f64>,
        /// Measure only this: ours, webrtc-ice or webrtc-ice-tuned
        #[arg(long, requires = "matrix")]
        stack: Vec<String>,
        /// Only the cases with this in their name.
        #[arg(long)]
        only: Option<String>,
    },
    /// What the parts cost, beside others in the same run.
    Bench(bench::Arguments),
    /// Messages between peers of three instances while these, Redis and the network fail.
    Chaos {
        /// Passed on: --seed, --messages, --faults, --peers, --logs.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The rules of the tree: dependencies, pure cores, names, sizes, invariants.
    Tidy,
    /// The commands of README.md, inside the network namespace made for them.
    #[command(hide = true)]
    ReadmeCommands,
}

fn main() -> ExitCode {
    match try_main(&Arguments::parse().verb) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything is well.
fn try_main(verb: &Verb) -> Result<bool> {
    let workspace = Workspace::find()?;
    match verb {
        Verb::Test { fast, only } => test::test(&workspace, *fast, only.as_deref()),
        Verb::Lab { matrix, runs, loss, stack, only } => {
            let matrix = matrix.then(|| lab::Matrix { runs: *runs, loss: *loss, stack });
            lab::lab(&workspace, matrix.as_ref(), only.as_deref())
        }
        Verb::Bench(arguments) => bench::bench(&workspace, arguments),
        Verb::Chaos { arguments } => chaos::chaos(&workspace, arguments),
        Verb::Tidy => tidy::tidy(&workspace),
        Verb::ReadmeCommands => test::readme::run_commands(&workspace),
    }
}
