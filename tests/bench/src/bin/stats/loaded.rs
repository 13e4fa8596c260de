//! How long questions take over millions of attempts, asked over HTTP as a dashboard does.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use p2p_stats::{PostgresStore, Store as _};
use p2p_wire::NatType;
use sqlx::{Connection as _, PgConnection};

use crate::events::relayed;
use crate::outage::percentile;
use crate::peers::{Kind, Programs};

const DAY: i64 = 24 * 60 * 60 * 1000;
/// The time that attempts lie in: what an instance keeps.
const DAYS: i64 = 29;
/// How often each question is asked.
const ROUNDS: usize = 21;

/// Attempts of thirty days, between five types of NAT, with three outcomes and times from 20 ms to
/// 4 s; without what questions over many do not read, which is most of a row.
const LOAD: &str = "INSERT INTO attempts (attempt, app, caller, callee, caller_nat_type, \
        callee_nat_type, caller_nat, callee_nat, policy, plan, started_unix_ms, outcome, method, \
        connected_ms, direct_ms, caller_steps, callee_steps, verdict, reason) \
     SELECT md5(i::text), 'default', 'peer-' || i % 5000, 'peer-' || i % 4999, \
        types[1 + i % 5], types[1 + i / 5 % 5], NULL, NULL, 'auto', \
        '[]', \
        $1 + i * $2, outcome, \
        CASE outcome WHEN 'direct' THEN 'udp-hole-punch' WHEN 'relay' THEN 'relay' END, \
        CASE WHEN outcome <> 'failed' THEN 20 + (exp(random() * 8.2))::bigint END, \
        CASE WHEN outcome = 'direct' THEN 20 + (exp(random() * 8.2))::bigint END, \
        '[]', \
        '[]', '', NULL \
     FROM generate_series($3::bigint, $4::bigint - 1) AS i, \
        LATERAL (SELECT $5::text[] AS types, \
                 CASE WHEN i % 10 < 7 THEN 'direct' WHEN i % 10 < 9 THEN 'relay' ELSE 'failed' END \
                 AS outcome) AS made";

const MARK: &str = "INSERT INTO rollups_due \
     SELECT DISTINCT 'hour', started_unix_ms / 3600000 FROM attempts \
     UNION SELECT DISTINCT 'day', started_unix_ms / 86400000 FROM attempts \
     ON CONFLICT DO NOTHING";

/// One question, in seconds.
pub(crate) struct Question {
    pub(crate) path: &'static str,
    pub(crate) median: f64,
    pub(crate) slowest: f64,
}

pub(crate) struct Loaded {
    pub(crate) attempts: i64,
    /// Rolling all of it up, once: seconds, and how many hours and days that were.
    pub(crate) rolled_up: (f64, usize),
    pub(crate) questions: Vec<Question>,
}

pub(crate) async fn measure(programs: &Programs, attempts: i64) -> Result<Loaded> {
    let (_postgres, url) = crate::database().await?;
    let store = PostgresStore::open(&url, None).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let now = i64::try_from(now)?;
    let first = now - DAYS * DAY;
    for day in 0..=DAYS {
        // One of each day: the store adds its partition.
        let number = usize::MAX - usize::try_from(day)?;
        store.record_attempt(&relayed(number, first + day * DAY)).await?;
    }
    eprintln!("loading {attempts} attempts of {DAYS} days");
    let mut connection = PgConnection::connect(&url).await?;
    let types = [
        NatType::Open,
        NatType::FullCone,
        NatType::RestrictedCone,
        NatType::PortRestrictedCone,
        NatType::Symmetric,
    ];
    let types = types.map(|of| of.to_string());
    let began = Instant::now();
    let part = attempts / 20;
    for from in (0..attempts).step_by(usize::try_from(part.max(1))?) {
        let load = sqlx::query(LOAD).bind(first).bind((now - first) / attempts).bind(from);
        let load = load.bind((from + part).min(attempts)).bind(&types[..]);
        load.execute(&mut connection).await?;
    }
    sqlx::query(MARK).execute(&mut connection).await?;
    sqlx::query("VACUUM ANALYZE").execute(&mut connection).await?;
    eprintln!("loaded in {:.0?}; rolling up", began.elapsed());
    let began = Instant::now();
    let hours_and_days = store.maintain().await?.rolled_up;
    let rolled_up = (began.elapsed().as_secs_f64(), hours_and_days);
    store.close().await;
    connection.close().await?;

    eprintln!("rolled up in {:.0} s; asking", rolled_up.0);
    let programs = Programs {
        coordinator: programs.coordinator.clone(),
        floor: programs.floor.clone(),
        node: None,
        database: Some(url),
    };
    let token = programs.admin_token()?;
    let server = programs.start(Kind::Ours, None)?;
    let mut questions = Vec::new();
    for path in ["/v1/stats", "/v1/stats/nat-matrix", "/v1/attempts?limit=100"] {
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let (status, body) = server.get(path, Some(&token)).await?;
            times.push(began.elapsed().as_secs_f64());
            anyhow::ensure!(status == 200, "{path}: {status} {body}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let slowest = times.iter().copied().fold(0.0, f64::max);
        questions.push(Question { path, median: percentile(times, 0.5), slowest });
    }
    Ok(Loaded { attempts, rolled_up, questions })
}
