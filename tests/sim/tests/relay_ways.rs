//! Which way to the relay a node takes, by hand-moved time: the real client and the real server
//! core, with a network between them that lets through what a test wants.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use p2p_auth::turn_rest::TurnSecrets;
use p2p_traversal::relay::Allocation;
use p2p_traversal::{Node, NodeConfig, RelayConfig, RelayTransport, StreamCommand, StreamId};
use p2p_turn_core::{
    ClientAddr, Command, Credentials, Lifetimes, Limits, ListenerId, NonceKey, Now, OwnAddresses,
    PeerPolicy, RelayIp, Server, ServerConfig, StaticUser,
};
use p2p_wire::Secret;
use rand::SeedableRng;
use rand::rngs::StdRng;

const RELAY: &str = "198.51.100.1:3478";
const CLIENT: &str = "198.51.100.2:5000";
const MS: Duration = Duration::from_millis(1);
const DATAGRAMS: ListenerId = ListenerId(0);
const STREAMS: ListenerId = ListenerId(1);

#[test]
fn udp_is_taken_where_it_answers_and_no_stream_is_opened() {
    let mut race = Race::new();
    race.run_for(5000 * MS);
    assert_eq!(race.node.relay_transport(), Some(RelayTransport::Udp));
    assert_eq!(race.opened, []);
    assert_eq!(race.server.allocation_count(), 1);
}

#[test]
fn where_udp_is_swallowed_tcp_joins_after_a_head_start_and_is_taken() {
    let mut race = Race::new();
    race.blocked.insert("udp");
    race.run_for(350 * MS);
    assert_eq!(race.node.relay_transport(), Some(RelayTransport::Tcp));
    assert_eq!(race.opened, [(300, "tcp")]);
    race.run_for(60_000 * MS);
    assert_eq!(race.opened.len(), 1, "the others are given up");
    assert_eq!(race.server.allocation_count(), 1);
}

#[test]
fn where_only_tls_passes_it_is_taken_after_two_head_starts() {
    let mut race = Race::new();
    race.blocked.extend(["udp", "tcp"]);
    race.run_for(650 * MS);
    assert_eq!(race.node.relay_transport(), Some(RelayTransport::Tls));
    assert_eq!(race.opened, [(300, "tcp"), (600, "tls")]);
    race.run_for(5000 * MS);
    assert_eq!(race.open.values().copied().collect::<Vec<_>>(), ["tls"], "tcp is given up");
}

#[test]
fn a_refused_connection_costs_no_head_start() {
    let mut race = Race::new();
    race.blocked.insert("udp");
    race.refused.insert("tcp");
    race.run_for(350 * MS);
    assert_eq!(race.opened, [(300, "tcp"), (300, "tls")]);
    assert_eq!(race.node.relay_transport(), Some(RelayTransport::Tls));
}

#[test]
fn udp_that_answers_late_takes_over_while_nobody_knows_the_address() {
    let mut race = Race::new();
    race.blocked.insert("udp");
    race.run_for(1000 * MS);
    assert_eq!(race.node.relay_transport(), Some(RelayTransport::Tcp));
    race.blocked.clear();
    race.run_for(1000 * MS);
    assert_eq!(race.node.relay_transport(), Some(RelayTransport::Udp));
    assert!(race.open.is_empty(), "the stream is closed");
    assert_eq!(race.server.allocation_count(), 1, "and its allocation given back");
}

#[test]
fn when_the_stream_breaks_the_race_begins_anew() {
    let mut race = Race::new();
    race.blocked.insert("udp");
    race.run_for(5000 * MS);
    let id = *race.open.keys().next().unwrap();
    race.blocked.clear();
    race.close(id, "the relay has closed the connection");
    assert_eq!(race.node.allocation(), Some(Allocation::Pending));
    race.run_for(50 * MS);
    assert_eq!(race.node.relay_transport(), Some(RelayTransport::Udp));
}

#[test]
fn a_relay_that_falls_silent_over_udp_is_left_for_the_next_way() {
    let mut race = Race::new();
    race.run_for(5000 * MS);
    race.blocked.insert("udp");
    // The refresh, and the one after it.
    race.run_for(120_000 * MS);
    assert_eq!(race.node.relay_transport(), Some(RelayTransport::Udp), "one round may be lost");
    race.run_for(20_000 * MS);
    assert_eq!(race.node.relay_transport(), Some(RelayTransport::Tcp));
    let first = race.node.allocation();
    race.run_for(600_000 * MS);
    assert_eq!((race.node.allocation(), race.opened.len()), (first, 1), "and that one is kept");
}

