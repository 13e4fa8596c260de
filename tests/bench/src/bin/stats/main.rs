//! `bench-stats`: what the statistics in PostgreSQL take, and what they take from signaling.
//!
//! Three measurements, each against a private server with the durability that PostgreSQL has by
//! default: events written a second on one core, signaling's p99 while PostgreSQL is stopped and
//! started, and how long `/v1/stats` and the matrix take over millions of attempts.
#![cfg(unix)]

mod events;
mod loaded;
mod outage;
#[path = "../../peers/mod.rs"]
#[allow(dead_code, reason = "the benchmark of signaling uses all of it")]
mod peers;
mod report;
#[path = "../../rounds.rs"]
#[allow(dead_code, reason = "the benchmark of signaling uses all of it")]
mod rounds;
#[path = "../../../../../crates/stats/tests/behaviour/server.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the store's tests use all of it")]
mod server;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::peers::Programs;
use crate::server::Server;

/// As PostgreSQL is by default, and as a server with some memory is.
const SETTINGS: [&str; 4] =
    ["fsync = on", "full_page_writes = on", "autovacuum = on", "shared_buffers = '512MB'"];

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Attempts that questions are asked over.
    pub(crate) attempts: i64,
    /// How often signaling is measured with and without an outage.
    pub(crate) turns: usize,
    /// Seconds of one such measurement.
    pub(crate) seconds: u64,
}

/// Everything that was measured.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) written: Vec<events::Written>,
    pub(crate) outage: Option<outage::Outage>,
    pub(crate) loaded: Option<loaded::Loaded>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut coordinator = PathBuf::from("coordinator");
    let mut size = Size { attempts: 10_000_000, turns: 5, seconds: 6 };
    let (mut page, mut only) = (None, None);
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        if flag == "events" {
            // On the core that this process was given.
            println!("{}", serde_json::to_string(&events::measure().await?)?);
            return Ok(());
        }
        let value = args.next().with_context(|| format!("{flag} has no value"))?;
        match flag.as_str() {
            "--coordinator" => coordinator = value.into(),
            "--attempts" => size.attempts = value.parse()?,
            "--turns" => size.turns = value.parse()?,
            "--seconds" => size.seconds = value.parse()?,
            "--only" => only = Some(value),
            "--write" => page = Some(PathBuf::from(value)),
            _ => bail!("there is no flag {flag}"),
        }
    }
    let programs = Programs { coordinator, floor: PathBuf::new(), node: None, database: None };
    let wanted = |part: &str| only.as_ref().is_none_or(|only| only == part);
    let mut figures = Figures::default();
    if wanted("events") {
        eprintln!("events on one core");
        figures.written = on_one_core()?;
    }
    if wanted("outage") {
        let measured = outage::measure(&programs, size).await;
        figures.outage = Some(measured.context("signaling and an outage")?);
    }
    if wanted("questions") {
        let measured = loaded::measure(&programs, size.attempts).await;
        figures.loaded = Some(measured.context("questions")?);
    }
    let text = report::text(&figures, size);
    println!("{text}");
    if let Some(page) = page {
        let before = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
        std::fs::write(&page, report::page(&before, &text))?;
    }
    Ok(())
}

/// This program again, with the database server that it starts, on the first core.
fn on_one_core() -> Result<Vec<events::Written>> {
    let output = Command::new("taskset")
        .args(["-c", "0"])
        .arg(std::env::current_exe()?)
        .arg("events")
        .output()
        .context("taskset")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A server as it is in production, and the URL of a database in it with the schema.
pub(crate) async fn database() -> Result<(Server, String)> {
    let server = Server::start().context("PostgreSQL: `apt-get install postgresql`")?;
    let url = server.database();
    let mut connection = PgConnection::connect(&url).await?;
    for setting in SETTINGS {
        let set = format!("ALTER SYSTEM SET {setting}");
        sqlx::query(AssertSqlSafe(set)).execute(&mut connection).await?;
    }
    sqlx::query("CHECKPOINT").execute(&mut connection).await?;
    connection.close().await?;
    server.down();
    server.up();
    p2p_stats::postgres::migrate(&url).await?;
    Ok((server, url))
}
