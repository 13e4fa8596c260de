//! Every metric: name, unit, kind, labels with all their values, and help text.
//!
//! Names start with `p2p_`, are in base units, and end in the unit (`_seconds`, `_bytes`); counters
//! end in `_total`. Call sites use the constants:
//!
//! ```
//! p2p_telemetry::metrics::ATTEMPTS.with(["direct", "udp-hole-punch"]).increment(1);
//! ```

use metrics::Unit;

use crate::instrument::{CounterMetric, GaugeMetric, HistogramMetric, Label, Metric, MetricKind};
use crate::labels::{
    ALLOCATION_END, CLOSE_CODE, DIRECTION, INBOX_DROP, LIMIT, MESSAGE, MESSAGE_OUTCOME, METHOD,
    OUTCOME, PROBLEM, RECEIPT, RECORD_DROP, RELAY_DROP, ROLE, ROUTE, STATUS_CLASS, STUN_METHOD,
    STUN_RESULT, TRANSPORT, VERSION,
};

const fn counter(
    name: &'static str,
    unit: Unit,
    labels: &'static [Label],
    help: &'static str,
) -> CounterMetric {
    CounterMetric(Metric { name, kind: MetricKind::Counter, unit, labels, help, buckets: &[] })
}

const fn gauge(
    name: &'static str,
    unit: Unit,
    labels: &'static [Label],
    help: &'static str,
) -> GaugeMetric {
    GaugeMetric(Metric { name, kind: MetricKind::Gauge, unit, labels, help, buckets: &[] })
}

const fn seconds(
    name: &'static str,
    labels: &'static [Label],
    help: &'static str,
    buckets: &'static [f64],
) -> HistogramMetric {
    let (kind, unit) = (MetricKind::Histogram, Unit::Seconds);
    HistogramMetric(Metric { name, kind, unit, labels, help, buckets })
}

/// From a LAN's round trip to the 30 s after which an attempt is given up.
const CONNECT_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0];
/// From a memory access to the deadline of an HTTP request.
const REQUEST_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

// Signaling: connections, sessions, messages.

/// Open WebSockets.
pub const SIGNALING_CONNECTIONS: GaugeMetric =
    gauge("p2p_signaling_connections", Unit::Count, &[], "WebSocket connections that are open.");
/// WebSockets ever opened.
pub const SIGNALING_CONNECTIONS_OPENED: CounterMetric = counter(
    "p2p_signaling_connections_opened_total",
    Unit::Count,
    &[],
    "WebSocket connections opened.",
);
/// WebSockets closed, by close code.
pub const SIGNALING_CONNECTIONS_CLOSED: CounterMetric = counter(
    "p2p_signaling_connections_closed_total",
    Unit::Count,
    &[CLOSE_CODE],
    "WebSocket connections closed, by close code.",
);
/// Sessions that are connected or may still resume.
pub const SIGNALING_SESSIONS: GaugeMetric = gauge(
    "p2p_signaling_sessions",
    Unit::Count,
    &[],
    "Sessions that are connected or may still resume.",
);
/// Sessions taken up again.
pub const SIGNALING_RESUMED: CounterMetric = counter(
    "p2p_signaling_sessions_resumed_total",
    Unit::Count,
    &[],
    "Sessions taken up again over a new connection.",
);
/// Frames from clients, by type and whether they were accepted.
pub const SIGNALING_MESSAGES: CounterMetric = counter(
    "p2p_signaling_messages_total",
    Unit::Count,
    &[MESSAGE, MESSAGE_OUTCOME],
    "Messages from clients, by type and outcome.",
);
/// Receipts for `send`, by status.
pub const SIGNALING_RECEIPTS: CounterMetric = counter(
    "p2p_signaling_receipts_total",
    Unit::Count,
    &[RECEIPT],
    "Receipts given for sent messages, by status.",
);
/// Requests, messages and connections refused, by problem code.
pub const SIGNALING_REJECTED: CounterMetric = counter(
    "p2p_signaling_rejected_total",
    Unit::Count,
    &[PROBLEM],
    "Requests, messages and connections refused, by problem code.",
);
/// What a rate limit or a bound refused.
pub const SIGNALING_RATE_LIMITED: CounterMetric = counter(
    "p2p_signaling_rate_limited_total",
    Unit::Count,
    &[LIMIT],
    "Messages, connections and requests refused by a limit, by limit.",
);
/// Time to answer an HTTP request.
pub const HTTP_REQUEST_SECONDS: HistogramMetric = seconds(
    "p2p_http_request_duration_seconds",
    &[ROUTE, STATUS_CLASS],
    "Time to answer an HTTP request, by route and class of status.",
    REQUEST_BUCKETS,
);

// Attempts.

