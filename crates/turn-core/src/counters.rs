//! What happened, counted: every packet that is not relayed and every request that is refused has
//! a named reason.

use std::collections::BTreeMap;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// Why a packet was dropped or a request refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $variant,)+
        }

        impl Reason {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// A stable name in snake case, good as a metric label.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

reasons! {
    /// Neither STUN nor ChannelData.
    NotStun = "not_stun",
    /// A STUN header or attribute that does not fit its datagram.
    MalformedStun = "malformed_stun",
    BadFingerprint = "bad_fingerprint",
    /// A response, or an indication that only a server sends.
    UnexpectedClass = "unexpected_class",
    UnknownMethod = "unknown_method",
    /// An answer to an unauthenticated source over its limit.
    ChallengeRateLimited = "challenge_rate_limited",
    /// A NAT discovery answer (RFC 5780) to a source over its limit: shortened, or dropped where it
    /// was to leave from another address.
    DiscoveryRateLimited = "discovery_rate_limited",
    /// 401: no MESSAGE-INTEGRITY yet. The normal first step of every client.
    Challenged = "challenged",
    /// 401: unknown user or wrong password.
    WrongCredentials = "wrong_credentials",
    /// 401: the REST credential is past its expiry.
    CredentialExpired = "credential_expired",
    /// 438.
    StaleNonce = "stale_nonce",
    /// 400.
    BadRequest = "bad_request",
    /// 403: the peer policy forbids the address.
    PeerDenied = "peer_denied",
    /// 420.
    UnknownAttribute = "unknown_attribute",
    /// 437: no allocation, or one already.
    AllocationMismatch = "allocation_mismatch",
    /// 440.
    FamilyNotSupported = "family_not_supported",
    /// 441.
    WrongOwner = "wrong_owner",
    /// 442.
    TransportNotSupported = "transport_not_supported",
    /// 443: the peer's address family is not the allocation's.
    PeerFamilyMismatch = "peer_family_mismatch",
    /// 486.
    UserQuotaReached = "user_quota_reached",
    /// 508: the server holds as many allocations as it may.
    AllocationLimit = "allocation_limit",
    /// 508: no relay port is free, or none could be opened.
    NoPort = "no_port",
    /// 508: the reservation token is unknown or used up, or too many ports are reserved.
    NoReservation = "no_reservation",
    /// 508: the server is draining.
    Draining = "draining",
    /// 508: the allocation holds as many permissions as it may.
    PermissionLimit = "permission_limit",
    /// 508: the allocation holds as many channels as it may.
    ChannelLimit = "channel_limit",
    /// The shell could not open a relay socket; another port is tried.
    SocketRefused = "socket_refused",
    /// Data from a client that has no allocation.
    DataWithoutAllocation = "data_without_allocation",
    /// ChannelData whose length does not fit its datagram.
    MalformedChannelData = "malformed_channel_data",
    /// ChannelData on a number that is not bound.
    ChannelNotBound = "channel_not_bound",
    /// A Send indication without peer or data.
    MalformedSend = "malformed_send",
    /// Data for a peer without permission.
    NoPermission = "no_permission",
    /// Data from a peer without permission.
    PeerWithoutPermission = "peer_without_permission",
    /// Data from a peer for an allocation that is gone.
    PeerDataWithoutAllocation = "peer_data_without_allocation",
    /// Data from a peer that does not fit a datagram with its header.
    PeerDataTooLong = "peer_data_too_long",
}

/// The requests that are answered, by the names metrics use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestMethod {
    Binding,
    Allocate,
    Refresh,
    CreatePermission,
    ChannelBind,
}

impl RequestMethod {
    /// A stable name in snake case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Binding => "binding",
            Self::Allocate => "allocate",
            Self::Refresh => "refresh",
            Self::CreatePermission => "create_permission",
            Self::ChannelBind => "channel_bind",
        }
    }
}

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestResult {
    Success,
    /// The error code of RFC 8489 §14.8 or RFC 8656 §19.
    Error(u16),
}

/// How an allocation came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AllocationEnd {
    /// Its lifetime ran out.
    Expired,
    /// Its client refreshed it with lifetime zero.
    Deleted,
    /// The operator ended its user's allocations.
    Revoked,
    /// The client's TCP or TLS connection is closed.
    Disconnected,
    /// The relay stopped while it was there.
    Stopped,
    /// No socket could be opened for it; it never carried anything.
    NoSocket,
}

/// Packets and payload bytes relayed in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Relayed {
    pub packets: u64,
    pub bytes: u64,
}

impl Relayed {
    pub(crate) fn add(&mut self, payload: usize) {
        self.packets += 1;
        self.bytes += payload as u64;
    }
}

/// Everything the server counts. Plain numbers: one server belongs to one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    reasons: [u64; Reason::ALL.len()],
    /// At most one entry per method and code: both are the server's own.
    requests: BTreeMap<(RequestMethod, RequestResult), u64>,
    ends: BTreeMap<AllocationEnd, u64>,
    pub allocations_created: u64,
    pub client_to_peer: Relayed,
    pub peer_to_client: Relayed,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            reasons: [0; Reason::ALL.len()],
            requests: BTreeMap::new(),
            ends: BTreeMap::new(),
            allocations_created: 0,
            client_to_peer: Relayed::default(),
            peer_to_client: Relayed::default(),
        }
    }
}

impl Counters {
    /// How often this reason came up.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        self.reasons[reason as usize]
    }

    /// All reasons with their counts, in the order of [`Reason::ALL`].
    pub fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().map(|&reason| (reason, self.of(reason)))
    }

    /// Requests answered, by method and result.
    pub fn requests(&self) -> impl Iterator<Item = (RequestMethod, RequestResult, u64)> + '_ {
        self.requests.iter().map(|(&(method, result), &count)| (method, result, count))
    }

    /// How many requests of this method got this answer.
    #[must_use]
    pub fn answered(&self, method: RequestMethod, result: RequestResult) -> u64 {
        self.requests.get(&(method, result)).copied().unwrap_or(0)
    }

    /// How many allocations ended this way.
    #[must_use]
    pub fn ended(&self, end: AllocationEnd) -> u64 {
        self.ends.get(&end).copied().unwrap_or(0)
    }

    pub(crate) fn count_answer(&mut self, method: RequestMethod, result: RequestResult) {
        *self.requests.entry((method, result)).or_default() += 1;
    }

    pub(crate) fn count_end(&mut self, end: AllocationEnd) {
        *self.ends.entry(end).or_default() += 1;
    }

    pub(crate) fn count(&mut self, reason: Reason) {
        self.reasons[reason as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own_and_its_own_count() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for &reason in Reason::ALL {
            let mut counters = Counters::default();
            counters.count(reason);
            assert_eq!(counters.reasons().map(|(_, count)| count).sum::<u64>(), 1);
            assert_eq!(counters.of(reason), 1);
        }
    }
}
