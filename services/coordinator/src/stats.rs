//! `coordinator stats`: what `GET /v1/stats` and `/v1/stats/nat-matrix` answer, for a terminal.

use std::time::Duration;

use clap::ArgMatches;
use p2p_stats::{Chance, MethodCell, NatCell, Summary, Usage};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::{Api, ServerArgs};
use crate::failure::Failure;
use crate::output::data;
use crate::settings::duration;
use crate::table::{Cell, Sheet, Side, Tone, bytes, count, ms, percent, utc};
use crate::token::unix_now;

/// Show what became of connection attempts, and between which networks
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    period: Period,
    /// Print one JSON object: `stats` and `nat_matrix` as the service answers them
    #[arg(long, env = "P2P_JSON")]
    json: bool,
}

/// Which attempts, by when they began.
#[derive(Debug, clap::Args)]
pub struct Period {
    /// Only what began in this time up to now: 90s, 15m, 1h30m, 7d [default: everything kept]
    #[arg(long, value_name = "AGE", value_parser = duration::parse, env = "P2P_SINCE")]
    since: Option<Duration>,
    /// Only what began longer ago than this
    #[arg(long, value_name = "AGE", value_parser = duration::parse, env = "P2P_BEFORE")]
    before: Option<Duration>,
}

impl Period {
    /// The arguments of a query, each with an `&` before it.
    pub fn query(&self) -> String {
        let at = |age: Duration| unix_now().saturating_sub(age.as_secs()) * 1000;
        let since = self.since.map(|age| format!("&since_unix_ms={}", at(age)));
        let before = self.before.map(|age| format!("&before_unix_ms={}", at(age)));
        since.into_iter().chain(before).collect()
    }

    /// For people.
    pub fn words(&self) -> String {
        let age = |age: Duration| duration::show(age);
        match (self.since, self.before) {
            (None, None) => "everything that is kept".to_owned(),
            (Some(since), None) => format!("the last {}", age(since)),
            (None, Some(before)) => format!("up to {} ago", age(before)),
            (Some(since), Some(before)) => {
                format!("from {} ago to {} ago", age(since), age(before))
            }
        }
    }
}

/// What `/v1/stats` answers.
#[derive(Deserialize)]
struct Stats {
    #[serde(flatten)]
    summary: Summary,
    usage: Usage,
    live: Live,
}

#[derive(Deserialize)]
struct Live {
    uptime_secs: u64,
    draining: bool,
    peers_on: u64,
    rooms: u64,
    open_attempts: u64,
    records_dropped: u64,
}

/// What `/v1/stats/nat-matrix` answers.
#[derive(Deserialize)]
struct Matrix {
    cells: Vec<NatCell>,
    methods: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    #[serde(flatten)]
    cell: MethodCell,
    chance: Chance,
}

/// Asks, and prints.
pub async fn run(args: &Args, matches: &ArgMatches) -> Result<(), Failure> {
    let api = Api::of(&args.server, matches)?;
    let query = args.period.query();
    let stats = api.get(&format!("/v1/stats?{}", query.trim_start_matches('&'))).await?;
    let matrix =
        api.get(&format!("/v1/stats/nat-matrix?{}", query.trim_start_matches('&'))).await?;
    if args.json {
        data(json!({ "stats": stats, "nat_matrix": matrix }));
        return Ok(());
    }
    let (stats, matrix): (Stats, Matrix) = (read(stats)?, read(matrix)?);
    let mut sheet = Sheet::new();
    let now = utc(i64::try_from(unix_now() * 1000).unwrap_or(i64::MAX));
    sheet.line(&format!("{}, {} (now {now} UTC)", api.url(), args.period.words()));
    tell_attempts(&stats.summary, &mut sheet);
    tell_matrix(&matrix, &mut sheet);
    tell_usage(&stats.usage, &mut sheet);
    tell_live(&stats.live, &mut sheet);
    sheet.print();
    Ok(())
}

/// What a service of this version answers.
pub fn read<T: DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| {
        Failure::usage(
            format!("the service answers in another way than this program reads: {error}"),
            "use a `coordinator` of the service's version, or --json",
        )
    })
}

fn tell_attempts(summary: &Summary, sheet: &mut Sheet) {
    let Summary { attempts, direct, relay, failed, .. } = *summary;
    sheet.heading("Connection attempts");
    if attempts == 0 {
        sheet.line("  none in this time");
        return;
    }
    sheet.line(&format!(
        "  {}: {} direct, {} by relay, {} failed",
        count(attempts),
        count(direct),
        count(relay),
        count(failed)
    ));
    sheet.line(&format!(
        "  {} connected; {} of those stayed on the relay",
        percent(summary.success_rate),
        percent(summary.relay_share)
    ));
    sheet.line(&format!(
        "  first path in {} (median), {} (95 %); direct path in {} (median), {} (95 %)",
        ms(summary.connect_ms.p50),
        ms(summary.connect_ms.p95),
        ms(summary.direct_ms.p50),
        ms(summary.direct_ms.p95)
    ));
    if summary.by_method.is_empty() {
        return;
    }
    sheet.heading("By the method of the best path");
    let rows: Vec<[Cell; 5]> = summary
        .by_method
        .iter()
        .map(|one| {
            [
                one.method.into(),
                count(one.attempts).into(),
                percent(Some(one.share)).into(),
                ms(one.connect_ms.p50).into(),
                ms(one.connect_ms.p95).into(),
            ]
        })
        .collect();
    let columns = [
        ("method", Side::Left),
        ("attempts", Side::Right),
        ("share", Side::Right),
        ("first path, median", Side::Right),
        ("95 %", Side::Right),
    ];
    sheet.table(columns, &rows);
}

