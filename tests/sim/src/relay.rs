//! The relay: the real STUN and TURN server core, and a shell that puts its packets on the network.
//!
//! Each of [`servers`] is one of its listeners.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_auth::turn_rest::TurnSecrets;
use p2p_turn_core::{
    AllocationId, ClientAction, ClientAddr, Command, Credentials, Discovery, FiveTuple, Lifetimes,
    Limits, ListenerId, NonceKey, Now, OwnAddresses, PeerAddr, PeerPolicy, RelayIp, Server,
    ServerConfig, StaticUser,
};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::network::{RELAY_IP, SECOND_IP, servers};

/// What every client proves to know. That peers hold different ones is no business of the network.
pub(crate) const PASSWORD: &str = "simulated";

/// A packet for the network.
pub(crate) struct Outgoing {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) payload: Bytes,
}

/// See the module.
pub(crate) struct Relay {
    server: Server,
    rng: StdRng,
    users: Vec<String>,
    lifetimes: Lifetimes,
    sockets: BTreeMap<SocketAddr, AllocationId>,
    out: Vec<Outgoing>,
}

impl Relay {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let lifetimes = Lifetimes::default();
        let server = server(&[], &lifetimes, &mut rng);
        let (users, sockets, out) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { server, rng, users, lifetimes, sockets, out }
    }

    /// Lets a user allocate. Only before anybody has.
    pub(crate) fn add_user(&mut self, name: &str) {
        self.users.push(name.to_owned());
        self.restart();
    }

    /// Makes nonces go stale after this long. Only before anybody has allocated.
    pub(crate) fn set_nonce_lifetime(&mut self, lifetime: Duration) {
        self.lifetimes.nonce = lifetime;
        self.restart();
    }

    /// Forgets everything, as a process that is started again does.
    pub(crate) fn restart(&mut self) {
        self.server = server(&self.users, &self.lifetimes, &mut self.rng);
        self.sockets.clear();
    }

    pub(crate) fn allocations(&self) -> usize {
        self.server.allocation_count()
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) fn handle(&mut self, to: SocketAddr, from: SocketAddr, payload: &Bytes, now: Now) {
        let listener = servers().iter().position(|listener| *listener == to);
        if let Some(listener) = listener {
            let listener = ListenerId(u16::try_from(listener).expect("four listeners"));
            self.take_from_client(FiveTuple { listener, client: ClientAddr(from) }, payload, now);
        } else if let Some(id) = self.sockets.get(&to).copied() {
            self.take_from_peer(id, from, payload, now);
        }
        self.execute(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.server.handle_timeout(now);
        self.execute(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.server.poll_timeout()
    }

    pub(crate) fn take_outgoing(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.out)
    }

    fn take_from_client(&mut self, tuple: FiveTuple, datagram: &Bytes, now: Now) {
        let FiveTuple { listener, client } = tuple;
        let action = self.server.handle_client(listener, client, datagram, now);
        let ClientAction::Relay { allocation, peer, payload } = action else { return };
        let relayed = self.sockets.iter().find(|(_, id)| **id == allocation);
        let from = *relayed.expect("data is relayed from an open socket").0;
        self.out.push(Outgoing { from, to: peer.0, payload: datagram.slice(payload) });
    }

    fn take_from_peer(&mut self, id: AllocationId, from: SocketAddr, payload: &Bytes, now: Now) {
        let route = self.server.handle_peer(id, PeerAddr(from), payload.len(), now);
        let Some(route) = route else { return };
        let mut datagram = route.header().to_vec();
        datagram.extend_from_slice(payload);
        datagram.resize(datagram.len() + route.padding(), 0);
        let from = servers()[usize::from(route.listener.0)];
        self.out.push(Outgoing { from, to: route.client.0, payload: datagram.into() });
    }

    fn execute(&mut self, now: Now) {
        while let Some(command) = self.server.poll_command() {
            match command {
                Command::SendToClient { listener, client, datagram } => {
                    let from = servers()[usize::from(listener.0)];
                    self.out.push(Outgoing { from, to: client.0, payload: datagram.into() });
                }
                Command::CreateAllocation { allocation, relayed } => {
                    self.sockets.insert(relayed.0, allocation);
                    self.server.allocation_opened(allocation, Ok(()), now);
                }
                Command::FreeAllocation(freed) => {
                    self.sockets.retain(|_, id| *id != freed.allocation);
                }
                // There is no fast path here.
                Command::BindChannel(_) | Command::UnbindChannel(_) => {}
            }
        }
    }
}

fn server(users: &[String], lifetimes: &Lifetimes, rng: &mut StdRng) -> Server {
    let mut listener = 0..;
    let corners = servers().map(|addr| (ListenerId(listener.next().unwrap_or(0)), addr));
    let config = ServerConfig {
        relay_ips: vec![RelayIp { local: RELAY_IP, advertised: RELAY_IP }],
        relay_ports: 49_152..=65_535,
        limits: Limits::default(),
        lifetimes: lifetimes.clone(),
        discovery: Discovery::new(corners),
        stream_discovery: None,
    };
    let user = |name: &String| StaticUser { name: name.clone(), password: PASSWORD.into() };
    let users = users.iter().map(user).collect();
    let credentials = Credentials::new("sim", users, TurnSecrets::new(Vec::new()));
    let own = OwnAddresses {
        relay: vec![RELAY_IP],
        relay_ports: 49_152..=65_535,
        listeners: servers().to_vec(),
        other: vec![SECOND_IP],
    };
    // The simulated internet uses the addresses set aside for documentation.
    let allow = ["198.51.100.0/24"].map(|block| block.parse().expect("a block"));
    let policy = PeerPolicy::new(own, allow.to_vec(), Vec::new());
    let mut key = [0; 32];
    rng.fill_bytes(&mut key);
    let server_rng = Box::new(StdRng::seed_from_u64(rng.next_u64()));
    Server::new(config, credentials, policy, NonceKey::new(&key), server_rng)
        .expect("the configuration is a sound one")
}
