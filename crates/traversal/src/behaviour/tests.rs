//! A probe against a server and a filter that are a few lines each.

use std::collections::BTreeSet;

use p2p_wire::PortAllocation;
use rand::SeedableRng;
use rand::rngs::StdRng;
use stun_types::attribute::{MappedSocketAddr, XorMappedAddress};
use stun_types::message::{Message, MessageWrite, MessageWriteExt, MessageWriteVec};

use super::*;

const SERVER: &str = "203.0.113.1:3478";
const OTHER: &str = "203.0.113.2:3479";
const PUBLIC: &str = "198.51.100.1";

/// What is between the sockets and the server.
struct Site {
    filtering: Filtering,
    /// Of the external port: local port, number of the socket.
    external: fn(u16, u16) -> u16,
    hairpin: bool,
    /// Whether the server sends answers from elsewhere when asked to.
    server_changes: bool,
    /// Whether it has more than short answers for this network.
    unlimited: bool,
    /// How many datagrams are lost before the first one arrives.
    lose: usize,
}

impl Site {
    fn cone(filtering: Filtering) -> Self {
        Self {
            filtering,
            external: |local, _| local,
            hairpin: false,
            server_changes: true,
            unlimited: true,
            lose: 0,
        }
    }

    fn lets_in(&self, source: SocketAddr) -> bool {
        let server = addr(SERVER);
        match self.filtering {
            Filtering::EndpointIndependent | Filtering::Unknown => true,
            Filtering::AddressDependent => source.ip() == server.ip(),
            Filtering::AddressAndPortDependent => source == server,
        }
    }
}

/// Runs a probe to its end; returns the outcome, how long it took, and how many datagrams.
fn run(mut site: Site, sample_ports: bool) -> (Behaviour, Duration, usize) {
    let task = Task {
        server: addr(SERVER),
        other: addr(OTHER),
        rtt: Duration::from_millis(40),
        translated: true,
        sample_ports,
    };
    let (started, mut rng) = (Instant::now(), StdRng::seed_from_u64(1));
    let locals: Vec<u16> = (50_000..).take(task.sockets()).collect();
    let mut probe = Probe::new(task, &locals, started, &mut rng);
    let (mut now, mut packets) = (started, 0);
    let mut in_flight: BTreeSet<(Instant, usize, SocketAddr, Vec<u8>)> = BTreeSet::new();
    let external = |site: &Site, socket: usize| {
        let port = (site.external)(locals[socket], socket as u16);
        SocketAddr::new(PUBLIC.parse().unwrap(), port)
    };
    while let Some(due) = probe.poll_timeout() {
        let arrives = in_flight.first().map(|(at, ..)| *at);
        now = now.max(arrives.map_or(due, |at| at.min(due)));
        if arrives.is_some_and(|at| at <= now) {
            let (_, socket, from, datagram) = in_flight.pop_first().unwrap();
            probe.handle_datagram(socket, from, &datagram, now, &mut rng);
            continue;
        }
        for Outgoing { socket, to, payload } in probe.handle_timeout(now) {
            packets += 1;
            if site.lose > 0 {
                site.lose -= 1;
            } else if to == addr(SERVER) {
                let (source, answer) = answer(&site, &payload, external(&site, socket));
                if site.lets_in(source) {
                    in_flight.insert((now + task.rtt, socket, source, answer));
                }
            } else if site.hairpin {
                let target = (0..locals.len()).find(|&other| external(&site, other) == to);
                let from = external(&site, socket);
                in_flight.insert((now, target.unwrap(), from, payload.to_vec()));
            }
        }
    }
    (probe.outcome().unwrap(), now - started, packets)
}

