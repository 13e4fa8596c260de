//! Clients that come over TCP and TLS, over real sockets on loopback.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use p2p_relay::{AllocationEnd, Relay, RelayConfig, RelayHandle, Reload, StreamLimits, Transport};
use socket2::SockRef;
use stun_types::message::{BINDING, Message, MessageWrite as _, MessageWriteVec};
use support::stream::{Identity, addr, connect, handshake, padded, tcp, tls, wait_until};
use support::{Client, Line, peer, receive, relay};
use tempfile::TempDir;

const CHANNEL: u16 = 0x4000;

/// A relay on every transport, with its certificate.
fn relay_on_streams(adjust: impl FnOnce(&mut RelayConfig)) -> (RelayHandle, Identity, TempDir) {
    let (identity, folder) = (Identity::ONE, TempDir::new().unwrap());
    let files = identity.write(folder.path());
    let relay = relay(|config| {
        config.listen_tcp = vec!["127.0.0.1:0".parse().unwrap()];
        config.listen_tls = vec!["127.0.0.1:0".parse().unwrap()];
        config.tls = Some(files);
        adjust(config);
    });
    (relay, identity, folder)
}

fn limited(adjust: impl FnOnce(&mut StreamLimits)) -> (RelayHandle, Identity, TempDir) {
    relay_on_streams(|config| adjust(&mut config.streams))
}

#[test]
fn data_travels_both_ways_over_tcp() {
    let (relay, ..) = relay_on_streams(|_| {});
    travels_both_ways(&relay, tcp(&relay, "alice"));
}

#[test]
fn data_travels_both_ways_over_tls() {
    let (relay, identity, _folder) = relay_on_streams(|_| {});
    travels_both_ways(&relay, tls(&relay, "alice", &identity));
}

fn travels_both_ways(relay: &RelayHandle, mut client: Client<impl Line>) {
    let by_indication = peer();
    let relayed = client.allocate().unwrap();
    let addr = by_indication.local_addr().unwrap();
    client.permit(&[addr]).unwrap();
    let on_channel = peer();
    client.bind_channel(CHANNEL, on_channel.local_addr().unwrap()).unwrap();
    // Lengths around the padding boundary, none of them changed on the way.
    let payloads = [&b""[..], b"1", b"12", b"123", b"1234", &[7; 1200], &[8; 9000]];
    for payload in payloads {
        client.send_indication(addr, payload);
        assert_eq!(receive(&by_indication), (payload.to_vec(), relayed));
        by_indication.send_to(payload, relayed).unwrap();
        assert_eq!(client.receive_data(), (addr, payload.to_vec()));

        client.send_on_channel(CHANNEL, payload);
        assert_eq!(receive(&on_channel), (payload.to_vec(), relayed));
        on_channel.send_to(payload, relayed).unwrap();
        assert_eq!(client.receive_on_channel(), (CHANNEL, payload.to_vec()));
    }
    let snapshot = relay.snapshot().unwrap();
    assert_eq!((snapshot.connections, snapshot.allocations), (1, 1));
    assert_eq!(snapshot.client_to_peer.packets, 2 * payloads.len() as u64);
    assert_eq!(snapshot.peer_to_client, snapshot.client_to_peer);
    assert_eq!(snapshot.drops.get("stream_output_dropped"), None);
}

#[test]
fn clients_of_every_transport_reach_each_other() {
    let (relay, identity, _folder) = relay_on_streams(|config| config.allow_peers.clear());
    let mut over_udp = Client::of(&relay, "alice");
    let mut over_tcp = tcp(&relay, "alice");
    let mut over_tls = tls(&relay, "bob", &identity);
    let udp_at = over_udp.allocate().unwrap();
    let tcp_at = over_tcp.allocate().unwrap();
    let tls_at = over_tls.allocate().unwrap();
    over_udp.bind_channel(CHANNEL, tcp_at).unwrap();
    over_tcp.bind_channel(CHANNEL, udp_at).unwrap();
    over_tcp.bind_channel(CHANNEL + 1, tls_at).unwrap();
    over_tls.bind_channel(CHANNEL, tcp_at).unwrap();

    over_udp.send_on_channel(CHANNEL, b"from udp");
    assert_eq!(over_tcp.receive_on_channel(), (CHANNEL, b"from udp".to_vec()));
    over_tcp.send_on_channel(CHANNEL + 1, b"from tcp");
    assert_eq!(over_tls.receive_on_channel(), (CHANNEL, b"from tcp".to_vec()));
    over_tls.send_on_channel(CHANNEL, b"from tls");
    assert_eq!(over_tcp.receive_on_channel(), (CHANNEL + 1, b"from tls".to_vec()));
}

