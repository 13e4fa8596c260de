//! NAT behaviour discovery: answers that say where they come from, and come from elsewhere on
//! request (RFC 5780 §6.1).

use std::net::SocketAddr;
use std::time::Duration;

use p2p_turn_core::{ChallengeRate, Discovery, ListenerId, Reason, RequestMethod, RequestResult};
use stun_types::attribute::{MappedSocketAddr, RawAttribute, XorMappedAddress};
use stun_types::message::{BINDING, Message, MessageWrite as _, MessageWriteVec};

use super::world::{World, add};

const CLIENT: &str = "5.5.5.5:1000";
const CORNERS: [&str; 4] =
    ["198.51.100.9:3478", "198.51.100.9:3479", "198.51.100.10:3478", "198.51.100.10:3479"];
const RESPONSE_ORIGIN: u16 = 0x802b;
const OTHER_ADDRESS: u16 = 0x802c;

/// A world with the four listeners 0 to 3, and a listener 4 that is none of them.
fn world() -> World {
    World::with(|setup| setup.discovery = Some(discovery(CORNERS)))
}

fn discovery(corners: [&str; 4]) -> Discovery {
    let mut listener = 0..;
    let corners = corners.map(|c| (ListenerId(listener.next().unwrap()), c.parse().unwrap()));
    Discovery::new(corners).unwrap()
}

fn request(flags: Option<u8>) -> Vec<u8> {
    let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
    if let Some(flags) = flags {
        add(&mut request, &RawAttribute::new(0x0003.into(), &[0, 0, 0, flags]));
    }
    request.finish()
}

fn ask(world: &mut World, listener: u16, flags: Option<u8>) -> Option<(u16, Vec<u8>)> {
    world.feed_at(ListenerId(listener), CLIENT.parse().unwrap(), &request(flags));
    world.next_sent_from().map(|(from, answer)| (from.0, answer))
}

fn address(answer: &[u8], kind: u16) -> Option<SocketAddr> {
    let message = Message::from_bytes(answer).unwrap();
    let raw = message.raw_attribute(kind.into())?;
    Some(MappedSocketAddr::from_raw(&raw).unwrap().addr())
}

#[test]
fn every_answer_says_where_it_comes_from_and_what_the_other_address_is() {
    for (listener, other) in [(0, 3), (1, 2), (2, 1), (3, 0)] {
        let (from, answer) = ask(&mut world(), listener, None).unwrap();
        assert_eq!(from, listener);
        let of = |corner: u16| Some(CORNERS[usize::from(corner)].parse().unwrap());
        assert_eq!(address(&answer, RESPONSE_ORIGIN), of(listener));
        assert_eq!(address(&answer, OTHER_ADDRESS), of(other));
        let message = Message::from_bytes(&answer).unwrap();
        let mapped = message.attribute::<XorMappedAddress>().unwrap();
        assert_eq!(mapped.addr(message.transaction_id()), CLIENT.parse().unwrap());
    }
}

#[test]
fn a_change_request_is_answered_from_the_address_it_asks_for() {
    for (flags, expected) in [(0, 0), (2, 1), (4, 2), (6, 3)] {
        let (from, answer) = ask(&mut world(), 0, Some(flags)).unwrap();
        assert_eq!(from, expected);
        let origin = CORNERS[usize::from(expected)].parse().unwrap();
        assert_eq!(address(&answer, RESPONSE_ORIGIN), Some(origin));
        assert_eq!(address(&answer, OTHER_ADDRESS), Some(CORNERS[3].parse().unwrap()));
    }
}

#[test]
fn over_tcp_the_other_address_is_named_and_no_answer_comes_from_elsewhere() {
    let mut world = World::with(|setup| setup.stream_discovery = Some(discovery(CORNERS)));
    for listener in 0..4 {
        world.server.serve_stream(ListenerId(listener));
    }
    let (from, answer) = ask(&mut world, 0, None).unwrap();
    assert_eq!((from, address(&answer, OTHER_ADDRESS)), (0, Some(CORNERS[3].parse().unwrap())));
    let (from, refused) = ask(&mut world, 0, Some(6)).unwrap();
    assert_eq!(from, 0);
    assert_eq!(&refused[..2], [0x01, 0x11], "a connection has one source");
}

#[test]
fn a_listener_outside_the_four_answers_as_if_there_were_none() {
    let (from, answer) = ask(&mut world(), 4, None).unwrap();
    assert_eq!((from, answer.len()), (4, 32));
    let mut world = world();
    ask(&mut world, 4, Some(6)).unwrap();
    let refused =
        world.server.counters().answered(RequestMethod::Binding, RequestResult::Error(420));
    assert_eq!(refused, 1);
}

/// I3: IPv6 addresses are longer, and so are the headers of both packets.
#[test]
fn i3_over_ipv6_an_answer_is_at_most_two_point_one_times_its_request_on_the_wire() {
    const HEADERS: usize = 48;
    let corners =
        ["[2001:db8::1]:3478", "[2001:db8::1]:3479", "[2001:db8::2]:3478", "[2001:db8::2]:3479"];
    let mut world = World::with(|setup| setup.discovery = Some(discovery(corners)));
    let request = request(None);
    world.feed_at(ListenerId(0), "[2606:4700::1]:1000".parse().unwrap(), &request);
    let (_, answer) = world.next_sent_from().unwrap();
    assert_eq!(answer.len(), 92);
    assert!((answer.len() + HEADERS) * 10 <= (request.len() + HEADERS) * 21);
}

/// I3: what the client has to know of the other address costs 24 bytes, and nothing is sent twice.
#[test]
fn i3_an_answer_is_at_most_two_point_eight_times_its_request() {
    for flags in [None, Some(2), Some(6)] {
        let (_, answer) = ask(&mut world(), 0, flags).unwrap();
        assert_eq!(answer.len(), 56);
        assert!(answer.len() * 10 <= request(flags).len() * 28);
    }
}

/// I3: whoever forges a source can have only a trickle sent to it from elsewhere.
#[test]
fn i3_reflection_stops_at_the_limit_and_plain_answers_get_short() {
    let mut world = World::with(|setup| {
        setup.discovery = Some(discovery(CORNERS));
        setup.limits.challenges = ChallengeRate { per_second: 1, burst: 3 };
    });
    let answered = (0..20).filter(|_| ask(&mut world, 0, Some(6)).is_some()).count();
    assert_eq!(answered, 3);
    assert_eq!(world.count(Reason::DiscoveryRateLimited), 17);

    let (from, answer) = ask(&mut world, 0, None).unwrap();
    assert_eq!((from, answer.len()), (0, 32));
    world.pass(Duration::from_secs(1));
    assert_eq!(ask(&mut world, 0, None).unwrap().1.len(), 56);
}

#[test]
fn a_change_request_of_another_length_is_a_bad_request() {
    let mut world = world();
    let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
    add(&mut request, &RawAttribute::new(0x0003.into(), &[0, 6]));
    world.feed_at(ListenerId(0), CLIENT.parse().unwrap(), &request.finish());
    assert!(world.next_sent_from().is_some());
    let refused =
        world.server.counters().answered(RequestMethod::Binding, RequestResult::Error(400));
    assert_eq!(refused, 1);
}
