//! Events written a second, as a writer writes them from the stream: in batches, into one database.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use p2p_stats::{
    AttemptRecord, Carried, Event, NatSummary, Network, PostgresStore, RelayRecord, SessionRecord,
    Store as _,
};
use p2p_wire::{
    AppId, AttemptId, Filtering, Mapping, Method, NatType, Outcome, PathReason, PathUse, PeerId,
    PlanStep, SessionId, Step, StepResult,
};
use serde::{Deserialize, Serialize};

/// Events of a batch: what a writer takes from the stream at once.
const BATCH: usize = 256;
/// Attempts, each told of in so many events.
const ATTEMPTS: usize = 10_000;

/// One kind of load.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) what: String,
    pub(crate) events: usize,
    /// By the clock, which others on this core hold up.
    pub(crate) per_second: f64,
    /// For each second of CPU time that the writer and the database server took together.
    pub(crate) per_cpu_second: f64,
}

pub(crate) async fn measure() -> Result<Vec<Written>> {
    let (_server, url) = crate::database().await?;
    let store = PostgresStore::open(&url, None).await?;
    let all: Vec<Event> = (0..ATTEMPTS).flat_map(told).collect();
    let attempts: Vec<Event> =
        all.iter().filter(|event| matches!(event, Event::Attempt(_))).cloned().collect();
    let mut written = Vec::new();
    for (what, events) in [
        ("attempts, both sessions and the allocation, seven events each", &all),
        ("the same again, as after a writer's death", &all),
        ("attempts alone, stored and told again", &attempts),
    ] {
        let (began, cpu) = (Instant::now(), cpu(&url)?);
        for batch in events.chunks(BATCH) {
            store.record_events(batch).await?;
        }
        let count = events.len() as f64;
        written.push(Written {
            what: what.to_owned(),
            events: events.len(),
            per_second: count / began.elapsed().as_secs_f64(),
            per_cpu_second: count / (crate::events::cpu(&url)? - cpu),
        });
    }
    store.close().await;
    Ok(written)
}

/// Seconds of CPU time of this process and of the server's processes that live.
fn cpu(url: &str) -> Result<f64> {
    let folder = url.split('@').nth(1).and_then(|rest| rest.split('/').next());
    let folder = folder.context("a URL with a socket's folder")?.replace("%2F", "/");
    let pid = std::fs::read_to_string(format!("{folder}/data/postmaster.pid"))?;
    let postmaster = pid.lines().next().context("an empty pid file")?.to_owned();
    let mut ticks = 0;
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path().join("stat");
        // A process may end while it is looked at.
        let Ok(stat) = std::fs::read_to_string(&path) else { continue };
        let Some((of, fields)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let id = of.split(' ').next().unwrap_or_default();
        let own = id == std::process::id().to_string();
        if own || id == postmaster || fields.get(1) == Some(&postmaster.as_str()) {
            // proc_pid_stat(5): user and system time, in hundredths of a second.
            let time = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
            ticks += time(11).unwrap_or(0) + time(12).unwrap_or(0);
        }
    }
    Ok(ticks as f64 / 100.0)
}

/// What is told of an attempt: that it is relayed, and then direct; two sessions that open and
/// close, and an allocation.
fn told(n: usize) -> Vec<Event> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let relayed = relayed(n, now);
    let path = |at_ms, method, reason| PathUse {
        at_ms,
        method: Some(method),
        reason,
        sent_bytes: 4_000,
        received_bytes: 4_000,
    };
    let mut direct = AttemptRecord {
        outcome: Outcome::Direct,
        method: Some(Method::UdpHolePunch),
        direct_ms: Some(120),
        verdict: "direct: both NATs were punched over UDP".to_owned(),
        ..relayed.clone()
    };
    direct.story.caller_paths = vec![
        path(40, Method::Relay, PathReason::First),
        path(120, Method::UdpHolePunch, PathReason::Better),
    ];
    let peer = |name: &str| PeerId::new(name).expect("a word is an id");
    let session = |name: &str| {
        let session = SessionId::new(format!("s{n}{name}")).expect("a word is an id");
        let from = [203, 0, 113, 9].into();
        SessionRecord::opened(session, AppId::default(), peer(name), Some("one"), from, false, now)
    };
    let sessions = [session("alice"), session("bob")];
    let carried = Carried { packets: 10, bytes: 10_000 };
    let lived = Duration::from_secs(60);
    let user = "default:alice".to_owned();
    let allocation = RelayRecord::ended(None, user, "deleted", lived, carried, carried);
    let [one, other] = sessions.clone();
    vec![
        one.into(),
        other.into(),
        relayed.into(),
        direct.into(),
        allocation.into(),
        sessions[0].clone().closed(now + 60_000, Some(1000)).into(),
        sessions[1].clone().closed(now + 60_000, Some(1000)).into(),
    ]
}

/// An attempt as a real one is told.
pub(crate) fn relayed(n: usize, started_unix_ms: i64) -> AttemptRecord {
    let nat = NatSummary {
        nat_type: NatType::PortRestrictedCone,
        mapping: Mapping::EndpointIndependent,
        filtering: Filtering::AddressAndPortDependent,
        network: Some(Network::of([203, 0, 113, 9].into())),
    };
    let step = |method, result| Step {
        method,
        tactic: None,
        result,
        ms: 80,
        detail: "as planned".to_owned(),
    };
    // Ids of real attempts are in no order of the index, either.
    let id =
        format!("{:032x}", (n as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
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
            AttemptId::new(id).expect("hexadecimal digits are an id"),
            AppId::default(),
            PeerId::new("alice").expect("a word is an id"),
            PeerId::new("bob").expect("a word is an id"),
            started_unix_ms,
        )
    }
}
