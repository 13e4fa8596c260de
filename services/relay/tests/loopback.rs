//! The relay as clients and peers see it, over real sockets on loopback.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use p2p_relay::{ChallengeRate, Relay, RelayConfig, RelayError, TurnSecrets};
use secrecy::ExposeSecret as _;
use support::{Client, peer, receive, relay};

const CHANNEL: u16 = 0x4000;

#[test]
fn a_binding_request_is_answered_with_the_source_address() {
    let relay = relay(|_| {});
    let client = Client::of(&relay, "nobody");
    assert_eq!(client.binding(), client.socket.local_addr().unwrap());
    assert_eq!(relay.snapshot().unwrap().bindings, 1);
}

#[test]
fn data_travels_both_ways_by_indication() {
    let relay = relay(|_| {});
    let (mut client, peer) = (Client::of(&relay, "alice"), peer());
    let peer_addr = peer.local_addr().unwrap();
    let relayed = client.allocate().unwrap();
    client.permit(&[peer_addr]).unwrap();

    // Lengths around the padding boundary, none of them changed on the way.
    for payload in [&b""[..], b"1", b"12", b"123", b"1234", &[7; 1200]] {
        client.send_indication(peer_addr, payload);
        assert_eq!(receive(&peer), (payload.to_vec(), relayed));
        peer.send_to(payload, relayed).unwrap();
        assert_eq!(client.receive_data(), (peer_addr, payload.to_vec()));
    }
}

#[test]
fn data_travels_both_ways_on_a_channel() {
    let relay = relay(|_| {});
    let (mut client, peer) = (Client::of(&relay, "alice"), peer());
    let relayed = client.allocate().unwrap();
    client.bind_channel(CHANNEL, peer.local_addr().unwrap()).unwrap();

    for payload in [&b""[..], b"1", b"12", b"123", b"1234", &[7; 1200]] {
        client.send_on_channel(CHANNEL, payload);
        assert_eq!(receive(&peer), (payload.to_vec(), relayed));
        peer.send_to(payload, relayed).unwrap();
        assert_eq!(client.receive_on_channel(), (CHANNEL, payload.to_vec()));
    }
    let snapshot = relay.snapshot().unwrap();
    assert_eq!((snapshot.client_to_peer.packets, snapshot.client_to_peer.bytes), (6, 1210));
    assert_eq!(snapshot.peer_to_client, snapshot.client_to_peer);
}

#[test]
fn two_clients_of_one_relay_reach_each_other_through_it() {
    // Without `allow_peers`: the relay's own ports need no permission of the operator.
    let relay = relay(|config| config.allow_peers.clear());
    let (mut alice, mut bob) = (Client::of(&relay, "alice"), Client::of(&relay, "bob"));
    let (alice_at, bob_at) = (alice.allocate().unwrap(), bob.allocate().unwrap());
    alice.bind_channel(CHANNEL, bob_at).unwrap();
    bob.bind_channel(CHANNEL + 1, alice_at).unwrap();

    alice.send_on_channel(CHANNEL, b"hello");
    assert_eq!(bob.receive_on_channel(), (CHANNEL + 1, b"hello".to_vec()));
    bob.send_on_channel(CHANNEL + 1, b"hello yourself");
    assert_eq!(alice.receive_on_channel(), (CHANNEL, b"hello yourself".to_vec()));
}

/// I4, over real sockets: what is sent after the forbidden datagram arrives, the forbidden one
/// does not.
#[test]
fn a_peer_without_permission_is_not_relayed() {
    let relay = relay(|config| config.allow_peers = vec!["127.0.0.0/8".parse().unwrap()]);
    let mut client = Client::of(&relay, "alice");
    let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
    let friend = peer();
    let relayed = client.allocate().unwrap();
    client.permit(&[friend.local_addr().unwrap()]).unwrap();

    stranger.send_to(b"let me in", relayed).unwrap();
    friend.send_to(b"hello", relayed).unwrap();
    assert_eq!(client.receive_data().1, b"hello");

    client.send_indication(stranger.local_addr().unwrap(), b"let me out");
    client.send_indication(friend.local_addr().unwrap(), b"hello");
    assert_eq!(receive(&friend).0, b"hello");
    let drops = relay.snapshot().unwrap().drops;
    assert_eq!(drops["peer_without_permission"], 1);
    assert_eq!(drops["no_permission"], 1);
}

#[test]
fn loopback_peers_are_denied_unless_allowed() {
    let relay = relay(|config| config.allow_peers.clear());
    let mut client = Client::of(&relay, "alice");
    client.allocate().unwrap();
    assert_eq!(client.permit(&["127.0.0.2:80".parse().unwrap()]), Err(403));
    assert_eq!(client.bind_channel(CHANNEL, "10.0.0.1:80".parse().unwrap()), Err(403));
    // The relay's own address, but not one of its relay ports.
    assert_eq!(client.bind_channel(CHANNEL, relay.local_addrs()[0]), Err(403));
}

