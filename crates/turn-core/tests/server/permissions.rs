//! CreatePermission: who may be talked to, and for how long.

use p2p_turn_core::Reason;
use turn_types::message::CREATE_PERMISSION;

use super::world::{Client, OTHER_PEER, PEER, World, peer, seconds};

#[test]
fn a_permission_lets_data_pass_both_ways_for_every_port_of_the_peer() {
    let (mut world, mut alice, id) = allocated();
    alice.permit(&mut world, &[PEER]).unwrap();
    let other_port = "8.8.8.8:6000";
    assert_eq!(alice.send(&mut world, PEER, b"x"), Some((peer(PEER), b"x".to_vec())));
    assert!(alice.send(&mut world, other_port, b"x").is_some());
    assert!(world.peer_sends(id, other_port, b"x").is_some());
}

#[test]
fn without_a_permission_nothing_passes() {
    let (mut world, mut alice, id) = allocated();
    alice.permit(&mut world, &[PEER]).unwrap();
    assert_eq!(alice.send(&mut world, OTHER_PEER, b"x"), None);
    assert_eq!(world.peer_sends(id, OTHER_PEER, b"x"), None);
    assert_eq!(world.count(Reason::NoPermission), 1);
    assert_eq!(world.count(Reason::PeerWithoutPermission), 1);
}

#[test]
fn a_permission_lasts_five_minutes_and_can_be_refreshed() {
    let (mut world, mut alice, id) = allocated();
    alice.permit(&mut world, &[PEER]).unwrap();
    world.pass(seconds(299));
    alice.permit(&mut world, &[PEER]).unwrap();
    world.pass(seconds(299));
    assert!(alice.send(&mut world, PEER, b"x").is_some());
    world.pass(seconds(1));
    assert_eq!(alice.send(&mut world, PEER, b"x"), None);
    assert_eq!(world.peer_sends(id, PEER, b"x"), None);
}

/// The `turn` crate's gap: of several peers it installed the first only.
#[test]
fn one_request_may_name_several_peers() {
    let (mut world, mut alice, id) = allocated();
    alice.permit(&mut world, &[PEER, OTHER_PEER]).unwrap();
    assert!(world.peer_sends(id, PEER, b"x").is_some());
    assert!(world.peer_sends(id, OTHER_PEER, b"x").is_some());
}

#[test]
fn one_denied_peer_refuses_the_whole_request() {
    let (mut world, mut alice, id) = allocated();
    assert_eq!(alice.permit(&mut world, &[PEER, "127.0.0.1:80"]), Err(403));
    assert_eq!(world.peer_sends(id, PEER, b"x"), None);
}

#[test]
fn a_request_without_a_peer_is_bad() {
    let (mut world, mut alice, _) = allocated();
    assert_eq!(alice.request(&mut world, CREATE_PERMISSION, |_, _| {}), Err(400));
}

/// I4. The class of CVE-2020-26262 and CVE-2026-27624 on every request that names a peer.
#[test]
fn denied_addresses_are_refused_in_every_spelling() {
    let (mut world, mut alice, _) = allocated();
    for (denied, code) in [
        ("0.0.0.0:80", 403),
        ("127.0.0.1:80", 403),
        ("169.254.169.254:80", 403),
        ("10.0.0.1:80", 403),
        // The IPv4 address they mean is what counts: same family, denied.
        ("[::ffff:127.0.0.1]:80", 403),
        ("[::127.0.0.1]:80", 403),
        // IPv6 as such, on an IPv4 allocation.
        ("[::1]:80", 443),
        ("[64:ff9b::127.0.0.1]:80", 443),
    ] {
        assert_eq!(alice.permit(&mut world, &[denied]), Err(code), "{denied}");
        assert_eq!(alice.bind(&mut world, 0x4000, denied), Err(code), "{denied}");
        assert_eq!(alice.send(&mut world, denied, b"x"), None, "{denied}");
    }
    // A mapped spelling of an allowed peer is that peer.
    alice.permit(&mut world, &["[::ffff:8.8.8.8]:5000"]).unwrap();
    let sent = alice.send(&mut world, "[::ffff:8.8.8.8]:5000", b"x");
    assert_eq!(sent, Some((peer(PEER), b"x".to_vec())));
}

