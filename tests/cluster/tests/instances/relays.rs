//! Relays that register themselves, as processes: found, drained, killed.

use p2p_client::{Client, Config};
use p2p_cluster::Redis;
use p2p_cluster::relay::{Relay, TURN_SECRET};
use serde_json::Value;
use tokio::time::{Duration, sleep, timeout};

use crate::instance::{HANG, Instance, token};

/// The TURN URLs that the instance hands out, in its order.
async fn handed_out(instance: &Instance) -> Vec<String> {
    let (status, body) = instance.get_with("/v1/ice-servers", Some(&token("alice"))).await;
    assert_eq!(status, 200, "{body}");
    let servers: Value = serde_json::from_str(&body).unwrap();
    let servers = servers["iceServers"].as_array().unwrap().clone();
    let urls = servers.iter().flat_map(|server| server["urls"].as_array().unwrap().clone());
    urls.map(|url| url.as_str().unwrap().to_owned())
        .filter(|url| url.starts_with("turn:"))
        .collect()
}

async fn until(instance: &Instance, what: &str, wanted: impl Fn(&[String]) -> bool) {
    let asking = async {
        while !wanted(&handed_out(instance).await) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(HANG, asking).await.unwrap_or_else(|_| panic!("not {what}"));
}

#[tokio::test]
async fn relays_are_handed_out_by_region_until_they_drain_or_die() {
    let redis = Redis::start().await.unwrap();
    let flags = ["--turn-secret", TURN_SECRET, "--region", "eu", "--allow-loopback"];
    let instance = Instance::start_with(&redis, &flags).await;
    assert_eq!(handed_out(&instance).await, Vec::<String>::new());
    let us = Relay::start(&redis, "us", &[]).await.unwrap();
    let mut eu = Relay::start(&redis, "eu", &[]).await.unwrap();
    let both = [eu.turn_url(), us.turn_url()];
    until(&instance, "both, the one of the region first", |urls| urls == both).await;

    // A client has an allocation at the first: it drains, and so lives on.
    let mut config = Config::new(instance.url(), token("alice"));
    config.allow_loopback = true;
    let alice = Client::start(config).await.unwrap();
    let allocated = async {
        while !alice.relay_ready() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(HANG, allocated).await.expect("the relay takes the credentials that signaling makes");
    eu.terminate().unwrap();
    until(&instance, "without the draining relay", |urls| urls == [us.turn_url()]).await;
    assert!(eu.runs().unwrap(), "it drains and has not ended");
    alice.shutdown().await;
    assert!(eu.ended().await.expect("its last allocation is gone"));
    let known = redis.ask("HLEN p2p:{relays}:records").await.unwrap();
    assert!(known.starts_with(":1\r\n"), "it has withdrawn: {known}");

    let mut dead = us;
    dead.kill().unwrap();
    until(&instance, "without the dead relay", <[String]>::is_empty).await;

    // One that comes later is found, and both sides of an attempt are told of it.
    let late = Relay::start(&redis, "eu", &[]).await.unwrap();
    until(&instance, "the new relay", |urls| urls == [late.turn_url()]).await;
    let mut alice = instance.client("alice").await;
    let mut bob = instance.client("bob").await;
    alice.send(serde_json::json!({ "type": "connect", "id": "a1", "to": "bob" })).await;
    for client in [&mut alice, &mut bob] {
        let attempt = client.await_type("attempt").await;
        assert_eq!(attempt["relays"][0]["urls"][0], late.turn_url(), "{attempt}");
        assert_eq!(attempt["relays"].as_array().unwrap().len(), 1);
    }
}
