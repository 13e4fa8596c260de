//! Allocate: addresses, lifetimes, repetition, quotas, EVEN-PORT.

use std::collections::BTreeSet;

use p2p_turn_core::{OpenError, Reason, RelayIp};
use stun_types::attribute::XorMappedAddress;
use stun_types::message::Message;
use turn_types::AddressFamily;
use turn_types::attribute::{
    DontFragment, EvenPort, Lifetime, RequestedAddressFamily, RequestedTransport, ReservationToken,
};
use turn_types::message::ALLOCATE;

use super::world::{Client, World, add, lifetime, relayed_address, seconds};

#[test]
fn an_allocation_has_a_relayed_address_of_the_configured_range() {
    let mut world = World::with(|setup| setup.ports = 50_000..=50_009);
    let mut alice = Client::alice();
    let answer = alice
        .request(&mut world, ALLOCATE, |request, _| {
            add(request, &RequestedTransport::new(RequestedTransport::UDP));
        })
        .unwrap();
    let relayed = relayed_address(&answer);
    assert_eq!(relayed.ip().to_string(), "198.51.100.9");
    assert!((50_000..=50_009).contains(&relayed.port()));
    let message = Message::from_bytes(&answer).unwrap();
    let mapped = message.attribute::<XorMappedAddress>().unwrap();
    assert_eq!(mapped.addr(message.transaction_id()), alice.addr);
    assert_eq!(lifetime(&answer), 600);
}

#[test]
fn behind_a_nat_the_public_address_is_advertised_and_the_local_one_bound() {
    let mut world = World::with(|setup| {
        setup.relay_ips = vec![RelayIp {
            local: "10.0.0.9".parse().unwrap(),
            advertised: "198.51.100.9".parse().unwrap(),
        }];
    });
    let relayed = Client::alice().allocate(&mut world).unwrap();
    assert_eq!(relayed.ip().to_string(), "198.51.100.9");
    let (_, bound) = world.sockets.first_key_value().unwrap();
    assert_eq!((bound.ip().to_string().as_str(), bound.port()), ("10.0.0.9", relayed.port()));
}

#[test]
fn lifetimes_are_kept_between_the_default_and_the_maximum() {
    for (asked, granted) in [(0, 600), (30, 600), (777, 777), (3600, 3600), (100_000, 3600)] {
        let mut world = World::new();
        let answer = Client::alice()
            .request(&mut world, ALLOCATE, |request, _| {
                add(request, &RequestedTransport::new(RequestedTransport::UDP));
                add(request, &Lifetime::new(asked));
            })
            .unwrap();
        assert_eq!(lifetime(&answer), granted);
    }
}

#[test]
fn the_request_sent_again_gets_the_same_answer() {
    let mut world = World::new();
    let alice = Client::alice().challenged(&mut world);
    let request = alice.build(ALLOCATE, &|request, _| {
        add(request, &RequestedTransport::new(RequestedTransport::UDP));
    });
    world.feed(alice.addr, &request);
    let first = world.answer_to(alice.addr);
    world.feed(alice.addr, &request);
    assert_eq!(world.answer_to(alice.addr), first);
    assert_eq!(world.server.allocation_count(), 1);
}

#[test]
fn the_request_sent_again_while_the_socket_opens_is_answered_once() {
    let mut world = World::new();
    world.slow_sockets = true;
    let alice = Client::alice().challenged(&mut world);
    let request = alice.build(ALLOCATE, &|request, _| {
        add(request, &RequestedTransport::new(RequestedTransport::UDP));
    });
    world.feed(alice.addr, &request);
    world.feed(alice.addr, &request);
    assert_eq!(world.next_sent(), None);
    world.open_all();
    assert_eq!(alice.read(&world.answer_to(alice.addr)), Ok(()));
}

#[test]
fn a_second_allocation_on_one_five_tuple_is_a_mismatch() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world).unwrap();
    assert_eq!(alice.allocate(&mut world), Err(437));
    assert_eq!(world.server.allocation_count(), 1);
}