#[test]
fn what_falls_silent_and_comes_back_is_taken_up_again_also_where_another_way_was_faster() {
    let mut race = Race::new();
    race.run_for(5000 * MS);
    let first = race.node.allocation();
    race.blocked.insert("udp");
    while race.node.relay_transport() != Some(RelayTransport::Tcp) {
        race.run_for(100 * MS);
        assert!(race.now - race.begin < 200_000 * MS);
    }
    race.blocked.clear();
    race.run_for(10_000 * MS);
    assert_eq!((race.node.allocation(), race.open.len()), (first, 0));
    assert_eq!(race.server.allocation_count(), 1, "the other is given back");
}

#[test]
fn a_refresh_that_is_refused_ends_the_trust_in_the_allocation_until_other_credentials_come() {
    let mut race = Race::new();
    race.run_for(5000 * MS);
    // The relay has forgotten everything, and these credentials are not good any more.
    race.server = server("another");
    race.server.serve_stream(STREAMS);
    race.run_for(125_000 * MS);
    let tried: BTreeSet<_> = race.opened.iter().map(|(_, transport)| *transport).collect();
    assert_eq!(tried, BTreeSet::from(["tcp", "tls"]), "every other way is tried");
    let Some(Allocation::Failed { reason, .. }) = race.node.allocation() else {
        panic!("{:?}", race.node.allocation());
    };
    assert!(reason.contains("401"), "{reason}");
    let mut fresh = ways(RELAY);
    for way in &mut fresh {
        way.password = Secret::new("another");
    }
    race.node.set_relays(fresh, race.now);
    race.run_for(1000 * MS);
    assert!(matches!(race.node.allocation(), Some(Allocation::Ready(_))));
    assert_eq!(race.server.allocation_count(), 1);
}

#[test]
fn fresh_credentials_are_for_the_next_allocation_and_for_a_relay_that_refuses_the_earlier_ones() {
    let mut race = Race::new();
    race.run_for(5000 * MS);
    let mut fresh = ways(RELAY);
    for way in &mut fresh {
        way.password = Secret::new("another");
    }
    // To this relay they would be wrong ones: an allocation keeps the user that it was made by.
    race.node.set_relays(fresh, race.now);
    let first = race.node.allocation();
    race.run_for(700_000 * MS);
    assert_eq!(race.node.allocation(), first);
    race.server = server("another");
    race.server.serve_stream(STREAMS);
    race.run_for(125_000 * MS);
    assert!(matches!(race.node.allocation(), Some(Allocation::Ready(_))));
    assert_eq!((race.server.allocation_count(), race.opened.len()), (1, 0));
}

#[test]
fn where_nothing_passes_the_reason_names_every_way_and_trying_is_bounded() {
    let mut race = Race::new();
    race.blocked.insert("udp");
    race.refused.extend(["tcp", "tls"]);
    race.run_for(60_000 * MS);
    let Some(Allocation::Failed { reason, .. }) = race.node.allocation() else {
        panic!("{:?}", race.node.allocation());
    };
    for part in ["over UDP: ", "over TCP: connection refused", "over TLS: connection refused"] {
        assert!(reason.contains(part), "{reason}");
    }
    // Each way once in five seconds.
    assert!((10..=26).contains(&race.opened.len()), "{:?}", race.opened);
    race.refused.clear();
    race.run_for(6000 * MS);
    assert_eq!(race.node.relay_transport(), Some(RelayTransport::Tcp));
}

#[test]
fn the_way_in_use_is_kept_in_whatever_order_the_relays_are_named() {
    let mut race = Race::new();
    race.blocked.insert("udp");
    race.run_for(5000 * MS);
    let before = race.node.allocation();
    race.node.set_relays(ways(RELAY), race.now);
    race.run_for(1000 * MS);
    assert_eq!((race.node.allocation(), race.opened.len()), (before.clone(), 1));
    let mut others = ways("198.51.100.9:3478");
    others.extend(ways(RELAY));
    others.reverse();
    let mut renamed = ways(RELAY);
    renamed[1].name = "relay-2.test".to_owned();
    for order in [others.clone(), others[1..].to_vec(), ways(RELAY), renamed] {
        race.node.set_relays(order, race.now);
        race.run_for(10_000 * MS);
        assert_eq!((race.node.allocation(), race.opened.len()), (before.clone(), 1));
    }
    assert_eq!(race.server.allocation_count(), 1);
}

