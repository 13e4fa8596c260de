//! `coordinator attempts [ID]`: the attempts of late, or the whole story of one.

use std::collections::BTreeSet;

use clap::ArgMatches;
use p2p_stats::{AttemptRecord, CandidateSummary, NatSummary, Page};
use p2p_wire::{
    AttemptId, CandidateKind, Method, Outcome, PathReason, PathUse, PlanStep, Policy, Step,
    StepResult,
};

use crate::api::{Api, ServerArgs};
use crate::failure::Failure;
use crate::output::{data, say};
use crate::stats::{Period, read};
use crate::table::{Cell, Sheet, Side, Tone, bytes, ms, percent, utc};

/// List connection attempts, or tell one's whole story
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The attempt; without it the latest ones are listed
    id: Option<AttemptId>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    period: Period,
    /// How many to list, up to 200
    #[arg(
        long,
        default_value = "20",
        value_parser = clap::value_parser!(u16).range(1..=200),
        env = "P2P_ATTEMPTS_LIMIT"
    )]
    limit: u16,
    /// Where the page before ended, as it says there
    #[arg(long, value_name = "CURSOR", env = "P2P_ATTEMPTS_AFTER")]
    after: Option<p2p_stats::Cursor>,
    /// Print the JSON that the service answers
    #[arg(long, env = "P2P_JSON")]
    json: bool,
}

/// Asks, and prints.
pub async fn run(args: &Args, matches: &ArgMatches) -> Result<(), Failure> {
    let api = Api::of(&args.server, matches)?;
    let answer = match &args.id {
        Some(id) => api.get(&format!("/v1/attempts/{id}")).await?,
        None => {
            let after = args.after.as_ref().map(|after| format!("&after={after}"));
            let (limit, after) = (args.limit, after.unwrap_or_default());
            let period = args.period.query();
            api.get(&format!("/v1/attempts?limit={limit}{after}{period}")).await?
        }
    };
    if args.json {
        data(answer);
        return Ok(());
    }
    let mut sheet = Sheet::new();
    if args.id.is_some() {
        tell_one(&read(answer)?, &mut sheet);
        sheet.print();
        return Ok(());
    }
    let page: Page = read(answer)?;
    sheet.line(&format!("{}, {}, newest first", api.url(), args.period.words()));
    list(&page, &mut sheet);
    sheet.print();
    if let Some(next) = page.next {
        say(format_args!("there are older ones: --after {next}"));
    }
    Ok(())
}

fn list(page: &Page, sheet: &mut Sheet) {
    if page.attempts.is_empty() {
        sheet.line("  no attempts in this time");
        return;
    }
    sheet.line("");
    let rows: Vec<[Cell; 8]> = page
        .attempts
        .iter()
        .map(|one| {
            [
                utc(one.started_unix_ms).into(),
                Cell::whole(one.attempt.as_str()),
                one.app.as_str().into(),
                side(one.caller.as_str(), one.caller_nat.as_ref()).into(),
                side(one.callee.as_str(), one.callee_nat.as_ref()).into(),
                Cell::toned(one.outcome.as_str(), tone(one.outcome)),
                method_or_reason(one).into(),
                ms(one.connected_ms).into(),
            ]
        })
        .collect();
    let columns = [
        ("began (UTC)", Side::Left),
        ("attempt", Side::Left),
        ("app", Side::Left),
        ("caller", Side::Left),
        ("callee", Side::Left),
        ("outcome", Side::Left),
        ("by", Side::Left),
        ("first path", Side::Right),
    ];
    sheet.table(columns, &rows);
}

fn tell_one(one: &AttemptRecord, sheet: &mut Sheet) {
    sheet.line(&format!("Attempt {}: {} to {}", one.attempt, one.caller, one.callee));
    sheet.line("");
    let outcome = match one.outcome {
        Outcome::Direct => "connected directly",
        Outcome::Relay => "connected through the relay",
        Outcome::Failed => "failed",
    };
    sheet.field("outcome", &format!("{outcome} ({})", method_or_reason(one)));
    if !one.verdict.is_empty() {
        sheet.field("verdict", &one.verdict);
    }
    sheet.field("app", one.app.as_str());
    sheet.field("began", &format!("{} UTC", utc(one.started_unix_ms)));
    let times =
        format!("first path in {}, direct path in {}", ms(one.connected_ms), ms(one.direct_ms));
    sheet.field("times", &times);
    let policy = match one.policy {
        Policy::Auto => "auto: any path, the best one in the end",
        Policy::Direct => "direct: never through a relay",
        Policy::Relay => "relay: never directly",
    };
    sheet.field("policy", policy);
    sheet.field("caller", &network(one.caller.as_str(), one.caller_nat.as_ref()));
    sheet.field("callee", &network(one.callee.as_str(), one.callee_nat.as_ref()));
    candidates("caller reachable", &one.story.caller_candidates, sheet);
    candidates("callee reachable", &one.story.callee_candidates, sheet);
    plan(&one.plan, sheet);
    steps(&format!("What {} (caller) tells", one.caller), &one.caller_steps, sheet);
    steps(&format!("What {} (callee) tells", one.callee), &one.callee_steps, sheet);
    paths(
        &format!("What the connection used, as {} tells", one.caller),
        &one.story.caller_paths,
        sheet,
    );
    paths(
        &format!("What the connection used, as {} tells", one.callee),
        &one.story.callee_paths,
        sheet,
    );
}

