//! What a verified token allows: the answer that sessions and routes ask.

use std::sync::LazyLock;

use p2p_wire::{AppId, PeerId, RoomName};

use crate::claims::{Claims, RoomVerb, Scope};
use crate::pattern::Pattern;

/// What the bearer of a verified token may do. [`crate::Verifier::verify`] makes one, here or at
/// another instance of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    claims: Claims,
}

impl Grant {
    pub(crate) fn new(claims: Claims) -> Self {
        Self { claims }
    }

    /// The grant as text, for another instance of the same service.
    pub fn to_text(&self) -> String {
        serde_json::to_string(&self.claims).expect("claims have string keys")
    }

    /// A grant that another instance of the same service verified. What the text says is believed:
    /// it has to come from where nobody else can write.
    pub fn verified_elsewhere(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(|claims| Self { claims })
    }

    /// Whether the bearer may register under this peer id.
    pub fn may_be(&self, peer: &PeerId) -> bool {
        self.claims.sub.matches(peer.as_str())
    }

    /// Whether the bearer may enter this room.
    pub fn may_join(&self, room: &RoomName) -> bool {
        self.may_in_room(room, RoomVerb::Join)
    }

    /// Whether the bearer may send to everybody in this room.
    pub fn may_send_to(&self, room: &RoomName) -> bool {
        self.may_in_room(room, RoomVerb::Send)
    }

    /// Whether the token has this scope.
    pub fn may(&self, scope: Scope) -> bool {
        self.claims.scope.contains(scope)
    }

    /// The tenant.
    pub fn app(&self) -> &AppId {
        static DEFAULT: LazyLock<AppId> = LazyLock::new(AppId::default);
        self.claims.app.as_ref().unwrap_or_else(|| &DEFAULT)
    }

    /// Whose statistics the bearer may read: of one tenant, or of all (`None`) where the token names
    /// no tenant. Only with [`Scope::Admin`].
    pub fn statistics_of(&self) -> Option<&AppId> {
        self.claims.app.as_ref()
    }

    /// Whom the token is for: a peer id or a prefix of ids.
    pub fn subject(&self) -> &Pattern {
        &self.claims.sub
    }

    /// Bytes that the token would have a relay carry. Nothing holds to it.
    pub fn relay_quota(&self) -> Option<u64> {
        self.claims.relay_quota
    }

    /// When the token ends, in seconds since the Unix epoch, before any leeway.
    pub fn expires_unix(&self) -> u64 {
        self.claims.exp
    }

    fn may_in_room(&self, room: &RoomName, verb: RoomVerb) -> bool {
        self.claims.rooms.iter().any(|grant| grant.allows(room.as_str(), verb))
    }
}