#[test]
fn a_relay_that_is_not_named_any_more_is_left_once_another_has_answered() {
    let mut race = Race::new();
    race.blocked.insert("udp");
    race.run_for(5000 * MS);
    let before = race.node.allocation();
    race.blocked.extend(["tcp", "tls"]);
    race.node.set_relays(ways("198.51.100.9:3478"), race.now);
    race.run_for(20_000 * MS);
    assert_eq!(race.node.allocation(), before, "nobody has answered");
    race.blocked.clear();
    for id in race.open.keys().copied().skip(1).collect::<Vec<_>>() {
        race.node.stream_opened(id, race.now);
    }
    race.run_for(5000 * MS);
    assert_ne!(race.node.allocation(), before);
    assert!(matches!(race.node.allocation(), Some(Allocation::Ready(_))));
    assert_eq!((race.open.len(), race.server.allocation_count()), (1, 1), "the old one is closed");
    race.node.set_relays(Vec::new(), race.now);
    race.exchange();
    assert_eq!((race.node.allocation(), race.server.allocation_count()), (None, 0));
}

#[test]
fn a_relay_that_is_not_named_any_more_and_breaks_is_not_asked_again() {
    let mut race = Race::new();
    race.blocked.insert("udp");
    race.run_for(5000 * MS);
    race.refused.extend(["tcp", "tls"]);
    race.node.set_relays(ways("198.51.100.9:3478"), race.now);
    race.run_for(1000 * MS);
    let id = *race.open.keys().next().unwrap();
    race.close(id, "the relay has closed the connection");
    race.refused.clear();
    race.run_for(10_000 * MS);
    assert_eq!(race.node.relay_transport(), Some(RelayTransport::Tcp));
    assert_eq!(race.node.relay_servers(), vec!["198.51.100.9:3478".parse().unwrap(); 3]);
}

#[test]
fn fresh_credentials_for_an_attempt_renew_the_ways_that_it_names() {
    let mut race = Race::new();
    race.server = server("another");
    race.server.serve_stream(STREAMS);
    race.run_for(5000 * MS);
    assert!(matches!(race.node.allocation(), Some(Allocation::Failed { .. })));
    let mut fresh = ways(RELAY)[..1].to_vec();
    fresh.extend(ways("198.51.100.9:3478"));
    for way in &mut fresh {
        way.password = Secret::new("another");
    }
    race.node.renew_relays(fresh, race.now);
    race.run_for(100 * MS);
    assert_eq!(race.node.relay_transport(), Some(RelayTransport::Udp));
    assert_eq!(race.node.relay_servers().len(), 3, "and adds none");
}

#[test]
fn what_is_no_relay_is_left() {
    let mut race = Race::new();
    race.blocked.extend(["udp", "tcp"]);
    race.run_for(350 * MS);
    let id = *race.open.keys().next().unwrap();
    race.node.stream_opened(id, race.now);
    let inputs = race.node.stream_received(id, b"\x16\x03\x01\x00\x00\x00\x00\x00", race.now);
    assert_eq!(inputs, []);
    race.exchange();
    assert!(!race.open.contains_key(&id), "closed");
}

#[test]
fn a_node_that_ends_gives_the_allocation_back_and_closes_its_stream() {
    let mut race = Race::new();
    race.blocked.insert("udp");
    race.run_for(5000 * MS);
    race.node.close(race.now);
    race.exchange();
    assert!(race.open.is_empty());
    assert_eq!(race.server.allocation_count(), 0);
    race.blocked.clear();
    race.run_for(5000 * MS);
    assert_eq!(race.server.allocation_count(), 0, "and asks for no other");
}

fn ways(relay: &str) -> Vec<RelayConfig> {
    let udp = RelayConfig::udp(relay.parse().unwrap(), "alice", Secret::new("simulated"));
    let name = "relay.test".to_owned();
    let tcp = RelayConfig { transport: RelayTransport::Tcp, ..udp.clone() };
    let tls = RelayConfig { transport: RelayTransport::Tls, name, ..udp.clone() };
    vec![udp, tcp, tls]
}

