//! The figures as tables, and each target with what was reached.

use std::fmt::Write as _;

use crate::outage::percentile;
use crate::{Figures, Size};

/// What the section of the page begins with.
const TITLE: &str = "## Statistics";
/// Events a second on one core, at least.
const EVENTS: f64 = 5_000.0;
/// Seconds of a question, at most.
const ANSWER: f64 = 0.1;

pub(crate) fn text(figures: &Figures, size: Size) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a String takes all text");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    line(format!(
        "{cores} cores; {} turns of {} s with and without an outage\n",
        size.turns, size.seconds
    ));
    let mut targets = Vec::new();
    if !figures.written.is_empty() {
        line("| written on one core, in batches of 256 | events | events a second | events for each second of CPU time |".to_owned());
        line("|---|---|---|---|".to_owned());
        for written in &figures.written {
            line(format!(
                "| {} | {} | {:.0} | {:.0} |",
                written.what, written.events, written.per_second, written.per_cpu_second
            ));
        }
        let slowest =
            figures.written.iter().map(|w| w.per_cpu_second).fold(f64::INFINITY, f64::min);
        targets.push((
            "5,000 events in a second of one core".to_owned(),
            format!("{slowest:.0}"),
            slowest >= EVENTS,
        ));
    }
    if let Some(outage) = &figures.outage {
        line(format!(
            "\n| signaling at 1,000 round trips and 100 attempts a second ({} attempts in all) | message one way p99, median (lowest to highest) | `connect` answered p99, median (lowest to highest) |",
            outage.attempts
        ));
        line("|---|---|---|".to_owned());
        for (name, turns) in [
            ("PostgreSQL runs, another server is stopped and started", &outage.without),
            ("PostgreSQL is stopped for a third of the time", &outage.with),
        ] {
            line(format!("| {name} | {} | {} |", spread(&turns.message), spread(&turns.connect)));
        }
        let within = |with: &[f64], without: &[f64]| {
            percentile(with.to_vec(), 0.5) <= percentile(without.to_vec(), 1.0)
        };
        targets.push((
            "p99 during an outage within what it varies without".to_owned(),
            format!("{} and {}", spread(&outage.with.message), spread(&outage.with.connect)),
            within(&outage.with.message, &outage.without.message)
                && within(&outage.with.connect, &outage.without.connect),
        ));
        targets.push((
            "records lost in all outages".to_owned(),
            format!("{:.0}", outage.lost),
            outage.lost == 0.0,
        ));
    }
    if let Some(loaded) = &figures.loaded {
        line(format!("\n| asked over {} attempts | median | slowest |", loaded.attempts));
        line("|---|---|---|".to_owned());
        for question in &loaded.questions {
            line(format!(
                "| `{}` | {:.1} ms | {:.1} ms |",
                question.path,
                question.median * 1e3,
                question.slowest * 1e3
            ));
        }
        line(format!(
            "\nRolling all of them up once, {} hours and days, took {:.0} s.",
            loaded.rolled_up.1, loaded.rolled_up.0
        ));
        for question in loaded.questions.iter().take(2) {
            targets.push((
                format!("`{}` in 100 ms", question.path),
                format!("{:.1} ms", question.median * 1e3),
                question.median <= ANSWER,
            ));
        }
    }
    line("\n| target | reached | |".to_owned());
    line("|---|---|---|".to_owned());
    for (target, reached, is_met) in targets {
        line(format!("| {target} | {reached} | {} |", met(is_met)));
    }
    out
}

fn met(is: bool) -> &'static str {
    if is { "met" } else { "**missed**" }
}

fn spread(seconds: &[f64]) -> String {
    let at = |part| percentile(seconds.to_vec(), part) * 1e3;
    format!("{:.2} ms ({:.2} to {:.2})", at(0.5), at(0.0), at(1.0))
}

/// The documentation's page with these tables; what it says of other parts stays.
pub(crate) fn page(before: &str, tables: &str) -> String {
    let from = before.find(TITLE).unwrap_or(before.len());
    let behind = &before[from..];
    let to = behind[behind.len().min(TITLE.len())..].find("\n## ");
    let rest = to.map_or("", |at| &behind[TITLE.len() + at..]);
    let gap = if before[..from].ends_with("\n\n") { "" } else { "\n" };
    format!("{}{gap}{}{rest}", &before[..from], section(tables))
}

fn section(tables: &str) -> String {
    format!(
        "{TITLE}\n\n\
         ```sh\ncargo xtask bench stats --write\n```\n\n\
         builds `coordinator` for release and starts PostgreSQL servers of its own with the durability that PostgreSQL has by \
         default. *On one core* are the writer and the database server together (`taskset -c 0`). Signaling is measured in \
         turns, with its PostgreSQL stopped at once, as by a crash, for a third of the time and started again, and with \
         another server beside it treated so: that takes CPU time by itself. \
         Questions are asked over HTTP of a `coordinator signaling` with that database.\n\n\
         {}\n",
        tables.trim_end()
    )
}
