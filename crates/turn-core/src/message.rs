//! STUN messages in and out: the one file that knows the codec crates.
//!
//! Reading is strict and borrows: attributes are located once, values are decoded when asked for.
//! What stands behind MESSAGE-INTEGRITY is not read at all, except FINGERPRINT (RFC 8489 §14.5):
//! nobody has vouched for it (coturn ab762f33).

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;

use stun_types::attribute::{
    AttributeFromRaw, AttributeStaticType, AttributeType, AttributeWrite, ErrorCode, Fingerprint,
    MappedSocketAddr, MessageIntegrity, Nonce, RawAttribute, Realm, UnknownAttributes,
    XorMappedAddress,
};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageClass, MessageType,
    MessageWrite, MessageWriteExt, MessageWriteVec, Method,
};
use turn_types::attribute::{
    EvenPort, Lifetime, RequestedTransport, ReservationToken, XorPeerAddress, XorRelayedAddress,
};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH};

pub(crate) use stun_types::message::TransactionId;

use crate::counters::{RequestMethod, RequestResult};
use crate::discovery::Change;

const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// More attributes than any request has use for: CreatePermission with many peers is the longest.
const MAX_ATTRIBUTES: usize = 64;

/// CHANGE-REQUEST, which only some listeners understand (RFC 5780 §7.2).
pub(crate) const CHANGE_REQUEST: u16 = kind::CHANGE_REQUEST;

/// Attribute types, RFC 8489 §18.3, RFC 8656 §18.3 and RFC 5780 §7.
mod kind {
    pub(super) const CHANGE_REQUEST: u16 = 0x0003;
    pub(super) const USERNAME: u16 = 0x0006;
    pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(super) const CHANNEL_NUMBER: u16 = 0x000c;
    pub(super) const LIFETIME: u16 = 0x000d;
    pub(super) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(super) const DATA: u16 = 0x0013;
    pub(super) const REALM: u16 = 0x0014;
    pub(super) const NONCE: u16 = 0x0015;
    pub(super) const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub(super) const EVEN_PORT: u16 = 0x0018;
    pub(super) const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub(super) const DONT_FRAGMENT: u16 = 0x001a;
    pub(super) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub(super) const RESERVATION_TOKEN: u16 = 0x0022;
    pub(super) const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
    pub(super) const FINGERPRINT: u16 = 0x8028;
    pub(super) const RESPONSE_ORIGIN: u16 = 0x802b;
    pub(super) const OTHER_ADDRESS: u16 = 0x802c;

    /// The comprehension-required attributes the server understands, wherever they turn up.
    /// PASSWORD-ALGORITHM and USERHASH are not among them because the server offers neither;
    /// CHANGE-REQUEST because only some listeners do.
    pub(super) const UNDERSTOOD: &[u16] = &[
        USERNAME,
        MESSAGE_INTEGRITY,
        CHANNEL_NUMBER,
        LIFETIME,
        XOR_PEER_ADDRESS,
        DATA,
        REALM,
        NONCE,
        REQUESTED_ADDRESS_FAMILY,
        EVEN_PORT,
        REQUESTED_TRANSPORT,
        DONT_FRAGMENT,
        MESSAGE_INTEGRITY_SHA256,
        RESERVATION_TOKEN,
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Request,
    Indication,
    Response,
}

/// The methods of STUN and TURN over UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MethodName {
    Request(RequestMethod),
    Send,
    Data,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressFamily {
    V4,
    V6,
}

impl AddressFamily {
    pub(crate) fn of(addr: SocketAddr) -> Self {
        if addr.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// REQUESTED-ADDRESS-FAMILY as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FamilyWish {
    Known(AddressFamily),
    Unknown,
}

/// Why a datagram is not a STUN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParseError {
    Malformed,
    BadFingerprint,
}

/// An attribute that is there but does not hold what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadAttribute;

#[derive(Clone, Copy, Default)]
struct Slot {
    kind: u16,
    start: u32,
    len: u16,
}

/// A STUN message from a client.
pub(crate) struct Inbound<'a> {
    datagram: &'a [u8],
    pub(crate) class: Class,
    pub(crate) method: MethodName,
    pub(crate) transaction: TransactionId,
    slots: [Slot; MAX_ATTRIBUTES],
    used: usize,
    /// Where the MESSAGE-INTEGRITY attribute starts.
    integrity: Option<usize>,
}

