//! `p2p bench`: throughput both ways and latency, over the path of the moment.

use std::time::Duration;

use p2p_client::bench::{BenchReport, Flow, Latency};
use p2p_client::{Client, ConnectionStats, Path, PeerId, Policy};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::session::{self, with_client};
use crate::talk::{self, Talk};
use crate::{paths, units};

const SCHEMA_VERSION: u32 = 1;
/// How long a direct path is waited for where one is allowed: the relay carries the first data, and
/// it is not what is to be measured.
const SETTLE: Duration = Duration::from_secs(3);

/// Measure throughput and latency to a peer that runs `listen`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The peer
    pub peer: PeerId,
    /// Seconds of data in each direction
    #[arg(
        long,
        value_name = "N",
        env = "P2P_BENCH_SECS",
        default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..=60)
    )]
    pub secs: u64,
    /// Which paths may be used: auto, direct (fail rather than relay) or relay
    #[arg(long, env = "P2P_POLICY", default_value = "auto", value_parser = session::policy)]
    pub policy: Policy,
    #[command(flatten)]
    pub session: session::SessionArgs,
}

/// Measures and prints.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let talk = Talk::as_data(args.session.json);
    let work = async |client: &Client| {
        let connection = client.connect(&args.peer, args.policy).await?;
        if args.policy == Policy::Auto {
            connection.direct(SETTLE).await;
        }
        let path = connection.path();
        if !args.session.json {
            talk::say(&format!(
                "measuring {} via {}, {} s each way\n",
                args.peer,
                paths::words(path),
                args.secs
            ));
        }
        let measured = connection.bench(Duration::from_secs(args.secs)).await;
        let stats = connection.stats();
        let ends_on = connection.path();
        connection.close("done");
        let report = measured?;
        if args.session.json {
            talk::data(&document(args, &report, &stats, path, ends_on).to_string());
        } else {
            for line in lines(&report, &stats, path, ends_on) {
                talk::data(&line);
            }
        }
        Ok(())
    };
    with_client(&args.session, &talk, work).await?.when_working()
}

fn lines(
    report: &BenchReport,
    stats: &ConnectionStats,
    path: Option<Path>,
    ends_on: Option<Path>,
) -> Vec<String> {
    let flow = |name: &str, flow: &Flow| {
        let (rate, bytes) = (units::rate(flow.bytes, flow.took), units::bytes(flow.bytes));
        let mbit = flow.mbit_per_s();
        let took = units::time(flow.took);
        format!("{name:<9} {mbit:>8.0} Mbit/s  {rate:>12}   {bytes} in {took}")
    };
    let latency = |name: &str, latency: &Latency| {
        let at = |share| latency.quantile(share).map_or("-".to_owned(), units::time);
        let (p50, p95, max) = (at(0.5), at(0.95), at(1.0));
        format!("{name:<9} p50 {p50:>8}   p95 {p95:>8}   max {max:>8}   {} pings", latency.count())
    };
    let mut lines = vec![
        flow("up", &report.up),
        flow("down", &report.down),
        latency("idle", &report.idle),
        latency("loaded", &report.loaded),
        format!(
            "{:<9} {} of {} packets from here lost",
            "loss", stats.packets_lost, stats.packets_sent
        ),
    ];
    if paths::words(path) != paths::words(ends_on) {
        lines.push(format!("{:<9} {}", "moved to", paths::words(ends_on)));
    }
    lines
}

fn document(
    args: &Args,
    report: &BenchReport,
    stats: &ConnectionStats,
    path: Option<Path>,
    ends_on: Option<Path>,
) -> Value {
    let flow = |flow: &Flow| {
        json!({
            "bytes": flow.bytes,
            "ms": flow.took.as_millis() as u64,
            "mbit_per_s": tenths(flow.mbit_per_s()),
        })
    };
    let latency = |latency: &Latency| {
        let at = |share| latency.quantile(share).map(|rtt| tenths(rtt.as_secs_f64() * 1e3));
        json!({
            "p50_ms": at(0.5),
            "p95_ms": at(0.95),
            "max_ms": at(1.0),
            "pings": latency.count(),
            "lost": latency.lost,
        })
    };
    json!({
        "schema_version": SCHEMA_VERSION,
        "peer": args.peer,
        "secs": args.secs,
        "path": paths::fields(path),
        "ends_on": paths::fields(ends_on),
        "up": flow(&report.up),
        "down": flow(&report.down),
        "idle": latency(&report.idle),
        "loaded": latency(&report.loaded),
        "packets_sent": stats.packets_sent,
        "packets_lost": stats.packets_lost,
    })
}

/// With one digit behind the point.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