#[test]
fn time_limited_credentials_allocate_until_they_expire() {
    let secrets = TurnSecrets::new(vec!["new".into(), "old".into()]);
    let relay = relay(|config| config.secrets = secrets.clone());
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let allocate = |secrets: &TurnSecrets, made_at: u64| {
        let minted = secrets.mint("app:carol", made_at, Duration::from_secs(600)).unwrap();
        let password = minted.password.expose_secret();
        Client::new(relay.local_addrs()[0], &minted.username, password).allocate()
    };
    assert!(allocate(&secrets, now).is_ok());
    assert!(allocate(&TurnSecrets::new(vec!["old".into()]), now).is_ok(), "after a rotation");
    assert_eq!(allocate(&secrets, now - 3600), Err(401));
    assert_eq!(allocate(&TurnSecrets::new(vec!["other".into()]), now), Err(401));
    assert_eq!(relay.snapshot().unwrap().drops["credential_expired"], 1);
}

#[test]
fn deleting_an_allocation_frees_its_port_and_reports_its_usage() {
    let (usage, mut reports) = tokio::sync::mpsc::channel(1);
    let relay = relay(|config| config.usage = Some(usage));
    let (mut client, peer) = (Client::of(&relay, "alice"), peer());
    let relayed = client.allocate().unwrap();
    client.bind_channel(CHANNEL, peer.local_addr().unwrap()).unwrap();
    client.send_on_channel(CHANNEL, b"hello");
    receive(&peer);

    assert_eq!(client.refresh(0), Ok(0));
    assert_eq!(relay.snapshot().unwrap().allocations, 0);
    UdpSocket::bind(relayed).expect("the relay port is free again");
    let report = reports.blocking_recv().unwrap();
    assert_eq!((report.user.as_str(), report.client_to_peer.bytes), ("alice", 5));
    assert_eq!(client.refresh(600), Err(437));
}

#[test]
fn a_port_another_program_has_is_passed_over() {
    // Two ports, one of them taken by somebody else, on an address that nobody else binds: the
    // relay is to find the other one free, whatever runs beside this test.
    let here = Ipv4Addr::new(127, 0, 77, 1);
    let taken = UdpSocket::bind((here, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let other = if port == u16::MAX { port - 1 } else { port + 1 };
    let relay = relay(|config| {
        config.listen = vec![SocketAddr::from((here, 0))];
        config.port_range = port.min(other)..=port.max(other);
    });
    let mut alice = Client::of(&relay, "alice");
    assert_eq!(alice.allocate().map(|at| at.port()), Ok(other));
    assert_eq!(Client::of(&relay, "bob").allocate(), Err(508));
    // The refusal hurts nobody else.
    assert_eq!(alice.refresh(600), Ok(600));
}

#[test]
fn a_taken_listening_port_is_an_error_that_names_it_and_says_what_to_do() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let config = RelayConfig { listen: vec![addr], ..RelayConfig::default() };
    let error = Relay::bind(config).err().expect("the port is taken");
    assert_eq!(error.code(), "RELAY_PORT_TAKEN");
    let port = addr.port().to_string();
    assert!(error.to_string().contains(&port) && error.fix().contains(&port), "{error}");
}

#[test]
fn an_address_this_host_does_not_have_is_an_error() {
    let config = |listen: &str, external: Option<&str>| RelayConfig {
        listen: vec![listen.parse().unwrap()],
        external_ips: external.into_iter().map(|ip| ip.parse().unwrap()).collect(),
        ..RelayConfig::default()
    };
    let error = Relay::bind(config("192.0.2.1:0", None)).err().unwrap();
    assert_eq!(error.code(), "RELAY_ADDRESS_UNKNOWN");
    let external = Some("198.51.100.7/192.0.2.1");
    let error = Relay::bind(config("127.0.0.1:0", external)).err().unwrap();
    assert!(matches!(error, RelayError::NoSuchAddress(_)), "{error}");
    let error = Relay::bind(RelayConfig::default()).err().unwrap();
    assert_eq!(error.code(), "RELAY_NO_LISTENER");
}

/// I12.
#[tokio::test]
async fn a_draining_relay_keeps_its_allocations_and_ends_with_the_last_one() {
    let relay = relay(|_| {});
    let addr = relay.local_addrs()[0];
    let mut client = Client::of(&relay, "alice");
    client.allocate().unwrap();

    relay.drain(Duration::from_secs(3600));
    assert!(relay.snapshot().unwrap().draining);
    assert_eq!(Client::new(addr, "bob", "secret").allocate(), Err(508));
    assert_eq!(client.refresh(600), Ok(600));
    assert_eq!(client.refresh(0), Ok(0));
    let last = relay.stopped().await.unwrap();
    assert_eq!((last.allocations, last.allocations_created), (0, 1));
    assert_eq!(relay.snapshot().unwrap(), last, "the last words stay readable");
}

/// I12.
#[test]
fn a_drain_ends_at_its_deadline_whatever_is_left() {
    let relay = relay(|_| {});
    Client::of(&relay, "alice").allocate().unwrap();
    relay.drain(Duration::ZERO);
    assert_eq!(relay.join().unwrap().allocations, 1);
}

#[test]
fn a_shut_down_relay_gives_its_port_back() {
    let relay = relay(|_| {});
    let addr = relay.local_addrs()[0];
    relay.shutdown();
    relay.join().unwrap();
    UdpSocket::bind(addr).expect("the port is free again");
}

#[test]
fn a_revoked_user_loses_their_allocations_and_nobody_else_does() {
    let secrets = TurnSecrets::new(vec!["north".into()]);
    let relay = relay(|config| config.secrets = secrets.clone());
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let minted = secrets.mint("carol", now, Duration::from_secs(600)).unwrap();
    let password = minted.password.expose_secret();
    let mut carol = Client::new(relay.local_addrs()[0], &minted.username, password);
    let mut alice = Client::of(&relay, "alice");
    carol.allocate().unwrap();
    alice.allocate().unwrap();

    assert_eq!(relay.free_user("carol").unwrap(), 1);
    assert_eq!(carol.refresh(600), Err(437));
    assert_eq!(alice.refresh(600), Ok(600));
}

#[test]
fn ipv6_clients_are_served() {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("SKIP: no IPv6 on this host");
        return;
    }
    let relay = relay(|config| config.listen.push("[::1]:0".parse().unwrap()));
    let mut client = Client::new(relay.local_addrs()[1], "alice", "secret");
    assert_eq!(client.binding(), client.socket.local_addr().unwrap());
    // The allocation is IPv4 unless the client asks otherwise (RFC 8656 §7.2).
    assert!(client.allocate().unwrap().is_ipv4());
}

