//! The relay's numbers, handed to the process's metrics once a second by the relay thread.
//!
//! The registry in `p2p-telemetry` names the metrics and their labels; here each of the core's
//! reasons gets the label it is shown under. Refused requests are shown by method and code, so
//! their reasons have no label of their own.

use metrics::{Counter, Gauge};
use p2p_telemetry::metrics as names;
use p2p_turn_core::{AllocationEnd, Counters, ListenerLoad, Reason, RequestResult};

use crate::snapshot::SocketDrops;
use crate::streams::StreamCounts;
use crate::transport::Transport;

/// Handles of the series that are always there, looked up once.
pub(crate) struct Published {
    /// In the order of [`Transport::ALL`].
    transports: [PerTransport; 3],
    packets_to_peer: Counter,
    packets_to_client: Counter,
    bytes_to_peer: Counter,
    bytes_to_client: Counter,
}

struct PerTransport {
    allocations: Gauge,
    created: Counter,
    /// Over UDP there are none.
    connections: Option<Gauge>,
}

impl PerTransport {
    fn of(transport: Transport) -> Self {
        let name = transport.name();
        let connected = transport != Transport::Udp;
        Self {
            allocations: names::RELAY_ALLOCATIONS.with([name]),
            created: names::RELAY_ALLOCATIONS_CREATED.with([name]),
            connections: connected.then(|| names::RELAY_CONNECTIONS.with([name])),
        }
    }
}

impl Published {
    pub(crate) fn new() -> Self {
        Self {
            transports: Transport::ALL.map(PerTransport::of),
            packets_to_peer: names::RELAY_PACKETS.with(["to_peer"]),
            packets_to_client: names::RELAY_PACKETS.with(["to_client"]),
            bytes_to_peer: names::RELAY_BYTES.with(["to_peer"]),
            bytes_to_client: names::RELAY_BYTES.with(["to_client"]),
        }
    }

    pub(crate) fn publish(&self, counters: &Counters, drops: SocketDrops, streams: StreamCounts) {
        self.packets_to_peer.absolute(counters.client_to_peer.packets);
        self.packets_to_client.absolute(counters.peer_to_client.packets);
        self.bytes_to_peer.absolute(counters.client_to_peer.bytes);
        self.bytes_to_client.absolute(counters.peer_to_client.bytes);
        publish_requests(counters);
        publish_ends(counters);
        publish_drops(counters, drops, streams);
        publish_closed(streams);
    }

    pub(crate) fn publish_transport(
        &self,
        transport: Transport,
        connections: usize,
        load: ListenerLoad,
    ) {
        let series = &self.transports[transport as usize];
        series.allocations.set(load.allocations as f64);
        series.created.absolute(load.allocations_created);
        if let Some(gauge) = &series.connections {
            gauge.set(connections as f64);
        }
    }
}

fn publish_requests(counters: &Counters) {
    for (method, result, count) in counters.requests() {
        let code;
        let result = match result {
            RequestResult::Success => "success",
            RequestResult::Error(error) => {
                code = error.to_string();
                &code
            }
        };
        names::RELAY_REQUESTS.with([method.name(), result]).absolute(count);
    }
}

fn publish_ends(counters: &Counters) {
    use AllocationEnd::{Deleted, Disconnected, Expired, NoSocket, Revoked, Stopped};
    let ended = |ends: &[AllocationEnd]| ends.iter().map(|&end| counters.ended(end)).sum();
    for (label, count) in [
        ("expired", ended(&[Expired])),
        ("deleted", ended(&[Deleted, Revoked])),
        ("socket_error", ended(&[NoSocket])),
        ("disconnected", ended(&[Disconnected])),
        ("drained", ended(&[Stopped])),
    ] {
        names::RELAY_ALLOCATIONS_ENDED.with([label]).absolute(count);
    }
}

/// Connections that the relay closed or did not take.
fn publish_closed(streams: StreamCounts) {
    for (label, count) in [
        ("limit", streams.connection_limit),
        ("source_limit", streams.connections_per_source),
        ("accept_failed", streams.accept_failed),
        ("tls_failed", streams.tls_failed),
        ("handshake_timeout", streams.tls_handshake_timeout),
        ("idle_timeout", streams.idle_timeout),
        ("malformed", streams.not_stun + streams.message_too_long),
        ("does_not_read", streams.client_does_not_read),
    ] {
        names::RELAY_CONNECTIONS_CLOSED.with([label]).absolute(count);
    }
}

fn publish_drops(counters: &Counters, drops: SocketDrops, streams: StreamCounts) {
    let mut by_label = std::collections::BTreeMap::<&str, u64>::new();
    for (reason, count) in counters.reasons() {
        if let Some(label) = label(reason) {
            *by_label.entry(label).or_default() += count;
        }
    }
    *by_label.entry("send_buffer_full").or_default() +=
        drops.send_buffer_full + streams.output_dropped;
    *by_label.entry("send_error").or_default() += drops.send_error;
    for (label, count) in by_label {
        names::RELAY_DROPPED.with([label]).absolute(count);
    }
}

/// How a dropped packet is shown; `None` for refused requests.
fn label(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::NotStun
        | Reason::MalformedStun
        | Reason::BadFingerprint
        | Reason::UnexpectedClass
        | Reason::UnknownMethod
        | Reason::MalformedChannelData
        | Reason::MalformedSend => Some("malformed"),
        Reason::DataWithoutAllocation | Reason::PeerDataWithoutAllocation => Some("no_allocation"),
        Reason::NoPermission | Reason::PeerWithoutPermission => Some("no_permission"),
        Reason::ChannelNotBound => Some("no_channel"),
        Reason::PeerDenied => Some("denied_peer"),
        Reason::ChallengeRateLimited | Reason::DiscoveryRateLimited => Some("rate"),
        Reason::PeerDataTooLong => Some("too_large"),
        Reason::Challenged
        | Reason::WrongCredentials
        | Reason::CredentialExpired
        | Reason::StaleNonce
        | Reason::BadRequest
        | Reason::UnknownAttribute
        | Reason::AllocationMismatch
        | Reason::FamilyNotSupported
        | Reason::WrongOwner
        | Reason::TransportNotSupported
        | Reason::PeerFamilyMismatch
        | Reason::UserQuotaReached
        | Reason::AllocationLimit
        | Reason::NoPort
        | Reason::NoReservation
        | Reason::Draining
        | Reason::PermissionLimit
        | Reason::ChannelLimit
        | Reason::SocketRefused => None,
    }
}
