//! `coordinator status`: what services are doing, each by its own word.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::failure::{Failure, exit};
use crate::output::data;
use crate::probe::{Answer, Target};
use crate::settings::duration;
use crate::table::{Cell, Sheet, Side, Tone, count};

/// Show what running services are doing
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whom to ask: signaling instances and relays, at the port that serves /readyz and /metrics
    #[arg(
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        value_delimiter = ',',
        env = "P2P_STATUS_URLS"
    )]
    urls: Vec<String>,
    /// How long to wait for each answer
    #[arg(long, default_value = "3s", value_parser = duration::parse, env = "P2P_STATUS_TIMEOUT")]
    timeout: Duration,
    /// Print one JSON object
    #[arg(long, env = "P2P_JSON")]
    json: bool,
}

/// What one service says.
#[derive(Debug, Serialize)]
struct Status {
    url: String,
    /// `ready`, `draining`, `not_ready` or `unreachable`.
    state: &'static str,
    /// Why it is unreachable or not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Open WebSockets, where it has any and tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<u64>,
    /// Attempts that are not decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    open_attempts: Option<u64>,
    /// Allocations of a relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    allocations: Option<u64>,
    /// What it rests on, and how that does.
    checks: BTreeMap<String, String>,
}

/// Asks all of them at once, and prints what they say in the order of the arguments.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let targets: Vec<_> =
        args.urls.iter().map(|url| Target::parse(url)).collect::<Result<_, _>>()?;
    let asking = args.urls.iter().zip(&targets).map(|(url, target)| async move {
        let ready = target.at("/readyz").get(args.timeout).await;
        // A port that keeps its metrics to itself answers with something else.
        let metrics = target.at("/metrics").get(args.timeout).await;
        let metrics = metrics.ok().filter(|answer| answer.status == 200);
        Status::of(url, ready, metrics.as_ref())
    });
    let all = futures_util::future::join_all(asking).await;
    if args.json {
        let json = serde_json::json!({ "services": all });
        data(format_args!("{json}"));
    } else {
        show(&all);
    }
    let silent: Vec<_> = all.iter().filter(|status| status.state == "unreachable").collect();
    let Some(first) = silent.first() else { return Ok(()) };
    Err(Failure::new(
        "unreachable",
        exit::UNREACHABLE,
        format!("{} of {} do not answer, {} among them", silent.len(), all.len(), first.url),
        "start them, or name their addresses: coordinator status http://HOST:PORT …",
    ))
}

impl Status {
    fn of(url: &str, ready: Result<Answer, String>, metrics: Option<&Answer>) -> Self {
        let (state, reason, checks) = match ready {
            Ok(answer) if answer.status == 200 => ("ready", None, checks(&answer.body)),
            Ok(answer)
                if answer.body.contains("drain") || answer.body.contains("shutting down") =>
            {
                ("draining", None, BTreeMap::new())
            }
            Ok(answer) => {
                let reason = format!("{}: {}", answer.status, answer.summary());
                ("not_ready", Some(reason), BTreeMap::new())
            }
            Err(cause) => ("unreachable", Some(cause), BTreeMap::new()),
        };
        // A gauge that nothing has moved yet is not among the metrics.
        let signaling = checks.contains_key("registry");
        let gauge = |name: &str, its: bool| {
            let told = metrics.and_then(|answer| sum(&answer.body, name));
            told.or((metrics.is_some() && its).then_some(0))
        };
        Self {
            url: url.to_owned(),
            state,
            reason,
            connections: gauge("p2p_signaling_connections", signaling),
            open_attempts: gauge("p2p_attempts_open", signaling),
            allocations: gauge("p2p_relay_allocations", !signaling),
            checks,
        }
    }
}

/// The lines `name: word …` below the first.
fn checks(body: &str) -> BTreeMap<String, String> {
    let lines = body.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The sum of a gauge over its labels, if it is there at all.
fn sum(metrics: &str, name: &str) -> Option<u64> {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = if rest.starts_with('{') { rest.split_once('}')?.1 } else { rest };
        rest.strip_prefix(' ')?.trim().parse::<f64>().ok()
    });
    values.fold(None, |sum: Option<f64>, value| Some(sum.unwrap_or_default() + value)).map(
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a gauge of things that are counted"
        )]
        |sum| sum as u64,
    )
}

fn show(all: &[Status]) {
    let number = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), count);
    let rows: Vec<[Cell; 6]> = all
        .iter()
        .map(|status| {
            let tone = match status.state {
                "ready" => Tone::Good,
                "draining" => Tone::Fair,
                _ => Tone::Bad,
            };
            let rests: Vec<_> =
                status.checks.iter().map(|(name, value)| format!("{name} {value}")).collect();
            let told = status.reason.clone().unwrap_or_else(|| rests.join(", "));
            [
                Cell::from(&status.url),
                Cell::toned(status.state, tone),
                Cell::from(number(status.connections)),
                Cell::from(number(status.open_attempts)),
                Cell::from(number(status.allocations)),
                Cell::whole(&told),
            ]
        })
        .collect();
    let mut sheet = Sheet::new();
    let columns = [
        ("service", Side::Left),
        ("state", Side::Left),
        ("connections", Side::Right),
        ("attempts", Side::Right),
        ("allocations", Side::Right),
        ("", Side::Left),
    ];
    sheet.table(columns, &rows);
    sheet.print();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.to_owned() }
    }

    #[test]
    fn what_a_service_says_is_told_apart() {
        let body = "ready\ndatabase: ok\nregistry: degraded\n";
        let metrics = "# HELP p2p_relay_allocations Allocations\n\
                       p2p_relay_allocations{transport=\"udp\"} 3\n\
                       p2p_relay_allocations{transport=\"tls\"} 4\n\
                       p2p_relay_allocations_created_total{transport=\"udp\"} 900\n\
                       p2p_signaling_connections 12\n";
        let status = Status::of("here", Ok(answer(200, body)), Some(&answer(200, metrics)));
        assert_eq!((status.state, status.connections), ("ready", Some(12)));
        assert_eq!((status.allocations, status.open_attempts), (Some(7), Some(0)));
        assert_eq!(status.checks["registry"], "degraded");
        assert_eq!(status.checks.len(), 2);
        let draining = "{\"code\":\"draining\",\"detail\":\"this instance is shutting down\"}";
        for (answered, state) in [
            (Ok(answer(503, draining)), "draining"),
            (Ok(answer(404, "no such page")), "not_ready"),
            (Err("connection refused".to_owned()), "unreachable"),
        ] {
            assert_eq!(Status::of("there", answered, None).state, state);
        }
    }
}
