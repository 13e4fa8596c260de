//! A shell without sockets around a server, and clients who speak to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use p2p_auth::turn_rest::TurnSecrets;
use p2p_turn_core::{
    AllocationId, ChannelNumber as Number, ChannelRoute, ClientAction, ClientAddr, Command,
    Credentials, Discovery, FreedAllocation, Lifetimes, Limits, ListenerId, NonceKey, Now,
    OpenError, OwnAddresses, PeerAddr, PeerPolicy, Reason, RelayIp, Server, ServerConfig,
    StaticUser,
};
use p2p_wire::Cidr;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use stun_types::attribute::{AttributeWrite, ErrorCode, Nonce, Realm, Username};
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageIntegrityCredentials,
    MessageWrite as _, MessageWriteExt as _, MessageWriteVec, Method, TransactionId,
};
use turn_types::attribute::{
    ChannelNumber, Data, Lifetime, RequestedTransport, XorPeerAddress, XorRelayedAddress,
};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, DATA, REFRESH, SEND};

pub(crate) const LISTENER: ListenerId = ListenerId(0);
pub(crate) const NOON: u64 = 1_700_000_000;
pub(crate) const PEER: &str = "8.8.8.8:5000";
pub(crate) const OTHER_PEER: &str = "9.9.9.9:5000";