/// What the server says, and from where.
fn answer(site: &Site, request: &[u8], mapped: SocketAddr) -> (SocketAddr, Vec<u8>) {
    let request = Message::from_bytes(request).unwrap();
    let flags = request.raw_attribute(0x0003.into()).map(|raw| raw.value[3]);
    let source = match flags.filter(|_| site.server_changes) {
        Some(6) => addr(OTHER),
        Some(2) => SocketAddr::new(addr(SERVER).ip(), addr(OTHER).port()),
        _ => addr(SERVER),
    };
    let mut response = Message::builder_success(&request, MessageWriteVec::new());
    response.add_attribute(&XorMappedAddress::new(mapped, request.transaction_id())).unwrap();
    if site.unlimited {
        for (kind, value) in [(0x802b_u16, source), (0x802c, addr(OTHER))] {
            response.add_attribute(&MappedSocketAddr::new(value).to_raw(kind.into())).unwrap();
        }
    }
    (source, response.finish())
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn each_filter_is_told_apart_within_a_second() {
    for filtering in [
        Filtering::EndpointIndependent,
        Filtering::AddressDependent,
        Filtering::AddressAndPortDependent,
    ] {
        let (behaviour, took, packets) = run(Site::cone(filtering), false);
        assert_eq!(behaviour.filtering, filtering);
        assert_eq!(behaviour.filtering_unknown_because, None);
        assert_eq!(behaviour.hairpin, Some(false));
        assert!(took <= Duration::from_millis(400), "{took:?}");
        assert!(packets <= 14, "{packets} packets");
    }
}

#[test]
fn lost_requests_do_not_make_a_filter_look_stricter() {
    for filtering in [Filtering::EndpointIndependent, Filtering::AddressDependent] {
        let site = Site { lose: 5, ..Site::cone(filtering) };
        assert_eq!(run(site, false).0.filtering, filtering);
    }
}

#[test]
fn a_server_that_only_pretends_to_answer_from_elsewhere_tells_nothing() {
    let site = Site { server_changes: false, ..Site::cone(Filtering::AddressAndPortDependent) };
    let (behaviour, ..) = run(site, false);
    assert_eq!(behaviour.filtering, Filtering::Unknown);
    assert_eq!(behaviour.filtering_unknown_because, Some(NO_CHANGE));
}

#[test]
fn silence_of_a_server_at_its_limit_is_not_taken_for_a_filter() {
    let site = Site { unlimited: false, ..Site::cone(Filtering::AddressAndPortDependent) };
    assert_eq!(run(site, false).0.filtering_unknown_because, Some(SATURATED));
    let site = Site { lose: usize::MAX, ..Site::cone(Filtering::EndpointIndependent) };
    assert_eq!(run(site, false).0.filtering_unknown_because, Some(NO_ANSWER));
}

#[test]
fn an_answer_whose_origin_is_another_than_its_source_is_not_believed() {
    let test = |source| Test { change: Change::AddressAndPort, id: [1; 12], source, result: None };
    let request = stun::change_request([1; 12], Change::AddressAndPort);
    let site = Site::cone(Filtering::EndpointIndependent);
    let (origin, answer) = answer(&site, &request, addr("198.51.100.1:50000"));
    assert_eq!(origin, addr(OTHER));
    for (source, expected) in [(OTHER, Reply::LetIn), (SERVER, Reply::NotChanged)] {
        let mut test = test(addr(source));
        test.answer(addr(source), &answer);
        assert_eq!(test.result, Some(expected), "{source}");
    }
}

#[test]
fn a_nat_that_sends_back_in_is_noticed_and_ends_the_probe_early() {
    let site = Site { hairpin: true, ..Site::cone(Filtering::EndpointIndependent) };
    let (behaviour, took, _) = run(site, false);
    assert_eq!(behaviour.hairpin, Some(true));
    assert_eq!(took, Duration::from_millis(40));
}

#[test]
fn several_sockets_show_how_ports_are_chosen() {
    let with = |external| Site { external, ..Site::cone(Filtering::AddressAndPortDependent) };
    let sequential = run(with(|_, number| 40_000 + number), true).0;
    assert_eq!(sequential.ports, Some(PortAllocation::Sequential));
    let random = run(with(|_, number| 1024 + number.wrapping_mul(27_011) % 64_000), true).0;
    assert_eq!(random.ports, Some(PortAllocation::Random));
    let unsampled = run(with(|local, _| local), false).0;
    assert_eq!(unsampled.ports, None);
}
