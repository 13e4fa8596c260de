//! The client of the `turn` crate (0.17) through our relay.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use turn::client::{Client, ClientConfig};
use webrtc_util::Conn;

use crate::our_relay::{Login, OurRelay};

#[tokio::test]
async fn it_learns_its_address() {
    let relay = OurRelay::start();
    let (client, local) = client(&relay, OurRelay::static_login()).await;
    assert_eq!(client.send_binding_request().await.unwrap(), local);
}

#[tokio::test]
async fn it_relays_data_both_ways_with_a_lasting_password() {
    relays_both_ways(OurRelay::static_login()).await;
}

#[tokio::test]
async fn it_relays_data_both_ways_with_a_time_limited_credential() {
    relays_both_ways(OurRelay::rest_login()).await;
}

#[tokio::test]
async fn it_is_refused_with_a_wrong_password() {
    let relay = OurRelay::start();
    let login = Login { password: "guess".to_owned(), ..OurRelay::static_login() };
    let (client, _) = client(&relay, login).await;
    assert!(client.allocate().await.is_err());
    assert_eq!(relay.snapshot().allocations_created, 0);
}

async fn relays_both_ways(login: Login) {
    let relay = OurRelay::start();
    let (client, _) = client(&relay, login).await;
    let relayed = client.allocate().await.unwrap();
    let relayed_addr = relayed.local_addr().unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let peer_addr = peer.local_addr().unwrap();

    // The first messages go by Send indication; it binds a channel meanwhile and then uses that.
    let mut buffer = vec![0; 2048];
    for number in 0..50u32 {
        let payload = vec![number as u8; 100 + number as usize];
        relayed.send_to(&payload, peer_addr).await.unwrap();
        let (length, from) = peer.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], from), (&payload[..], relayed_addr));

        peer.send_to(&payload, relayed_addr).await.unwrap();
        let (length, from) = relayed.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], from), (&payload[..], peer_addr));
    }
    let snapshot = relay.snapshot();
    assert_eq!((snapshot.client_to_peer.packets, snapshot.peer_to_client.packets), (50, 50));
    client.close().await.unwrap();
}

async fn client(relay: &OurRelay, login: Login) -> (Client, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let local = socket.local_addr().unwrap();
    let client = Client::new(ClientConfig {
        stun_serv_addr: relay.addr().to_string(),
        turn_serv_addr: relay.addr().to_string(),
        username: login.username,
        password: login.password,
        realm: String::new(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(socket),
        vnet: None,
    })
    .await
    .unwrap();
    client.listen().await.unwrap();
    (client, local)
}
