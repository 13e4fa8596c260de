//! Signaling while its PostgreSQL is stopped and started, in turns with signaling while another
//! server beside it is.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{interval, sleep};

use crate::Size;
use crate::peers::{Client, Kind, Programs, Server};
use crate::rounds::{self, Place, Rounds, WARM};

/// Pairs that send to and fro, and their round trips a second together.
const PAIRS: usize = 20;
const PACE: u32 = 1_000;
/// Pairs that connect, and how often each: all of them together write some 500 records a second.
const CONNECTING: usize = 10;
const EVERY: Duration = Duration::from_millis(100);

/// Seconds, of each turn.
#[derive(Default)]
pub(crate) struct Turns {
    /// One way of a message, 99th percentile.
    pub(crate) message: Vec<f64>,
    /// From `connect` to the `attempt` of the caller, 99th percentile.
    pub(crate) connect: Vec<f64>,
}

#[derive(Default)]
pub(crate) struct Outage {
    pub(crate) without: Turns,
    pub(crate) with: Turns,
    /// Records that were lost in all turns.
    pub(crate) lost: f64,
    pub(crate) attempts: usize,
}

pub(crate) async fn measure(programs: &Programs, size: Size) -> Result<Outage> {
    let (postgres, url) = crate::database().await?;
    // Stopping and starting a server takes CPU time by itself, whoever uses it.
    let (other, _) = crate::database().await?;
    let (postgres, other) = (std::sync::Arc::new(postgres), std::sync::Arc::new(other));
    let programs = Programs {
        coordinator: programs.coordinator.clone(),
        floor: programs.floor.clone(),
        node: None,
        database: Some(url),
    };
    let token = programs.token()?;
    let time = Duration::from_secs(size.seconds);
    let mut outage = Outage::default();
    for turn in 1..=size.turns {
        for stopped in [false, true] {
            eprintln!("turn {turn} of {}, its PostgreSQL stopped: {stopped}", size.turns);
            let server = [programs.start(Kind::Ours, None)?];
            let place = Place { servers: &server, redis: None, token: &token };
            let connecting = connecting(&server[0], &token, time).await?;
            let postgres = if stopped { postgres.clone() } else { other.clone() };
            let stopping = tokio::spawn(async move {
                sleep(WARM + time / 6).await;
                tokio::task::spawn_blocking(move || {
                    postgres.down();
                    std::thread::sleep(time / 3);
                    postgres.up();
                })
                .await
            });
            let measured = rounds::measure(&place, PAIRS, Some(PACE), time).await;
            let Rounds { p99, .. } = measured?;
            let times = connecting.await??;
            stopping.await??;
            outage.lost += lost(&server[0]).await?;
            outage.attempts += times.len();
            let turns = if stopped { &mut outage.with } else { &mut outage.without };
            turns.message.push(p99);
            turns.connect.push(percentile(times, 0.99));
        }
    }
    Ok(outage)
}

/// Pairs that connect over and over, and report what came of it; how long each waited.
async fn connecting(
    server: &Server,
    token: &str,
    time: Duration,
) -> Result<JoinHandle<Result<Vec<f64>>>> {
    let mut pairs = JoinSet::new();
    for pair in 0..CONNECTING {
        let [here, there] = [format!("bc{pair}a"), format!("bc{pair}b")];
        let one = Client::connect(server, token, &here).await?;
        let other = Client::connect(server, token, &there).await?;
        pairs.spawn(connect_on(one, other, there, time));
    }
    Ok(tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(done) = pairs.join_next().await {
            all.extend(done??);
        }
        Ok(all)
    }))
}

async fn connect_on(
    mut one: Client,
    mut other: Client,
    there: String,
    time: Duration,
) -> Result<Vec<f64>> {
    let (from, until) = (Instant::now() + WARM, Instant::now() + WARM + time);
    let mut times = Vec::new();
    let mut ticks = interval(EVERY);
    for number in 0.. {
        ticks.tick().await;
        let began = Instant::now();
        if began >= until {
            break;
        }
        one.say(format!(r#"{{"type":"connect","id":"{number}","to":"{there}"}}"#)).await?;
        let attempt = one.told("attempt").await?;
        if began >= from {
            times.push(began.elapsed().as_secs_f64());
        }
        let id = attempt.split(r#""attempt":""#).nth(1).and_then(|rest| rest.split('"').next());
        let id = id.context("an attempt without an id")?;
        other.told("attempt").await?;
        let report = format!(
            r#"{{"type":"report","attempt":"{id}","outcome":"direct","method":"direct","ms":9,"direct_ms":9}}"#
        );
        one.say(report.clone()).await?;
        other.say(report).await?;
    }
    Ok(times)
}

/// Records that the instance has lost, once nothing waits any more.
async fn lost(server: &Server) -> Result<f64> {
    let began = Instant::now();
    loop {
        let text = server.get("/metrics", None).await?.1;
        let of = |name: &str| -> f64 {
            let value =
                |line: &str| line.strip_prefix(name)?.rsplit(' ').next()?.parse::<f64>().ok();
            text.lines().filter_map(value).sum()
        };
        if of("p2p_recorder_queue_records") == 0.0 || began.elapsed() > Duration::from_secs(30) {
            return Ok(of("p2p_recorder_dropped_total"));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) fn percentile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len().saturating_sub(1) as f64 * part) as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}