/// What a test may change before the server is made.
pub(crate) struct Setup {
    pub(crate) relay_ips: Vec<RelayIp>,
    pub(crate) ports: std::ops::RangeInclusive<u16>,
    pub(crate) limits: Limits,
    pub(crate) allow: Vec<Cidr>,
    pub(crate) secrets: TurnSecrets,
    pub(crate) seed: u64,
    pub(crate) discovery: Option<Discovery>,
    pub(crate) stream_discovery: Option<Discovery>,
}

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) now: Now,
    /// Ports the operating system refuses, and with which error.
    pub(crate) refused: BTreeMap<u16, OpenError>,
    /// Leaves CreateAllocation unanswered until [`World::open_all`].
    pub(crate) slow_sockets: bool,
    waiting: Vec<AllocationId>,
    /// Open relay sockets.
    pub(crate) sockets: BTreeMap<AllocationId, SocketAddr>,
    /// Channels a fast path would carry, kept by Bind and Unbind alone.
    pub(crate) fast_path: BTreeMap<(AllocationId, Number), ChannelRoute>,
    pub(crate) freed: Vec<FreedAllocation>,
    pub(crate) refused_ports: BTreeSet<u16>,
    sent: VecDeque<(ListenerId, ClientAddr, Vec<u8>)>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(adjust: impl FnOnce(&mut Setup)) -> Self {
        let v4 = |text: &str| RelayIp {
            local: text.parse().unwrap(),
            advertised: text.parse().unwrap(),
        };
        let mut setup = Setup {
            relay_ips: vec![v4("198.51.100.9")],
            ports: 49_152..=65_535,
            limits: Limits::default(),
            allow: Vec::new(),
            secrets: TurnSecrets::new(vec!["north".into()]),
            seed: 7,
            discovery: None,
            stream_discovery: None,
        };
        adjust(&mut setup);
        Self {
            server: server(&setup),
            now: Now { instant: Instant::now(), unix: NOON },
            refused: BTreeMap::new(),
            slow_sockets: false,
            waiting: Vec::new(),
            sockets: BTreeMap::new(),
            fast_path: BTreeMap::new(),
            freed: Vec::new(),
            refused_ports: BTreeSet::new(),
            sent: VecDeque::new(),
        }
    }

    /// Lets time pass the way a shell does: the server is woken at each of its deadlines.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now.instant + duration;
        while let Some(due) = self.server.poll_timeout().filter(|&due| due <= end) {
            self.move_to(due);
            self.server.handle_timeout(self.now);
            self.execute();
            let next = self.server.poll_timeout();
            assert!(next.is_none_or(|next| next > due), "a deadline that has come stays due");
        }
        self.move_to(end);
    }

    fn move_to(&mut self, instant: Instant) {
        let instant = instant.max(self.now.instant);
        let before = self.now.instant;
        self.now.unix += (instant - before).as_secs();
        self.now.instant = instant;
    }

    /// Hands a datagram to the server and does what it says.
    pub(crate) fn feed(&mut self, client: SocketAddr, datagram: &[u8]) -> ClientAction {
        self.feed_at(LISTENER, client, datagram)
    }

    /// The same at another listener.
    pub(crate) fn feed_at(
        &mut self,
        listener: ListenerId,
        client: SocketAddr,
        datagram: &[u8],
    ) -> ClientAction {
        let action = self.server.handle_client(listener, ClientAddr(client), datagram, self.now);
        self.execute();
        action
    }

    /// A datagram from a peer: what the client gets, if anything.
    pub(crate) fn peer_sends(
        &mut self,
        to: AllocationId,
        peer: &str,
        payload: &[u8],
    ) -> Option<(SocketAddr, Vec<u8>)> {
        let peer = PeerAddr(peer.parse().unwrap());
        let route = self.server.handle_peer(to, peer, payload.len(), self.now)?;
        let mut datagram = route.header().to_vec();
        datagram.extend(payload);
        datagram.resize(datagram.len() + route.padding(), 0);
        Some((route.client.0, datagram))
    }

    pub(crate) fn execute(&mut self) {
        while let Some(command) = self.server.poll_command() {
            match command {
                Command::SendToClient { listener, client, datagram } => {
                    self.sent.push_back((listener, client, datagram));
                }
                Command::CreateAllocation { allocation, relayed } => {
                    if let Some(&error) = self.refused.get(&relayed.0.port()) {
                        self.refused_ports.insert(relayed.0.port());
                        self.server.allocation_opened(allocation, Err(error), self.now);
                        continue;
                    }
                    let earlier = self.sockets.insert(allocation, relayed.0);
                    assert!(earlier.is_none(), "one socket per allocation");
                    if self.slow_sockets {
                        self.waiting.push(allocation);
                    } else {
                        self.server.allocation_opened(allocation, Ok(()), self.now);
                    }
                }
                Command::FreeAllocation(freed) => {
                    self.sockets.remove(&freed.allocation);
                    assert!(
                        !self.fast_path.keys().any(|(id, _)| *id == freed.allocation),
                        "channels end before their allocation"
                    );
                    self.freed.push(freed);
                }
                Command::BindChannel(route) => {
                    self.fast_path.insert((route.allocation, route.number), route);
                }
                Command::UnbindChannel(route) => {
                    let bound = self.fast_path.remove(&(route.allocation, route.number));
                    assert_eq!(bound, Some(route), "only a bound channel is unbound");
                }
            }
        }
    }

    pub(crate) fn open_all(&mut self) {
        for id in std::mem::take(&mut self.waiting) {
            self.server.allocation_opened(id, Ok(()), self.now);
        }
        self.execute();
    }

    /// The next datagram for anybody.
    pub(crate) fn next_sent(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.sent.pop_front().map(|(_, client, datagram)| (client.0, datagram))
    }

    /// The next datagram for anybody, and the listener it leaves from.
    pub(crate) fn next_sent_from(&mut self) -> Option<(ListenerId, Vec<u8>)> {
        self.sent.pop_front().map(|(listener, _, datagram)| (listener, datagram))
    }

    /// Answers and asserts that there was exactly one, for this client.
    pub(crate) fn answer_to(&mut self, client: SocketAddr) -> Vec<u8> {
        let (to, datagram) = self.next_sent().expect("an answer");
        assert_eq!(to, client);
        assert!(self.sent.is_empty(), "one answer per request");
        datagram
    }

    pub(crate) fn count(&self, reason: Reason) -> u64 {
        self.server.counters().of(reason)
    }

    /// The allocation whose relayed address this is.
    pub(crate) fn id_of(&self, relayed: SocketAddr) -> AllocationId {
        let found = self.sockets.iter().find(|(_, at)| at.port() == relayed.port());
        *found.expect("an open allocation").0
    }
}