/// Attempts that ended, by outcome and method (`none` when failed).
pub const ATTEMPTS: CounterMetric = counter(
    "p2p_attempts_total",
    Unit::Count,
    &[OUTCOME, METHOD],
    "Connection attempts that ended, by outcome and by the method of the path.",
);
/// Attempts that have begun and not ended.
pub const ATTEMPTS_OPEN: GaugeMetric = gauge(
    "p2p_attempts_open",
    Unit::Count,
    &[],
    "Connection attempts that have begun and not ended.",
);
/// Time from an attempt's start to its first usable path.
pub const TIME_TO_CONNECT_SECONDS: HistogramMetric = seconds(
    "p2p_time_to_connect_seconds",
    &[OUTCOME],
    "Time from an attempt's start to its first usable path, by outcome.",
    CONNECT_BUCKETS,
);
/// Time from an attempt's start to a verified direct path.
pub const TIME_TO_DIRECT_SECONDS: HistogramMetric = seconds(
    "p2p_time_to_direct_seconds",
    &[],
    "Time from an attempt's start to a verified direct path.",
    CONNECT_BUCKETS,
);

// Registry.

/// Peers that are registered here.
pub const REGISTRY_PEERS: GaugeMetric =
    gauge("p2p_registry_peers", Unit::Count, &[], "Peers registered at this instance.");
/// Rooms that have members.
pub const REGISTRY_ROOMS: GaugeMetric =
    gauge("p2p_registry_rooms", Unit::Count, &[], "Rooms that have members.");
/// Messages that an inbox could not keep.
pub const REGISTRY_INBOX_DROPPED: CounterMetric = counter(
    "p2p_registry_inbox_dropped_total",
    Unit::Count,
    &[INBOX_DROP],
    "Messages that a peer's inbox could not keep, by reason.",
);

// Statistics.

/// Records waiting for the store.
pub const RECORDER_QUEUE: GaugeMetric = gauge(
    "p2p_recorder_queue_records",
    Unit::Count,
    &[],
    "Statistics records that wait to be written.",
);
/// Records written.
pub const RECORDER_WRITTEN: CounterMetric = counter(
    "p2p_recorder_written_total",
    Unit::Count,
    &[],
    "Statistics records written to the store.",
);
/// Records lost.
pub const RECORDER_DROPPED: CounterMetric = counter(
    "p2p_recorder_dropped_total",
    Unit::Count,
    &[RECORD_DROP],
    "Statistics records that were not kept, by reason.",
);
/// Attempts removed by the retention bound.
pub const STORE_TRIMMED: CounterMetric = counter(
    "p2p_store_trimmed_total",
    Unit::Count,
    &[],
    "Stored attempts removed because of their age or number.",
);

// Relay.

/// Allocations that exist, by the client's transport.
pub const RELAY_ALLOCATIONS: GaugeMetric = gauge(
    "p2p_relay_allocations",
    Unit::Count,
    &[TRANSPORT],
    "Allocations that exist, by the client's transport.",
);
/// Allocations ever made.
pub const RELAY_ALLOCATIONS_CREATED: CounterMetric = counter(
    "p2p_relay_allocations_created_total",
    Unit::Count,
    &[TRANSPORT],
    "Allocations made, by the client's transport.",
);
/// Allocations that ended, by reason.
pub const RELAY_ALLOCATIONS_ENDED: CounterMetric = counter(
    "p2p_relay_allocations_ended_total",
    Unit::Count,
    &[ALLOCATION_END],
    "Allocations that ended, by reason.",
);
/// STUN and TURN requests by method and result.
pub const RELAY_REQUESTS: CounterMetric = counter(
    "p2p_relay_requests_total",
    Unit::Count,
    &[STUN_METHOD, STUN_RESULT],
    "STUN and TURN requests, by method and by success or error code.",
);
/// Packets relayed, by direction.
pub const RELAY_PACKETS: CounterMetric = counter(
    "p2p_relay_relayed_packets_total",
    Unit::Count,
    &[DIRECTION],
    "Packets relayed, by direction.",
);
/// Payload bytes relayed, by direction.
pub const RELAY_BYTES: CounterMetric = counter(
    "p2p_relay_relayed_bytes_total",
    Unit::Bytes,
    &[DIRECTION],
    "Payload bytes relayed, by direction.",
);
/// Packets not relayed, by reason.
pub const RELAY_DROPPED: CounterMetric = counter(
    "p2p_relay_dropped_packets_total",
    Unit::Count,
    &[RELAY_DROP],
    "Packets that were not relayed, by reason.",
);

// Process.

/// 1 while the role drains, else 0.
pub const DRAINING: GaugeMetric = gauge(
    "p2p_draining",
    Unit::Count,
    &[ROLE],
    "1 while this role takes no new work before it stops, else 0.",
);
/// Always 1; the version is in the label.
pub const BUILD_INFO: GaugeMetric =
    gauge("p2p_build_info", Unit::Count, &[VERSION], "Always 1; the build's version is the label.");