fn tell_matrix(matrix: &Matrix, sheet: &mut Sheet) {
    if matrix.cells.is_empty() {
        return;
    }
    sheet.heading("Between which networks");
    let rows: Vec<[Cell; 8]> = matrix
        .cells
        .iter()
        .map(|cell| {
            let share = |part: u64| (cell.attempts > 0).then(|| part as f64 / cell.attempts as f64);
            let connected = share(cell.direct + cell.relay);
            let tone = match (connected, share(cell.direct)) {
                (Some(connected), _) if connected < 0.9 => Tone::Bad,
                (_, Some(direct)) if direct < 0.5 => Tone::Fair,
                _ => Tone::Good,
            };
            [
                cell.caller.into(),
                cell.callee.into(),
                count(cell.attempts).into(),
                count(cell.direct).into(),
                count(cell.relay).into(),
                count(cell.failed).into(),
                Cell::toned(percent(connected), tone),
                ms(cell.direct_ms_p50).into(),
            ]
        })
        .collect();
    let columns = [
        ("caller", Side::Left),
        ("callee", Side::Left),
        ("attempts", Side::Right),
        ("direct", Side::Right),
        ("relay", Side::Right),
        ("failed", Side::Right),
        ("connected", Side::Right),
        ("direct in", Side::Right),
    ];
    sheet.table(columns, &rows);
    if matrix.methods.is_empty() {
        return;
    }
    sheet.heading("How often each method worked, and what to expect of it");
    let rows: Vec<[Cell; 7]> = matrix
        .methods
        .iter()
        .map(|Expected { cell, chance }| {
            let Chance { expected, low, high } = *chance;
            [
                cell.caller.into(),
                cell.callee.into(),
                cell.method.into(),
                count(cell.tried).into(),
                count(cell.worked).into(),
                percent(Some(expected)).into(),
                format!("{:.0} to {:.0} %", low * 100.0, high * 100.0).into(),
            ]
        })
        .collect();
    let columns = [
        ("caller", Side::Left),
        ("callee", Side::Left),
        ("method", Side::Left),
        ("tried", Side::Right),
        ("worked", Side::Right),
        ("expected", Side::Right),
        ("with 95 %", Side::Right),
    ];
    sheet.table(columns, &rows);
}

fn tell_usage(usage: &Usage, sheet: &mut Sheet) {
    let sessions = usage.sessions;
    sheet.heading("Sessions");
    let lasted = sessions.connected_ms.checked_div(sessions.closed);
    let lasted = lasted.map(|lasted| {
        format!(
            "; the {} that ended lasted {} on average",
            count(sessions.closed),
            ms(Some(lasted))
        )
    });
    sheet.line(&format!(
        "  {} connections, {} of them resumed an earlier session{}",
        count(sessions.opened),
        count(sessions.resumed),
        lasted.unwrap_or_default()
    ));
    if usage.relays.is_empty() {
        return;
    }
    sheet.heading("Relays");
    let rows: Vec<[Cell; 5]> = usage
        .relays
        .iter()
        .map(|relay| {
            let average = relay.lived_ms.checked_div(relay.allocations);
            [
                relay.region.as_deref().unwrap_or("(no region)").into(),
                count(relay.allocations).into(),
                ms(average).into(),
                bytes(relay.to_peer.bytes).into(),
                bytes(relay.to_client.bytes).into(),
            ]
        })
        .collect();
    let columns = [
        ("region", Side::Left),
        ("allocations", Side::Right),
        ("lived, average", Side::Right),
        ("to peers", Side::Right),
        ("to clients", Side::Right),
    ];
    sheet.table(columns, &rows);
}

fn tell_live(live: &Live, sheet: &mut Sheet) {
    sheet.heading("The instance that answered, at this moment");
    sheet.line(&format!(
        "  {} peers, {} rooms, {} open attempts; up for {}{}",
        count(live.peers_on),
        count(live.rooms),
        count(live.open_attempts),
        duration::show(Duration::from_secs(live.uptime_secs)),
        if live.draining { ", draining" } else { "" }
    ));
    if live.records_dropped > 0 {
        sheet.line(&format!(
            "  {} records were dropped: the store was away for longer than they can wait",
            count(live.records_dropped)
        ));
    }
}