#[test]
fn messages_are_understood_however_the_stream_is_cut() {
    let (relay, ..) = relay_on_streams(|_| {});
    let (mut client, peer) = (tcp(&relay, "alice"), peer());
    client.allocate().unwrap();
    client.bind_channel(CHANNEL, peer.local_addr().unwrap()).unwrap();
    let data = [&[0x40, 0, 0, 5][..], b"hello"].concat();
    let stream = [padded(&data), binding_request(), padded(&data)].concat();
    for byte in stream {
        client.socket.0.borrow_mut().write_all(&[byte]).unwrap();
    }
    assert_eq!(receive(&peer).0, b"hello");
    assert_eq!(receive(&peer).0, b"hello");
    let answer = client.receive();
    assert_eq!(answer[..2], [1, 1], "the Binding request between them is answered");
}

#[test]
fn the_end_of_a_connection_ends_its_allocation() {
    let (usage, mut reports) = tokio::sync::mpsc::channel(1);
    let (relay, ..) = relay_on_streams(|config| config.usage = Some(usage));
    let mut client = tcp(&relay, "alice");
    client.allocate().unwrap();
    drop(client);
    let report = reports.blocking_recv().unwrap();
    assert_eq!(report.end, AllocationEnd::Disconnected);
    let snapshot = relay.snapshot().unwrap();
    assert_eq!((snapshot.connections, snapshot.allocations), (0, 0));
}

/// I5: what waits for a slow reader has a bound; the oldest packets go, and the stream stays whole.
#[test]
fn i5_a_slow_reader_loses_old_packets_and_nobody_else_any() {
    let (relay, ..) = limited(|limits| limits.output = 32 * 1024);
    let (mut slow, mut bystander, peer) = (tcp(&relay, "alice"), tcp(&relay, "bob"), peer());
    SockRef::from(&*slow.socket.0.borrow()).set_recv_buffer_size(4096).unwrap();
    let relayed = slow.allocate().unwrap();
    bystander.allocate().unwrap();
    slow.bind_channel(CHANNEL, peer.local_addr().unwrap()).unwrap();

    let dropped = || relay.snapshot().unwrap().drops.get("stream_output_dropped").copied();
    // The kernel holds some too. A hundred MB would be a failure.
    let mut sent = 0_u32;
    while dropped().is_none() {
        assert!(sent < 100_000, "nothing is ever dropped");
        for _ in 0..32 {
            let mut payload = [0; 1000];
            payload[..4].copy_from_slice(&sent.to_be_bytes());
            peer.send_to(&payload, relayed).unwrap();
            sent += 1;
        }
    }
    peer.send_to(b"the last one", relayed).unwrap();
    assert_eq!(bystander.refresh(600), Ok(600), "others are served");

    let mut before = None;
    loop {
        let (channel, payload) = slow.receive_on_channel();
        assert_eq!(channel, CHANNEL);
        if payload == b"the last one" {
            break;
        }
        let number = u32::from_be_bytes(payload[..4].try_into().unwrap());
        assert!(before < Some(number), "{before:?} and then {number}");
        before = Some(number);
    }
    assert_eq!(slow.refresh(600), Ok(600), "the stream can be read on");
}

#[test]
fn i5_a_client_that_asks_and_does_not_read_is_cut_off() {
    let (relay, ..) = limited(|limits| limits.output = 4096);
    let mut stream = connect(addr(&relay, Transport::Tcp));
    SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
    let requests = binding_request().repeat(1000);
    let cut = (0..10_000).any(|_| stream.write_all(&requests).is_err());
    assert!(cut, "200 MB of requests were taken");
    wait_until(&relay, |snapshot| snapshot.drops.contains_key("client_does_not_read"));
    wait_until(&relay, |snapshot| snapshot.connections == 0);
}

#[test]
fn an_idle_connection_without_an_allocation_is_closed() {
    let (relay, ..) = limited(|limits| limits.idle = Duration::from_secs(1));
    let mut with_allocation = tcp(&relay, "alice");
    with_allocation.allocate().unwrap();
    let mut idle = connect(addr(&relay, Transport::Tcp));
    // Not a whole message: it does not count as life.
    idle.write_all(&binding_request()[..7]).unwrap();
    assert_eq!(idle.read(&mut [0; 8]).unwrap(), 0, "closed");
    assert_eq!(with_allocation.refresh(600), Ok(600));
    let snapshot = relay.snapshot().unwrap();
    assert_eq!((snapshot.drops["connection_idle_timeout"], snapshot.connections), (1, 1));
}

#[test]
fn a_tls_handshake_that_does_not_come_is_closed() {
    let (relay, ..) = limited(|limits| limits.handshake = Duration::from_millis(100));
    let mut silent = connect(addr(&relay, Transport::Tls));
    // With a goodbye that nobody may understand.
    silent.read_to_end(&mut Vec::new()).expect("closed");
    assert_eq!(relay.snapshot().unwrap().drops["tls_handshake_timeout"], 1);
}

