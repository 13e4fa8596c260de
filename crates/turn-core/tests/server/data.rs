//! Payloads: unchanged, whole, and to the right place.

use p2p_turn_core::{AllocationId, ListenerId, Reason, TAILROOM};
use proptest::prelude::*;
use stun_types::attribute::RawAttribute;
use stun_types::message::{Message, MessageWrite as _, MessageWriteVec};
use turn_types::attribute::{Data, XorPeerAddress};
use turn_types::message::{DATA, SEND};

use super::world::{Client, LISTENER, PEER, World, add, channel_data, data_indication, peer};

const CHANNEL: u16 = 0x4000;

proptest! {
    #[test]
    fn payloads_of_any_length_arrive_unchanged(payload in prop::collection::vec(any::<u8>(), 0..1500)) {
        let (mut world, mut alice, id) = allocated();
        alice.permit(&mut world, &[PEER]).unwrap();
        let expected = Some((peer(PEER), payload.clone()));
        prop_assert_eq!(alice.send(&mut world, PEER, &payload), expected.clone());
        let (to, datagram) = world.peer_sends(id, PEER, &payload).unwrap();
        prop_assert_eq!(to, alice.addr);
        prop_assert!(datagram.len() % 4 == 0);
        prop_assert_eq!(data_indication(&datagram), (PEER.parse().unwrap(), payload.clone()));

        alice.bind(&mut world, CHANNEL, PEER).unwrap();
        prop_assert_eq!(alice.send_on(&mut world, CHANNEL, &payload), expected);
        let (_, datagram) = world.peer_sends(id, PEER, &payload).unwrap();
        prop_assert_eq!(datagram, channel_data(CHANNEL, &payload));
    }
}

#[test]
fn padding_behind_channel_data_is_not_payload() {
    let (mut world, mut alice, _) = allocated();
    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    let mut datagram = channel_data(CHANNEL, b"hello");
    datagram.extend([0; 3]);
    let action = world.feed(alice.addr, &datagram);
    let p2p_turn_core::ClientAction::Relay { payload, .. } = action else { panic!("relayed") };
    assert_eq!(&datagram[payload], b"hello");
}

#[test]
fn an_ipv6_peer_fits_the_room_in_front() {
    let mut world = World::with(|setup| {
        let v6 = "2606:4700::9".parse().unwrap();
        setup.relay_ips.push(p2p_turn_core::RelayIp { local: v6, advertised: v6 });
    });
    let mut alice = Client::alice();
    let relayed = alice
        .allocate_with(&mut world, |request| {
            use turn_types::{AddressFamily, attribute::RequestedAddressFamily};
            add(request, &RequestedAddressFamily::new(AddressFamily::IPV6));
        })
        .unwrap();
    let id = world.id_of(relayed);
    let peer = "[2606:4700::1111]:5000";
    alice.permit(&mut world, &[peer]).unwrap();
    let (_, datagram) = world.peer_sends(id, peer, b"12345").unwrap();
    assert_eq!(data_indication(&datagram), (peer.parse().unwrap(), b"12345".to_vec()));
    assert_eq!(datagram.len(), p2p_turn_core::HEADROOM + 5 + TAILROOM);
}

/// Behind a one-to-one NAT, clients name each other by public addresses, but the packets between
/// two relay sockets never leave the host.
#[test]
fn two_allocations_behind_a_nat_reach_each_other_inside() {
    let mut world = World::with(|setup| {
        setup.relay_ips = vec![p2p_turn_core::RelayIp {
            local: "10.0.0.9".parse().unwrap(),
            advertised: "198.51.100.9".parse().unwrap(),
        }];
    });
    let (mut alice, mut bob) = (Client::alice(), Client::bob());
    let alice_at = alice.allocate(&mut world).unwrap().to_string();
    let bob_at = bob.allocate(&mut world).unwrap().to_string();
    let bob_id = world.id_of(bob_at.parse().unwrap());
    alice.bind(&mut world, CHANNEL, &bob_at).unwrap();
    bob.bind(&mut world, CHANNEL, &alice_at).unwrap();

    let inside = |public: &str| public.replace("198.51.100.9", "10.0.0.9");
    let sent = alice.send_on(&mut world, CHANNEL, b"hello");
    assert_eq!(sent, Some((peer(&inside(&bob_at)), b"hello".to_vec())));
    let (_, delivered) = world.peer_sends(bob_id, &inside(&alice_at), b"hello").unwrap();
    assert_eq!(delivered, channel_data(CHANNEL, b"hello"));
    let sent = alice.send(&mut world, &bob_at, b"hello");
    assert_eq!(sent, Some((peer(&inside(&bob_at)), b"hello".to_vec())));
    assert!(world.fast_path.values().any(|route| route.peer == peer(&inside(&bob_at))));
}

