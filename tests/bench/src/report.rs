//! The figures as tables, and each target with the ratio that was reached.

use std::fmt::Write as _;

use crate::Size;
use crate::peers::Kind;
use crate::turns::{Figures, INSTANCES, PAIRS};

/// One target: what was reached, and what it should be at most.
struct Target {
    what: &'static str,
    reached: Option<f64>,
    at_most: f64,
    unit: &'static str,
}

pub(crate) fn text(figures: &Figures, size: Size) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a String takes all text");
    line(format!(
        "{} idle connections; payloads of 1 KiB; medians of {} turns of {} s; {} cores\n",
        size.connections,
        size.turns,
        size.seconds,
        std::thread::available_parallelism().map_or(0, usize::from)
    ));
    line(
        "| one instance | memory per idle connection | connections a second | CPU per connection |"
            .to_owned(),
    );
    line("|---|---|---|---|".to_owned());
    for (kind, idle) in &figures.idle {
        line(format!(
            "| {} | {:.1} KB | {:.0} | {:.0} µs |",
            kind.name(),
            idle.bytes / 1000.0,
            idle.per_second,
            idle.cpu * 1e6
        ));
    }
    line("\n| one instance | pairs | round trips a second | one way p50 / p99 | server CPU per message |".to_owned());
    line("|---|---|---|---|---|".to_owned());
    for pairs in PAIRS {
        for kind in Kind::ALL {
            let Some(rounds) = figures.rounds.get(&(kind, pairs)) else { continue };
            line(format!(
                "| {} | {pairs} | {:.0} | {:.2} / {:.2} ms | {:.1} µs |",
                kind.name(),
                rounds.per_second,
                rounds.p50 * 1e3,
                rounds.p99 * 1e3,
                rounds.cpu * 1e6
            ));
        }
    }
    line("\n| two instances through Redis, 50 pairs | round trips a second | all CPU per message | Redis alone | one way p50 / p99 at 1,000 messages a second |".to_owned());
    line("|---|---|---|---|---|".to_owned());
    for (kind, flat_out) in &figures.flat_out {
        let paced = &figures.paced[kind];
        line(format!(
            "| {} | {:.0} | {:.1} µs | {:.1} µs | {:.2} / {:.2} ms |",
            kind.name(),
            flat_out.per_second,
            flat_out.cpu * 1e6,
            flat_out.redis * 1e6,
            paced.p50 * 1e3,
            paced.p99 * 1e3
        ));
    }
    line("\n| instances | commands to Redis per message at 1,000 messages a second |".to_owned());
    line("|---|---|".to_owned());
    for (instances, commands) in &figures.commands {
        line(format!("| {instances} | {commands:.2} |"));
    }
    line("\n| target | reached | at most | |".to_owned());
    line("|---|---|---|---|".to_owned());
    for Target { what, reached, at_most, unit } in targets(figures) {
        let (reached, met) = match reached {
            Some(reached) => (
                format!("{reached:.2}{unit}"),
                if reached <= at_most { "met" } else { "**missed**" },
            ),
            None => ("not measured".to_owned(), ""),
        };
        line(format!("| {what} | {reached} | {at_most:.2}{unit} | {met} |"));
    }
    if let Some(remarks) = remarks(figures) {
        line(format!("\n{remarks}"));
    }
    out
}

/// Why targets may be missed: what of the difference no program of this kind can do without.
fn remarks(figures: &Figures) -> Option<String> {
    let cpu = |kind| figures.rounds.get(&(kind, 50)).map(|rounds| rounds.cpu);
    let floor = cpu(Kind::Floor)? / cpu(Kind::PeerServer)?;
    let ours = figures.flat_out.get(&Kind::Ours)?;
    let other = figures.flat_out.get(&Kind::SocketIo)?;
    Some(format!(
        "A message of P2P Coordinator is four frames (in, out, acknowledgement, receipt) and is kept meanwhile, where \
         the others' is two and forgotten. The bare floor, which does nothing else than the two, takes {floor:.2} × of \
         PeerServer's CPU. Between two instances Redis alone takes {:.0} µs for the two scripts that keep a message and \
         its receipt, {:.2} × of all that Socket.IO takes: that one publishes, and keeps nothing.",
        ours.redis * 1e6,
        ours.redis / other.cpu
    ))
}

