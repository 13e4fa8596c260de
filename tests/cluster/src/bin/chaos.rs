//! `chaos`: messages through faults, and a book of every message. `cargo xtask chaos` runs it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use p2p_cluster::chaos::{self, Kind, Report, Settings};
use tokio::time::timeout;

/// Three signaling instances and a Redis that fail, and clients that keep book.
#[derive(Parser)]
struct Arguments {
    /// How Redis is run: one node, a master with two replicas behind Sentinel, or a Cluster of three
    /// masters and a replica.
    #[arg(long, value_enum, default_value_t = Kind::Single)]
    redis: Kind,
    /// Masters die with what their replicas do not have yet, which may lose messages.
    #[arg(long)]
    abruptly: bool,
    /// Decides the faults, their order, and who writes to whom.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many messages are sent.
    #[arg(long, default_value_t = 200_000)]
    messages: u64,
    /// How many faults happen meanwhile; one for each 7,500 messages, and 26 at least.
    #[arg(long)]
    faults: Option<usize>,
    /// How many clients there are.
    #[arg(long, default_value_t = 30)]
    peers: usize,
    /// Seconds after which the run is given up; 300, and one more for each 250 messages.
    #[arg(long)]
    within: Option<u64>,
    /// A folder for the instances' logs.
    #[arg(long)]
    logs: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Arguments { redis, abruptly, seed, messages, faults, peers, within, logs } =
        Arguments::parse();
    let faults = faults.unwrap_or_else(|| (messages as usize / 7500).max(26));
    let again = format!(
        "cargo xtask chaos --redis {redis} --seed {seed} --messages {messages} --faults {faults} --peers {peers}{}",
        if abruptly { " --abruptly" } else { "" }
    );
    println!("{again}");
    let within = within.unwrap_or_else(|| 300 + messages / 250);
    let settings = Settings { redis, abruptly, seed, messages, faults, peers, logs };
    let ran = timeout(Duration::from_secs(within), chaos::run(&settings)).await;
    let ran = ran.with_context(|| format!("it is not over after {within} s"));
    let report = match ran.and_then(|ran| ran) {
        Ok(report) => report,
        Err(error) => {
            println!("\nfailed: {error:#}\nagain: {again}");
            return Ok(ExitCode::FAILURE);
        }
    };
    print(&report);
    if report.violations.none() && report.is_worth_its_name() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nagain: {again}");
    Ok(ExitCode::FAILURE)
}

fn print(report: &Report) {
    let Report { tally, violations, described, faults, resumed, sessions_lost, took, .. } = report;
    println!("\n{} messages through {faults} faults in {} s", tally.sent, took.as_secs());
    println!("  delivered    {:>9}", tally.delivered);
    println!(
        "  gone         {:>9}  the receiver's session was over; the sender was told",
        tally.gone
    );
    println!(
        "  rejected     {:>9}  the sender was told; {} were taken all the same",
        tally.rejected, tally.rejected_yet_arrived
    );
    println!("  orphaned     {:>9}  the sender's session was over", tally.orphaned);
    println!("  late         {:>9}  sent again by the client, behind later ones", tally.late);
    println!(
        "sessions: {resumed} resumed, {sessions_lost} lost ({:.2} % resumed)",
        100.0 * report.resumed_share()
    );
    println!(
        "lost {}, duplicated {}, reordered {}, two owners {}, left over {}",
        violations.lost,
        violations.duplicated,
        violations.reordered,
        violations.two_owners,
        violations.left_over
    );
    for what in described {
        println!("  {what}");
    }
}
