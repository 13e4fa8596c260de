//! Permissions are renewed for as long as their peers are wanted (RFC 8656 §9: they last five
//! minutes).
//!
//! `rtc-turn` renews every permission it ever asked for, all in one request. A client that lives
//! long meets many peers: that request outgrows what a relay reads and what a datagram carries, and
//! a relay grants all of it or nothing (RFC 8656 §10.2). So those requests never leave, and these do:
//! small ones, for the peers of open attempts. Where the relay refuses one, its peers are asked for
//! one by one, so that none answers for another.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use stun_types::attribute::{
    AttributeType, ErrorCode, Nonce, RawAttribute, Realm, Username, XorSocketAddr,
};
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageIntegrityCredentials, MessageWrite,
    MessageWriteExt, MessageWriteVec,
};

use crate::stun::{self, Class, TransactionId};

/// How often: twice in the lifetime of a permission, with time left for retransmissions.
const EVERY: Duration = Duration::from_secs(120);
/// Peers in one request: with IPv6 it stays far below any MTU.
const PEERS_PER_REQUEST: usize = 16;
/// The first retransmission; the wait doubles (RFC 8489 §6.2.1).
const RTO: Duration = Duration::from_millis(200);
/// How often a request is sent at most.
const MAX_TRIES: u32 = 7;
/// XOR-PEER-ADDRESS (RFC 8656 §18.3).
const XOR_PEER_ADDRESS: AttributeType = AttributeType::new(0x0012);
const CREATE_PERMISSION_REQUEST: [u8; 2] = [0x00, 0x08];

/// Whether a datagram to the relay asks for permissions.
pub(crate) fn is_request(datagram: &[u8]) -> bool {
    datagram.starts_with(&CREATE_PERMISSION_REQUEST)
}

/// The requests that are out, and when the next are due.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    /// A request of `rtc-turn`'s: it names the realm and a nonce.
    pattern: Option<Bytes>,
    count: u32,
    open: HashMap<TransactionId, Open>,
    due: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    peers: Vec<SocketAddr>,
    request: Bytes,
    tries: u32,
    again: Instant,
}

/// Who signs requests.
#[derive(Clone, Copy)]
pub(crate) struct Signer<'a> {
    pub(crate) username: &'a str,
    pub(crate) password: &'a str,
}

/// What the relay has said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Packets may go to and come from these peers.
    Granted(Vec<SocketAddr>),
    /// All of these were refused because of at least one.
    Refused(Vec<SocketAddr>),
    /// The relay knows no allocation (RFC 8656 §5: 437).
    NoAllocation,
}

impl Renewals {
    /// Takes a signed request for the pattern of further ones.
    pub(crate) fn learn(&mut self, request: &Bytes) {
        self.pattern = Some(request.clone());
    }

    /// The first permission is there: from here on there is something to renew.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.due.get_or_insert(now + EVERY);
    }

    /// Nobody is there to be asked: what is open is let go, and nothing is due.
    pub(crate) fn pause(&mut self) {
        self.open.clear();
        self.due = None;
    }

    /// Somebody is there again: everything is renewed at once.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.due = Some(now);
    }

    /// Whether it is time to renew. Answers `true` once.
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            self.due = Some(now + EVERY);
        }
        due
    }

    /// Requests for these peers. A permission is for an IP address, whatever the port, so one peer
    /// of each will do.
    pub(crate) fn ask(
        &mut self,
        peers: impl IntoIterator<Item = SocketAddr>,
        signer: Signer<'_>,
        now: Instant,
    ) -> Vec<Bytes> {
        let mut seen = HashSet::<IpAddr>::new();
        let peers: Vec<_> = peers.into_iter().filter(|peer| seen.insert(peer.ip())).collect();
        peers.chunks(PEERS_PER_REQUEST).filter_map(|some| self.request(some, signer, now)).collect()
    }

    /// Reads an answer of the relay's, if it is about one of these requests.
    pub(crate) fn answer(&mut self, datagram: &[u8]) -> Option<Answer> {
        let Some((Class::Response, id)) = stun::peek(datagram) else { return None };
        let Open { peers, .. } = self.open.remove(&id)?;
        let message = Message::from_bytes(datagram).ok()?;
        Some(match message.attribute::<ErrorCode>() {
            Ok(error) if error.code() == ErrorCode::ALLOCATION_MISMATCH => Answer::NoAllocation,
            Ok(_) => Answer::Refused(peers),
            Err(_) => Answer::Granted(peers),
        })
    }

    /// What is to be sent again, and the peers for which the relay has not answered at all.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> (Vec<Bytes>, Vec<SocketAddr>) {
        let (mut again, mut unanswered) = (Vec::new(), Vec::new());
        self.open.retain(|_, open| {
            if open.again > now {
                return true;
            }
            if open.tries >= MAX_TRIES {
                unanswered.append(&mut open.peers);
                return false;
            }
            open.again = now + RTO * 2_u32.pow(open.tries);
            open.tries += 1;
            again.push(open.request.clone());
            true
        });
        (again, unanswered)
    }

    /// When something is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.open.values().map(|open| open.again).chain(self.due).min()
    }

    fn request(&mut self, peers: &[SocketAddr], signer: Signer<'_>, now: Instant) -> Option<Bytes> {
        let pattern = self.pattern.clone()?;
        let pattern = Message::from_bytes(&pattern).ok()?;
        let realm = pattern.attribute::<Realm>().ok()?;
        let nonce = pattern.attribute::<Nonce>().ok()?;
        // As unpredictable as the pattern's, and another one each time.
        self.count = self.count.wrapping_add(1);
        let id = (u128::from(pattern.transaction_id()) ^ (u128::from(self.count) << 64)).into();
        let mut request = Message::builder(pattern.get_type(), id, MessageWriteVec::new());
        for peer in peers {
            let mut value = [0; 20];
            let peer = XorSocketAddr::new(*peer, id);
            let value = &mut value[..usize::from(peer.length())];
            peer.write_into_unchecked(value);
            request.add_attribute(&RawAttribute::new(XOR_PEER_ADDRESS, value)).ok()?;
        }
        request.add_attribute(&Username::new(signer.username).ok()?).ok()?;
        request.add_attribute(&realm).ok()?;
        request.add_attribute(&nonce).ok()?;
        let key = LongTermKeyCredentials::new(
            signer.username.to_owned(),
            signer.password.to_owned(),
            realm.realm().to_owned(),
        );
        let key = MessageIntegrityCredentials::LongTerm(key);
        request.add_message_integrity(&key, IntegrityAlgorithm::Sha1).ok()?;
        let request = Bytes::from(request.finish());
        let (_, id) = stun::peek(&request)?;
        let open =
            Open { peers: peers.to_vec(), request: request.clone(), tries: 1, again: now + RTO };
        self.open.insert(id, open);
        Some(request)
    }
}
