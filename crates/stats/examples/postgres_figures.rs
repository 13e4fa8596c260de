//! Measures the PostgreSQL store: attempts written a second by batches, and how long questions take
//! over many attempts. `cargo run -p p2p-stats --example postgres_figures [-- ATTEMPTS]`, with
//! `taskset -c 0` before it for one core: the server is a child of this process.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

#[path = "../tests/behaviour/server.rs"]
#[allow(dead_code, reason = "the store's tests use all of it")]
mod server;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use p2p_stats::postgres::migrate;
use p2p_stats::{AttemptRecord, Filter, NatSummary, Network, PostgresStore, Store};
use p2p_wire::{
    AppId, AttemptId, Filtering, Mapping, Method, NatType, Outcome, PeerId, PlanStep, Step,
    StepResult,
};
use sqlx::Connection as _;

const BATCH: usize = 256;
const WRITTEN: usize = 200 * BATCH;
const ROUNDS: usize = 11;
const DAY: i64 = 24 * 60 * 60 * 1000;

/// Attempts over thirty days, in pairs of five NAT types, three methods and times from 20 ms to 4 s.
const LOAD: &str = "INSERT INTO attempts (attempt, app, caller, callee, caller_nat_type, \
        callee_nat_type, caller_nat, callee_nat, policy, plan, started_unix_ms, outcome, method, \
        connected_ms, direct_ms, caller_steps, callee_steps, verdict, reason) \
     SELECT gen_random_uuid()::text, 'default', 'peer-' || i % 5000, 'peer-' || i % 4999, \
        types[1 + i % 5], types[1 + i / 5 % 5], NULL, NULL, 'auto', \
        '[{\"method\":\"udp-hole-punch\",\"chance\":0.8,\"after_ms\":0,\"packets\":30}]', \
        $1 + (i * $2), outcome, \
        CASE outcome WHEN 'direct' THEN 'udp-hole-punch' WHEN 'relay' THEN 'relay' END, \
        CASE WHEN outcome <> 'failed' THEN 20 + (exp(random() * 8.2))::bigint END, \
        CASE WHEN outcome = 'direct' THEN 20 + (exp(random() * 8.2))::bigint END, \
        '[{\"method\":\"udp-hole-punch\",\"result\":\"ok\",\"ms\":80,\"detail\":\"answered\"}]', \
        '[]', 'direct: both sides reached each other', NULL \
     FROM generate_series(0, $3 - 1) AS i, \
        LATERAL (SELECT $4::text[] AS types, \
                 CASE WHEN i % 10 < 7 THEN 'direct' WHEN i % 10 < 9 THEN 'relay' ELSE 'failed' END \
                 AS outcome) AS made";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let attempts: i64 = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().unwrap());
    let server = server::Server::start().expect("PostgreSQL is installed");
    let url = server.database();
    migrate(&url).await.unwrap();
    let store = PostgresStore::open(&url, None).await.unwrap();
    write(&store).await;

    let url = server.database();
    migrate(&url).await.unwrap();
    let store = PostgresStore::open(&url, Some(Duration::from_secs(60 * 86_400))).await.unwrap();
    load(&store, &url, attempts).await;
    ask(&store).await;
}

async fn write(store: &PostgresStore) {
    let records: Vec<AttemptRecord> = (0..WRITTEN).map(record).collect();
    for name in ["new attempts", "the same ones again", "changed ones"] {
        let records: Vec<AttemptRecord> = match name {
            "changed ones" => records.iter().cloned().map(improved).collect(),
            _ => records.clone(),
        };
        let started = Instant::now();
        for batch in records.chunks(BATCH) {
            store.record_attempts(batch).await.unwrap();
        }
        let rate = WRITTEN as f64 / started.elapsed().as_secs_f64();
        println!("{name}: {rate:.0} records/s in batches of {BATCH}");
    }
}