fn server(setup: &Setup) -> Server {
    let user = |name: &str| StaticUser { name: name.to_owned(), password: "secret".into() };
    let credentials =
        Credentials::new("test", vec![user("alice"), user("bob")], setup.secrets.clone());
    let own = OwnAddresses {
        relay: setup.relay_ips.iter().flat_map(|ip| [ip.local, ip.advertised]).collect(),
        relay_ports: setup.ports.clone(),
        listeners: vec!["198.51.100.9:3478".parse().unwrap()],
        other: Vec::new(),
    };
    let config = ServerConfig {
        relay_ips: setup.relay_ips.clone(),
        relay_ports: setup.ports.clone(),
        limits: setup.limits.clone(),
        lifetimes: Lifetimes::default(),
        discovery: setup.discovery.clone(),
        stream_discovery: setup.stream_discovery.clone(),
    };
    let policy = PeerPolicy::new(own, setup.allow.clone(), Vec::new());
    let rng = Box::new(StdRng::seed_from_u64(setup.seed));
    Server::new(config, credentials, policy, NonceKey::new(&[1; 32]), rng).unwrap()
}

/// A client that answers challenges.
pub(crate) struct Client {
    pub(crate) addr: SocketAddr,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) challenge: Option<(String, String)>,
}

/// An error code, or the success response.
pub(crate) type Answer = Result<Vec<u8>, u16>;

impl Client {
    pub(crate) fn new(addr: &str, username: &str, password: &str) -> Self {
        Self {
            addr: addr.parse().unwrap(),
            username: username.to_owned(),
            password: password.to_owned(),
            challenge: None,
        }
    }

    pub(crate) fn alice() -> Self {
        Self::new("5.5.5.5:1000", "alice", "secret")
    }

    pub(crate) fn bob() -> Self {
        Self::new("6.6.6.6:1000", "bob", "secret")
    }

    /// Sends a request, answering a challenge once.
    pub(crate) fn request(
        &mut self,
        world: &mut World,
        method: Method,
        fill: impl Fn(&mut MessageWriteVec, TransactionId),
    ) -> Answer {
        for _ in 0..2 {
            let request = self.build(method, &fill);
            world.feed(self.addr, &request);
            let answer = world.answer_to(self.addr);
            match self.read(&answer) {
                Err(401 | 438) if self.take_challenge(&answer) => {}
                Err(code) => return Err(code),
                Ok(()) => return Ok(answer),
            }
        }
        Err(401)
    }

    /// Learns a nonce, so that [`Self::build`] makes authenticated requests.
    pub(crate) fn challenged(mut self, world: &mut World) -> Self {
        let request = self.build(REFRESH, &|_, _| {});
        world.feed(self.addr, &request);
        let answer = world.answer_to(self.addr);
        assert!(self.take_challenge(&answer));
        self
    }

    pub(crate) fn build(
        &self,
        method: Method,
        fill: &impl Fn(&mut MessageWriteVec, TransactionId),
    ) -> Vec<u8> {
        let mut request = Message::builder_request(method, MessageWriteVec::new());
        let id = request.transaction_id();
        fill(&mut request, id);
        self.sign(request)
    }

    pub(crate) fn sign(&self, mut request: MessageWriteVec) -> Vec<u8> {
        if let Some((realm, nonce)) = &self.challenge {
            add(&mut request, &Username::new(&self.username).unwrap());
            add(&mut request, &Realm::new(realm).unwrap());
            add(&mut request, &Nonce::new(nonce).unwrap());
            request.add_message_integrity(&self.key(), IntegrityAlgorithm::Sha1).unwrap();
        }
        request.finish()
    }

    pub(crate) fn key(&self) -> MessageIntegrityCredentials {
        MessageIntegrityCredentials::LongTerm(LongTermKeyCredentials::new(
            self.username.clone(),
            self.password.clone(),
            "test".to_owned(),
        ))
    }

    /// The code of an error; a success has to carry a right MESSAGE-INTEGRITY.
    pub(crate) fn read(&self, answer: &[u8]) -> Result<(), u16> {
        let message = Message::from_bytes(answer).unwrap();
        if let Ok(error) = message.attribute::<ErrorCode>() {
            return Err(error.code());
        }
        message.validate_integrity(&self.key()).expect("the server signs its answers");
        Ok(())
    }

    fn take_challenge(&mut self, answer: &[u8]) -> bool {
        let message = Message::from_bytes(answer).unwrap();
        let (Ok(realm), Ok(nonce)) = (message.attribute::<Realm>(), message.attribute::<Nonce>())
        else {
            return false;
        };
        let fresh = Some((realm.realm().to_owned(), nonce.nonce().to_owned()));
        std::mem::replace(&mut self.challenge, fresh).is_none() || answer_is_stale(&message)
    }

