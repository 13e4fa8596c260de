//! ChannelBind, and the commands that keep a fast path in step.

use p2p_turn_core::{AllocationId, Reason};
use stun_types::attribute::RawAttribute;
use turn_types::attribute::ChannelNumber;
use turn_types::message::CHANNEL_BIND;

use super::world::{
    Client, OTHER_PEER, PEER, World, add, channel_data, data_indication, peer, seconds,
};

const CHANNEL: u16 = 0x4000;

#[test]
fn a_channel_carries_data_both_ways_and_permits_its_peer() {
    let (mut world, mut alice, id) = allocated();
    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    assert_eq!(alice.send_on(&mut world, CHANNEL, b"hello"), Some((peer(PEER), b"hello".to_vec())));
    let delivered = world.peer_sends(id, PEER, b"hello").unwrap();
    assert_eq!(delivered, (alice.addr, channel_data(CHANNEL, b"hello")));
}

#[test]
fn another_port_of_the_peer_is_not_on_the_channel() {
    let (mut world, mut alice, id) = allocated();
    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    let (_, datagram) = world.peer_sends(id, "8.8.8.8:6000", b"hello").unwrap();
    assert_eq!(data_indication(&datagram), ("8.8.8.8:6000".parse().unwrap(), b"hello".to_vec()));
}

#[test]
fn numbers_outside_the_range_and_missing_attributes_are_bad() {
    let (mut world, mut alice, _) = allocated();
    for number in [0, 0x3fff, 0x8000, 0xffff] {
        assert_eq!(alice.bind(&mut world, number, PEER), Err(400), "{number:#x}");
    }
    let no_peer = alice.request(&mut world, CHANNEL_BIND, |request, _| {
        add(request, &ChannelNumber::new(CHANNEL));
    });
    assert_eq!(no_peer, Err(400));
    let short = alice.request(&mut world, CHANNEL_BIND, |request, _| {
        add(request, &RawAttribute::new(0x000c.into(), &[0x40]));
    });
    assert_eq!(short, Err(400));
}

#[test]
fn a_number_has_one_peer_and_a_peer_one_number() {
    let (mut world, mut alice, _) = allocated();
    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    assert_eq!(alice.bind(&mut world, CHANNEL, OTHER_PEER), Err(400));
    assert_eq!(alice.bind(&mut world, CHANNEL + 1, PEER), Err(400));
    assert_eq!(alice.bind(&mut world, CHANNEL + 1, OTHER_PEER), Ok(()));
}

/// The gap of the `turn` crate: it relayed for the channel's ten minutes.
#[test]
fn when_the_permission_ends_the_channel_carries_nothing() {
    let (mut world, mut alice, id) = allocated();
    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    world.pass(seconds(300));
    assert_eq!(alice.send_on(&mut world, CHANNEL, b"x"), None);
    assert_eq!(world.peer_sends(id, PEER, b"x"), None);
    assert_eq!(world.count(Reason::NoPermission), 1);

    alice.permit(&mut world, &[PEER]).unwrap();
    assert!(alice.send_on(&mut world, CHANNEL, b"x").is_some());
    assert_eq!(world.peer_sends(id, PEER, b"x").unwrap().1, channel_data(CHANNEL, b"x"));
}

#[test]
fn binding_again_refreshes_channel_and_permission() {
    let (mut world, mut alice, _) = allocated();
    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    for _ in 0..5 {
        world.pass(seconds(250));
        alice.refresh(&mut world, 600).unwrap();
        alice.bind(&mut world, CHANNEL, PEER).unwrap();
    }
    assert!(alice.send_on(&mut world, CHANNEL, b"x").is_some());
}

#[test]
fn an_expired_channel_rests_five_minutes_before_it_may_mean_another_peer() {
    let (mut world, mut alice, id) = allocated();
    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    keep_alive(&mut world, &mut alice, 600);
    assert_eq!(alice.send_on(&mut world, CHANNEL, b"x"), None);
    assert_eq!(world.count(Reason::ChannelNotBound), 1);
    alice.permit(&mut world, &[PEER]).unwrap();
    let (_, datagram) = world.peer_sends(id, PEER, b"x").unwrap();
    assert_eq!(data_indication(&datagram).1, b"x", "without a channel, by indication");

    assert_eq!(alice.bind(&mut world, CHANNEL, OTHER_PEER), Err(400));
    assert_eq!(alice.bind(&mut world, CHANNEL + 1, PEER), Err(400));
    keep_alive(&mut world, &mut alice, 300);
    assert_eq!(alice.bind(&mut world, CHANNEL, OTHER_PEER), Ok(()));
    assert_eq!(alice.bind(&mut world, CHANNEL + 1, PEER), Ok(()));
}

#[test]
fn a_resting_channel_may_be_bound_to_its_own_peer_again() {
    let (mut world, mut alice, _) = allocated();
    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    keep_alive(&mut world, &mut alice, 700);
    assert_eq!(alice.bind(&mut world, CHANNEL, PEER), Ok(()));
    assert!(alice.send_on(&mut world, CHANNEL, b"x").is_some());
}

/// The classes of firezone #4588, #6332, #10291: a fast path that is not told goes wrong silently.
#[test]
fn a_fast_path_is_told_of_every_change() {
    let (mut world, mut alice, id) = allocated();
    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    alice.bind(&mut world, CHANNEL + 1, OTHER_PEER).unwrap();
    let carried = |world: &World| world.fast_path.keys().map(|(_, n)| n.get()).collect::<Vec<_>>();
    assert_eq!(carried(&world), [CHANNEL, CHANNEL + 1]);
    let route = *world.fast_path.values().next().unwrap();
    assert_eq!((route.allocation, route.client.0, route.peer), (id, alice.addr, peer(PEER)));
    assert_eq!(route.relayed.0, world.sockets[&id]);

    world.pass(seconds(500));
    alice.refresh(&mut world, 3600).unwrap();
    world.fast_path.clear();
    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    assert_eq!(carried(&world), [CHANNEL], "a refresh is announced");

    alice.bind(&mut world, CHANNEL + 1, OTHER_PEER).unwrap();
    keep_alive(&mut world, &mut alice, 600);
    assert!(carried(&world).is_empty(), "expiry is announced");

    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    assert_eq!(carried(&world), [CHANNEL], "so is the return");
    alice.refresh(&mut world, 0).unwrap();
    assert!(carried(&world).is_empty(), "and the allocation's end");
}

/// I5.
#[test]
fn an_allocation_holds_so_many_channels_and_no_more() {
    let mut world = World::with(|setup| setup.limits.channels_per_allocation = 1);
    let mut alice = Client::alice();
    alice.allocate(&mut world).unwrap();
    alice.bind(&mut world, CHANNEL, PEER).unwrap();
    assert_eq!(alice.bind(&mut world, CHANNEL + 1, OTHER_PEER), Err(508));
    assert_eq!(alice.bind(&mut world, CHANNEL, PEER), Ok(()));
}

fn keep_alive(world: &mut World, alice: &mut Client, duration: u64) {
    alice.refresh(world, 3600).unwrap();
    world.pass(seconds(duration));
}

fn allocated() -> (World, Client, AllocationId) {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocate(&mut world).unwrap();
    let id = world.id_of(relayed);
    (world, alice, id)
}