/// I4. On an IPv6 allocation, translators and tunnels are seen through.
#[test]
fn an_ipv6_allocation_reaches_no_denied_ipv4_address() {
    let mut world = World::with(|setup| {
        let v6 = "2606:4700::9".parse().unwrap();
        setup.relay_ips.push(p2p_turn_core::RelayIp { local: v6, advertised: v6 });
    });
    let mut alice = Client::alice();
    alice
        .allocate_with(&mut world, |request| {
            use turn_types::{AddressFamily, attribute::RequestedAddressFamily};
            super::world::add(request, &RequestedAddressFamily::new(AddressFamily::IPV6));
        })
        .unwrap();
    for (peer, expected) in [
        ("[2606:4700::1111]:80", Ok(())),
        ("[::1]:80", Err(403)),
        ("[::]:80", Err(403)),
        ("[fd00:ec2::254]:80", Err(403)),
        ("[64:ff9b::169.254.169.254]:80", Err(403)),
        ("[64:ff9b:1::10.0.0.1]:80", Err(403)),
        ("[2002:7f00:1::]:80", Err(403)),
        ("[2001:0:808:808::f5ff:fffe]:80", Err(403)),
        ("[2606:4700::5efe:10.0.0.1]:80", Err(403)),
        // Mapped and compatible are IPv4: not this allocation's family.
        ("[::ffff:127.0.0.1]:80", Err(443)),
        ("[::127.0.0.1]:80", Err(443)),
    ] {
        assert_eq!(alice.permit(&mut world, &[peer]), expected, "{peer}");
    }
}

/// The class of coturn #584, and its other half: own relay ports yes, own other ports no.
#[test]
fn the_relays_own_address_is_reachable_on_relay_ports_only() {
    let (mut world, mut alice, _) = allocated();
    let (relay_port, ssh, listener) =
        ("198.51.100.9:50000", "198.51.100.9:22", "198.51.100.9:3478");
    alice.permit(&mut world, &[relay_port]).unwrap();
    assert!(alice.send(&mut world, relay_port, b"x").is_some());
    assert_eq!(alice.send(&mut world, ssh, b"x"), None);
    assert_eq!(alice.send(&mut world, listener, b"x"), None);
    assert_eq!(alice.bind(&mut world, 0x4000, ssh), Err(403));
    assert_eq!(world.count(Reason::PeerDenied), 3);
}

/// I5.
#[test]
fn an_allocation_holds_so_many_permissions_and_no_more() {
    let mut world = World::with(|setup| setup.limits.permissions_per_allocation = 2);
    let mut alice = Client::alice();
    alice.allocate(&mut world).unwrap();
    assert_eq!(alice.permit(&mut world, &["8.8.8.1:1", "8.8.8.2:1", "8.8.8.3:1"]), Err(508));
    assert_eq!(alice.permit(&mut world, &["8.8.8.1:1", "8.8.8.1:2", "8.8.8.2:1"]), Ok(()));
    assert_eq!(alice.permit(&mut world, &["8.8.8.3:1"]), Err(508));
    assert_eq!(alice.permit(&mut world, &["8.8.8.2:9"]), Ok(()), "known peers may be refreshed");
    assert_eq!(alice.bind(&mut world, 0x4000, "8.8.8.3:1"), Err(508));
    world.pass(seconds(300));
    assert_eq!(alice.permit(&mut world, &["8.8.8.3:1"]), Ok(()), "expired ones make room");
}

fn allocated() -> (World, Client, p2p_turn_core::AllocationId) {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocate(&mut world).unwrap();
    let id = world.id_of(relayed);
    (world, alice, id)
}
