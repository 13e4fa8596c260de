//! The little STUN that traversal speaks itself: Binding requests to servers, and reading enough of
//! a message to know whose it is. Checks are `rtc-ice`'s, TURN is `rtc-turn`'s.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use stun_types::attribute::{ErrorCode, MappedSocketAddr, Username, XorMappedAddress};
use stun_types::message::Message;

/// A STUN transaction id (RFC 8489 §5).
pub(crate) type TransactionId = [u8; 12];

const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_INDICATION: [u8; 2] = [0x00, 0x11];
const REFRESH_REQUEST: [u8; 2] = [0x00, 0x04];
const SEND_INDICATION: [u8; 2] = [0x00, 0x16];
const XOR_PEER_ADDRESS: [u8; 2] = [0x00, 0x12];
const DATA: [u8; 2] = [0x00, 0x13];

/// What a message is, as far as its header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Request,
    Indication,
    Response,
}

/// A Binding request without attributes: 20 bytes, which keeps reflection at its smallest.
pub(crate) fn binding_request(id: TransactionId) -> [u8; 20] {
    header(BINDING_REQUEST, id)
}

/// What is to differ in the source of an answer (RFC 5780 §7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Port,
    AddressAndPort,
}

/// A Binding request whose answer is to come from elsewhere.
pub(crate) fn change_request(id: TransactionId, change: Change) -> [u8; 28] {
    let flags = match change {
        Change::Port => 0x02,
        Change::AddressAndPort => 0x06,
    };
    let mut bytes = [0; 28];
    bytes[..20].copy_from_slice(&header(BINDING_REQUEST, id));
    bytes[3] = 8;
    bytes[20..].copy_from_slice(&[0x00, 0x03, 0, 4, 0, 0, 0, flags]);
    bytes
}

/// A Binding indication: keeps a NAT's mapping and asks for no answer (RFC 8445 §11).
pub(crate) fn binding_indication(id: TransactionId) -> [u8; 20] {
    header(BINDING_INDICATION, id)
}

/// A Send indication: data for a peer, without a channel (RFC 8656 §11.1). Nobody answers it, so
/// that a count will do as its id. `None` where it is too long for a message.
pub(crate) fn send_indication(number: u64, peer: SocketAddr, data: &[u8]) -> Option<Bytes> {
    let mut id = [0; 12];
    id[4..].copy_from_slice(&number.to_be_bytes());
    // RFC 8489 §14.2: the address is combined with the cookie and the id.
    let mask = [&MAGIC_COOKIE[..], &id].concat();
    let masked = |bytes: &[u8]| bytes.iter().zip(&mask).map(|(a, b)| a ^ b).collect::<Vec<_>>();
    let (family, address) = match peer.ip() {
        IpAddr::V4(ip) => (1, masked(&ip.octets())),
        IpAddr::V6(ip) => (2, masked(&ip.octets())),
    };
    let mut peer_address = vec![0, family];
    peer_address.extend(masked(&peer.port().to_be_bytes()));
    peer_address.extend(address);
    let mut message = header(SEND_INDICATION, id).to_vec();
    for (kind, value) in [(XOR_PEER_ADDRESS, &peer_address[..]), (DATA, data)] {
        let length = u16::try_from(value.len()).ok()?;
        message.extend(kind);
        message.extend(length.to_be_bytes());
        message.extend(value);
        message.resize(message.len().next_multiple_of(4), 0);
    }
    let length = u16::try_from(message.len() - 20).ok()?;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    Some(message.into())
}

/// The class and transaction of a message with a valid header (RFC 8489 §5).
pub(crate) fn peek(datagram: &[u8]) -> Option<(Class, TransactionId)> {
    let (head, _) = datagram.split_at_checked(20)?;
    if head[0] & 0xc0 != 0 || head[4..8] != MAGIC_COOKIE {
        return None;
    }
    // The class's two bits sit at bits 4 and 8 of the type.
    let class = match (head[0] & 0x01, head[1] & 0x10) {
        (0, 0) => Class::Request,
        (0, _) => Class::Indication,
        _ => Class::Response,
    };
    Some((class, head[8..20].try_into().expect("twelve bytes of a twenty-byte head")))
}

/// The address in a Binding success response.
pub(crate) fn mapped_address(datagram: &[u8]) -> Option<SocketAddr> {
    let message = Message::from_bytes(datagram).ok()?;
    let mapped = message.attribute::<XorMappedAddress>().ok()?;
    Some(mapped.addr(message.transaction_id()))
}

/// RESPONSE-ORIGIN: where the server says that its answer comes from (RFC 5780 §7.3).
pub(crate) fn response_origin(datagram: &[u8]) -> Option<SocketAddr> {
    plain_address(datagram, 0x802b)
}

