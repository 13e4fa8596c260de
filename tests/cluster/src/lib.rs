//! What several instances are tested with: every kind of Redis, as real `redis-server`s in folders of
//! their own; the instances' processes; a proxy that fails as networks do; and [`chaos`].

pub mod chaos;
pub mod coordinator;
pub mod proxy;
mod redis;
pub mod relay;

use std::process::Command;

use anyhow::Result;

pub use self::redis::{Cluster, RIGHTS, Redis, Sentinels, certificate};

/// Sends a signal by name to a process.
pub fn signal(name: &str, process: u32) -> Result<()> {
    let status = Command::new("kill").arg(name).arg(process.to_string()).status()?;
    anyhow::ensure!(status.success(), "kill {name} {process}: {status}");
    Ok(())
}
