//! What a client finds out about its network, and who hears of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail")]

mod support;

use p2p_client::{Client, Config, NetcheckConfig, netcheck};
use p2p_wire::{Filtering, Mapping, NatType};
use support::{Coordinator, relay, relay_with, token};

async fn client(coordinator: &Coordinator) -> Client {
    let mut config = Config::new(coordinator.url(), token("alice"));
    config.allow_loopback = true;
    Client::start(config).await.unwrap()
}

#[tokio::test]
async fn the_whole_class_is_published_as_soon_as_it_is_known() {
    let coordinator = Coordinator::start().await;
    let relay = relay_with(|config| config.alternate_ip = Some("127.0.0.2".parse().unwrap()));
    coordinator.offer(&relay);
    let alice = client(&coordinator).await;
    let known = |profile: &p2p_client::NatProfile| profile.filtering != Filtering::Unknown;
    let profile = coordinator.network(alice.peer_id(), known).await;
    assert_eq!(profile.nat_type, NatType::Open);
    assert_eq!(profile.mapping, Mapping::EndpointIndependent);
    assert_eq!(profile.filtering, Filtering::EndpointIndependent);
    assert!(profile.unknown_because.is_empty(), "{profile:?}");
    assert_eq!(alice.nat(), profile);
    alice.shutdown().await;
}

#[tokio::test]
async fn one_stun_address_says_exactly_what_it_cannot_tell() {
    let coordinator = Coordinator::start().await;
    let relay = relay();
    coordinator.offer(&relay);
    let alice = client(&coordinator).await;
    let unknown = alice.nat().unknown_because;
    assert_eq!(unknown.keys().collect::<Vec<_>>(), ["filtering", "mapping"]);
    assert!(unknown["filtering"].contains("second address"));
    alice.shutdown().await;
}

#[tokio::test]
async fn netcheck_knows_the_filter_with_one_server_that_has_two_addresses() {
    let relay = relay_with(|config| config.alternate_ip = Some("127.0.0.2".parse().unwrap()));
    let stun = vec![relay.local_addrs()[0].to_string()];
    let report = netcheck(NetcheckConfig { stun, ..NetcheckConfig::default() }).await.unwrap();
    assert_eq!(report.nat.mapping, Mapping::EndpointIndependent);
    assert_eq!(report.nat.filtering, Filtering::EndpointIndependent);
    assert_eq!(report.ipv6.reachable, None, "nobody was asked");
}

#[tokio::test]
async fn netcheck_asks_ipv6_servers_over_ipv6() {
    let Ok(probe) = std::net::UdpSocket::bind("[::1]:0") else {
        eprintln!("skipped: this host has no IPv6");
        return;
    };
    drop(probe);
    let relay = relay_with(|config| {
        config.listen = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    });
    let stun = relay.local_addrs().iter().map(ToString::to_string).collect();
    let report = netcheck(NetcheckConfig { stun, ..NetcheckConfig::default() }).await.unwrap();
    // A host whose only IPv6 address is loopback has nothing to ask from.
    assert_eq!(report.ipv6.reachable, report.ipv6.address.then_some(true));
}