/// Whether the first byte is that of a STUN message (RFC 8489 §5, RFC 7983).
pub(crate) fn looks_like(first_byte: u8) -> bool {
    first_byte <= 3
}

impl<'a> Inbound<'a> {
    /// The message fills the datagram exactly.
    pub(crate) fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let header = datagram.first_chunk::<HEADER_LEN>().ok_or(ParseError::Malformed)?;
        let message_type = be16(header[0], header[1]);
        let length = usize::from(be16(header[2], header[3]));
        if message_type & 0xc000 != 0
            || header[4..8] != MAGIC_COOKIE
            || HEADER_LEN + length != datagram.len()
            || !length.is_multiple_of(4)
        {
            return Err(ParseError::Malformed);
        }
        let mut transaction = [0; 16];
        transaction[4..].copy_from_slice(&header[8..20]);
        let mut inbound = Self {
            datagram,
            class: class_of(message_type),
            method: method_name(method_bits(message_type)),
            transaction: TransactionId::from(u128::from_be_bytes(transaction)),
            slots: [Slot::default(); MAX_ATTRIBUTES],
            used: 0,
            integrity: None,
        };
        inbound.locate_attributes()?;
        Ok(inbound)
    }

    fn locate_attributes(&mut self) -> Result<(), ParseError> {
        let mut at = HEADER_LEN;
        let mut vouched_for = true;
        while at < self.datagram.len() {
            let header = self.datagram[at..].first_chunk::<4>().ok_or(ParseError::Malformed)?;
            let (kind, len) = (be16(header[0], header[1]), be16(header[2], header[3]));
            let end = at + 4 + usize::from(len).next_multiple_of(4);
            if end > self.datagram.len() {
                return Err(ParseError::Malformed);
            }
            match kind {
                kind::FINGERPRINT => {
                    // RFC 8489 §14.7: it is the last attribute and covers everything before it.
                    return if end == self.datagram.len() && self.fingerprint_holds(at) {
                        Ok(())
                    } else {
                        Err(ParseError::BadFingerprint)
                    };
                }
                kind::MESSAGE_INTEGRITY if vouched_for => {
                    self.integrity = Some(at);
                    vouched_for = false;
                }
                kind::MESSAGE_INTEGRITY_SHA256 => vouched_for = false,
                _ if vouched_for => {
                    let slot = self.slots.get_mut(self.used).ok_or(ParseError::Malformed)?;
                    *slot = Slot { kind, start: (at + 4) as u32, len };
                    self.used += 1;
                }
                _ => {}
            }
            at = end;
        }
        Ok(())
    }

    fn fingerprint_holds(&self, at: usize) -> bool {
        let Some(value) = self.datagram[at + 4..].first_chunk::<4>() else { return false };
        let computed = Fingerprint::compute(&[&self.datagram[..at]]);
        Fingerprint::new(computed).to_raw().value.as_ref() == value
    }

    pub(crate) fn has_integrity(&self) -> bool {
        self.integrity.is_some()
    }

    /// Whether MESSAGE-INTEGRITY was made with this key. Compares in constant time.
    pub(crate) fn is_signed_by(&self, key: &IntegrityKey) -> bool {
        let Some(at) = self.integrity else { return false };
        let Some(mac) = self.datagram[at + 4..].first_chunk::<20>() else { return false };
        // RFC 8489 §14.5: the length in the header is as if the message ended here.
        let length = (at + 24 - HEADER_LEN) as u16;
        let [l0, l1] = length.to_be_bytes();
        let header = [self.datagram[0], self.datagram[1], l0, l1];
        let is_sha1_sized = be16(self.datagram[at + 2], self.datagram[at + 3]) == 20;
        is_sha1_sized && MessageIntegrity::verify(&[&header, &self.datagram[4..at]], &key.0, mac)
    }

    /// Comprehension-required attributes the server does not know (RFC 8489 §6.3).
    pub(crate) fn unknown_attributes(&self) -> Vec<u16> {
        let slots = &self.slots[..self.used];
        let unknown = |kind: &u16| *kind < 0x8000 && !kind::UNDERSTOOD.contains(kind);
        slots.iter().map(|slot| slot.kind).filter(unknown).collect()
    }

    pub(crate) fn username(&self) -> Option<&'a str> {
        self.text(kind::USERNAME)
    }

    pub(crate) fn realm(&self) -> Option<&'a str> {
        self.text(kind::REALM)
    }

    pub(crate) fn nonce(&self) -> Option<&'a [u8]> {
        self.first(kind::NONCE).map(|slot| self.value(slot))
    }

    /// LIFETIME in seconds.
    pub(crate) fn lifetime(&self) -> Result<Option<u32>, BadAttribute> {
        Ok(self.decode::<Lifetime>()?.map(|lifetime| lifetime.seconds()))
    }

    /// REQUESTED-TRANSPORT as an IP protocol number.
    pub(crate) fn requested_transport(&self) -> Result<Option<u8>, BadAttribute> {
        Ok(self.decode::<RequestedTransport>()?.map(|transport| transport.protocol()))
    }

    pub(crate) fn requested_family(&self) -> Result<Option<FamilyWish>, BadAttribute> {
        let Some(slot) = self.first(kind::REQUESTED_ADDRESS_FAMILY) else { return Ok(None) };
        match self.value(slot) {
            [1, _, _, _] => Ok(Some(FamilyWish::Known(AddressFamily::V4))),
            [2, _, _, _] => Ok(Some(FamilyWish::Known(AddressFamily::V6))),
            [_, _, _, _] => Ok(Some(FamilyWish::Unknown)),
            _ => Err(BadAttribute),
        }
    }

    pub(crate) fn has_additional_family(&self) -> bool {
        self.first(kind::ADDITIONAL_ADDRESS_FAMILY).is_some()
    }

    /// EVEN-PORT: whether the port above is to be reserved as well.
    pub(crate) fn even_port(&self) -> Result<Option<bool>, BadAttribute> {
        Ok(self.decode::<EvenPort>()?.map(|even| even.requested()))
    }

    pub(crate) fn reservation_token(&self) -> Result<Option<u64>, BadAttribute> {
        Ok(self.decode::<ReservationToken>()?.map(|token| token.token()))
    }

    /// CHANNEL-NUMBER as sent, in range or not. The two bytes behind it are reserved and ignored.
    pub(crate) fn channel_number(&self) -> Result<Option<u16>, BadAttribute> {
        let Some(slot) = self.first(kind::CHANNEL_NUMBER) else { return Ok(None) };
        match self.value(slot) {
            [n0, n1, _, _] => Ok(Some(be16(*n0, *n1))),
            _ => Err(BadAttribute),
        }
    }

    /// CHANGE-REQUEST (RFC 5780 §7.2).
    pub(crate) fn change_request(&self) -> Result<Option<Change>, BadAttribute> {
        let Some(slot) = self.first(kind::CHANGE_REQUEST) else { return Ok(None) };
        match self.value(slot) {
            [_, _, _, flags] => Ok(Some(Change { ip: flags & 4 != 0, port: flags & 2 != 0 })),
            _ => Err(BadAttribute),
        }
    }

    /// The first XOR-PEER-ADDRESS.
    pub(crate) fn peer(&self) -> Result<Option<SocketAddr>, BadAttribute> {
        let peer = self.decode::<XorPeerAddress>()?;
        Ok(peer.map(|peer| peer.addr(self.transaction)))
    }

    /// Every XOR-PEER-ADDRESS, in order.
    pub(crate) fn peers(&self) -> Result<Vec<SocketAddr>, BadAttribute> {
        self.slots[..self.used]
            .iter()
            .filter(|slot| slot.kind == kind::XOR_PEER_ADDRESS)
            .map(|&slot| self.decode_slot::<XorPeerAddress>(slot))
            .map(|peer| Ok(peer?.addr(self.transaction)))
            .collect()
    }

    /// Where in the datagram the value of DATA is.
    pub(crate) fn data(&self) -> Option<Range<usize>> {
        let slot = self.first(kind::DATA)?;
        let start = slot.start as usize;
        Some(start..start + usize::from(slot.len))
    }

    fn text(&self, kind: u16) -> Option<&'a str> {
        std::str::from_utf8(self.value(self.first(kind)?)).ok()
    }

    /// RFC 8489 §14: of several attributes of one type, only the first counts.
    fn first(&self, kind: u16) -> Option<Slot> {
        self.slots[..self.used].iter().find(|slot| slot.kind == kind).copied()
    }

    fn value(&self, slot: Slot) -> &'a [u8] {
        let start = slot.start as usize;
        &self.datagram[start..start + usize::from(slot.len)]
    }

    fn decode<A>(&self) -> Result<Option<A>, BadAttribute>
    where
        A: AttributeFromRaw<'a> + AttributeStaticType,
    {
        match self.first(A::TYPE.value()) {
            Some(slot) => self.decode_slot(slot).map(Some),
            None => Ok(None),
        }
    }

    fn decode_slot<A: AttributeFromRaw<'a>>(&self, slot: Slot) -> Result<A, BadAttribute> {
        let raw = RawAttribute::new(AttributeType::new(slot.kind), self.value(slot));
        A::from_raw(raw).map_err(|_| BadAttribute)
    }

    /// What is needed to answer this message as a request of this method, at once or when the
    /// datagram is gone.
    pub(crate) fn reply(&self, method: RequestMethod) -> Reply {
        Reply { method, transaction: self.transaction }
    }
}

