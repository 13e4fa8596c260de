//! One-time tickets: given by one instance, shown to another.

use p2p_cluster::Redis;
use serde_json::{Value, json};

use crate::client::Client;
use crate::instance::{Instance, token};

async fn ticket(instance: &Instance, peer: &str) -> String {
    let (status, body) = instance.ask("POST", "/v1/tickets", Some(&token(peer))).await;
    assert_eq!(status, 201, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    answer["ticket"].as_str().unwrap().to_owned()
}

/// Whether the instance takes the ticket.
async fn takes(instance: &Instance, ticket: &str, peer: &str) -> bool {
    let hello = json!({ "type": "hello", "peer": peer });
    Client::hello_by_ticket(instance.address(), ticket, hello).await.is_some()
}

#[tokio::test]
async fn a_ticket_is_good_once_and_at_every_instance() {
    let redis = Redis::start().await.unwrap();
    let (one, two) = (Instance::start(&redis).await, Instance::start(&redis).await);
    let given = ticket(&one, "alice").await;
    assert!(takes(&two, &given, "alice").await, "another one takes it");
    for instance in [&one, &two] {
        assert!(!takes(instance, &given, "alice").await, "it is used");
    }
    let hers = ticket(&one, "alice").await;
    assert!(!takes(&two, &hers, "bob").await, "it says whose it is");

    // Whoever reads Redis finds no ticket there, and those that are used have left their places.
    let given = ticket(&one, "alice").await;
    let keys = redis.ask("KEYS p2p:ticket*").await.unwrap();
    assert!(keys.contains("p2p:ticket:") && !keys.contains(&given), "{keys}");
    assert!(keys.contains("p2p:tickets-of:"), "{keys}");
    assert!(takes(&two, &given, "alice").await);
    assert_eq!(redis.ask("KEYS p2p:ticket*").await.unwrap().trim(), "*0");
}
