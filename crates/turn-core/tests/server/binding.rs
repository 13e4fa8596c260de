//! STUN Binding: stateless and short.

use p2p_turn_core::{ClientAction, Reason};
use stun_types::attribute::{RawAttribute, XorMappedAddress};
use stun_types::message::{
    BINDING, Message, MessageWrite as _, MessageWriteExt as _, MessageWriteVec,
};

use super::world::{World, add};

const CLIENT: &str = "5.5.5.5:1000";

#[test]
fn a_binding_request_gets_its_source_address_and_nothing_else() {
    for client in [CLIENT, "[2606:4700::1]:1000"] {
        let mut world = World::new();
        let request = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
        assert_eq!(world.feed(client.parse().unwrap(), &request), ClientAction::Done);
        let answer = world.answer_to(client.parse().unwrap());

        let message = Message::from_bytes(&answer).unwrap();
        let mapped = message.attribute::<XorMappedAddress>().unwrap();
        assert_eq!(mapped.addr(message.transaction_id()), client.parse().unwrap());
        assert_eq!(message.iter_attributes().count(), 1);
    }
}

/// I3: 20 bytes in, 32 out. Every byte more would be amplification.
#[test]
fn the_answer_is_no_longer_than_it_must_be() {
    let mut world = World::new();
    let request = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
    world.feed(CLIENT.parse().unwrap(), &request);
    assert_eq!((request.len(), world.answer_to(CLIENT.parse().unwrap()).len()), (20, 32));
}

#[test]
fn a_fingerprint_is_checked_when_there_is_one() {
    let mut world = World::new();
    let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
    request.add_fingerprint().unwrap();
    let mut request = request.finish();
    world.feed(CLIENT.parse().unwrap(), &request);
    world.answer_to(CLIENT.parse().unwrap());

    *request.last_mut().unwrap() ^= 1;
    world.feed(CLIENT.parse().unwrap(), &request);
    assert_eq!(world.next_sent(), None);
    assert_eq!(world.count(Reason::BadFingerprint), 1);
}

/// CHANGE-REQUEST of RFC 5780: a server that does not offer the test says so with 420.
#[test]
fn an_unknown_required_attribute_is_named_and_an_optional_one_ignored() {
    let ask = |kind: u16| {
        let mut world = World::new();
        let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
        add(&mut request, &RawAttribute::new(kind.into(), &[0, 0, 0, 6]));
        world.feed(CLIENT.parse().unwrap(), &request.finish());
        world.answer_to(CLIENT.parse().unwrap())
    };
    let refused = ask(0x0003);
    let message = Message::from_bytes(&refused).unwrap();
    let error = message.attribute::<stun_types::attribute::ErrorCode>().unwrap();
    assert_eq!(error.code(), 420);
    let unknown = message.attribute::<stun_types::attribute::UnknownAttributes>().unwrap();
    assert!(unknown.has_attribute(0x0003.into()));

    let answered = ask(0x8022);
    let message = Message::from_bytes(&answered).unwrap();
    assert!(message.attribute::<XorMappedAddress>().is_ok());
}

#[test]
fn a_binding_indication_is_a_keepalive_and_gets_no_answer() {
    let mut world = World::new();
    let indication = Message::builder_indication(BINDING, MessageWriteVec::new()).finish();
    world.feed(CLIENT.parse().unwrap(), &indication);
    assert_eq!(world.next_sent(), None);
}
