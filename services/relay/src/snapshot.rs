//! What a relay says about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use p2p_turn_core::{AllocationEnd, Counters, Relayed, RequestMethod, RequestResult, Server};

/// A relay at one moment. Counts are since its start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RelaySnapshot {
    /// Allocations that exist now.
    pub allocations: usize,
    /// Users who hold them.
    pub users: usize,
    /// Connections of clients over TCP and TLS.
    pub connections: usize,
    pub allocations_created: u64,
    /// STUN Binding requests answered with an address.
    pub bindings: u64,
    pub client_to_peer: Relayed,
    pub peer_to_client: Relayed,
    /// Why packets were dropped and requests refused, by name; names that never came up are
    /// absent.
    pub drops: BTreeMap<&'static str, u64>,
    /// New allocations are refused.
    pub draining: bool,
}

/// A finished allocation, for statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayUsage {
    /// The user of the credential, without its expiry.
    pub user: String,
    pub end: AllocationEnd,
    pub lived: Duration,
    pub client_to_peer: Relayed,
    pub peer_to_client: Relayed,
}

/// What the sockets did not take or give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SocketDrops {
    /// The socket's send buffer was full.
    pub(crate) send_buffer_full: u64,
    pub(crate) send_error: u64,
    pub(crate) receive_error: u64,
    /// A usage report for which the queue had no room.
    pub(crate) usage_report: u64,
}

impl SocketDrops {
    pub(crate) fn named(self) -> [(&'static str, u64); 4] {
        [
            ("send_buffer_full", self.send_buffer_full),
            ("send_error", self.send_error),
            ("receive_error", self.receive_error),
            ("usage_report_dropped", self.usage_report),
        ]
    }
}

impl RelaySnapshot {
    pub(crate) fn of(server: &Server, drops: SocketDrops, draining: bool) -> Self {
        let counters: &Counters = server.counters();
        let named = counters.reasons().map(|(reason, count)| (reason.name(), count));
        Self {
            allocations: server.allocation_count(),
            users: server.user_count(),
            connections: 0,
            allocations_created: counters.allocations_created,
            bindings: counters.answered(RequestMethod::Binding, RequestResult::Success),
            client_to_peer: counters.client_to_peer,
            peer_to_client: counters.peer_to_client,
            drops: named.chain(drops.named()).filter(|&(_, count)| count > 0).collect(),
            draining,
        }
    }
}
