//! Drain, revocation, policy changes, and the order of things at the end.

use p2p_turn_core::{
    AllocationEnd, Credentials, Lifetimes, Limits, NonceKey, OwnAddresses, PeerPolicy, Reason,
    RelayIp, Server, ServerConfig, ServerError, UserId,
};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use turn_types::attribute::RequestedTransport;
use turn_types::message::ALLOCATE;

use super::world::{Client, OTHER_PEER, PEER, World, add, seconds};

/// I12.
#[test]
fn a_draining_server_refuses_new_allocations_and_keeps_those_it_has() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world).unwrap();
    world.server.begin_drain();
    assert_eq!(Client::bob().allocate(&mut world), Err(508));
    assert_eq!(world.count(Reason::Draining), 1);
    assert_eq!(alice.refresh(&mut world, 600), Ok(600));
    assert_eq!(alice.bind(&mut world, 0x4000, PEER), Ok(()));
    assert!(alice.send_on(&mut world, 0x4000, b"x").is_some());
    world.pass(seconds(600));
    assert_eq!(world.server.allocation_count(), 0);
}

#[test]
fn a_revoked_user_loses_all_allocations_and_others_none() {
    let mut world = World::new();
    for client in ["5.5.5.5:1000", "5.5.5.5:2000"] {
        Client::new(client, "alice", "secret").allocate(&mut world).unwrap();
    }
    Client::bob().allocate(&mut world).unwrap();
    assert_eq!(world.server.free_user(&UserId::fixed("alice"), world.now), 2);
    assert_eq!(world.server.free_user(&UserId::rest("bob"), world.now), 0);
    world.execute();
    assert_eq!((world.server.allocation_count(), world.sockets.len()), (1, 1));
    assert!(world.freed.iter().all(|freed| freed.end == AllocationEnd::Revoked));
}

#[test]
fn a_relay_that_stops_tells_what_every_allocation_has_carried() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world).unwrap();
    Client::bob().allocate(&mut world).unwrap();
    alice.bind(&mut world, 0x4000, PEER).unwrap();
    assert!(alice.send_on(&mut world, 0x4000, b"hello").is_some());
    world.server.free_all(world.now);
    world.execute();
    assert_eq!((world.server.allocation_count(), world.sockets.len()), (0, 0));
    assert_eq!(world.freed.len(), 2);
    assert!(world.freed.iter().all(|freed| freed.end == AllocationEnd::Stopped));
    let carried: u64 = world.freed.iter().map(|freed| freed.usage.client_to_peer.bytes).sum();
    assert_eq!(carried, 5);
}

/// I4: a policy that changes applies to what exists.
#[test]
fn a_new_policy_ends_the_permissions_and_channels_it_forbids() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocate(&mut world).unwrap();
    let id = world.id_of(relayed);
    alice.bind(&mut world, 0x4000, PEER).unwrap();
    alice.bind(&mut world, 0x4001, OTHER_PEER).unwrap();

    let own = OwnAddresses {
        relay: vec!["198.51.100.9".parse().unwrap()],
        relay_ports: 49_152..=65_535,
        listeners: Vec::new(),
        other: Vec::new(),
    };
    let stricter = PeerPolicy::new(own, Vec::new(), vec!["8.0.0.0/8".parse().unwrap()]);
    world.server.set_policy(stricter, world.now);
    world.execute();

    assert_eq!(alice.send_on(&mut world, 0x4000, b"x"), None);
    assert_eq!(world.peer_sends(id, PEER, b"x"), None);
    assert_eq!(world.fast_path.len(), 1);
    assert!(alice.send_on(&mut world, 0x4001, b"x").is_some());
    assert_eq!(alice.bind(&mut world, 0x4000, PEER), Err(403));
}

#[test]
fn an_allocation_that_ends_while_its_socket_opens_leaves_nothing() {
    let mut world = World::new();
    world.slow_sockets = true;
    let alice = Client::alice().challenged(&mut world);
    let request = alice.build(ALLOCATE, &|request, _| {
        add(request, &RequestedTransport::new(RequestedTransport::UDP));
    });
    world.feed(alice.addr, &request);
    assert_eq!(world.next_sent(), None, "no answer while the socket is being opened");
    assert_eq!(world.server.free_user(&UserId::fixed("alice"), world.now), 1);
    world.execute();
    world.open_all();
    assert_eq!((world.server.allocation_count(), world.sockets.len()), (0, 0));
    assert_eq!(world.next_sent(), None);
}

#[test]
fn data_from_peers_for_an_ended_allocation_never_reaches_the_next_one() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocate(&mut world).unwrap();
    let old = world.id_of(relayed);
    alice.refresh(&mut world, 0).unwrap();
    let mut bob = Client::bob();
    let relayed = bob.allocate(&mut world).unwrap();
    let new = world.id_of(relayed);
    bob.permit(&mut world, &[PEER]).unwrap();
    assert_eq!((old.index(), old == new), (new.index(), false), "the slot is used again");
    assert_eq!(world.peer_sends(old, PEER, b"x"), None);
    assert!(world.peer_sends(new, PEER, b"x").is_some());
}

#[test]
fn a_configuration_nobody_could_use_is_refused_with_the_reason() {
    let v4 = |text: &str| text.parse().unwrap();
    let make = |relay_ips: Vec<RelayIp>, ports: std::ops::RangeInclusive<u16>, realm: &str| {
        let own = OwnAddresses {
            relay: Vec::new(),
            relay_ports: ports.clone(),
            listeners: Vec::new(),
            other: Vec::new(),
        };
        let config = ServerConfig {
            relay_ips,
            relay_ports: ports,
            limits: Limits::default(),
            lifetimes: Lifetimes::default(),
            discovery: None,
            stream_discovery: None,
        };
        Server::new(
            config,
            Credentials::new(realm, Vec::new(), Default::default()),
            PeerPolicy::new(own, Vec::new(), Vec::new()),
            NonceKey::new(&[1; 32]),
            Box::new(StdRng::seed_from_u64(1)),
        )
        .err()
    };
    let ip = RelayIp { local: v4("10.0.0.1"), advertised: v4("10.0.0.1") };
    let mixed = RelayIp { local: v4("10.0.0.1"), advertised: v4("::1") };
    assert_eq!(make(vec![ip], 50_000..=50_001, "p2p"), None);
    assert_eq!(make(vec![], 50_000..=50_001, "p2p"), Some(ServerError::NoRelayIp));
    assert!(matches!(make(vec![mixed], 1..=2, "p2p"), Some(ServerError::FamilyMismatch { .. })));
    #[allow(clippy::reversed_empty_ranges)]
    let empty = 50_001..=50_000;
    assert!(matches!(make(vec![ip], empty, "p2p"), Some(ServerError::NoPorts { .. })));
    assert!(matches!(make(vec![ip], 1..=2, ""), Some(ServerError::BadRealm(_))));
    assert!(matches!(make(vec![ip], 1..=2, &"x".repeat(200)), Some(ServerError::BadRealm(_))));
}
