//! Sessions at signaling instances and allocations at relays, as the store keeps them.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_wire::{AppId, PeerId, SessionId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::network::Network;

/// One connection of a peer to a signaling instance, from its welcome to its end.
///
/// It is told twice, when it opens and when it closes, and both times whole: whichever comes first,
/// and however often, the stored record is the same. One whose instance crashed stays open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Names this connection among all.
    pub id: Uuid,
    /// The peer's session; a resumed one has several connections.
    pub session: SessionId,
    /// The tenant.
    pub app: AppId,
    /// The peer.
    pub peer: PeerId,
    /// The instance, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The network it came from; absent where addresses are kept out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Whether it took an earlier session up again.
    #[serde(default)]
    pub resumed: bool,
    /// When it opened: milliseconds since 1970-01-01 UTC, by its instance's clock.
    pub opened_unix_ms: i64,
    /// When it closed; absent while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_unix_ms: Option<i64>,
    /// The code it was closed with; absent where the connection was lost without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_code: Option<u16>,
}

impl SessionRecord {
    /// A connection that opens, under an id of its own.
    pub fn opened(
        session: SessionId,
        app: AppId,
        peer: PeerId,
        instance: Option<&str>,
        from: IpAddr,
        resumed: bool,
        opened_unix_ms: i64,
    ) -> Self {
        Self {
            id: Uuid::new_v4(),
            session,
            app,
            peer,
            instance: instance.map(str::to_owned),
            network: Some(Network::of(from)),
            resumed,
            opened_unix_ms,
            closed_unix_ms: None,
            close_code: None,
        }
    }

    /// The same connection, closed with this code or without one.
    #[must_use]
    pub fn closed(self, unix_ms: i64, code: Option<u16>) -> Self {
        Self { closed_unix_ms: Some(unix_ms), close_code: code, ..self }
    }

    /// One record of what two records of the same connection tell.
    pub(crate) fn merged(mut self, other: &Self) -> Self {
        // A connection closes once: both ends, where both are told, are the same.
        let end = |record: &Self| (record.closed_unix_ms, record.close_code);
        let (closed, code) = end(&self).max(end(other));
        self.closed_unix_ms = closed;
        self.close_code = code;
        self
    }
}

/// What one allocation at a relay carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayRecord {
    /// Names this allocation among all.
    pub id: Uuid,
    /// The relay's region, as its operator names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The user of the credential: `app:peer` for credentials that signaling made.
    pub user: String,
    /// How it ended: `expired`, `deleted`, `revoked`, `disconnected`, `stopped` (with its relay) or
    /// `no_socket`.
    pub end: String,
    /// When it ended: milliseconds since 1970-01-01 UTC, by the relay's clock.
    pub ended_unix_ms: i64,
    /// How long it lived, in milliseconds.
    pub lived_ms: u64,
    /// From the client to its peers.
    pub to_peer: Carried,
    /// From the peers to the client.
    pub to_client: Carried,
}

impl RelayRecord {
    /// An allocation that ends at this moment, by this machine's clock, under an id of its own.
    pub fn ended(
        region: Option<String>,
        user: String,
        end: &str,
        lived: Duration,
        to_peer: Carried,
        to_client: Carried,
    ) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            id: Uuid::new_v4(),
            region,
            user,
            end: end.to_owned(),
            ended_unix_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            lived_ms: u64::try_from(lived.as_millis()).unwrap_or(u64::MAX),
            to_peer,
            to_client,
        }
    }

    /// The tenant: what comes before the first colon of the user.
    pub fn app(&self) -> Option<&str> {
        self.user.split_once(':').map(|(app, _)| app)
    }
}

/// Packets and payload bytes in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Carried {
    /// Packets.
    pub packets: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

/// What sessions and relays amount to, over some time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Connections to signaling instances that opened in that time.
    pub sessions: SessionTotals,
    /// Allocations that ended in that time, by region; those of relays without one come first.
    pub relays: Vec<RelayTotals>,
}

/// What some connections to signaling instances amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SessionTotals {
    /// All of them.
    pub opened: u64,
    /// Those that took an earlier session up again.
    pub resumed: u64,
    /// Those of which the end is known.
    pub closed: u64,
    /// How long those lasted, all together.
    pub connected_ms: u64,
}

/// What the allocations of one region amount to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RelayTotals {
    /// The region; absent for relays without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Allocations.
    pub allocations: u64,
    /// How long they lived, all together.
    pub lived_ms: u64,
    /// From clients to their peers.
    pub to_peer: Carried,
    /// From peers to clients.
    pub to_client: Carried,
}

/// Times as the stores hold them: from 1970 to the year 9999, so that hours can be counted in them.
pub(crate) fn storable_time(unix_ms: i64) -> i64 {
    unix_ms.clamp(0, 253_402_300_799_999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_told_in_any_order_is_the_same() {
        let open = SessionRecord {
            id: Uuid::nil(),
            session: SessionId::new("s").unwrap(),
            app: AppId::default(),
            peer: PeerId::new("alice").unwrap(),
            instance: None,
            network: None,
            resumed: false,
            opened_unix_ms: 1,
            closed_unix_ms: None,
            close_code: None,
        };
        let closed =
            SessionRecord { closed_unix_ms: Some(9), close_code: Some(1000), ..open.clone() };
        for (a, b) in [(&open, &closed), (&closed, &open), (&closed, &closed)] {
            assert_eq!(a.clone().merged(b), closed);
        }
    }

    #[test]
    fn an_allocation_belongs_to_the_app_of_its_credential() {
        let mut record = RelayRecord {
            id: Uuid::nil(),
            region: None,
            user: "shop:alice:1".to_owned(),
            end: "expired".to_owned(),
            ended_unix_ms: 1,
            lived_ms: 1,
            to_peer: Carried::default(),
            to_client: Carried::default(),
        };
        assert_eq!(record.app(), Some("shop"));
        record.user = "static".to_owned();
        assert_eq!(record.app(), None);
    }
}
