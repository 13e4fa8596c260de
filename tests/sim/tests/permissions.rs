//! The leg to the relay over a long life: many peers come and go, and each can be reached while it
//! is wanted.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail")]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_auth::turn_rest::TurnSecrets;
use p2p_traversal::RelayConfig;
use p2p_traversal::relay::RelayLeg;
use p2p_turn_core::{
    ClientAction, ClientAddr, Command, Credentials, Lifetimes, Limits, ListenerId, NonceKey, Now,
    OwnAddresses, PeerPolicy, RelayIp, Server, ServerConfig, StaticUser,
};
use p2p_wire::Secret;
use rand::SeedableRng;
use rand::rngs::StdRng;

const RELAY: &str = "198.51.100.1:3478";
const CLIENT: &str = "198.51.100.2:5000";
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_leg_that_lives_long_reaches_peer_after_peer() {
    let mut life = Life::new();
    for number in 0..600 {
        let peer = peer(number);
        assert!(life.reaches(peer), "peer {number}");
        life.run_for(10 * SECOND);
        let now = life.now;
        life.leg.retain(|_| false, now);
    }
}

#[test]
fn a_leg_that_has_met_thousands_begins_anew_and_goes_on() {
    let mut life = Life::new();
    let first = life.leg.relayed();
    for number in 0..4_200 {
        let (peer, now) = (peer(number), life.now);
        life.leg.permit(peer, now);
        life.run_for(5 * SECOND);
        let now = life.now;
        life.leg.retain(|_| false, now);
    }
    life.run_for(5 * SECOND);
    assert!(life.leg.relayed().is_some() && life.leg.relayed() != first);
    assert_eq!(life.server.allocation_count(), 1, "the old allocation is given back");
    assert!(life.reaches(peer(1)));
}

#[test]
fn permissions_of_many_wanted_peers_outlive_an_hour() {
    let mut life = Life::new();
    for number in 0..120 {
        let now = life.now;
        life.leg.permit(peer(number), now);
    }
    life.run_for(3600 * SECOND);
    let unreached: Vec<_> = (0..120).filter(|number| !life.reaches(peer(*number))).collect();
    assert_eq!(unreached, [0; 0]);
}

#[test]
fn a_peer_that_was_let_go_is_permitted_again() {
    let mut life = Life::new();
    assert!(life.reaches(peer(1)));
    let now = life.now;
    life.leg.retain(|_| false, now);
    life.run_for(1200 * SECOND);
    assert!(life.reaches(peer(1)));
}

#[test]
fn a_relay_that_is_silent_for_a_minute_is_asked_again() {
    let mut life = Life::new();
    life.silent = true;
    assert!(!life.reaches(peer(1)));
    life.run_for(60 * SECOND);
    life.silent = false;
    // The relay may have been taken for gone meanwhile.
    life.run_for(10 * SECOND);
    assert!(life.reaches(peer(1)));
}

#[test]
fn the_first_packets_leave_right_behind_the_request_and_once() {
    let mut life = Life::new();
    let (one, two) = (peer(1), SocketAddr::new(peer(1).ip(), 4_001));
    for peer in [one, two] {
        life.leg.send(peer, b"hello", life.now);
        life.leg.send(peer, b"and more", life.now);
        // The relay's answers come only after this.
        let flight: Vec<_> = std::iter::from_fn(|| life.leg.poll_transmit()).collect();
        let reached: Vec<_> = flight.iter().filter_map(|t| life.at_server(&t.payload)).collect();
        assert_eq!(reached, [peer, peer]);
        assert_eq!(life.exchange(), [], "what has passed is not sent again");
        life.leg.send(peer, b"later", life.now);
        assert_eq!(life.exchange(), [peer]);
    }
    assert_eq!(life.leg.dropped(), 0);
}

#[test]
fn what_followed_a_request_that_was_lost_is_sent_again_behind_the_next() {
    let mut life = Life::new();
    life.silent = true;
    life.leg.send(peer(1), b"hello", life.now);
    assert_eq!(life.exchange(), []);
    life.silent = false;
    let end = life.now + SECOND;
    let mut reached = Vec::new();
    while life.step(end) {
        reached.extend(life.exchange());
    }
    assert_eq!(reached, [peer(1)]);
}

