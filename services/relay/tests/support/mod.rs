//! A TURN client as small as the tests need it: blocking, one socket, no timers.
#![allow(dead_code, reason = "each test binary uses its share")]

pub(crate) mod stream;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use p2p_relay::{Relay, RelayConfig, RelayHandle, StaticUser};
use stun_types::attribute::{AttributeWrite, ErrorCode, Nonce, Realm, Username, XorMappedAddress};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageIntegrityCredentials,
    MessageWrite as _, MessageWriteExt as _, MessageWriteVec, Method, TransactionId,
};
use turn_types::AddressFamily;
use turn_types::attribute::{
    ChannelNumber, Data, Lifetime, RequestedAddressFamily, RequestedTransport, XorPeerAddress,
    XorRelayedAddress,
};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, DATA, REFRESH, SEND};

/// Only reached when a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A relay on loopback for the users alice and bob, both with password `secret`.
pub(crate) fn relay(adjust: impl FnOnce(&mut RelayConfig)) -> RelayHandle {
    let user = |name: &str| StaticUser { name: name.to_owned(), password: "secret".into() };
    let mut config = RelayConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        allow_peers: vec!["127.0.0.0/8".parse().unwrap()],
        users: vec![user("alice"), user("bob")],
        ..RelayConfig::default()
    };
    adjust(&mut config);
    Relay::bind(config).unwrap().start().unwrap()
}

/// A plain UDP socket in the role of a peer.
pub(crate) fn peer() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub(crate) fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_535];
    let (length, from) = socket.recv_from(&mut buffer).expect("a datagram");
    buffer.truncate(length);
    (buffer, from)
}

/// What carries the client's messages.
pub(crate) trait Line {
    fn send(&self, server: SocketAddr, message: &[u8]);
    fn receive(&self) -> Vec<u8>;
}

impl Line for UdpSocket {
    fn send(&self, server: SocketAddr, message: &[u8]) {
        self.send_to(message, server).unwrap();
    }

    fn receive(&self) -> Vec<u8> {
        receive(self).0
    }
}

pub(crate) struct Client<L = UdpSocket> {
    pub(crate) socket: L,
    server: SocketAddr,
    username: String,
    password: String,
    challenge: Option<(String, String)>,
}

/// A response: an error code, or the message.
pub(crate) type Answer = Result<Vec<u8>, u16>;

impl Client<UdpSocket> {
    pub(crate) fn new(server: SocketAddr, username: &str, password: &str) -> Self {
        let local = if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(local).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::over(socket, server, username, password)
    }

    pub(crate) fn of(relay: &RelayHandle, username: &str) -> Self {
        Self::new(relay.local_addrs()[0], username, "secret")
    }
}

impl<L: Line> Client<L> {
    pub(crate) fn over(socket: L, server: SocketAddr, username: &str, password: &str) -> Self {
        let (username, password) = (username.to_owned(), password.to_owned());
        Self { socket, server, username, password, challenge: None }
    }

    pub(crate) fn binding(&self) -> SocketAddr {
        let request = Message::builder_request(BINDING, MessageWriteVec::new());
        let answer = self.exchange(&request.finish());
        let message = Message::from_bytes(&answer).unwrap();
        let mapped = message.attribute::<XorMappedAddress>().unwrap();
        mapped.addr(message.transaction_id())
    }

    pub(crate) fn allocate(&mut self) -> Result<SocketAddr, u16> {
        let answer = self.request(ALLOCATE, |request, _| {
            add(request, &RequestedTransport::new(RequestedTransport::UDP));
        })?;
        let message = Message::from_bytes(&answer).unwrap();
        let relayed = message.attribute::<XorRelayedAddress>().unwrap();
        Ok(relayed.addr(message.transaction_id()))
    }

    pub(crate) fn allocate_v6(&mut self) -> Result<SocketAddr, u16> {
        let answer = self.request(ALLOCATE, |request, _| {
            add(request, &RequestedTransport::new(RequestedTransport::UDP));
            add(request, &RequestedAddressFamily::new(AddressFamily::IPV6));
        })?;
        let message = Message::from_bytes(&answer).unwrap();
        let relayed = message.attribute::<XorRelayedAddress>().unwrap();
        Ok(relayed.addr(message.transaction_id()))
    }

    /// The lifetime granted, in seconds.
    pub(crate) fn refresh(&mut self, seconds: u32) -> Result<u32, u16> {
        let answer = self.request(REFRESH, |request, _| add(request, &Lifetime::new(seconds)))?;
        let message = Message::from_bytes(&answer).unwrap();
        Ok(message.attribute::<Lifetime>().unwrap().seconds())
    }