#[test]
fn transports_and_families_that_are_not_served_have_their_codes() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let no_transport = alice.request(&mut world, ALLOCATE, |_, _| {});
    assert_eq!(no_transport, Err(400));
    let tcp = alice.request(&mut world, ALLOCATE, |request, _| {
        add(request, &RequestedTransport::new(RequestedTransport::TCP));
    });
    assert_eq!(tcp, Err(442));
    let v6 = alice.allocate_with(&mut world, |request| {
        add(request, &RequestedAddressFamily::new(AddressFamily::IPV6));
    });
    assert_eq!(v6, Err(440));
    let v4 = alice.allocate_with(&mut world, |request| {
        add(request, &RequestedAddressFamily::new(AddressFamily::IPV4));
    });
    assert!(v4.is_ok());
}

#[test]
fn an_ipv6_allocation_is_made_where_there_is_an_ipv6_address() {
    let mut world = World::with(|setup| {
        let v6 = "2606:4700::9".parse().unwrap();
        setup.relay_ips.push(RelayIp { local: v6, advertised: v6 });
    });
    let relayed = Client::alice().allocate_with(&mut world, |request| {
        add(request, &RequestedAddressFamily::new(AddressFamily::IPV6));
    });
    assert_eq!(relayed.unwrap().ip().to_string(), "2606:4700::9");
    assert!(Client::bob().allocate(&mut world).unwrap().is_ipv4(), "IPv4 is the default");
}

#[test]
fn dont_fragment_is_accepted() {
    let mut world = World::new();
    let relayed = Client::alice().allocate_with(&mut world, |request| {
        add(request, &DontFragment::new());
    });
    assert!(relayed.is_ok());
}

#[test]
fn even_port_gives_an_even_port() {
    let mut world = World::new();
    for client in 0..20 {
        let mut client = Client::new(&format!("5.5.5.5:{}", 1000 + client), "alice", "secret");
        let relayed =
            client.allocate_with(&mut world, |request| add(request, &EvenPort::new(false)));
        assert_eq!(relayed.unwrap().port() % 2, 0);
    }
}

#[test]
fn a_reserved_port_is_for_its_user_within_thirty_seconds_once() {
    let reserve = |world: &mut World| {
        let answer = Client::alice()
            .request(world, ALLOCATE, |request, _| {
                add(request, &RequestedTransport::new(RequestedTransport::UDP));
                add(request, &EvenPort::new(true));
            })
            .unwrap();
        let message = Message::from_bytes(&answer).unwrap();
        let token = message.attribute::<ReservationToken>().unwrap().token();
        (relayed_address(&answer), token)
    };
    let claim = |world: &mut World, mut client: Client, token: u64| {
        client.allocate_with(world, |request| add(request, &ReservationToken::new(token)))
    };
    let alice_again = || Client::new("5.5.5.5:2000", "alice", "secret");

    let mut world = World::new();
    let (first, token) = reserve(&mut world);
    assert_eq!(claim(&mut world, Client::bob(), token), Err(508), "it is not bob's");
    let second = claim(&mut world, alice_again(), token).unwrap();
    assert_eq!((first.port() % 2, second.port()), (0, first.port() + 1));
    let third = Client::new("5.5.5.5:3000", "alice", "secret");
    assert_eq!(claim(&mut world, third, token), Err(508), "it is used up");

    let mut world = World::new();
    let (_, token) = reserve(&mut world);
    world.pass(seconds(30));
    assert_eq!(claim(&mut world, alice_again(), token), Err(508), "it has run out");
}

#[test]
fn a_reservation_token_contradicts_wishes_for_another_port() {
    let mut world = World::new();
    let both = Client::alice().allocate_with(&mut world, |request| {
        add(request, &ReservationToken::new(1));
        add(request, &EvenPort::new(false));
    });
    assert_eq!(both, Err(400));
}

/// The class of coturn 4adbd82e, end to end: with ten ports, reserving and ending again and again
/// never runs out.
#[test]
fn reservations_that_nobody_claims_leak_no_port() {
    let mut world = World::with(|setup| setup.ports = 50_000..=50_009);
    for _ in 0..50 {
        let mut alice = Client::alice();
        let relayed = alice.allocate_with(&mut world, |request| add(request, &EvenPort::new(true)));
        assert!(relayed.is_ok());
        alice.refresh(&mut world, 0).unwrap();
        world.pass(seconds(30));
    }
}