#[test]
fn data_without_an_allocation_goes_nowhere() {
    let mut world = World::new();
    let alice = Client::alice();
    assert_eq!(alice.send(&mut world, PEER, b"x"), None);
    assert_eq!(alice.send_on(&mut world, CHANNEL, b"x"), None);
    assert_eq!(world.count(Reason::DataWithoutAllocation), 2);
    assert_eq!(world.next_sent(), None, "indications and ChannelData get no answer");
}

#[test]
fn an_allocation_belongs_to_its_listener_too() {
    let (mut world, mut alice, _) = allocated();
    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    let elsewhere = ListenerId(LISTENER.0 + 1);
    let client = p2p_turn_core::ClientAddr(alice.addr);
    world.server.handle_client(elsewhere, client, &channel_data(CHANNEL, b"x"), world.now);
    assert_eq!(world.count(Reason::DataWithoutAllocation), 1);
}

#[test]
fn a_send_indication_needs_peer_and_data_and_no_unknown_attribute() {
    let (mut world, mut alice, _) = allocated();
    alice.permit(&mut world, &[PEER]).unwrap();
    let mut feed = |fill: &dyn Fn(&mut MessageWriteVec)| {
        let mut indication = Message::builder_indication(SEND, MessageWriteVec::new());
        fill(&mut indication);
        world.feed(alice.addr, &indication.finish())
    };
    let done = p2p_turn_core::ClientAction::Done;
    assert_eq!(feed(&|indication| add(indication, &Data::new(b"x"))), done);
    assert_eq!(
        feed(&|indication| {
            let id = stun_types::message::MessageWriteExt::transaction_id(indication);
            add(indication, &XorPeerAddress::new(PEER.parse().unwrap(), id));
        }),
        done
    );
    assert_eq!(
        feed(&|indication| {
            let id = stun_types::message::MessageWriteExt::transaction_id(indication);
            add(indication, &XorPeerAddress::new(PEER.parse().unwrap(), id));
            add(indication, &Data::new(b"x"));
            add(indication, &RawAttribute::new(0x7fff.into(), &[]));
        }),
        done
    );
    assert_eq!(world.count(Reason::MalformedSend), 2);
    assert_eq!(world.count(Reason::UnknownAttribute), 1);
}

#[test]
fn what_only_a_server_sends_is_dropped() {
    let mut world = World::new();
    let alice = Client::alice();
    let indication = Message::builder_indication(DATA, MessageWriteVec::new()).finish();
    world.feed(alice.addr, &indication);
    let mut response = Message::builder_request(DATA, MessageWriteVec::new()).finish();
    response[0] |= 1;
    world.feed(alice.addr, &response);
    assert_eq!(world.count(Reason::UnexpectedClass), 2);
    assert_eq!(world.next_sent(), None);
}

#[test]
fn malformed_channel_data_is_dropped_by_name() {
    let (mut world, mut alice, _) = allocated();
    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    for (datagram, reason) in [
        (&[0x40][..], Reason::MalformedChannelData),
        (&[0x40, 0, 0, 5, 1, 2, 3, 4], Reason::MalformedChannelData),
        (&[0x40, 1, 0, 0], Reason::ChannelNotBound),
        (&[0x50, 0, 0, 0], Reason::ChannelNotBound),
        (&[0x80, 0, 0, 0], Reason::NotStun),
        (&[], Reason::NotStun),
    ] {
        let before = world.count(reason);
        world.feed(alice.addr, datagram);
        assert_eq!(world.count(reason), before + 1, "{datagram:?}");
    }
}

#[test]
fn a_datagram_that_would_not_fit_with_its_header_is_dropped() {
    let (mut world, mut alice, id) = allocated();
    alice.permit(&mut world, &[PEER]).unwrap();
    assert!(world.peer_sends(id, PEER, &vec![0; 65_000]).is_some());
    assert_eq!(world.peer_sends(id, PEER, &vec![0; 65_507]), None);
    assert_eq!(world.count(Reason::PeerDataTooLong), 1);
}

#[test]
fn traffic_is_counted_by_direction_and_reported_at_the_end() {
    let (mut world, mut alice, id) = allocated();
    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    alice.send_on(&mut world, CHANNEL, b"12345");
    alice.send(&mut world, PEER, b"123");
    world.peer_sends(id, PEER, b"12");
    alice.refresh(&mut world, 0).unwrap();

    let counters = world.server.counters();
    let freed = &world.freed[0];
    assert_eq!((counters.client_to_peer.packets, counters.client_to_peer.bytes), (2, 8));
    assert_eq!((counters.peer_to_client.packets, counters.peer_to_client.bytes), (1, 2));
    assert_eq!(freed.usage.client_to_peer, counters.client_to_peer);
    assert_eq!(freed.usage.peer_to_client, counters.peer_to_client);
    assert_eq!(freed.user.name(), "alice");
}

fn allocated() -> (World, Client, AllocationId) {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocate(&mut world).unwrap();
    let id = world.id_of(relayed);
    (world, alice, id)
}