    pub(crate) fn permit(&mut self, peers: &[SocketAddr]) -> Result<(), u16> {
        self.request(CREATE_PERMISSION, |request, id| {
            for &peer in peers {
                add(request, &XorPeerAddress::new(peer, id));
            }
        })?;
        Ok(())
    }

    pub(crate) fn bind_channel(&mut self, number: u16, peer: SocketAddr) -> Result<(), u16> {
        self.request(CHANNEL_BIND, |request, id| {
            add(request, &ChannelNumber::new(number));
            add(request, &XorPeerAddress::new(peer, id));
        })?;
        Ok(())
    }

    pub(crate) fn send_indication(&self, peer: SocketAddr, payload: &[u8]) {
        let mut indication = Message::builder_indication(SEND, MessageWriteVec::new());
        let id = indication.transaction_id();
        add(&mut indication, &XorPeerAddress::new(peer, id));
        add(&mut indication, &Data::new(payload));
        self.send(&indication.finish());
    }

    pub(crate) fn send_on_channel(&self, number: u16, payload: &[u8]) {
        let mut datagram = number.to_be_bytes().to_vec();
        datagram.extend((payload.len() as u16).to_be_bytes());
        datagram.extend(payload);
        self.send(&datagram);
    }

    /// The next Data indication: who sent what.
    pub(crate) fn receive_data(&self) -> (SocketAddr, Vec<u8>) {
        let datagram = self.receive();
        let message = Message::from_bytes(&datagram).unwrap();
        assert_eq!(message.method(), DATA);
        let peer = message.attribute::<XorPeerAddress>().unwrap();
        let data = message.attribute::<Data<'_>>().unwrap();
        (peer.addr(message.transaction_id()), data.data().to_vec())
    }

    /// The next ChannelData message: number and payload.
    pub(crate) fn receive_on_channel(&self) -> (u16, Vec<u8>) {
        let datagram = self.receive();
        let number = u16::from_be_bytes([datagram[0], datagram[1]]);
        let length = usize::from(u16::from_be_bytes([datagram[2], datagram[3]]));
        (number, datagram[4..4 + length].to_vec())
    }

    pub(crate) fn send(&self, datagram: &[u8]) {
        self.socket.send(self.server, datagram);
    }

    pub(crate) fn receive(&self) -> Vec<u8> {
        self.socket.receive()
    }

    /// Sends a request, answering challenges: 401 once and 438 once.
    pub(crate) fn request(
        &mut self,
        method: Method,
        fill: impl Fn(&mut MessageWriteVec, TransactionId),
    ) -> Answer {
        let mut challenged = false;
        loop {
            let answer = self.exchange(&self.build(method, &fill));
            let message = Message::from_bytes(&answer).unwrap();
            let Ok(error) = message.attribute::<ErrorCode>() else { return Ok(answer) };
            if !matches!(error.code(), 401 | 438) || challenged {
                return Err(error.code());
            }
            challenged = true;
            let realm = message.attribute::<Realm>().unwrap().realm().to_owned();
            let nonce = message.attribute::<Nonce>().unwrap().nonce().to_owned();
            self.challenge = Some((realm, nonce));
        }
    }

    fn build(
        &self,
        method: Method,
        fill: &impl Fn(&mut MessageWriteVec, TransactionId),
    ) -> Vec<u8> {
        let mut request = Message::builder_request(method, MessageWriteVec::new());
        let id = request.transaction_id();
        fill(&mut request, id);
        if let Some((realm, nonce)) = &self.challenge {
            add(&mut request, &Username::new(&self.username).unwrap());
            add(&mut request, &Realm::new(realm).unwrap());
            add(&mut request, &Nonce::new(nonce).unwrap());
            let credentials = MessageIntegrityCredentials::LongTerm(LongTermKeyCredentials::new(
                self.username.clone(),
                self.password.clone(),
                realm.clone(),
            ));
            request.add_message_integrity(&credentials, IntegrityAlgorithm::Sha1).unwrap();
        }
        request.finish()
    }

    fn exchange(&self, request: &[u8]) -> Vec<u8> {
        let id = Message::from_bytes(request).unwrap().transaction_id();
        self.send(request);
        loop {
            let answer = self.receive();
            let message = Message::from_bytes(&answer);
            if message.is_ok_and(|m| m.is_response() && m.transaction_id() == id) {
                return answer;
            }
        }
    }
}

fn add(message: &mut MessageWriteVec, attribute: &dyn AttributeWrite) {
    message.add_attribute(attribute).unwrap();
}
