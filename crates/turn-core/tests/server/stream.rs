//! Clients that come over TCP or TLS: the same server at a listener that is a stream.

use std::net::SocketAddr;

use p2p_turn_core::{
    AllocationEnd, ChallengeRate, ClientAddr, ListenerId, PeerAddr, Reason, StreamReader,
};
use turn_types::attribute::RequestedTransport;
use turn_types::message::ALLOCATE;

use super::world::{Client, LISTENER, PEER, World, add, channel_data};

const STREAM: ListenerId = ListenerId(1);
const CHANNEL: u16 = 0x4000;

#[test]
fn channel_data_to_a_stream_is_padded_to_four_bytes() {
    // The only listener of these clients is a stream here.
    let mut world = World::new();
    world.server.serve_stream(LISTENER);
    let mut alice = Client::alice();
    let relayed = alice.allocate(&mut world).unwrap();
    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    let id = world.id_of(relayed);
    let mut reader = StreamReader::default();
    for length in 0..9 {
        let payload = vec![7; length];
        let (_, message) = world.peer_sends(id, PEER, &payload).unwrap();
        assert_eq!(message.len() % 4, 0, "{length} bytes");
        reader.push(&message);
        let read = reader.next(usize::MAX).unwrap().unwrap();
        assert_eq!(read, channel_data(CHANNEL, &payload));
    }
}

#[test]
fn a_closed_connection_takes_its_allocation_along_and_no_other() {
    let mut world = World::new();
    world.server.serve_stream(STREAM);
    let mut alice = Client::alice();
    alice.allocate(&mut world).unwrap();
    // The same address over another transport is another 5-tuple.
    let now = world.now;
    world.server.client_gone(STREAM, ClientAddr(alice.addr), now);
    world.execute();
    assert_eq!(world.server.allocation_count(), 1);

    world.server.client_gone(LISTENER, ClientAddr(alice.addr), now);
    world.execute();
    assert_eq!((world.server.allocation_count(), world.server.user_count()), (0, 0));
    assert_eq!(world.freed[0].end, AllocationEnd::Disconnected);
    assert!(world.sockets.is_empty());
    // Once more does nothing.
    world.server.client_gone(LISTENER, ClientAddr(alice.addr), now);
}

#[test]
fn allocations_are_counted_by_listener() {
    let mut world = World::new();
    world.server.serve_stream(STREAM);
    let (mut alice, mut bob) = (Client::alice(), Client::bob());
    alice.allocate(&mut world).unwrap();
    bob.allocate(&mut world).unwrap();
    bob.refresh(&mut world, 0).unwrap();
    let load = world.server.load(LISTENER);
    assert_eq!((load.allocations, load.allocations_created), (1, 2));
    assert_eq!(world.server.load(STREAM), Default::default());
    assert!(world.server.has_allocation(LISTENER, ClientAddr(alice.addr)));
    assert!(!world.server.has_allocation(STREAM, ClientAddr(alice.addr)));
    assert!(!world.server.has_allocation(LISTENER, ClientAddr(bob.addr)));
}

#[test]
fn who_has_connected_is_challenged_however_often() {
    let rate = ChallengeRate { per_second: 1, burst: 3 };
    let mut world = World::with(|setup| setup.limits.challenges = rate);
    world.server.serve_stream(STREAM);
    let client: SocketAddr = "5.5.5.5:1000".parse().unwrap();
    let request = Client::alice().build(ALLOCATE, &|request, _| {
        add(request, &RequestedTransport::new(RequestedTransport::UDP));
    });
    for _ in 0..20 {
        world.feed_at(STREAM, client, &request);
        assert!(world.next_sent().is_some());
    }
    assert_eq!(world.count(Reason::ChallengeRateLimited), 0);
    let answered = (0..20).filter(|_| {
        world.feed_at(LISTENER, client, &request);
        world.next_sent().is_some()
    });
    assert_eq!(answered.count(), 3);
}

#[test]
fn data_for_a_client_that_has_gone_is_dropped_and_counted() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocate(&mut world).unwrap();
    alice.permit(&mut world, &[PEER]).unwrap();
    let id = world.id_of(relayed);
    let now = world.now;
    world.server.client_gone(LISTENER, ClientAddr(alice.addr), now);
    let peer = PeerAddr(PEER.parse().unwrap());
    assert!(world.server.handle_peer(id, peer, 5, now).is_none());
    assert_eq!(world.count(Reason::PeerDataWithoutAllocation), 1);
}
