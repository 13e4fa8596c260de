//! The relay's numbers, handed to the process's metrics once a second by the relay thread.
//!
//! The registry in `p2p-telemetry` names the metrics and their labels; here each of the core's
//! reasons gets the label it is shown under. Refused requests are shown by method and code, so
//! their reasons have no label of their own.

use metrics::{Counter, Gauge};
use p2p_telemetry::metrics as names;
use p2p_turn_core::{AllocationEnd, Counters, Reason, RequestResult};

use crate::snapshot::SocketDrops;

const TRANSPORT: &str = "udp";

/// Handles of the series that are always there, looked up once.
pub(crate) struct Published {
    allocations: Gauge,
    created: Counter,
    packets_to_peer: Counter,
    packets_to_client: Counter,
    bytes_to_peer: Counter,
    bytes_to_client: Counter,
}

impl Published {
    pub(crate) fn new() -> Self {
        Self {
            allocations: names::RELAY_ALLOCATIONS.with([TRANSPORT]),
            created: names::RELAY_ALLOCATIONS_CREATED.with([TRANSPORT]),
            packets_to_peer: names::RELAY_PACKETS.with(["to_peer"]),
            packets_to_client: names::RELAY_PACKETS.with(["to_client"]),
            bytes_to_peer: names::RELAY_BYTES.with(["to_peer"]),
            bytes_to_client: names::RELAY_BYTES.with(["to_client"]),
        }
    }

    pub(crate) fn publish(&self, allocations: usize, counters: &Counters, drops: SocketDrops) {
        self.allocations.set(allocations as f64);
        self.created.absolute(counters.allocations_created);
        self.packets_to_peer.absolute(counters.client_to_peer.packets);
        self.packets_to_client.absolute(counters.peer_to_client.packets);
        self.bytes_to_peer.absolute(counters.client_to_peer.bytes);
        self.bytes_to_client.absolute(counters.peer_to_client.bytes);
        publish_requests(counters);
        publish_ends(counters);
        publish_drops(counters, drops);
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
    use AllocationEnd::{Deleted, Expired, NoSocket, Revoked};
    let ended = |ends: &[AllocationEnd]| ends.iter().map(|&end| counters.ended(end)).sum();
    for (label, count) in [
        ("expired", ended(&[Expired])),
        ("deleted", ended(&[Deleted, Revoked])),
        ("socket_error", ended(&[NoSocket])),
    ] {
        names::RELAY_ALLOCATIONS_ENDED.with([label]).absolute(count);
    }
}

fn publish_drops(counters: &Counters, drops: SocketDrops) {
    let mut by_label = std::collections::BTreeMap::<&str, u64>::new();
    for (reason, count) in counters.reasons() {
        if let Some(label) = label(reason) {
            *by_label.entry(label).or_default() += count;
        }
    }
    *by_label.entry("send_buffer_full").or_default() += drops.send_buffer_full;
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