#[test]
fn a_port_another_program_has_is_replaced_by_another() {
    let mut world = World::with(|setup| setup.ports = 50_000..=50_003);
    for port in 50_000..=50_002 {
        world.refused.insert(port, OpenError::PortTaken);
    }
    assert_eq!(Client::alice().allocate(&mut world).unwrap().port(), 50_003);
    assert_eq!(world.server.allocation_count(), 1);
}

#[test]
fn when_no_port_can_be_opened_the_client_is_told_and_nothing_stays() {
    let mut world = World::with(|setup| setup.ports = 50_000..=50_003);
    for port in 50_000..=50_003 {
        world.refused.insert(port, OpenError::PortTaken);
    }
    assert_eq!(Client::alice().allocate(&mut world), Err(508));
    assert_eq!(world.count(Reason::SocketRefused), 8, "tries are bounded");
    assert_eq!((world.server.allocation_count(), world.server.user_count()), (0, 0));

    world.refused.clear();
    assert!(Client::bob().allocate(&mut world).is_ok());
}

#[test]
fn exhaustion_is_not_retried() {
    let mut world = World::new();
    for port in 49_152..=65_535 {
        world.refused.insert(port, OpenError::Exhausted);
    }
    assert_eq!(Client::alice().allocate(&mut world), Err(508));
    assert_eq!(world.refused_ports.len(), 1);
}

#[test]
fn a_user_has_a_quota_that_ends_with_each_allocation_and_not_before() {
    let mut world = World::with(|setup| setup.limits.allocations_per_user = 2);
    let mut clients: Vec<_> =
        (0..3).map(|n| Client::new(&format!("5.5.5.5:{}", 1000 + n), "alice", "secret")).collect();
    assert!(clients[0].allocate(&mut world).is_ok());
    assert!(clients[1].allocate(&mut world).is_ok());
    assert_eq!(clients[2].allocate(&mut world), Err(486));
    assert!(Client::bob().allocate(&mut world).is_ok(), "another user's quota is their own");

    clients[0].refresh(&mut world, 0).unwrap();
    assert!(clients[2].allocate(&mut world).is_ok());
    // The class of coturn 3c5b2615: a place is given back once.
    assert_eq!(clients[0].refresh(&mut world, 0), Err(437));
    assert_eq!(clients[0].allocate(&mut world), Err(486));
    world.pass(seconds(600));
    assert!(clients[0].allocate(&mut world).is_ok(), "expiry gives the place back too");
}

#[test]
fn the_server_holds_so_many_allocations_and_no_more() {
    let mut world = World::with(|setup| setup.limits.allocations = 1);
    Client::alice().allocate(&mut world).unwrap();
    assert_eq!(Client::bob().allocate(&mut world), Err(508));
    assert_eq!(world.count(Reason::AllocationLimit), 1);
}

#[test]
fn when_all_ports_are_taken_the_answer_is_508() {
    let mut world = World::with(|setup| setup.ports = 50_000..=50_000);
    Client::alice().allocate(&mut world).unwrap();
    assert_eq!(Client::bob().allocate(&mut world), Err(508));
    assert_eq!(world.count(Reason::NoPort), 1);
}

/// The class of CVE-2025-69217: ports come from the generator that is injected, all over the range.
#[test]
fn relayed_ports_are_spread_and_depend_on_the_seed() {
    let ports = |seed: u64| {
        let mut world = World::with(|setup| setup.seed = seed);
        (0..32)
            .map(|n| Client::new(&format!("5.5.5.5:{}", 1000 + n), "alice", "secret"))
            .map(|mut client| client.allocate(&mut world).unwrap().port())
            .collect::<BTreeSet<_>>()
    };
    let (one, two) = (ports(1), ports(2));
    assert!(one.intersection(&two).count() < 4);
    assert!(one.last().unwrap() - one.first().unwrap() > 4096);
}
