//! The sans-I/O client `rtc-turn`, the one our own client is built on, through our relay.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc_shared::{TransportContext, TransportMessage, TransportProtocol};
use rtc_turn::client::{Client, ClientConfig, Event};
use rtc_turn::crypto::providers::AwsLcRsProvider;
use sansio::Protocol as _;

use crate::our_relay::{Login, OurRelay};

#[test]
fn it_learns_its_address() {
    let relay = OurRelay::start();
    let mut driven = Driven::new(&relay, OurRelay::static_login());
    driven.client.send_binding_request(Instant::now()).unwrap();
    let reflexive = driven.wait_for(|event| match event {
        Event::BindingResponse(_, reflexive) => Some(*reflexive),
        _ => None,
    });
    assert_eq!(reflexive, driven.socket.local_addr().unwrap());
}

#[test]
fn it_relays_data_both_ways_with_a_lasting_password() {
    relays_both_ways(OurRelay::static_login());
}

#[test]
fn it_relays_data_both_ways_with_a_time_limited_credential() {
    relays_both_ways(OurRelay::rest_login());
}

#[test]
fn it_gives_its_allocation_back() {
    let relay = OurRelay::start();
    let mut driven = Driven::new(&relay, OurRelay::static_login());
    let relayed = driven.allocate();
    driven.client.relay(relayed).unwrap().close(Instant::now()).unwrap();
    // The answer to a request that is sent after it shows that the relay has seen it.
    driven.client.send_binding_request(Instant::now()).unwrap();
    driven.wait_for(|event| matches!(event, Event::BindingResponse(..)).then_some(()));
    assert_eq!(relay.snapshot().allocations, 0);
}

fn relays_both_ways(login: Login) {
    let relay = OurRelay::start();
    let mut driven = Driven::new(&relay, login);
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let peer_addr = peer.local_addr().unwrap();

    let relayed = driven.allocate();
    driven.client.relay(relayed).unwrap().create_permission(Instant::now(), peer_addr).unwrap();
    driven.wait_for(|event| matches!(event, Event::CreatePermissionResponse(..)).then_some(()));

    let mut on_channel = 0;
    let mut buffer = vec![0; 2048];
    for number in 0..50u32 {
        let payload = vec![number as u8; 100 + number as usize];
        driven.client.relay(relayed).unwrap().send_to(Instant::now(), &payload, peer_addr).unwrap();
        driven.transmit();
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&payload[..], relayed));

        peer.send_to(&payload, relayed).unwrap();
        let (channel, from, data) = driven.wait_for(|event| match event {
            Event::DataIndicationOrChannelData(channel, from, data) => {
                Some((channel.is_some(), *from, data.to_vec()))
            }
            _ => None,
        });
        assert_eq!((from, data), (peer_addr, payload));
        on_channel += u32::from(channel);
    }
    assert!(on_channel > 40, "the client binds a channel and the relay uses it: {on_channel}");
    let snapshot = relay.snapshot();
    assert_eq!((snapshot.client_to_peer.packets, snapshot.peer_to_client.packets), (50, 50));
}

/// Only reached when a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The client with a socket.
struct Driven {
    client: Client,
    socket: UdpSocket,
}

impl Driven {
    fn new(relay: &OurRelay, login: Login) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let config = ClientConfig {
            stun_serv_addr: relay.addr().to_string(),
            turn_serv_addr: relay.addr().to_string(),
            local_addr: socket.local_addr().unwrap(),
            transport_protocol: TransportProtocol::UDP,
            username: login.username,
            password: login.password,
            ..ClientConfig::default()
        };
        let client = Client::new(config, Arc::new(AwsLcRsProvider::default())).unwrap();
        Self { client, socket }
    }

    fn allocate(&mut self) -> SocketAddr {
        self.client.allocate(Instant::now()).unwrap();
        self.wait_for(|event| match event {
            Event::AllocateResponse(_, relayed) => Some(*relayed),
            Event::AllocateError(_, error) => panic!("refused: {error}"),
            _ => None,
        })
    }

    fn transmit(&mut self) {
        while let Some(out) = self.client.poll_write() {
            self.socket.send_to(&out.message, out.transport.peer_addr).unwrap();
        }
    }

    /// Runs the client until the event comes.
    fn wait_for<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.transmit();
            while let Some(event) = self.client.poll_event() {
                if let Some(found) = wanted(&event) {
                    return found;
                }
            }
            let now = Instant::now();
            assert!(now < deadline, "the event does not come");
            let due = self.client.poll_timeout().unwrap_or(deadline).min(deadline);
            let wait = due.saturating_duration_since(now).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(wait)).unwrap();
            self.read();
            self.client.handle_timeout(Instant::now()).unwrap();
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 2048];
        let Ok((length, peer_addr)) = self.socket.recv_from(&mut buffer) else { return };
        let transport = TransportContext {
            local_addr: self.socket.local_addr().unwrap(),
            peer_addr,
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        let message = BytesMut::from(&buffer[..length]);
        self.client
            .handle_read(TransportMessage { now: Instant::now(), transport, message })
            .unwrap();
    }
}