#[test]
fn i5_one_source_has_so_many_connections_and_no_more() {
    let (relay, ..) = limited(|limits| limits.connections_per_source = 2);
    let at = addr(&relay, Transport::Tcp);
    let (first, _second) = (answered(at), answered(at));
    assert_eq!(connect(at).read(&mut [0; 8]).unwrap(), 0, "closed");
    assert_eq!(relay.snapshot().unwrap().drops["connections_per_source"], 1);
    drop(first);
    wait_until(&relay, |snapshot| snapshot.connections == 1);
    answered(at);
}

#[test]
fn i5_the_relay_has_so_many_connections_and_no_more() {
    let (relay, ..) = limited(|limits| limits.connections = 1);
    let at = addr(&relay, Transport::Tcp);
    let _first = answered(at);
    assert_eq!(connect(at).read(&mut [0; 8]).unwrap(), 0, "closed");
    assert_eq!(relay.snapshot().unwrap().drops["connection_limit"], 1);
}

#[test]
fn another_protocol_is_closed_and_counted() {
    let (relay, ..) = relay_on_streams(|_| {});
    let http = b"GET / HTTP/1.1\r\nHost: relay.test\r\n\r\n";
    let tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for (transport, said, count) in [
        (Transport::Tcp, &http[..], "stream_message_too_long"),
        (Transport::Tcp, tls_hello, "stream_not_stun"),
        (Transport::Tls, &binding_request(), "tls_failed"),
    ] {
        let mut stream = connect(addr(&relay, transport));
        stream.write_all(said).unwrap();
        // TLS says why first; bytes that nobody read make a reset of the end.
        let _ = stream.read_to_end(&mut Vec::new());
        wait_until(&relay, |snapshot| snapshot.connections == 0);
        assert_eq!(relay.snapshot().unwrap().drops[count], 1, "{count}");
    }
}

#[test]
fn a_new_certificate_is_taken_and_connections_stay() {
    let (relay, old, folder) = relay_on_streams(|_| {});
    let mut before = tls(&relay, "alice", &old);
    before.allocate().unwrap();
    assert_eq!(relay.reload_certificate().unwrap(), Reload::Unchanged);

    let new = Identity::TWO;
    new.write(folder.path());
    assert_eq!(relay.reload_certificate().unwrap(), Reload::Replaced);
    assert_eq!(before.refresh(600), Ok(600), "the connection from before goes on");
    let at = addr(&relay, Transport::Tls);
    assert!(handshake(at, &old).is_err(), "the old certificate is not shown any more");
    assert!(tls(&relay, "bob", &new).allocate().is_ok());
}

#[test]
fn a_broken_certificate_is_refused_and_the_old_one_stays() {
    let (relay, old, folder) = relay_on_streams(|_| {});
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let refused = || {
        let error = relay.reload_certificate().unwrap_err();
        assert_eq!(error.code(), "RELAY_BAD_CERTIFICATE");
        assert!(tls(&relay, "alice", &old).allocate().is_ok());
        error.to_string()
    };
    std::fs::write(&cert, "nothing of the kind").unwrap();
    assert!(refused().contains("holds no certificate"));
    // As between the writing of the one file and of the other.
    std::fs::write(&cert, Identity::TWO.cert_pem).unwrap();
    assert!(refused().contains("cannot be used with the key"));
    std::fs::remove_file(&key).unwrap();
    assert!(refused().contains("key.pem"));
    old.write(folder.path());
    assert_eq!(relay.reload_certificate().unwrap(), Reload::Unchanged);
}

#[test]
fn a_relay_that_stops_says_goodbye() {
    let (relay, identity, _folder) = relay_on_streams(|_| {});
    let mut over_tls = handshake(addr(&relay, Transport::Tls), &identity).unwrap();
    let mut over_tcp = answered(addr(&relay, Transport::Tcp));
    relay.shutdown();
    relay.join().unwrap();
    // rustls makes an error of an end without close_notify.
    assert_eq!(over_tls.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(over_tcp.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn what_cannot_be_listened_on_is_an_error_that_says_what_to_do() {
    let config = |listen_tcp: Vec<SocketAddr>, listen_tls: Vec<SocketAddr>| RelayConfig {
        listen_tcp,
        listen_tls,
        ..RelayConfig::default()
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = Relay::bind(config(vec![taken.local_addr().unwrap()], vec![])).err().unwrap();
    assert_eq!(error.code(), "RELAY_PORT_TAKEN");
    assert!(error.to_string().contains("tcp://") && error.fix().contains("ss -tlnp"), "{error}");
    let error = Relay::bind(config(vec![], vec!["127.0.0.1:0".parse().unwrap()])).err().unwrap();
    assert_eq!(error.code(), "RELAY_NO_CERTIFICATE");
    assert!(error.fix().contains("--tls-cert"));
}

/// A connection that the relay has taken.
fn answered(at: SocketAddr) -> TcpStream {
    let mut stream = connect(at);
    stream.write_all(&binding_request()).unwrap();
    stream.read_exact(&mut [0; 32]).unwrap();
    stream
}

fn binding_request() -> Vec<u8> {
    Message::builder_request(BINDING, MessageWriteVec::new()).finish()
}