    pub(crate) fn allocate(&mut self, world: &mut World) -> Result<SocketAddr, u16> {
        self.allocate_with(world, |_| {})
    }

    pub(crate) fn allocate_with(
        &mut self,
        world: &mut World,
        fill: impl Fn(&mut MessageWriteVec),
    ) -> Result<SocketAddr, u16> {
        let answer = self.request(world, ALLOCATE, |request, _| {
            add(request, &RequestedTransport::new(RequestedTransport::UDP));
            fill(request);
        })?;
        Ok(relayed_address(&answer))
    }

    /// The lifetime granted.
    pub(crate) fn refresh(&mut self, world: &mut World, seconds: u32) -> Result<u32, u16> {
        let answer = self.request(world, REFRESH, |request, _| {
            add(request, &Lifetime::new(seconds));
        })?;
        Ok(lifetime(&answer))
    }

    pub(crate) fn permit(&mut self, world: &mut World, peers: &[&str]) -> Result<(), u16> {
        self.request(world, CREATE_PERMISSION, |request, id| {
            for peer in peers {
                add(request, &XorPeerAddress::new(peer.parse().unwrap(), id));
            }
        })?;
        Ok(())
    }

    pub(crate) fn bind(&mut self, world: &mut World, number: u16, peer: &str) -> Result<(), u16> {
        self.request(world, CHANNEL_BIND, |request, id| {
            add(request, &ChannelNumber::new(number));
            add(request, &XorPeerAddress::new(peer.parse().unwrap(), id));
        })?;
        Ok(())
    }

    /// Where a Send indication goes and with what payload.
    pub(crate) fn send(
        &self,
        world: &mut World,
        peer: &str,
        payload: &[u8],
    ) -> Option<(PeerAddr, Vec<u8>)> {
        let mut indication = Message::builder_indication(SEND, MessageWriteVec::new());
        let id = indication.transaction_id();
        add(&mut indication, &XorPeerAddress::new(peer.parse().unwrap(), id));
        add(&mut indication, &Data::new(payload));
        let datagram = indication.finish();
        relayed(world.feed(self.addr, &datagram), &datagram)
    }

    /// Where ChannelData goes and with what payload.
    pub(crate) fn send_on(
        &self,
        world: &mut World,
        number: u16,
        payload: &[u8],
    ) -> Option<(PeerAddr, Vec<u8>)> {
        let datagram = channel_data(number, payload);
        relayed(world.feed(self.addr, &datagram), &datagram)
    }
}

pub(crate) fn add(message: &mut MessageWriteVec, attribute: &dyn AttributeWrite) {
    message.add_attribute(attribute).unwrap();
}

pub(crate) fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = number.to_be_bytes().to_vec();
    datagram.extend((payload.len() as u16).to_be_bytes());
    datagram.extend(payload);
    datagram
}

pub(crate) fn relayed_address(answer: &[u8]) -> SocketAddr {
    let message = Message::from_bytes(answer).unwrap();
    let relayed = message.attribute::<XorRelayedAddress>().unwrap();
    relayed.addr(message.transaction_id())
}

pub(crate) fn lifetime(answer: &[u8]) -> u32 {
    Message::from_bytes(answer).unwrap().attribute::<Lifetime>().unwrap().seconds()
}

/// What a Data indication says: peer and payload.
pub(crate) fn data_indication(datagram: &[u8]) -> (SocketAddr, Vec<u8>) {
    let message = Message::from_bytes(datagram).unwrap();
    assert_eq!(message.method(), DATA);
    let peer = message.attribute::<XorPeerAddress>().unwrap().addr(message.transaction_id());
    (peer, message.attribute::<Data<'_>>().unwrap().data().to_vec())
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn peer(text: &str) -> PeerAddr {
    PeerAddr(text.parse().unwrap())
}

fn answer_is_stale(message: &Message<'_>) -> bool {
    message.attribute::<ErrorCode>().is_ok_and(|error| error.code() == 438)
}

fn relayed(action: ClientAction, datagram: &[u8]) -> Option<(PeerAddr, Vec<u8>)> {
    match action {
        ClientAction::Relay { peer, payload, .. } => Some((peer, datagram[payload].to_vec())),
        ClientAction::Done => None,
    }
}
