//! Connectivity checks of our own (RFC 8445 §7.1.1), for pairs that `rtc-ice` checks no more.
//!
//! The other side's agent answers them as it answers any: they carry the attempt's credentials. They
//! never nominate, so they change nothing there but what it knows of our addresses. Over TCP, which the
//! agent does not know, both the question and the answer are ours.

use std::net::SocketAddr;

use bytes::Bytes;
use p2p_wire::IcePair;
use stun_types::attribute::{AttributeType, RawAttribute, Username, XorMappedAddress};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, Message, MessageClass, MessageIntegrityCredentials, MessageType,
    MessageWrite, MessageWriteExt, MessageWriteVec, ShortTermCredentials,
};

use crate::stun::TransactionId;

/// PRIORITY, ICE-CONTROLLED, ICE-CONTROLLING (RFC 8445 §16.1).
const PRIORITY: AttributeType = AttributeType::new(0x0024);
const ICE_CONTROLLED: AttributeType = AttributeType::new(0x8029);
const ICE_CONTROLLING: AttributeType = AttributeType::new(0x802a);
/// What a peer-reflexive candidate learnt from the check would get (RFC 8445 §5.1.2.1).
const PEER_REFLEXIVE: u32 = (110 << 24) | (0xffff << 8) | 255;

/// Who checks, and who answers.
pub(crate) struct Keys {
    username: String,
    password: MessageIntegrityCredentials,
    own_username: String,
    own_password: MessageIntegrityCredentials,
    controlling: bool,
}

impl Keys {
    pub(crate) fn new(ice: &IcePair, controlling: bool) -> Self {
        let password = ShortTermCredentials::new(ice.remote.pwd.expose().to_owned());
        let own = ShortTermCredentials::new(ice.local.pwd.expose().to_owned());
        Self {
            username: format!("{}:{}", ice.remote.ufrag, ice.local.ufrag),
            password: MessageIntegrityCredentials::ShortTerm(password),
            own_username: format!("{}:{}", ice.local.ufrag, ice.remote.ufrag),
            own_password: MessageIntegrityCredentials::ShortTerm(own),
            controlling,
        }
    }

    /// A check. `None` where the credentials are none: STUN could not carry them.
    pub(crate) fn request(&self, id: TransactionId) -> Option<Bytes> {
        let kind = MessageType::from_class_method(MessageClass::Request, BINDING);
        let mut id_bytes = [0; 16];
        id_bytes[4..].copy_from_slice(&id);
        let id = u128::from_be_bytes(id_bytes).into();
        let mut message = Message::builder(kind, id, MessageWriteVec::new());
        message.add_attribute(&Username::new(&self.username).ok()?).ok()?;
        message.add_attribute(&RawAttribute::new(PRIORITY, &PEER_REFLEXIVE.to_be_bytes())).ok()?;
        let role = if self.controlling { ICE_CONTROLLING } else { ICE_CONTROLLED };
        // The tie-breaker decides nothing: the coordinator gave the roles.
        message.add_attribute(&RawAttribute::new(role, &[0; 8])).ok()?;
        message.add_message_integrity(&self.password, IntegrityAlgorithm::Sha1).ok()?;
        message.add_fingerprint().ok()?;
        Some(message.finish().into())
    }

    /// The answer to a check of the other side's that came from `from` (RFC 8445 §7.3); `None` for
    /// whoever does not know this attempt's credentials.
    pub(crate) fn respond(&self, request: &[u8], from: SocketAddr) -> Option<Bytes> {
        let request = Message::from_bytes(request).ok()?;
        let username = request.attribute::<Username>().ok()?;
        if request.class() != MessageClass::Request
            || request.method() != BINDING
            || username.username() != self.own_username
        {
            return None;
        }
        request.validate_integrity(&self.own_password).ok()?;
        let mut response = Message::builder_success(&request, MessageWriteVec::new());
        let mapped = XorMappedAddress::new(from, request.transaction_id());
        response.add_attribute(&mapped).ok()?;
        response.add_message_integrity(&self.own_password, IntegrityAlgorithm::Sha1).ok()?;
        response.add_fingerprint().ok()?;
        Some(response.finish().into())
    }

    /// Whether this is a success response by whoever has the other side's password.
    pub(crate) fn proves(&self, response: &[u8]) -> bool {
        let Ok(message) = Message::from_bytes(response) else { return false };
        message.class() == MessageClass::Success
            && message.validate_integrity(&self.password).is_ok()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use p2p_wire::{IceCredentials, Secret};

    use super::*;
    use crate::stun;

    pub(crate) fn pair(local: &str, remote: &str) -> IcePair {
        let side = |name: &str| IceCredentials {
            ufrag: format!("ufrag-{name}"),
            pwd: Secret::new(format!("a password of enough letters {name}")),
        };
        IcePair { local: side(local), remote: side(remote) }
    }

    /// What the side behind `keys` would answer.
    pub(crate) fn respond(request: &[u8], password: &Secret) -> Vec<u8> {
        let request = Message::from_bytes(request).unwrap();
        let mut response = Message::builder_success(&request, MessageWriteVec::new());
        let key = ShortTermCredentials::new(password.expose().to_owned());
        let key = MessageIntegrityCredentials::ShortTerm(key);
        response.add_message_integrity(&key, IntegrityAlgorithm::Sha1).unwrap();
        response.finish()
    }

    #[test]
    fn a_check_names_both_sides_and_only_the_right_password_answers_it() {
        let ice = pair("a", "b");
        let keys = Keys::new(&ice, true);
        let request = keys.request([7; 12]).unwrap();
        assert_eq!(stun::peek(&request), Some((stun::Class::Request, [7; 12])));
        assert_eq!(stun::target_ufrag(&request).as_deref(), Some("ufrag-b"));
        let message = Message::from_bytes(&request).unwrap();
        assert!(message.validate_integrity(&keys.password).is_ok());
        assert!(keys.proves(&respond(&request, &ice.remote.pwd)));
        assert!(!keys.proves(&respond(&request, &ice.local.pwd)));
        assert!(!keys.proves(&request), "a request is no answer");
    }
}
