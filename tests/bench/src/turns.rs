//! The measurements, server after server, over and over, and the median of each.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Size;
use crate::idle::{self, Idle};
use crate::peers::{Kind, Programs};
use crate::rounds::{self, Place, Rounds};
use crate::several;

/// Pairs of peers that send at the same time.
pub(crate) const PAIRS: [usize; 3] = [1, 50, 500];
/// Instances with which the commands to Redis are counted.
pub(crate) const INSTANCES: [usize; 3] = [2, 4, 8];

/// Medians of everything.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) idle: BTreeMap<Kind, Idle>,
    pub(crate) rounds: BTreeMap<(Kind, usize), Rounds>,
    pub(crate) flat_out: BTreeMap<Kind, Rounds>,
    pub(crate) paced: BTreeMap<Kind, Rounds>,
    pub(crate) commands: BTreeMap<usize, f64>,
}

pub(crate) async fn all(programs: &Programs, token: &str, size: Size) -> Result<Figures> {
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| programs.node.is_some() || matches!(kind, Kind::Floor | Kind::Ours))
        .collect();
    let time = Duration::from_secs(size.seconds);
    let mut idle: BTreeMap<Kind, Vec<Idle>> = BTreeMap::new();
    let mut rounds: BTreeMap<(Kind, usize), Vec<Rounds>> = BTreeMap::new();
    let mut flat_out: BTreeMap<Kind, Vec<Rounds>> = BTreeMap::new();
    let mut paced: BTreeMap<Kind, Vec<Rounds>> = BTreeMap::new();
    let mut commands: BTreeMap<usize, Vec<Rounds>> = BTreeMap::new();
    for turn in 1..=size.turns {
        for &kind in &kinds {
            eprintln!("turn {turn} of {}: {}", size.turns, kind.name());
            let doing = |what: &str| format!("{}: {what}", kind.name());
            let server = programs.start(kind, None)?;
            let measured = idle::measure(&server, token, size.connections).await;
            idle.entry(kind).or_default().push(measured.with_context(|| doing("idle"))?);
            drop(server);
            let servers = [programs.start(kind, None)?];
            let place = Place { servers: &servers, redis: None, token };
            for pairs in PAIRS {
                let measured = rounds::measure(&place, pairs, None, time).await;
                let measured = measured.with_context(|| doing("rounds"))?;
                rounds.entry((kind, pairs)).or_default().push(measured);
            }
            if matches!(kind, Kind::Ours | Kind::SocketIo) {
                let two = several::two(programs, token, kind, time).await;
                let two = two.with_context(|| doing("two instances"))?;
                flat_out.entry(kind).or_default().push(two.flat_out);
                paced.entry(kind).or_default().push(two.paced);
            }
        }
    }
    for instances in INSTANCES {
        eprintln!("commands to Redis with {instances} instances");
        let counted = several::commands(programs, token, instances, time).await?;
        commands
            .entry(instances)
            .or_default()
            .push(Rounds { commands: counted, ..Rounds::default() });
    }
    Ok(Figures {
        idle: idle.into_iter().map(|(kind, all)| (kind, median_idle(&all))).collect(),
        rounds: rounds.into_iter().map(|(key, all)| (key, median_rounds(&all))).collect(),
        flat_out: flat_out.into_iter().map(|(kind, all)| (kind, median_rounds(&all))).collect(),
        paced: paced.into_iter().map(|(kind, all)| (kind, median_rounds(&all))).collect(),
        commands: commands.into_iter().map(|(n, all)| (n, median_rounds(&all).commands)).collect(),
    })
}

fn median_idle(all: &[Idle]) -> Idle {
    let of = |part: fn(&Idle) -> f64| median(all.iter().map(part).collect());
    Idle { bytes: of(|i| i.bytes), per_second: of(|i| i.per_second), cpu: of(|i| i.cpu) }
}

fn median_rounds(all: &[Rounds]) -> Rounds {
    let of = |part: fn(&Rounds) -> f64| median(all.iter().map(part).collect());
    Rounds {
        per_second: of(|r| r.per_second),
        p50: of(|r| r.p50),
        p99: of(|r| r.p99),
        cpu: of(|r| r.cpu),
        redis: of(|r| r.redis),
        commands: of(|r| r.commands),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
