//! `docs/nat-matrix.md`: the measured runs as tables, and how they were measured.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::measure::{Sample, Stack};
use crate::nat::{NatKind, Path};

/// All samples of one pair under one loss, by stack.
type Row<'a> = BTreeMap<Stack, Vec<&'a Sample>>;

/// The page, whole. Rows come in the order of `pairs`; a pair without a sample has none.
pub fn render(samples: &[Sample], pairs: &[(NatKind, NatKind)]) -> String {
    let mut losses: Vec<f64> = samples.iter().map(|sample| sample.loss).collect();
    losses.sort_by(f64::total_cmp);
    losses.dedup();
    let mut text = String::from(HEAD);
    for loss in losses {
        let title = if loss == 0.0 {
            "No loss".to_owned()
        } else {
            format!("{loss} % loss, on every way in each direction")
        };
        let _ = write!(text, "\n## {title}\n\n{TABLE_HEAD}");
        for (caller, listener) in pairs {
            let row = row(samples, *caller, *listener, loss);
            if !row.is_empty() {
                let _ = writeln!(text, "{}", line(*caller, *listener, &row));
            }
        }
    }
    text.push_str(&misses(samples));
    text.push_str(METHOD);
    text
}

fn row(samples: &[Sample], caller: NatKind, listener: NatKind, loss: f64) -> Row<'_> {
    let mut row = Row::new();
    for sample in samples {
        if (sample.caller, sample.listener) == (caller, listener) && sample.loss == loss {
            row.entry(sample.stack).or_default().push(sample);
        }
    }
    row
}

fn line(caller: NatKind, listener: NatKind, row: &Row<'_>) -> String {
    let of = |stack| row.get(&stack).map_or(&[][..], Vec::as_slice);
    let ours = of(Stack::Ours);
    let checks = percentile(ours.iter().map(|sample| sample.checks as f64).collect(), 50);
    format!(
        "| {caller} → {listener} | {} | {} | {} | {} | {} | {} | {} |",
        connected(ours),
        ways(ours),
        times(ours.iter().filter_map(|sample| sample.first_byte_ms)),
        times(ours.iter().filter_map(|sample| sample.direct_ms)),
        checks.map_or("–".into(), |checks| format!("{checks:.0}")),
        yardstick(of(Stack::WebrtcIce), ours.len()),
        yardstick(of(Stack::WebrtcIceTuned), ours.len()),
    )
}

/// How many of the runs connected.
fn connected(samples: &[&Sample]) -> String {
    let connected = samples.iter().filter(|sample| sample.path.is_some()).count();
    let text = format!("{connected}/{}", samples.len());
    if connected == samples.len() { text } else { format!("**{text}**") }
}

/// The methods of the paths at the end, the most frequent first.
fn ways(samples: &[&Sample]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.path.is_some()) {
        *counts.entry(sample.method.as_str()).or_default() += 1;
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    match counts.as_slice() {
        [] => "none".into(),
        [(only, _)] => (*only).to_owned(),
        several => {
            let each: Vec<String> =
                several.iter().map(|(way, count)| format!("{way} ×{count}")).collect();
            each.join(", ")
        }
    }
}

/// The median and the 95th percentile.
fn times(times: impl Iterator<Item = f64>) -> String {
    let times: Vec<f64> = times.collect();
    match (percentile(times.clone(), 50), percentile(times, 95)) {
        (Some(p50), Some(p95)) => format!("{p50:.0} / {p95:.0}"),
        _ => "–".into(),
    }
}

/// What the yardstick does: its path and the time to its first byte; and in how many runs, where those
/// are not as many as ours.
fn yardstick(samples: &[&Sample], ours: usize) -> String {
    if samples.is_empty() {
        return "–".into();
    }
    let paths: Vec<Path> = samples.iter().filter_map(|sample| sample.path).collect();
    if paths.is_empty() {
        return "none".into();
    }
    let direct = paths.iter().filter(|path| **path == Path::Direct).count();
    let word = match (direct, paths.len() - direct) {
        (_, 0) => "direct".to_owned(),
        (0, _) => "relay".to_owned(),
        (direct, relay) => format!("direct ×{direct}, relay ×{relay}"),
    };
    let times = times(samples.iter().filter_map(|sample| sample.first_byte_ms));
    let missed = samples.len() - paths.len();
    let missed = if missed == 0 { String::new() } else { format!(", {missed} missed") };
    let runs = if samples.len() == ours { String::new() } else { format!(" of {}", samples.len()) };
    format!("{word} {times}{missed}{runs}")
}

/// By the nearest rank.
fn percentile(mut values: Vec<f64>, percent: usize) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.checked_sub(1)?).copied()
}

