//! One run of the demo: connect under a policy, move the bytes, say how it ended.

use std::time::Duration;

use p2p_client::{Client, Connection, Path, PathKind, PeerId, Policy};
use p2p_stats::{AttemptRecord, Store as _};
use p2p_wire::Outcome;
use serde::Serialize;

use super::payload::{self, Moved};
use super::story::{Story, time};
use crate::embedded::Embedded;
use crate::failure::{Failure, exit};

/// How long a path that should come may take: on loopback it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at the store while a report is on its way.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How one run went.
#[derive(Debug, Serialize)]
pub struct Run {
    /// Which paths were allowed.
    pub policy: Policy,
    /// The path that carried the bytes: `direct` or `relay`.
    pub path: &'static str,
    /// What made it possible.
    pub method: &'static str,
    /// Milliseconds from the attempt's start to a connection that takes streams.
    pub connected_ms: u64,
    /// Milliseconds from the attempt's start to a verified direct path.
    pub direct_ms: Option<u64>,
    /// Bytes that arrived.
    pub bytes: u64,
    /// Whether both ends computed the same digest.
    pub sha256_ok: bool,
    /// Megabits a second.
    pub mbit_per_s: f64,
    /// Bytes that the relay carried meanwhile, both ways.
    pub relayed_bytes: u64,
    /// The attempt's verdict in one sentence.
    pub verdict: String,
}

/// The two peers.
pub struct Pair<'a> {
    /// Who connects.
    pub alice: &'a Client,
    /// Who is connected to.
    pub bob: &'a Client,
}

/// Connects, moves, reads the attempt back from the store.
pub async fn run(
    pair: &Pair<'_>,
    policy: Policy,
    embedded: &Embedded,
    story: &mut Story,
) -> Result<(Run, AttemptRecord), Failure> {
    let relayed_before = embedded.relayed_bytes()?;
    let bob: &PeerId = pair.bob.peer_id();

    story.begin("connect", "alice asks for bob");
    let (near, far) = tokio::try_join!(
        async { pair.alice.connect(bob, policy).await.map_err(Failure::from) },
        accept(pair.bob),
    )?;
    let first = near.path();
    let connected_ms = near.started().elapsed().as_millis() as u64;
    story.done(&format!("alice reaches bob {}", words(first)));

    let path = wanted_path(&near, first, policy, story).await?;

    story.begin("move", "8 MiB from alice to bob, SHA-256 on both ends");
    let moved = payload::move_over(&near, &far).await?;
    check(&moved)?;
    let rate = format!("{:.0} Mbit/s", moved.mbit_per_s());
    story.done(&format!("8 MiB to bob at {rate}, SHA-256 the same on both ends"));
    let relayed_bytes = embedded.relayed_bytes()?.saturating_sub(relayed_before);
    check_relay(policy, relayed_bytes)?;

    story.begin("verdict", "waiting for it to be in the statistics");
    let record = stored(embedded, &near, policy).await?;
    story.done(&record.verdict);
    near.close("the demo's run is over");

    let run = Run {
        policy,
        path: kind(path),
        method: path.method.as_str(),
        connected_ms,
        direct_ms: near.verdict().and_then(|report| report.direct_ms).or(record.direct_ms),
        bytes: moved.bytes,
        sha256_ok: moved.sha256_ok,
        mbit_per_s: (moved.mbit_per_s() * 10.0).round() / 10.0,
        relayed_bytes,
        verdict: record.verdict.clone(),
    };
    Ok((run, record))
}

async fn accept(bob: &Client) -> Result<Connection, Failure> {
    let accepted = tokio::time::timeout(PATIENCE, bob.accept()).await;
    accepted.ok().flatten().ok_or_else(|| Failure::bug("bob did not hear of the connection"))
}

/// The path that the policy is about: direct, or the relay and nothing else.
async fn wanted_path(
    near: &Connection,
    first: Option<Path>,
    policy: Policy,
    story: &mut Story,
) -> Result<Path, Failure> {
    if policy == Policy::Relay {
        return match near.path() {
            Some(path) if path.kind == PathKind::Relay => Ok(path),
            other => {
                Err(Failure::bug(format!("the relay was asked for, the path is {}", words(other))))
            }
        };
    }
    if let Some(path) = first.filter(|path| path.kind == PathKind::Direct) {
        return Ok(path);
    }
    story.begin("direct", "the relay carries while a direct path is looked for");
    let Some(path) = near.direct(PATIENCE).await else {
        let verdict = near.verdict().map(|report| report.verdict).unwrap_or_default();
        return Err(Failure::new(
            "direct_required",
            exit::NOT_DIRECT,
            format!("no direct path between two programs on this machine: {verdict}"),
            "look for a firewall that drops UDP on loopback (`nft list ruleset`), and try again",
        ));
    };
    let after = near.started().elapsed();
    story.done(&format!("took over after {}: {}", time(after), words(Some(path))));
    Ok(path)
}

fn check(moved: &Moved) -> Result<(), Failure> {
    if moved.sha256_ok && moved.bytes == payload::BYTES as u64 {
        return Ok(());
    }
    Err(Failure::bug(format!("{} bytes arrived, and not the ones that were sent", moved.bytes)))
}

/// The relay's own count has to agree with what the paths say.
fn check_relay(policy: Policy, relayed: u64) -> Result<(), Failure> {
    let all = payload::BYTES as u64;
    match policy {
        Policy::Relay if relayed < all => {
            Err(Failure::bug(format!("the relay carried {relayed} of {all} bytes")))
        }
        Policy::Auto | Policy::Direct if relayed >= all => {
            Err(Failure::bug("the path was direct, and the relay carried the bytes"))
        }
        Policy::Relay | Policy::Auto | Policy::Direct => Ok(()),
    }
}

/// The attempt as the store has it, once the peers' reports are in.
async fn stored(
    embedded: &Embedded,
    near: &Connection,
    policy: Policy,
) -> Result<AttemptRecord, Failure> {
    let expected = if policy == Policy::Relay { Outcome::Relay } else { Outcome::Direct };
    let looking = async {
        loop {
            embedded.flush_stats().await;
            let record = embedded.store.attempt(near.attempt()).await.map_err(|error| {
                Failure::new(error.code(), exit::USAGE, error.to_string(), error.fix())
            })?;
            match record {
                Some(record) if record.outcome == expected => return Ok(record),
                Some(_) | None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| {
        let expected = expected.as_str();
        Err(Failure::bug(format!("the attempt is not in the statistics as {expected}")))
    })
}

fn kind(path: Path) -> &'static str {
    match path.kind {
        PathKind::Direct => "direct",
        PathKind::Relay => "relay",
    }
}

fn words(path: Option<Path>) -> String {
    match path {
        None => "no path".to_owned(),
        Some(path) => match path.kind {
            PathKind::Direct => format!("directly, at {}", path.remote),
            PathKind::Relay => "through the relay".to_owned(),
        },
    }
}
