//! Requests that the relay refuses because their nonce is stale are sent again with the fresh one
//! (RFC 8489 §9.2.5).
//!
//! `rtc-turn` does that for a Refresh only. A permission whose refresh meets a stale nonce would have
//! to live until the next, which may come too late; a channel would be bound again under another
//! number, which a relay refuses as long as the old one lives (RFC 8656 §12.1), and what the peer
//! sends over the old one would not be understood. So neither answer reaches `rtc-turn`: the request
//! goes out again under its transaction id, and the answer to that is the one it sees.

use std::collections::HashMap;

use bytes::Bytes;
use stun_types::attribute::{
    Attribute, AttributeStaticType, ErrorCode, Fingerprint, MessageIntegrity,
    MessageIntegritySha256, Nonce, Realm, Username,
};
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageIntegrityCredentials, MessageWrite,
    MessageWriteExt, MessageWriteVec,
};

use crate::stun::{self, Class, TransactionId};

/// Requests that may wait for an answer. A client with more peers than that has other worries.
const MAX_OPEN: usize = 512;
/// A relay whose nonces are stale when they are made would be asked for ever.
const MAX_TRIES: u8 = 3;
/// CreatePermission and ChannelBind (RFC 8656 §17).
const METHODS: [[u8; 2]; 2] = [[0x00, 0x08], [0x00, 0x09]];

/// The requests that are out.
#[derive(Debug, Default)]
pub(crate) struct OpenRequests(HashMap<TransactionId, Open>);

#[derive(Debug)]
struct Open {
    request: Bytes,
    tries: u8,
}

impl OpenRequests {
    /// Takes note of a datagram on its way to the relay.
    pub(crate) fn sent(&mut self, datagram: &Bytes) {
        let Some((Class::Request, id)) = stun::peek(datagram) else { return };
        if METHODS.iter().any(|method| datagram.starts_with(method)) && self.0.len() < MAX_OPEN {
            self.0.entry(id).or_insert_with(|| Open { request: datagram.clone(), tries: 0 });
        }
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn forget(&mut self, id: &TransactionId) {
        self.0.remove(id);
    }

    /// Whether this answer is about a stale nonce; if so, the request as it should have been.
    pub(crate) fn again(&mut self, answer: &[u8], username: &str, password: &str) -> Option<Bytes> {
        let Some((Class::Response, id)) = stun::peek(answer) else { return None };
        let Open { request, tries } = self.0.remove(&id)?;
        let answer = Message::from_bytes(answer).ok()?;
        if answer.attribute::<ErrorCode>().ok()?.code() != ErrorCode::STALE_NONCE
            || tries >= MAX_TRIES
        {
            return None;
        }
        let nonce = answer.attribute::<Nonce>().ok()?;
        let signed = sign_again(&request, &nonce, username, password)?;
        self.0.insert(id, Open { request, tries: tries + 1 });
        Some(signed)
    }
}

fn sign_again(request: &[u8], nonce: &Nonce, username: &str, password: &str) -> Option<Bytes> {
    let replaced = [
        Nonce::TYPE,
        Username::TYPE,
        MessageIntegrity::TYPE,
        MessageIntegritySha256::TYPE,
        Fingerprint::TYPE,
    ];
    let request = Message::from_bytes(request).ok()?;
    let realm = request.attribute::<Realm>().ok()?.realm().to_owned();
    let (kind, id) = (request.get_type(), request.transaction_id());
    let mut again = Message::builder(kind, id, MessageWriteVec::new());
    for (_, attribute) in request.iter_attributes() {
        if !replaced.contains(&attribute.get_type()) {
            again.add_attribute(&attribute).ok()?;
        }
    }
    again.add_attribute(&Username::new(username).ok()?).ok()?;
    again.add_attribute(nonce).ok()?;
    let key = LongTermKeyCredentials::new(username.to_owned(), password.to_owned(), realm);
    let key = MessageIntegrityCredentials::LongTerm(key);
    again.add_message_integrity(&key, IntegrityAlgorithm::Sha1).ok()?;
    Some(again.finish().into())
}