/// Our runs that did not connect, with what they said.
fn misses(samples: &[Sample]) -> String {
    let mut causes: BTreeMap<(String, String), usize> = BTreeMap::new();
    for sample in samples {
        if sample.stack == Stack::Ours && sample.path.is_none() {
            let pair = format!("{} → {}, {} % loss", sample.caller, sample.listener, sample.loss);
            let cause = sample.failure.clone().unwrap_or_else(|| "no byte came across".into());
            *causes.entry((pair, cause.replace('\n', " "))).or_default() += 1;
        }
    }
    if causes.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n## Runs that did not connect\n\n");
    for ((pair, cause), count) in causes {
        let _ = writeln!(text, "- {pair}, {count}×: {cause}");
    }
    text
}

const HEAD: &str = "# NAT matrix

Which pairs of NATs connect, how, and how fast. Two peers are 50 ms of round trip apart and 40 ms from
the coordinator and the relay. Times are milliseconds from the caller's `connect`, median / 95th
percentile: until the first byte of a stream is in the listener's hands, and until the caller has its
connection over a direct path, on which the listener has answered. *Checks* are the STUN checks that the attempt puts on the network between the two, median.
`webrtc-ice` 0.17 runs through the same pairs, with its defaults and tuned; its times are those to
its first byte.
";

const TABLE_HEAD: &str = "\
| caller → listener | connected | path | first byte | direct | checks | webrtc-ice | webrtc-ice, tuned |
|---|---|---|---|---|---|---|---|
";

const METHOD: &str = "
## The kinds

| kind | mapping | filtering |
|---|---|---|
| open | no NAT | none |
| full-cone | endpoint-independent | endpoint-independent |
| address-restricted | endpoint-independent | address-dependent |
| port-restricted | endpoint-independent | address-and-port-dependent |
| double-nat | a port-restricted home behind a carrier's endpoint-independent NAT | |
| shared-cgn | two such homes behind one carrier's NAT, which does not hairpin | |
| shared-hairpin-cgn | the same, and it does | |
| symmetric | address-and-port-dependent, random ports | address-and-port-dependent |
| symmetric-sequential | address-and-port-dependent, the next port each time | address-and-port-dependent |
| udp-blocked | no UDP passes | |
| only-tcp-443 | nothing passes but TCP to port 443 and to signaling | |
| early-packet | port-restricted, but takes an unsolicited packet into its connection table | |

Each is first shown to be what it claims by coturn's `turnutils_natdiscovery` (RFC 5780), and each pair by
a plain UDP punch that shares no line with the programs. All but *early-packet* drop what their inside
did not ask for before it can take a port.

## How it was measured

`cargo xtask lab --matrix` writes this page: `coordinator` and our client library in Linux network namespaces
on one machine, each peer behind an nftables NAT of its own. Delay, loss and hops are those of the
lab's own switch in user space, because `sch_netem` is not in every kernel; it is never early, and
how late it is depends on the machine. Where peers share a carrier, their packets turn at the carrier
and have no delay; the checks among them are not counted.

Every run has fresh programs, ports and mappings, both sides registered and ready before the clock
starts. A run that does not connect is counted, not tried again. A direct path is waited for 10 s
where one is possible without port prediction, 3 s elsewhere. `webrtc-ice` has gathered all its candidates
before the clock starts and gets them across in one offer and one answer; tuned means acceptance
waits of zero and a check interval of 50 ms. Our first byte is encrypted and authenticated, its is
neither.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(stack: Stack, path: Option<Path>, first_byte_ms: f64) -> Sample {
        Sample {
            caller: NatKind::Open,
            listener: NatKind::FullCone,
            loss: 0.0,
            stack,
            path,
            method: path.map_or("", |_| "udp-hole-punch").into(),
            first_byte_ms: path.map(|_| first_byte_ms),
            direct_ms: path.map(|_| 93.0),
            checks: 4,
            failure: path.is_none().then(|| "no path in time".into()),
        }
    }

    #[test]
    fn misses_are_counted_and_told() {
        let direct = Some(Path::Direct);
        let samples = [
            sample(Stack::Ours, direct, 120.0),
            sample(Stack::Ours, direct, 140.0),
            sample(Stack::Ours, None, 0.0),
            sample(Stack::WebrtcIce, direct, 1240.0),
            sample(Stack::WebrtcIceTuned, None, 0.0),
        ];
        let page = render(&samples, &[(NatKind::Open, NatKind::FullCone)]);
        let row = "| open → full-cone | **2/3** | udp-hole-punch | 120 / 140 | 93 / 93 | 4 \
                   | direct 1240 / 1240 of 1 | none |";
        assert!(page.contains(row), "{page}");
        assert!(page.contains("- open → full-cone, 0 % loss, 1×: no path in time"), "{page}");
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(percentile(ten.clone(), 50), Some(5.0));
        assert_eq!(percentile(ten, 95), Some(10.0));
        assert_eq!(percentile(Vec::new(), 50), None);
    }
}
