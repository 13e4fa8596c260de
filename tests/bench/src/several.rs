//! Several instances that share a Redis.

use std::time::Duration;

use anyhow::Result;

use crate::peers::{Kind, Programs, Redis, Server};
use crate::rounds::{self, Place, Rounds};

/// Messages a second at which latency is compared, as rounds.
const PACE: u32 = 500;
const PAIRS: usize = 50;

/// Two instances: flat out, and at 1,000 messages a second.
pub(crate) struct Two {
    pub(crate) flat_out: Rounds,
    pub(crate) paced: Rounds,
}

pub(crate) async fn two(
    programs: &Programs,
    token: &str,
    kind: Kind,
    time: Duration,
) -> Result<Two> {
    let redis = Redis::start()?;
    let servers = start(programs, kind, &redis, 2)?;
    let place = Place { servers: &servers, redis: Some(&redis), token };
    // Both sides of a pair are at different instances.
    let flat_out = rounds::measure(&place, PAIRS, None, time).await?;
    let paced = rounds::measure(&place, PAIRS, Some(PACE), time).await?;
    Ok(Two { flat_out, paced })
}

/// Commands to Redis for each message with so many instances.
pub(crate) async fn commands(
    programs: &Programs,
    token: &str,
    instances: usize,
    time: Duration,
) -> Result<f64> {
    let redis = Redis::start()?;
    let servers = start(programs, Kind::Ours, &redis, instances)?;
    let place = Place { servers: &servers, redis: Some(&redis), token };
    Ok(rounds::measure(&place, PAIRS, Some(PACE), time).await?.commands)
}

fn start(programs: &Programs, kind: Kind, redis: &Redis, count: usize) -> Result<Vec<Server>> {
    (0..count).map(|_| programs.start(kind, Some(redis))).collect()
}