#[test]
fn ipv6_peers_are_reached_both_ways() {
    let Ok(peer) = UdpSocket::bind("[::1]:0") else {
        eprintln!("SKIP: no IPv6 on this host");
        return;
    };
    let relay = relay(|config| {
        config.listen.push("[::1]:0".parse().unwrap());
        config.allow_peers.push("::1".parse().unwrap());
    });
    let mut client = Client::of(&relay, "alice");
    let relayed = client.allocate_v6().unwrap();
    let peer_addr = peer.local_addr().unwrap();
    client.permit(&[peer_addr]).unwrap();
    client.send_indication(peer_addr, b"hello");
    assert_eq!(receive(&peer), (b"hello".to_vec(), relayed));
    peer.send_to(b"hello yourself", relayed).unwrap();
    assert_eq!(client.receive_data(), (peer_addr, b"hello yourself".to_vec()));
}

/// I5 and I3: a flood from one source costs the relay answers up to the limit, and nothing else.
#[test]
fn a_flood_of_unauthenticated_requests_is_cut_and_others_are_served() {
    let relay = relay(|config| {
        config.limits.challenges = ChallengeRate { per_second: 1, burst: 10 };
    });
    let mut bystander = Client::of(&relay, "alice");
    bystander.allocate().unwrap();
    let flooder = Client::of(&relay, "mallory");
    let mut allocate = vec![0x00, 0x03, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42];
    allocate.extend([9; 12]);
    for _ in 0..200 {
        flooder.send(&allocate);
    }
    assert_eq!(flooder.binding(), flooder.socket.local_addr().unwrap());
    assert_eq!(bystander.refresh(600), Ok(600));
    let snapshot = relay.snapshot().unwrap();
    assert_eq!(snapshot.allocations, 1);
    assert!(snapshot.drops["challenge_rate_limited"] > 100, "{:?}", snapshot.drops);
}

/// RFC 5780 §6.1, over real sockets: plain from where it was asked, then from each other corner.
#[test]
fn with_an_alternate_address_answers_leave_from_where_the_client_wants() {
    let relay = relay(|config| config.alternate_ip = Some("127.0.0.2".parse().unwrap()));
    let [primary, next_port, alternate, opposite] = relay.local_addrs()[..] else {
        panic!("four listeners")
    };
    let client = peer();
    for (flags, expected) in [(0, primary), (2, next_port), (4, alternate), (6, opposite)] {
        // CHANGE-REQUEST is the only attribute.
        let mut request = vec![0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42];
        request.extend([flags; 12]);
        request.extend([0, 3, 0, 4, 0, 0, 0, flags]);
        client.send_to(&request, primary).unwrap();
        let (answer, from) = receive(&client);
        assert_eq!(from, expected);
        assert_eq!(answer[..2], [1, 1], "a success");
        assert_eq!(answer[8..20], [flags; 12]);
    }
    assert_eq!(relay.snapshot().unwrap().bindings, 4);
}