/// OTHER-ADDRESS: the server's second address and port (RFC 5780 §7.4).
pub(crate) fn other_address(datagram: &[u8]) -> Option<SocketAddr> {
    plain_address(datagram, 0x802c)
}

fn plain_address(datagram: &[u8], kind: u16) -> Option<SocketAddr> {
    let message = Message::from_bytes(datagram).ok()?;
    let raw = message.raw_attribute(kind.into())?;
    Some(MappedSocketAddr::from_raw(&raw).ok()?.addr())
}

/// What a relay said to a Refresh (RFC 8656 §7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefreshAnswer {
    /// The allocation lives on.
    Success,
    /// 438: the same again, with the nonce that came along (RFC 8489 §9.2.5).
    StaleNonce,
    /// Any other error.
    Refused(u16),
}

/// The transaction of a Refresh request, if it is one.
pub(crate) fn refresh_request(datagram: &[u8]) -> Option<TransactionId> {
    datagram.starts_with(&REFRESH_REQUEST).then(|| peek(datagram).map(|(_, id)| id))?
}

/// Whether this answers that request.
pub(crate) fn is_answer_to(datagram: &[u8], request: TransactionId) -> bool {
    peek(datagram) == Some((Class::Response, request))
}

/// The answer to a Refresh, if it is one.
pub(crate) fn refresh_answer(datagram: &[u8]) -> Option<RefreshAnswer> {
    // Method 0x004, class success or error.
    if !matches!(datagram.get(..2), Some([0x01, 0x04 | 0x14])) {
        return None;
    }
    let message = Message::from_bytes(datagram).ok()?;
    let code = message.attribute::<ErrorCode>().map(|error| error.code());
    Some(match code {
        Ok(438) => RefreshAnswer::StaleNonce,
        Ok(code) => RefreshAnswer::Refused(code),
        Err(_) => RefreshAnswer::Success,
    })
}

/// The username fragment that a check is addressed to (RFC 8445 §7.2.2: `theirs:ours`).
pub(crate) fn target_ufrag(datagram: &[u8]) -> Option<String> {
    let message = Message::from_bytes(datagram).ok()?;
    let username = message.attribute::<Username>().ok()?;
    username.username().split(':').next().map(str::to_owned)
}

fn header(kind: [u8; 2], id: TransactionId) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..2].copy_from_slice(&kind);
    bytes[4..8].copy_from_slice(&MAGIC_COOKIE);
    bytes[8..].copy_from_slice(&id);
    bytes
}

#[cfg(test)]
mod tests {
    use stun_types::attribute::XorSocketAddr;

    use super::*;

    #[test]
    fn a_request_reads_back_with_its_transaction() {
        let id = [7; 12];
        assert_eq!(peek(&binding_request(id)), Some((Class::Request, id)));
        assert_eq!(peek(&binding_indication(id)), Some((Class::Indication, id)));
        assert!(Message::from_bytes(&binding_request(id)).is_ok());
        let change = change_request(id, Change::AddressAndPort);
        assert_eq!(peek(&change), Some((Class::Request, id)));
        let change = Message::from_bytes(&change).unwrap();
        assert_eq!(*change.raw_attribute(0x0003.into()).unwrap().value, [0, 0, 0, 6]);
        let mut response = binding_request(id);
        response[0] = 1;
        assert_eq!(peek(&response), Some((Class::Response, id)));
    }

    #[test]
    fn a_send_indication_names_its_peer_and_holds_the_data() {
        for peer in ["203.0.113.9:4000", "[2001:db8::9]:4000"] {
            let peer: SocketAddr = peer.parse().unwrap();
            let message = send_indication(7, peer, b"hello").unwrap();
            let (class, id) = peek(&message).unwrap();
            assert_eq!(class, Class::Indication);
            let message = Message::from_bytes(&message).unwrap();
            let address = message.raw_attribute(0x0012.into()).unwrap();
            let address = XorSocketAddr::from_raw(&address).unwrap();
            let mut number = [0; 16];
            number[4..].copy_from_slice(&id);
            assert_eq!(address.addr(u128::from_be_bytes(number).into()), peer);
            assert_eq!(*message.raw_attribute(0x0013.into()).unwrap().value, *b"hello");
        }
        assert_eq!(send_indication(7, "203.0.113.9:4000".parse().unwrap(), &[0; 65_536]), None);
    }

    #[test]
    fn other_bytes_are_not_stun() {
        assert_eq!(peek(&[0; 20]), None);
        assert_eq!(peek(&[0; 5]), None);
        assert_eq!(mapped_address(&[0; 64]), None);
        assert_eq!(target_ufrag(&[]), None);
    }
}