/// Enough of a request to answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) method: RequestMethod,
    pub(crate) transaction: TransactionId,
}

impl Reply {
    pub(crate) fn success(self) -> Outbound {
        Outbound::new(self, RequestResult::Success)
    }

    /// Without a reason phrase: the code says it, and an answer is no longer than it must be (I3).
    pub(crate) fn error(self, code: u16) -> Outbound {
        let mut answer = Outbound::new(self, RequestResult::Error(code));
        let error = ErrorCode::new(code, "").expect("error codes are constants in 300..700");
        answer.add(&error);
        answer
    }
}

/// A response being built.
pub(crate) struct Outbound {
    reply: Reply,
    result: RequestResult,
    writer: MessageWriteVec,
}

/// A response ready to be sent, and what it says.
pub(crate) struct Answer {
    pub(crate) method: RequestMethod,
    pub(crate) result: RequestResult,
    pub(crate) datagram: Vec<u8>,
}

impl Outbound {
    fn new(reply: Reply, result: RequestResult) -> Self {
        let class = match result {
            RequestResult::Success => MessageClass::Success,
            RequestResult::Error(_) => MessageClass::Error,
        };
        let message_type = MessageType::from_class_method(class, codec_method(reply.method));
        let writer = MessageWriteVec::with_capacity(128);
        let writer = Message::builder(message_type, reply.transaction, writer);
        Self { reply, result, writer }
    }

