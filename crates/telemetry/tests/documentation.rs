//! `docs/metrics.md` is the registry of metrics, written out.

use std::fmt::Write as _;
use std::path::Path;

use p2p_telemetry::metrics::{SECTIONS, Section};
use p2p_telemetry::{Metric, MetricKind};

const HEAD: &str = "# Metrics

What `/metrics` shows to Prometheus, in its text format: every name, its labels with every value that
they may have, and its meaning. A value beyond those is counted as `other`, so the number of series
is known before the first of them. Counters begin at 0 with the process; times are in seconds, sizes
in bytes.

Signaling serves `/metrics` on its own port, or with `/livez` and `/readyz` on that of
`--admin-listen`; a relay serves it only there.

This page is made from `crates/telemetry/src/metrics.rs`:
`P2P_BLESS=1 cargo test -p p2p-telemetry --test documentation` writes it anew.
";

#[test]
fn docs_metrics_md_is_the_registry() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let expected = page();
    if std::env::var_os("P2P_BLESS").is_some() {
        std::fs::write(&path, &expected).expect("docs/ is writable");
    }
    let written = std::fs::read_to_string(&path).expect("docs/metrics.md is there");
    assert!(
        written == expected,
        "docs/metrics.md is stale: \
         run P2P_BLESS=1 cargo test -p p2p-telemetry --test documentation"
    );
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for Section { title, about, metrics } in SECTIONS {
        write!(page, "\n## {title}\n\n{about}\n\n| name | kind | labels | |\n|---|---|---|---|\n")
            .expect("a string takes everything");
        for metric in *metrics {
            page.push_str(&row(metric));
        }
    }
    page
}

fn row(metric: &Metric) -> String {
    let Metric { name, kind, help, .. } = metric;
    let kind = match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    };
    let labels: Vec<String> = metric
        .labels
        .iter()
        .map(|label| {
            let values: Vec<String> = label.values.iter().map(|v| format!("`{v}`")).collect();
            match values.is_empty() {
                true => format!("`{}`", label.name),
                false => format!("`{}`: {}", label.name, values.join(", ")),
            }
        })
        .collect();
    let buckets: Vec<String> = metric.buckets.iter().map(f64::to_string).collect();
    let buckets = match buckets.is_empty() {
        true => String::new(),
        false => format!(" Buckets: {}.", buckets.join(", ")),
    };
    format!("| `{name}` | {kind} | {} | {help}{buckets} |\n", labels.join("<br>"))
}