fn candidates(label: &str, candidates: &BTreeSet<CandidateSummary>, sheet: &mut Sheet) {
    let told = candidates.iter().map(|candidate| {
        let kind = match candidate.kind {
            CandidateKind::Host => "host",
            CandidateKind::ServerReflexive => "behind the NAT",
            CandidateKind::PeerReflexive => "as the peer sees it",
            CandidateKind::Relay => "relay",
        };
        let tcp = if candidate.tcp { " over TCP" } else { "" };
        let at = candidate.network.map(|network| format!(" {network}")).unwrap_or_default();
        format!("{kind}{at}{tcp}")
    });
    let told = told.collect::<Vec<_>>().join(", ");
    sheet.field(label, if told.is_empty() { "nowhere that was told" } else { &told });
}

fn paths(heading: &str, paths: &[PathUse], sheet: &mut Sheet) {
    if paths.is_empty() {
        return;
    }
    sheet.heading(heading);
    let rows: Vec<[Cell; 5]> = paths
        .iter()
        .map(|path| {
            let because = match path.reason {
                PathReason::First => "the first that answered",
                PathReason::Better => "better than before",
                PathReason::Silent => "the one before fell silent",
                PathReason::Lossy => "the one before lost packets",
                PathReason::Moved => "another address",
                PathReason::Closed => "the connection was closed",
                PathReason::Other => "another reason",
            };
            let tone = match path.method {
                Some(Method::Relay) => Tone::Fair,
                Some(_) => Tone::Good,
                None => Tone::Plain,
            };
            [
                format!("{} ms", path.at_ms).into(),
                Cell::toned(path.method.map_or("none", |method| method.as_str()), tone),
                bytes(path.sent_bytes).into(),
                bytes(path.received_bytes).into(),
                Cell::whole(because),
            ]
        })
        .collect();
    let columns = [
        ("from", Side::Right),
        ("path", Side::Left),
        ("sent", Side::Right),
        ("received", Side::Right),
        ("because", Side::Left),
    ];
    sheet.table(columns, &rows);
}

fn plan(plan: &[PlanStep], sheet: &mut Sheet) {
    if plan.is_empty() {
        return;
    }
    sheet.heading("The plan that both were given");
    let rows: Vec<[Cell; 5]> = plan
        .iter()
        .map(|step| {
            let tactic = step.tactic.and_then(|tactic| serde_json::to_value(tactic).ok());
            let tactic = tactic.as_ref().and_then(|name| name.as_str()).unwrap_or("-").to_owned();
            [
                step.method.into(),
                tactic.into(),
                percent(Some(step.chance)).into(),
                format!("{} ms", step.after_ms).into(),
                step.packets.into(),
            ]
        })
        .collect();
    let columns = [
        ("method", Side::Left),
        ("how", Side::Left),
        ("chance", Side::Right),
        ("begins after", Side::Right),
        ("packets at most", Side::Right),
    ];
    sheet.table(columns, &rows);
}

fn steps(heading: &str, steps: &[Step], sheet: &mut Sheet) {
    sheet.heading(heading);
    if steps.is_empty() {
        sheet.line("  nothing");
        return;
    }
    let rows: Vec<[Cell; 4]> = steps
        .iter()
        .map(|step| {
            let (result, tone) = match step.result {
                StepResult::Ok => ("✔ worked", Tone::Good),
                StepResult::Failed => ("✘ failed", Tone::Bad),
                StepResult::Skipped => ("- skipped", Tone::Plain),
            };
            [
                step.method.into(),
                Cell::toned(result, tone),
                format!("{} ms", step.ms).into(),
                Cell::whole(&step.detail),
            ]
        })
        .collect();
    let columns =
        [("method", Side::Left), ("result", Side::Left), ("after", Side::Right), ("", Side::Left)];
    sheet.table(columns, &rows);
}

fn side(peer: &str, nat: Option<&NatSummary>) -> String {
    nat.map_or_else(|| peer.to_owned(), |nat| format!("{peer} ({})", nat.nat_type))
}

fn network(peer: &str, nat: Option<&NatSummary>) -> String {
    let Some(nat) = nat else { return format!("{peer}, whose network is not known") };
    let at = nat.network.map(|network| format!(" in {network}")).unwrap_or_default();
    format!("{peer}, {}{at} (mapping {}, filtering {})", nat.nat_type, nat.mapping, nat.filtering)
}

fn method_or_reason(one: &AttemptRecord) -> String {
    let method = one.method.map(|method| method.to_string());
    method.or_else(|| one.reason.clone()).unwrap_or_else(|| "-".to_owned())
}

fn tone(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Direct => Tone::Good,
        Outcome::Relay => Tone::Fair,
        Outcome::Failed => Tone::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With Redis an id has two parts, the second of which is an instance's.
    #[test]
    fn an_id_is_listed_whole_however_long_so_that_it_can_be_asked_for() {
        let id = "0192f3a4b5c6d7e8f9a0b1c2d3e4f5a6.0192f3a4b5c6d7e8f9a0b1c2";
        let page = serde_json::json!({ "attempts": [{
            "attempt": id, "app": "default", "caller": "alice", "callee": "bob", "policy": "auto",
            "started_unix_ms": 0, "outcome": "failed", "verdict": "", "plan": [], "caller_steps": [],
            "callee_steps": [],
        }] });
        let mut sheet = Sheet::new();
        list(&read(page).unwrap(), &mut sheet);
        assert!(sheet.to_string().contains(id), "{sheet}");
    }
}
