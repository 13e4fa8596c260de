//! `bench-signaling`: what a signaling server costs, beside the floor and beside others, in one run
//! on one machine. Servers take turns, so that what disturbs the machine disturbs all of them.

mod idle;
mod peers;
mod report;
mod rounds;
mod several;
mod turns;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::peers::Programs;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Idle connections.
    pub(crate) connections: usize,
    /// How often each measurement is taken.
    pub(crate) turns: usize,
    /// Seconds of one measurement.
    pub(crate) seconds: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut programs = Programs {
        coordinator: PathBuf::from("coordinator"),
        floor: PathBuf::from("floor"),
        node: None,
        database: None,
    };
    let mut size = Size { connections: 10_000, turns: 3, seconds: 3 };
    let mut page = None;
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().with_context(|| format!("{flag} has no value"))?;
        match flag.as_str() {
            "--coordinator" => programs.coordinator = value.into(),
            "--floor" => programs.floor = value.into(),
            "--node" => programs.node = Some(value.into()),
            "--connections" => size.connections = value.parse()?,
            "--turns" => size.turns = value.parse()?,
            "--seconds" => size.seconds = value.parse()?,
            "--write" => page = Some(PathBuf::from(value)),
            _ => bail!("there is no flag {flag}"),
        }
    }
    let token = programs.token()?;
    let figures = turns::all(&programs, &token, size).await?;
    let text = report::text(&figures, size);
    println!("{text}");
    if let Some(page) = page {
        let before = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
        std::fs::write(&page, report::page(&before, &text))
            .with_context(|| page.display().to_string())?;
    }
    Ok(())
}
