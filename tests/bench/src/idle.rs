//! Many connections that do nothing: how fast they come, and what each weighs.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::{StreamExt as _, stream};

use crate::peers::{Client, Server};

/// Connections that are opened at the same time.
const AT_ONCE: usize = 32;
/// How long memory may settle before it is weighed.
const SETTLE: Duration = Duration::from_secs(2);

/// What idle connections cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Idle {
    /// Bytes of the server's own memory for each.
    pub(crate) bytes: f64,
    /// Connections opened and registered a second.
    pub(crate) per_second: f64,
    /// Server CPU time for each that was opened, in seconds.
    pub(crate) cpu: f64,
}

pub(crate) async fn measure(server: &Server, token: &str, connections: usize) -> Result<Idle> {
    // The first few pay for what is made once.
    let warm = connect(server, token, "bw", 100).await?;
    drop(warm);
    tokio::time::sleep(SETTLE).await;
    let (before, cpu) = (server.memory()?, server.cpu()?);
    let began = Instant::now();
    let clients = connect(server, token, "bi", connections).await?;
    let took = began.elapsed().as_secs_f64();
    let cpu = server.cpu()?.saturating_sub(cpu).as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let after = server.memory()?;
    drop(clients);
    let each = |total: f64| total / connections as f64;
    Ok(Idle {
        bytes: each(after.saturating_sub(before) as f64),
        per_second: connections as f64 / took,
        cpu: each(cpu),
    })
}

async fn connect(server: &Server, token: &str, prefix: &str, count: usize) -> Result<Vec<Client>> {
    let names = (0..count).map(|number| format!("{prefix}{number}"));
    let opening = stream::iter(names)
        .map(|name| async move { Client::connect(server, token, &name).await })
        .buffer_unordered(AT_ONCE);
    let clients: Vec<Result<Client>> = opening.collect().await;
    clients.into_iter().collect()
}
