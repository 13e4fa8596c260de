//! What `/metrics` shows. One process has one recorder, so all of it is one test binary.
#![allow(clippy::unwrap_used)]

use p2p_telemetry::metrics::{
    ATTEMPTS, DRAINING, REGISTRY_PEERS, SIGNALING_RECEIPTS, SIGNALING_REJECTED,
    TIME_TO_CONNECT_SECONDS, all,
};
use p2p_telemetry::{MetricKind, prometheus};

fn render() -> String {
    prometheus::install("1.2.3").unwrap().render()
}

#[track_caller]
fn shows(line: &str) {
    let text = render();
    assert!(text.lines().any(|shown| shown == line), "no {line:?} in:\n{text}");
}

#[test]
fn a_second_installation_shares_the_recorder_of_the_first() {
    prometheus::install("1.2.3").unwrap();
    SIGNALING_RECEIPTS.with(["queued"]).increment(2);
    prometheus::install("9.9.9").unwrap();
    SIGNALING_RECEIPTS.with(["queued"]).increment(3);
    shows("p2p_signaling_receipts_total{status=\"queued\"} 5");
    shows("p2p_build_info{version=\"1.2.3\"} 1");
}

#[test]
fn counters_and_gauges_show_their_labels_in_order() {
    render();
    ATTEMPTS.with(["direct", "udp-hole-punch"]).increment(1);
    REGISTRY_PEERS.get().set(3.0);
    DRAINING.with(["relay"]).set(1.0);
    shows("p2p_attempts_total{outcome=\"direct\",method=\"udp-hole-punch\"} 1");
    shows("p2p_registry_peers 3");
    shows("p2p_draining{role=\"relay\"} 1");
}

#[test]
fn i5_a_label_value_that_is_not_declared_counts_as_other() {
    render();
    for peer_sent in ["x", "y", "z"] {
        SIGNALING_REJECTED.with([peer_sent]).increment(1);
    }
    shows("p2p_signaling_rejected_total{reason=\"other\"} 3");
    assert!(!render().contains("reason=\"x\""));
}

#[test]
fn a_histogram_shows_the_buckets_that_the_registry_declares() {
    render();
    TIME_TO_CONNECT_SECONDS.with(["relay"]).record(0.04);
    shows("p2p_time_to_connect_seconds_bucket{outcome=\"relay\",le=\"0.025\"} 0");
    shows("p2p_time_to_connect_seconds_bucket{outcome=\"relay\",le=\"0.05\"} 1");
    shows("p2p_time_to_connect_seconds_count{outcome=\"relay\"} 1");
}

/// The exporter shows the help text and the type of what has a value, so each gets a series here.
#[test]
fn every_metric_is_described_with_its_kind() {
    render();
    for metric in all() {
        let kind = match metric.kind {
            MetricKind::Counter => {
                metrics::counter!(metric.name).increment(0);
                "counter"
            }
            MetricKind::Gauge => {
                metrics::gauge!(metric.name).increment(0.0);
                "gauge"
            }
            MetricKind::Histogram => {
                metrics::histogram!(metric.name).record(0.0);
                "histogram"
            }
        };
        let described = Some((metric.help.to_owned(), kind.to_owned()));
        assert_eq!(describe(metric.name), described, "{}", metric.name);
    }
}

/// The help text and the type of a metric that has a value.
fn describe(name: &str) -> Option<(String, String)> {
    let text = render();
    let after = |prefix: &str| {
        let prefix = format!("# {prefix} {name} ");
        text.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
    };
    Some((after("HELP")?, after("TYPE")?))
}