/// All of them: what `/metrics` describes and what the documentation lists.
pub const METRICS: &[Metric] = &[
    *SIGNALING_CONNECTIONS.metric(),
    *SIGNALING_CONNECTIONS_OPENED.metric(),
    *SIGNALING_CONNECTIONS_CLOSED.metric(),
    *SIGNALING_SESSIONS.metric(),
    *SIGNALING_RESUMED.metric(),
    *SIGNALING_MESSAGES.metric(),
    *SIGNALING_RECEIPTS.metric(),
    *SIGNALING_REJECTED.metric(),
    *SIGNALING_RATE_LIMITED.metric(),
    *HTTP_REQUEST_SECONDS.metric(),
    *ATTEMPTS.metric(),
    *ATTEMPTS_OPEN.metric(),
    *TIME_TO_CONNECT_SECONDS.metric(),
    *TIME_TO_DIRECT_SECONDS.metric(),
    *REGISTRY_PEERS.metric(),
    *REGISTRY_ROOMS.metric(),
    *REGISTRY_INBOX_DROPPED.metric(),
    *RECORDER_QUEUE.metric(),
    *RECORDER_WRITTEN.metric(),
    *RECORDER_DROPPED.metric(),
    *STORE_TRIMMED.metric(),
    *RELAY_ALLOCATIONS.metric(),
    *RELAY_ALLOCATIONS_CREATED.metric(),
    *RELAY_ALLOCATIONS_ENDED.metric(),
    *RELAY_REQUESTS.metric(),
    *RELAY_PACKETS.metric(),
    *RELAY_BYTES.metric(),
    *RELAY_DROPPED.metric(),
    *DRAINING.metric(),
    *BUILD_INFO.metric(),
];

/// Tells the installed recorder the units and help texts of all metrics.
pub fn describe_all() {
    for metric in METRICS {
        metric.describe();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let mut seen = HashSet::new();
        for metric in METRICS {
            assert!(seen.insert(metric.name), "{} is there twice", metric.name);
        }
    }

    /// A constant that the table forgets would have neither help text nor documentation.
    #[test]
    fn the_table_holds_every_constant() {
        let source = include_str!("metrics.rs");
        let declared = source.matches("\npub const ").count() - 1;
        assert_eq!(METRICS.len(), declared);
    }

    #[test]
    fn names_are_prefixed_snake_case() {
        for Metric { name, .. } in METRICS {
            assert!(name.starts_with("p2p_"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || "_0123456789".contains(c)));
        }
    }

    #[test]
    fn counters_and_only_they_end_in_total() {
        for Metric { name, kind, .. } in METRICS {
            assert_eq!(name.ends_with("_total"), *kind == MetricKind::Counter, "{name}");
        }
    }

    #[test]
    fn names_end_in_their_base_unit() {
        for Metric { name, unit, .. } in METRICS {
            let stem = name.trim_end_matches("_total");
            let named = match unit {
                Unit::Seconds => stem.ends_with("_seconds"),
                Unit::Bytes => stem.ends_with("_bytes"),
                Unit::Count => !stem.ends_with("_seconds") && !stem.ends_with("_bytes"),
                other => panic!("{name} is in {other:?}, which is no base unit"),
            };
            assert!(named, "{name} is in {unit:?}");
        }
    }

    #[test]
    fn help_texts_are_sentences() {
        for Metric { name, help, .. } in METRICS {
            assert!(help.ends_with('.') && help.len() > 10, "{name}: {help:?}");
        }
    }

    #[test]
    fn histograms_and_only_they_have_growing_buckets() {
        for Metric { name, kind, buckets, .. } in METRICS {
            assert_eq!(*kind == MetricKind::Histogram, !buckets.is_empty(), "{name}");
            assert!(buckets.is_sorted_by(|a, b| a < b), "{name}");
        }
    }

    #[test]
    fn i5_every_label_is_bounded_and_no_metric_has_many_series() {
        for Metric { name, labels, buckets, .. } in METRICS {
            let mut series = buckets.len() + 1;
            for label in *labels {
                let values: HashSet<_> = label.values.iter().collect();
                assert_eq!(values.len(), label.values.len(), "{name}: {} repeats", label.name);
                assert!(!values.contains(&crate::instrument::OTHER), "{name}: {}", label.name);
                assert!(!["le", "quantile"].contains(&label.name), "{name}");
                // Only the build's version is free, and a process has one.
                assert!(!label.values.is_empty() || *name == "p2p_build_info", "{name}");
                series *= values.len() + 1;
            }
            assert!(series <= 2_000, "{name} may have {series} series");
        }
    }
}
