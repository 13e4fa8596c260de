//! Refresh: living on, and ending.

use p2p_turn_core::{AllocationEnd, Reason};
use turn_types::AddressFamily;
use turn_types::attribute::RequestedAddressFamily;
use turn_types::message::REFRESH;

use super::world::{Client, PEER, World, add, seconds};

#[test]
fn an_allocation_ends_when_its_lifetime_does() {
    let mut world = World::new();
    Client::alice().allocate(&mut world).unwrap();
    world.pass(seconds(599));
    assert_eq!(world.server.allocation_count(), 1);
    world.pass(seconds(1));
    assert_eq!((world.server.allocation_count(), world.sockets.len()), (0, 0));
    assert_eq!(world.freed[0].end, AllocationEnd::Expired);
    assert_eq!(world.freed[0].lived, seconds(600));
    assert_eq!(world.server.poll_timeout(), None, "nothing is left to wait for");
}

#[test]
fn a_refreshed_allocation_lives_on() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world).unwrap();
    for _ in 0..10 {
        world.pass(seconds(500));
        assert_eq!(alice.refresh(&mut world, 600), Ok(600));
    }
    assert_eq!(world.server.allocation_count(), 1);
}

#[test]
fn a_refresh_may_shorten_the_lifetime() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world).unwrap();
    assert_eq!(alice.refresh(&mut world, 3600), Ok(3600));
    assert_eq!(alice.refresh(&mut world, 600), Ok(600));
    world.pass(seconds(600));
    assert_eq!(world.server.allocation_count(), 0);
}

#[test]
fn lifetime_zero_deletes_at_once_with_everything_that_belongs_to_it() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world).unwrap();
    alice.bind(&mut world, 0x4000, PEER).unwrap();
    assert_eq!(alice.refresh(&mut world, 0), Ok(0));
    assert!(world.sockets.is_empty() && world.fast_path.is_empty());
    assert_eq!(world.freed[0].end, AllocationEnd::Deleted);
    assert_eq!(world.server.poll_timeout(), None, "nothing is left to wait for");
    assert_eq!(alice.send_on(&mut world, 0x4000, b"x"), None);
    assert_eq!(world.count(Reason::DataWithoutAllocation), 1);
}

#[test]
fn without_an_allocation_there_is_nothing_to_refresh() {
    let mut world = World::new();
    let mut alice = Client::alice();
    assert_eq!(alice.refresh(&mut world, 600), Err(437));
    assert_eq!(alice.refresh(&mut world, 0), Err(437));
    assert_eq!(alice.permit(&mut world, &[PEER]), Err(437));
    assert_eq!(alice.bind(&mut world, 0x4000, PEER), Err(437));
}

#[test]
fn a_refresh_for_the_other_address_family_is_refused() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world).unwrap();
    let answer = alice.request(&mut world, REFRESH, |request, _| {
        add(request, &RequestedAddressFamily::new(AddressFamily::IPV6));
    });
    assert_eq!(answer, Err(443));
}

#[test]
fn the_five_tuple_is_free_again_after_the_end() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let first = alice.allocate(&mut world).unwrap();
    alice.refresh(&mut world, 0).unwrap();
    let second = alice.allocate(&mut world).unwrap();
    assert_ne!(first, second, "a freed port rests");
}