    pub(crate) fn mapped_address(mut self, addr: SocketAddr) -> Self {
        self.add(&XorMappedAddress::new(addr, self.reply.transaction));
        self
    }

    /// RESPONSE-ORIGIN and OTHER-ADDRESS (RFC 5780 §7.3, §7.4).
    pub(crate) fn origin(mut self, origin: SocketAddr, other: SocketAddr) -> Self {
        for (kind, addr) in [(kind::RESPONSE_ORIGIN, origin), (kind::OTHER_ADDRESS, other)] {
            self.add(&MappedSocketAddr::new(addr).to_raw(AttributeType::new(kind)));
        }
        self
    }

    pub(crate) fn relayed_address(mut self, addr: SocketAddr) -> Self {
        self.add(&XorRelayedAddress::new(addr, self.reply.transaction));
        self
    }

    pub(crate) fn lifetime(mut self, seconds: u32) -> Self {
        self.add(&Lifetime::new(seconds));
        self
    }

    pub(crate) fn reservation_token(mut self, token: u64) -> Self {
        self.add(&ReservationToken::new(token));
        self
    }

    pub(crate) fn challenge(mut self, realm: &str, nonce: &str) -> Self {
        self.add(
            &Realm::new(realm).expect("the realm's length is checked when the server is made"),
        );
        self.add(&Nonce::new(nonce).expect("a nonce is 24 characters long"));
        self
    }

    pub(crate) fn unknown_attributes(mut self, kinds: &[u16]) -> Self {
        let kinds: Vec<_> = kinds.iter().map(|&kind| AttributeType::new(kind)).collect();
        self.add(&UnknownAttributes::new(&kinds));
        self
    }

    /// Ends the message unsigned: nobody has shown a key yet.
    pub(crate) fn finish(self) -> Answer {
        let Reply { method, .. } = self.reply;
        Answer { method, result: self.result, datagram: self.writer.finish() }
    }