fn targets(figures: &Figures) -> Vec<Target> {
    let cpu = |kind| figures.rounds.get(&(kind, 50)).map(|rounds| rounds.cpu);
    let ratio = |ours: Option<f64>, other: Option<f64>| Some(ours? / other?);
    let two = |kind| figures.flat_out.get(&kind).map(|rounds| rounds.cpu);
    let p99 = |kind| figures.paced.get(&kind).map(|rounds| rounds.p99);
    let commands = |instances: usize| figures.commands.get(&instances).copied();
    vec![
        Target {
            what: "memory per idle connection",
            reached: figures.idle.get(&Kind::Ours).map(|idle| idle.bytes / 1000.0),
            at_most: 10.0,
            unit: " KB",
        },
        Target {
            what: "CPU per message, 50 pairs, of the bare floor's",
            reached: ratio(cpu(Kind::Ours), cpu(Kind::Floor)),
            at_most: 1.5,
            unit: " ×",
        },
        Target {
            what: "CPU per message, 50 pairs, of PeerServer's",
            reached: ratio(cpu(Kind::Ours), cpu(Kind::PeerServer)),
            at_most: 1.0 / 3.0,
            unit: " ×",
        },
        Target {
            what: "two instances: all CPU per message, of Socket.IO's",
            reached: ratio(two(Kind::Ours), two(Kind::SocketIo)),
            at_most: 1.0 / 3.0,
            unit: " ×",
        },
        Target {
            what: "two instances: p99 at 1,000 messages a second, of Socket.IO's",
            reached: ratio(p99(Kind::Ours), p99(Kind::SocketIo)),
            at_most: 0.5,
            unit: " ×",
        },
        Target {
            what: "commands to Redis per message, 8 instances of 2's",
            reached: ratio(commands(INSTANCES[2]), commands(INSTANCES[0])),
            at_most: 1.05,
            unit: " ×",
        },
    ]
}

/// What the section of the page begins with.
const TITLE: &str = "## Signaling";

/// The documentation's page with these tables; what it says of other parts stays.
pub(crate) fn page(before: &str, tables: &str) -> String {
    let from = before.find(TITLE).unwrap_or(before.len());
    let behind = &before[from..];
    let to = behind[behind.len().min(TITLE.len())..].find("\n## ");
    let rest = to.map_or("", |at| &behind[TITLE.len() + at..]);
    format!("{}{}{rest}", &before[..from], section(tables))
}

fn section(tables: &str) -> String {
    format!(
        "{TITLE}\n\n\
         ```sh\ncargo xtask bench signaling --write\n```\n\n\
         builds `coordinator` for release, installs PeerServer and Socket.IO from npm into `target/`, and measures all of \
         them in turns: the *bare floor* is a program of ours with a hash map of senders and nothing else \
         (`tests/bench/src/bin/floor.rs`), PeerServer is npm `peer`, Socket.IO is npm `socket.io`, with \
         `@socket.io/redis-adapter` where there are two instances. Memory is the server's own (RSS); the kernel takes some \
         4 KB more for each socket of any of them. CPU is that of all server processes and of Redis, user and system, \
         by `/proc`. A round trip is two messages. P2P Coordinator's messages are acknowledged, receipted, kept until \
         then and delivered once; the others' are sent and forgotten.\n\n\
         {}\n",
        tables.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_is_replaced_and_everything_else_stays() {
        let page =
            |figures: &str| page("# All\n\n## Signaling\n\nold\n\n## Paths\n\nkept\n", figures);
        let written = page("| new |");
        assert!(written.starts_with("# All\n\n## Signaling\n\n"), "{written}");
        assert!(written.ends_with("| new |\n\n## Paths\n\nkept\n"), "{written}");
        assert!(!written.contains("old"));
    }

    #[test]
    fn a_page_without_the_section_gets_it_behind_the_rest() {
        let written = page("# All\n\n", "| new |");
        assert!(written.starts_with("# All\n\n## Signaling\n\n"), "{written}");
    }
}