async fn load(store: &PostgresStore, url: &str, attempts: i64) {
    let now = now();
    let first = (now.div_euclid(DAY) - 30) * DAY;
    for day in 0..=30 {
        // One of each day, so that the store adds its partition.
        let mut one = record(usize::try_from(day).unwrap());
        one.started_unix_ms = first + day * DAY;
        store.record_attempt(&one).await.unwrap();
    }
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let started = Instant::now();
    let step = (now - first) / attempts;
    let load = sqlx::query(LOAD).bind(first).bind(step).bind(attempts).bind(nat_types());
    load.execute(&mut connection).await.unwrap();
    sqlx::query(
        "INSERT INTO rollups_stale SELECT DISTINCT 'hour', started_unix_ms / 3600000 FROM attempts \
         UNION SELECT DISTINCT 'day', started_unix_ms / 86400000 FROM attempts \
         ON CONFLICT DO NOTHING",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    println!("loaded {attempts} attempts of 30 days in {:.0?}", started.elapsed());
    sqlx::query("VACUUM ANALYZE").execute(&mut connection).await.unwrap();
    let started = Instant::now();
    let rolled_up = store.maintain().await.unwrap().rolled_up;
    println!("rolled {rolled_up} hours and days up in {:.1?}", started.elapsed());
    sqlx::query("VACUUM ANALYZE").execute(&mut connection).await.unwrap();
}

async fn ask(store: &PostgresStore) {
    let everything =
        Filter { app: Some(AppId::default()), since_unix_ms: None, before_unix_ms: None };
    let last_day = Filter { since_unix_ms: Some(now() - DAY + 1), ..everything.clone() };
    for (name, filter) in [("everything", &everything), ("the last 24 h", &last_day)] {
        let attempts = store.summary(filter).await.unwrap().attempts;
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let started = Instant::now();
            store.summary(filter).await.unwrap();
            times[0].push(started.elapsed());
            let started = Instant::now();
            store.nat_matrix(filter).await.unwrap();
            times[1].push(started.elapsed());
            let started = Instant::now();
            store.attempts(filter, None, 100).await.unwrap();
            times[2].push(started.elapsed());
        }
        let [summary, matrix, page] = times.map(median);
        println!(
            "{name} ({attempts} attempts): summary {summary:.1?}, matrix {matrix:.1?}, \
             first page {page:.1?} (median of {ROUNDS})"
        );
    }
}

fn nat_types() -> Vec<String> {
    use NatType::{FullCone, Open, PortRestrictedCone, RestrictedCone, Symmetric};
    [Open, FullCone, RestrictedCone, PortRestrictedCone, Symmetric].map(|t| t.to_string()).into()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

fn record(n: usize) -> AttemptRecord {
    let nat = NatSummary {
        nat_type: NatType::PortRestrictedCone,
        mapping: Mapping::EndpointIndependent,
        filtering: Filtering::AddressAndPortDependent,
        network: Some(Network::of("203.0.113.9".parse().unwrap())),
    };
    let step = |method, result| Step {
        method,
        tactic: None,
        result,
        ms: 80,
        detail: "as planned".to_owned(),
    };
    AttemptRecord {
        caller_nat: Some(nat.clone()),
        callee_nat: Some(nat),
        plan: vec![PlanStep {
            method: Method::UdpHolePunch,
            tactic: None,
            chance: 0.8,
            after_ms: 0,
            packets: 30,
        }],
        outcome: Outcome::Relay,
        method: Some(Method::Relay),
        connected_ms: Some(40 + n as u64 % 200),
        caller_steps: vec![step(Method::UdpHolePunch, StepResult::Failed)],
        callee_steps: vec![step(Method::Relay, StepResult::Ok)],
        verdict: "relay: no direct path yet".to_owned(),
        reason: None,
        ..AttemptRecord::begun(
            AttemptId::new(format!("{:016x}", (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
                .unwrap(),
            AppId::default(),
            PeerId::new("alice").unwrap(),
            PeerId::new("bob").unwrap(),
            now() - n as i64 % 1_000,
        )
    }
}

fn improved(record: AttemptRecord) -> AttemptRecord {
    AttemptRecord {
        outcome: Outcome::Direct,
        method: Some(Method::UdpHolePunch),
        direct_ms: Some(120),
        verdict: "direct: both sides reached each other".to_owned(),
        ..record
    }
}
