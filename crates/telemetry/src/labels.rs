//! The labels of the metrics, each with every value it may have.
//!
//! Names of the protocol are repeated here, because labels must be constants; a test holds them to
//! the protocol's schema.

use crate::instrument::Label;

pub(crate) const OUTCOME: Label = label("outcome", &["direct", "relay", "failed"]);
pub(crate) const METHOD: Label =
    label("method", &["direct", "udp-hole-punch", "tcp-hole-punch", "relay", "none"]);
/// Whether a client's message was taken.
pub(crate) const MESSAGE_OUTCOME: Label = label("outcome", &["accepted", "rejected"]);
/// A client message's `type`.
pub(crate) const MESSAGE: Label = label(
    "kind",
    &[
        "hello",
        "nat",
        "meta",
        "join",
        "leave",
        "send",
        "ack",
        "connect",
        "candidate",
        "report",
        "ping",
        "refresh",
    ],
);
/// What is spoken over a WebSocket.
pub(crate) const PROTOCOL: Label = label("protocol", &["p2p.v1", "peerjs"]);
/// A PeerJS frame's `type`; what PeerServer does not know either counts as `other`.
pub(crate) const PEERJS_FRAME: Label =
    label("type", &["HEARTBEAT", "OFFER", "ANSWER", "CANDIDATE", "LEAVE", "EXPIRE", "malformed"]);
pub(crate) const CLOSE_CODE: Label = label(
    "code",
    &[
        "1000", "1001", "1006", "1013", "4400", "4401", "4403", "4408", "4409", "4410", "4413",
        "4429", "4503",
    ],
);
/// What became of a fetch of the keys of a token issuer.
pub(crate) const KEY_FETCH: Label = label("result", &["ok", "failed"]);
pub(crate) const RECEIPT: Label = label("status", &["delivered", "queued", "gone", "rejected"]);
/// A `p2p_wire::Code`.
pub(crate) const PROBLEM: Label = label(
    "reason",
    &[
        "bad_message",
        "unknown_type",
        "token_missing",
        "token_invalid",
        "token_expired",
        "token_not_yet_valid",
        "not_allowed",
        "peer_not_found",
        "room_not_found",
        "room_full",
        "attempt_not_found",
        "limit_reached",
        "too_large",
        "too_fast",
        "peer_taken",
        "draining",
        "not_found",
        "timeout",
        "overloaded",
        "internal",
    ],
);
/// The matched route, never the path that was asked for.
pub(crate) const ROUTE: Label = label(
    "route",
    &[
        "/livez",
        "/readyz",
        "/metrics",
        "/v1/ws",
        "/peerjs/peerjs",
        "/peerjs/{key}/id",
        "/peerjs/{key}/peers",
        "/v1/ice-servers",
        "/v1/tickets",
        "/v1/peers",
        "/v1/rooms",
        "/v1/rooms/{room}",
        "/v1/stats",
        "/v1/stats/nat-matrix",
        "/v1/attempts",
        "/v1/attempts/{id}",
        "/",
        "/test",
        "/assets/{file}",
        "/openapi.json",
    ],
);
pub(crate) const STATUS_CLASS: Label = label("status", &["1xx", "2xx", "3xx", "4xx", "5xx"]);
pub(crate) const INBOX_DROP: Label = label("reason", &["full", "expired", "closed"]);
pub(crate) const RECORD_DROP: Label =
    label("reason", &["late", "no_writer", "queue_full", "store", "stopped", "stream_full"]);
pub(crate) const DIRECTION: Label = label("direction", &["to_peer", "to_client"]);
pub(crate) const TRANSPORT: Label = label("transport", &["udp", "tcp", "tls"]);
pub(crate) const STUN_METHOD: Label =
    label("method", &["binding", "allocate", "refresh", "create_permission", "channel_bind"]);
pub(crate) const STUN_RESULT: Label = label(
    "result",
    &[
        "success", "300", "400", "401", "403", "405", "420", "437", "438", "440", "441", "442",
        "443", "446", "447", "486", "487", "500", "508",
    ],
);
pub(crate) const RELAY_DROP: Label = label(
    "reason",
    &[
        "malformed",
        "no_allocation",
        "no_permission",
        "no_channel",
        "denied_peer",
        "rate",
        "too_large",
        "send_buffer_full",
        "send_error",
    ],
);
pub(crate) const ALLOCATION_END: Label =
    label("reason", &["expired", "deleted", "drained", "socket_error", "disconnected"]);
/// Why a client's connection was closed by the relay, or not taken.
pub(crate) const CONNECTION_CLOSED: Label = label(
    "reason",
    &[
        "limit",
        "source_limit",
        "accept_failed",
        "tls_failed",
        "handshake_timeout",
        "idle_timeout",
        "malformed",
        "does_not_read",
    ],
);
const NAT_TYPES: &[&str] = &[
    "Open",
    "Symmetric Firewall",
    "Full Cone",
    "Restricted Cone",
    "Port-Restricted Cone",
    "Symmetric",
    "UDP Blocked",
    "Unknown",
];
pub(crate) const CALLER_NAT: Label = label("caller_nat", NAT_TYPES);
pub(crate) const CALLEE_NAT: Label = label("callee_nat", NAT_TYPES);
/// A script of the registry; what is no script counts as `other`.
pub(crate) const REDIS_COMMAND: Label = label(
    "command",
    &[
        "ack", "claim", "detach", "due", "inherit", "join", "leave", "missed", "owned", "peer",
        "peers", "publish", "reap", "reassert", "release", "renew", "room", "rooms", "send",
        "set_meta", "signal", "unwatch", "watch",
    ],
);
pub(crate) const REDIS_RESULT: Label = label("result", &["ok", "error", "timeout"]);
pub(crate) const SPAN_DROP: Label = label("reason", &["queue_full", "refused", "unreachable"]);
/// Which limit refused.
pub(crate) const LIMIT: Label = label(
    "limit",
    &[
        "messages",
        "handshakes",
        "connections",
        "attempts",
        "candidates",
        "http",
        "app",
        "offers",
        "half_open",
        "slow_answers",
        "attempts_of_pair",
        "attempts_of_callee",
        "tickets",
        "peerjs_waiting",
        "peerjs_receipts",
    ],
);
pub(crate) const ROLE: Label = label("role", &["signaling", "relay"]);
pub(crate) const VERSION: Label = label("version", &[]);

const fn label(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values }
}
