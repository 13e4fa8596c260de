//! Every metric: name, unit, kind, labels with all their values, and help text.
//!
//! Names start with `p2p_`, are in base units, and end in the unit (`_seconds`, `_bytes`); counters
//! end in `_total`. Call sites use the constants:
//!
//! ```
//! p2p_telemetry::metrics::ATTEMPTS.with(["direct", "udp-hole-punch"]).increment(1);
//! ```
//!
//! `docs/metrics.md` is made from this file, and
//! `P2P_BLESS=1 cargo test -p p2p-telemetry --test documentation` writes it anew.

use metrics::Unit;

use crate::instrument::{CounterMetric, GaugeMetric, HistogramMetric, Metric};
use crate::instrument::{counter, gauge, histogram};
use crate::labels::{
    ALLOCATION_END, CALLEE_NAT, CALLER_NAT, CLOSE_CODE, CONNECTION_CLOSED, DIRECTION, INBOX_DROP,
    KEY_FETCH, LIMIT, MESSAGE, MESSAGE_OUTCOME, METHOD, OUTCOME, PEERJS_FRAME, PROBLEM, PROTOCOL,
    RECEIPT, RECORD_DROP, REDIS_COMMAND, REDIS_RESULT, RELAY_DROP, ROLE, ROUTE, SPAN_DROP,
    STATUS_CLASS, STUN_METHOD, STUN_RESULT, TRANSPORT, VERSION,
};

/// From a LAN's round trip to the 30 s after which an attempt is given up.
const CONNECT_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0];
/// From a memory access to the deadline of an HTTP request.
const REQUEST_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// From a command on the same host to its deadline.
const COMMAND_BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0];

/// Metrics that belong together, for whoever reads the documentation.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// What they are about.
    pub title: &'static str,
    /// Which processes show them, and what to know about all of them.
    pub about: &'static str,
    /// The metrics.
    pub metrics: &'static [Metric],
}

macro_rules! type_of {
    (counter) => {
        CounterMetric
    };
    (gauge) => {
        GaugeMetric
    };
    (histogram) => {
        HistogramMetric
    };
}

/// Declares the constants, and the table of all of them in the same order.
macro_rules! registry {
    ($($title:literal, $about:literal {
        $($constant:ident =
            $kind:ident($name:literal, $unit:ident, [$($label:ident),*], $help:literal
                $(, $buckets:ident)?);)*
    })*) => {
        $($(
            #[doc = $help]
            pub const $constant: type_of!($kind) =
                $kind($name, Unit::$unit, &[$($label),*], $help $(, $buckets)?);
        )*)*

        /// All of them: what `/metrics` describes and what the documentation lists.
        pub const SECTIONS: &[Section] = &[$(Section {
            title: $title,
            about: $about,
            metrics: &[$(*$constant.metric()),*],
        }),*];
    };
}