/// One node, one relay, and a network without delay between them.
struct Race {
    node: Node,
    server: Server,
    begin: Instant,
    now: Instant,
    /// What is swallowed.
    blocked: BTreeSet<&'static str>,
    /// What is refused at once.
    refused: BTreeSet<&'static str>,
    /// When streams were asked for, in milliseconds, and over what.
    opened: Vec<(u128, &'static str)>,
    open: BTreeMap<StreamId, &'static str>,
}

impl Race {
    fn new() -> Self {
        let now = Instant::now();
        let config = NodeConfig {
            local_port: 5000,
            local_ips: vec![IpAddr::from([198, 51, 100, 2])],
            stun_servers: Vec::new(),
            relays: ways(RELAY),
            keep_alive: Duration::from_secs(25),
        };
        let node = Node::new(config, Box::new(StdRng::seed_from_u64(2)), now);
        let mut server = server("simulated");
        server.serve_stream(STREAMS);
        Self {
            node,
            server,
            begin: now,
            now,
            blocked: BTreeSet::new(),
            refused: BTreeSet::new(),
            opened: Vec::new(),
            open: BTreeMap::new(),
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.exchange();
        while self.now < end {
            let due = self.server.poll_timeout().unwrap_or(end).min(self.node.poll_timeout());
            // A timer that is due and does not move would stand still for ever.
            self.now = due.max(self.now + MS).min(end);
            self.node.handle_timeout(self.now);
            let now = self.relay_now();
            self.server.handle_timeout(now);
            self.exchange();
        }
    }

    /// Passes everything to and fro until both are silent.
    fn exchange(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(transmit) = self.node.poll_transmit() {
                quiet = false;
                if !self.blocked.contains("udp") && transmit.to == RELAY.parse().unwrap() {
                    let (client, now) = (ClientAddr(CLIENT.parse().unwrap()), self.relay_now());
                    self.server.handle_client(DATAGRAMS, client, &transmit.payload, now);
                }
            }
            while let Some((id, message)) = self.node.poll_stream_write() {
                quiet = false;
                assert!(self.open.contains_key(&id), "nothing is written to a closed stream");
                let now = self.relay_now();
                self.server.handle_client(STREAMS, client(id), &message, now);
            }
            while let Some(command) = self.node.poll_stream_command() {
                quiet = false;
                self.execute(command);
            }
            while let Some(command) = self.server.poll_command() {
                quiet = false;
                self.answer(command);
            }
            if quiet {
                return;
            }
        }
    }

    fn execute(&mut self, command: StreamCommand) {
        match command {
            StreamCommand::Open { id, tls, .. } => {
                let transport = if tls.is_some() { "tls" } else { "tcp" };
                self.opened.push(((self.now - self.begin).as_millis(), transport));
                if self.refused.contains(transport) {
                    self.node.stream_closed(id, "connection refused", self.now);
                    return;
                }
                self.open.insert(id, transport);
                if !self.blocked.contains(transport) {
                    self.node.stream_opened(id, self.now);
                }
            }
            StreamCommand::Close(id) => {
                self.open.remove(&id);
                let now = self.relay_now();
                self.server.client_gone(STREAMS, client(id), now);
            }
        }
    }

    fn answer(&mut self, command: Command) {
        match command {
            Command::SendToClient { listener: DATAGRAMS, datagram, .. } => {
                let (local, relay) = (IpAddr::from([198, 51, 100, 2]), RELAY.parse().unwrap());
                self.node.handle_datagram(local, relay, &datagram, self.now);
            }
            Command::SendToClient { client: to, datagram, .. } => {
                if let Some(id) = self.open.keys().find(|id| client(**id) == to) {
                    self.node.stream_received(*id, &datagram, self.now);
                }
            }
            Command::CreateAllocation { allocation, .. } => {
                let now = self.relay_now();
                self.server.allocation_opened(allocation, Ok(()), now);
            }
            _ => {}
        }
    }

    /// The stream ends at the relay's side.
    fn close(&mut self, id: StreamId, reason: &str) {
        self.open.remove(&id);
        let now = self.relay_now();
        self.server.client_gone(STREAMS, client(id), now);
        self.node.stream_closed(id, reason, self.now);
    }

    fn relay_now(&self) -> Now {
        Now { instant: self.now, unix: 1_800_000_000 + (self.now - self.begin).as_secs() }
    }
}

/// Every stream comes from a port of its own.
fn client(id: StreamId) -> ClientAddr {
    let number: u16 =
        format!("{id:?}").chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap();
    ClientAddr(SocketAddr::from(([198, 51, 100, 2], 10_000 + number)))
}

fn server(password: &str) -> Server {
    let relay: SocketAddr = RELAY.parse().unwrap();
    let config = ServerConfig {
        relay_ips: vec![RelayIp { local: relay.ip(), advertised: relay.ip() }],
        relay_ports: 49_152..=65_535,
        limits: Limits::default(),
        lifetimes: Lifetimes::default(),
        discovery: None,
        stream_discovery: None,
    };
    let users = vec![StaticUser { name: "alice".into(), password: password.into() }];
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