    /// Ends the message with MESSAGE-INTEGRITY.
    pub(crate) fn sign(mut self, key: &IntegrityKey) -> Answer {
        self.writer
            .add_message_integrity_with_key(&key.0, IntegrityAlgorithm::Sha1)
            .expect("MESSAGE-INTEGRITY is added once, to a message far from full");
        self.finish()
    }

    fn add(&mut self, attribute: &dyn AttributeWrite) {
        self.writer.add_attribute(attribute).expect("no answer is anywhere near 64 KiB");
    }
}

/// Whether `realm` can be sent in a REALM attribute (RFC 8489 §14.9).
pub(crate) fn is_valid_realm(realm: &str) -> bool {
    !realm.is_empty() && realm.chars().count() < 128 && Realm::new(realm).is_ok()
}

/// The long-term key of RFC 8489 §9.2.2. `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct IntegrityKey(stun_types::message::IntegrityKey);

impl IntegrityKey {
    pub(crate) fn long_term(username: &str, realm: &str, password: &str) -> Self {
        let credentials =
            LongTermKeyCredentials::new(username.into(), password.into(), realm.into());
        Self(credentials.make_key(IntegrityAlgorithm::Sha1))
    }
}

impl fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntegrityKey([redacted])")
    }
}

/// The longest [`data_indication_header`]: an IPv6 peer.
pub(crate) const MAX_DATA_HEADER_LEN: usize = 48;

/// Everything of a Data indication in front of the payload (RFC 8656 §11.3). DATA comes last, so
/// the payload follows, and then up to three bytes of padding.
pub(crate) fn data_indication_header(
    buffer: &mut [u8; MAX_DATA_HEADER_LEN],
    transaction: [u8; 12],
    peer: SocketAddr,
    payload: u16,
) -> usize {
    const DATA_INDICATION: u16 = 0x0017;
    let address_len: u16 = if peer.is_ipv4() { 8 } else { 20 };
    let header_len = usize::from(28 + address_len);
    let length = header_len - HEADER_LEN + usize::from(payload).next_multiple_of(4);
    let mut transaction_id = [0; 16];
    transaction_id[4..].copy_from_slice(&transaction);
    let transaction_id = TransactionId::from(u128::from_be_bytes(transaction_id));
    let peer = XorPeerAddress::new(peer, transaction_id);

    buffer[..2].copy_from_slice(&DATA_INDICATION.to_be_bytes());
    buffer[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    buffer[4..8].copy_from_slice(&MAGIC_COOKIE);
    buffer[8..20].copy_from_slice(&transaction);
    peer.write_into_unchecked(&mut buffer[20..header_len - 4]);
    buffer[header_len - 4..header_len - 2].copy_from_slice(&kind::DATA.to_be_bytes());
    buffer[header_len - 2..header_len].copy_from_slice(&payload.to_be_bytes());
    header_len
}

fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

/// RFC 8489 §5: the class is bits 4 and 8, the method is the rest.
fn class_of(message_type: u16) -> Class {
    match (message_type & 0x0100 != 0, message_type & 0x0010 != 0) {
        (false, false) => Class::Request,
        (false, true) => Class::Indication,
        (true, _) => Class::Response,
    }
}

fn method_bits(message_type: u16) -> u16 {
    message_type & 0x000f | (message_type & 0x00e0) >> 1 | (message_type & 0x3e00) >> 2
}

fn method_name(raw: u16) -> MethodName {
    use RequestMethod::{Allocate, Binding, ChannelBind, CreatePermission, Refresh};
    match raw {
        0x001 => MethodName::Request(Binding),
        0x003 => MethodName::Request(Allocate),
        0x004 => MethodName::Request(Refresh),
        0x006 => MethodName::Send,
        0x007 => MethodName::Data,
        0x008 => MethodName::Request(CreatePermission),
        0x009 => MethodName::Request(ChannelBind),
        _ => MethodName::Other,
    }
}

fn codec_method(method: RequestMethod) -> Method {
    match method {
        RequestMethod::Binding => BINDING,
        RequestMethod::Allocate => ALLOCATE,
        RequestMethod::Refresh => REFRESH,
        RequestMethod::CreatePermission => CREATE_PERMISSION,
        RequestMethod::ChannelBind => CHANNEL_BIND,
    }
}