registry! {
    "Signaling",
    "Shown by signaling instances. A WebSocket is a connection; a session outlives it for the resume window." {
        SIGNALING_CONNECTIONS = gauge("p2p_signaling_connections", Count, [],
            "WebSocket connections that are open.");
        SIGNALING_CONNECTIONS_OPENED = counter("p2p_signaling_connections_opened_total", Count, [PROTOCOL],
            "WebSocket connections opened, by protocol.");
        SIGNALING_CONNECTIONS_CLOSED = counter("p2p_signaling_connections_closed_total", Count, [PROTOCOL, CLOSE_CODE],
            "WebSocket connections closed, by protocol and close code.");
        SIGNALING_SESSIONS = gauge("p2p_signaling_sessions", Count, [],
            "Sessions that are connected or may still resume.");
        SIGNALING_RESUMED = counter("p2p_signaling_sessions_resumed_total", Count, [],
            "Sessions taken up again over a new connection.");
        SIGNALING_EXPIRED = counter("p2p_signaling_sessions_expired_total", Count, [],
            "Sessions whose resume window passed.");
        SIGNALING_REPLACED = counter("p2p_signaling_sessions_replaced_total", Count, [],
            "Connections that a newer one of the same peer replaced.");
        SIGNALING_LAGGING = counter("p2p_signaling_sessions_lagging_total", Count, [],
            "Connections closed because they took their frames too slowly.");
        SIGNALING_MESSAGES = counter("p2p_signaling_messages_total", Count, [MESSAGE, MESSAGE_OUTCOME],
            "Messages from clients, by type and outcome.");
        SIGNALING_PEERJS_FRAMES = counter("p2p_signaling_peerjs_frames_total", Count, [PEERJS_FRAME],
            "Frames from PeerJS clients, by type.");
        SIGNALING_PEERJS_WAITING = gauge("p2p_signaling_peerjs_waiting_messages", Count, [],
            "Messages of PeerJS clients that wait for their receiver to come.");
        SIGNALING_RECEIPTS = counter("p2p_signaling_receipts_total", Count, [RECEIPT],
            "Receipts given for sent messages, by status.");
        SIGNALING_REJECTED = counter("p2p_signaling_rejected_total", Count, [PROBLEM],
            "Requests, messages and connections refused, by problem code.");
        SIGNALING_RATE_LIMITED = counter("p2p_signaling_rate_limited_total", Count, [LIMIT],
            "Messages, connections and requests refused by a limit, by limit.");
        SIGNALING_KEY_FETCHES = counter("p2p_signaling_key_fetches_total", Count, [KEY_FETCH],
            "Fetches of the token issuer's keys, by result.");
        HTTP_REQUEST_SECONDS = histogram("p2p_http_request_duration_seconds", Seconds, [ROUTE, STATUS_CLASS],
            "Time to answer an HTTP request, by route and class of status.", REQUEST_BUCKETS);
    }
    "Attempts",
    "Shown by the instance that coordinates the attempt: the one its caller was connected to." {
        ATTEMPTS = counter("p2p_attempts_total", Count, [OUTCOME, METHOD],
            "Connection attempts that ended, by outcome and by the method of the path.");
        ATTEMPTS_BY_NAT = counter("p2p_attempts_by_nat_total", Count, [CALLER_NAT, CALLEE_NAT, OUTCOME],
            "Connection attempts that ended, by the type of both networks and by outcome.");
        ATTEMPTS_OPEN = gauge("p2p_attempts_open", Count, [],
            "Connection attempts that have begun and not ended.");
        TIME_TO_CONNECT_SECONDS = histogram("p2p_time_to_connect_seconds", Seconds, [OUTCOME],
            "Time from an attempt's start to its first usable path, by outcome.", CONNECT_BUCKETS);
        TIME_TO_DIRECT_SECONDS = histogram("p2p_time_to_direct_seconds", Seconds, [],
            "Time from an attempt's start to a verified direct path.", CONNECT_BUCKETS);
    }
    "Registry",
    "Shown by signaling instances; each speaks of itself, so that a sum over instances is the cluster." {
        REGISTRY_PEERS = gauge("p2p_registry_peers", Count, [],
            "Peers registered at this instance.");
        REGISTRY_AWAY = gauge("p2p_registry_peers_away", Count, [],
            "Peers of this instance that lost their connection and may still resume.");
        REGISTRY_ROOMS = gauge("p2p_registry_rooms", Count, [],
            "Rooms that have members.");
        REGISTRY_QUEUED = gauge("p2p_registry_queued_messages", Count, [],
            "Messages that wait for their receiver to acknowledge them.");
        REGISTRY_INBOX_DROPPED = counter("p2p_registry_inbox_dropped_total", Count, [INBOX_DROP],
            "Messages that a peer's inbox could not keep, by reason.");
        REGISTRY_REASSERTED = counter("p2p_registry_peers_reasserted_total", Count, [],
            "Peers that this instance said again because Redis had lost them or was away.");
        REGISTRY_REAPED = counter("p2p_registry_instances_reaped_total", Count, [],
            "Dead instances whose peers this instance put away.");
    }
    "Redis",
    "Shown by signaling instances that share a registry through Redis. While it is away, peers of one instance still reach each other." {
        REDIS_UP = gauge("p2p_redis_up", Count, [],
            "1 while Redis can be used, else 0.");
        REDIS_OUTAGES = counter("p2p_redis_outages_total", Count, [],
            "How often Redis came to be away.");
        REDIS_OUTAGE_SECONDS = counter("p2p_redis_outage_seconds_total", Seconds, [],
            "Whole seconds for which Redis was away.");
        REDIS_COMMANDS = counter("p2p_redis_commands_total", Count, [REDIS_COMMAND, REDIS_RESULT],
            "Commands to Redis, by script and result.");
        REDIS_COMMAND_SECONDS = histogram("p2p_redis_command_duration_seconds", Seconds, [REDIS_COMMAND],
            "Time to the answer of a command to Redis, by script.", COMMAND_BUCKETS);
    }
    "Statistics",
    "Shown by signaling instances, and by relays that share a Redis with them: the way of a record to the store." {
        RECORDER_QUEUE = gauge("p2p_recorder_queue_records", Count, [],
            "Statistics records that wait to be written.");
        RECORDER_WRITTEN = counter("p2p_recorder_written_total", Count, [],
            "Statistics records written to the store.");
        RECORDER_DROPPED = counter("p2p_recorder_dropped_total", Count, [RECORD_DROP],
            "Statistics records that were not kept, by reason.");
        STREAM_ENTRIES = gauge("p2p_stats_stream_entries", Count, [],
            "Statistics records in the Redis stream, of all instances, that are not known to be stored.");
        STREAM_DEAD_LETTERS = counter("p2p_stats_dead_letters_total", Count, [],
            "Statistics records that this instance moved to the dead letters: the database refuses them.");
        STORE_TRIMMED = counter("p2p_store_trimmed_total", Count, [],
            "Stored records removed because of their age or number.");
        DATABASE_UP = gauge("p2p_database_up", Count, [],
            "1 while the statistics store takes what is written, else 0.");
        DATABASE_OUTAGES = counter("p2p_database_outages_total", Count, [],
            "How often the statistics store came to be away.");
        DATABASE_OUTAGE_SECONDS = counter("p2p_database_outage_seconds_total", Seconds, [],
            "Whole seconds for which the statistics store was away.");
    }
    "Relay",
    "Shown by relays." {
        RELAY_ALLOCATIONS = gauge("p2p_relay_allocations", Count, [TRANSPORT],
            "Allocations that exist, by the client's transport.");
        RELAY_ALLOCATIONS_CREATED = counter("p2p_relay_allocations_created_total", Count, [TRANSPORT],
            "Allocations made, by the client's transport.");
        RELAY_ALLOCATIONS_ENDED = counter("p2p_relay_allocations_ended_total", Count, [ALLOCATION_END],
            "Allocations that ended, by reason.");
        RELAY_CONNECTIONS = gauge("p2p_relay_connections", Count, [TRANSPORT],
            "Connections of clients over TCP and TLS, by transport.");
        RELAY_CONNECTIONS_CLOSED = counter("p2p_relay_connections_closed_total", Count, [CONNECTION_CLOSED],
            "Connections that the relay closed or did not take, by reason.");
        RELAY_REQUESTS = counter("p2p_relay_requests_total", Count, [STUN_METHOD, STUN_RESULT],
            "STUN and TURN requests, by method and by success or error code.");
        RELAY_PACKETS = counter("p2p_relay_relayed_packets_total", Count, [DIRECTION],
            "Packets relayed, by direction.");
        RELAY_BYTES = counter("p2p_relay_relayed_bytes_total", Bytes, [DIRECTION],
            "Payload bytes relayed, by direction.");
        RELAY_DROPPED = counter("p2p_relay_dropped_packets_total", Count, [RELAY_DROP],
            "Packets that were not relayed, by reason.");
    }
    "Process",
    "Shown by every role." {
        DRAINING = gauge("p2p_draining", Count, [ROLE],
            "1 while this role takes no new work before it stops, else 0.");
        BUILD_INFO = gauge("p2p_build_info", Count, [VERSION],
            "Always 1; the build's version is the label.");
        START_TIME = gauge("p2p_start_time_seconds", Seconds, [],
            "When the process began, in seconds since 1970-01-01 UTC.");
        SPANS_EXPORTED = counter("p2p_trace_spans_exported_total", Count, [],
            "Spans that the OpenTelemetry collector took.");
        SPANS_DROPPED = counter("p2p_trace_spans_dropped_total", Count, [SPAN_DROP],
            "Spans that no collector took, by reason.");
    }
}

/// Every metric, in the order of the documentation.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    SECTIONS.iter().flat_map(|section| section.metrics)
}

/// Tells the installed recorder the units and help texts of all metrics.
pub fn describe_all() {
    all().for_each(Metric::describe);
}

#[cfg(test)]
mod tests;