fn peer(number: u32) -> SocketAddr {
    let [_, b, c, d] = number.to_be_bytes();
    SocketAddr::new(IpAddr::from([45, b, c, d]), 4_000)
}

/// One leg and one relay, with nothing between them.
struct Life {
    leg: RelayLeg,
    server: Server,
    now: Instant,
    begin: Instant,
    silent: bool,
}

impl Life {
    fn new() -> Self {
        let now = Instant::now();
        let config = RelayConfig::udp(RELAY.parse().unwrap(), "alice", Secret::new("simulated"));
        let leg = RelayLeg::new(config, now);
        let mut life = Self { leg, server: server(), now, begin: now, silent: false };
        life.run_for(SECOND);
        assert!(life.leg.relayed().is_some());
        life
    }

    /// Whether a packet to the peer leaves the relay within five seconds.
    fn reaches(&mut self, peer: SocketAddr) -> bool {
        self.leg.send(peer, b"hello", self.now);
        let end = self.now + 5 * SECOND;
        let mut reached = self.exchange();
        while !reached.contains(&peer) && self.step(end) {
            reached.extend(self.exchange());
        }
        reached.contains(&peer)
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.exchange();
        while self.step(end) {
            self.exchange();
        }
    }

    /// Moves to what is due next; `false` at the end.
    fn step(&mut self, end: Instant) -> bool {
        let due = [self.leg.poll_timeout(), self.server.poll_timeout()];
        // A timer that is due and does not move would stand still for ever.
        let due = due.into_iter().flatten().min().unwrap_or(end).max(self.now + SECOND / 1000);
        self.now = due.min(end);
        let now = self.relay_now();
        self.leg.handle_timeout(self.now);
        self.server.handle_timeout(now);
        self.now < end
    }

    /// Passes packets to and fro until both are silent, and tells which peers data went out to.
    fn exchange(&mut self) -> Vec<SocketAddr> {
        let mut reached = Vec::new();
        loop {
            let mut quiet = true;
            while let Some(transmit) = self.leg.poll_transmit() {
                quiet = false;
                if !self.silent {
                    reached.extend(self.at_server(&transmit.payload));
                }
            }
            while let Some(command) = self.server.poll_command() {
                quiet = false;
                let now = self.relay_now();
                match command {
                    Command::SendToClient { datagram, .. } => {
                        self.leg.handle_datagram(&datagram, self.now);
                    }
                    Command::CreateAllocation { allocation, .. } => {
                        self.server.allocation_opened(allocation, Ok(()), now);
                    }
                    _ => {}
                }
            }
            if quiet {
                return reached;
            }
        }
    }

    fn at_server(&mut self, datagram: &Bytes) -> Option<SocketAddr> {
        let (client, now) = (ClientAddr(CLIENT.parse().unwrap()), self.relay_now());
        match self.server.handle_client(ListenerId(0), client, datagram, now) {
            ClientAction::Relay { peer, .. } => Some(peer.0),
            _ => None,
        }
    }

    fn relay_now(&self) -> Now {
        Now { instant: self.now, unix: 1_800_000_000 + (self.now - self.begin).as_secs() }
    }
}

fn server() -> Server {
    let relay: SocketAddr = RELAY.parse().unwrap();
    let config = ServerConfig {
        relay_ips: vec![RelayIp { local: relay.ip(), advertised: relay.ip() }],
        relay_ports: 49_152..=65_535,
        limits: Limits::default(),
        lifetimes: Lifetimes::default(),
        discovery: None,
        stream_discovery: None,
    };
    let users = vec![StaticUser { name: "alice".into(), password: "simulated".into() }];
    let own = OwnAddresses {
        relay: vec![relay.ip()],
        relay_ports: 49_152..=65_535,
        listeners: vec![relay],
        other: Vec::new(),
    };
    Server::new(
        config,
        Credentials::new("sim", users, TurnSecrets::new(Vec::new())),
        PeerPolicy::new(own, Vec::new(), Vec::new()),
        NonceKey::new(&[7; 32]),
        Box::new(StdRng::seed_from_u64(1)),
    )
    .unwrap()
}
