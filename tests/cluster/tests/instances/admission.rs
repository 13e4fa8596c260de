//! Who may come in, as the flags of `coordinator signaling` say.

use p2p_cluster::Redis;
use serde_json::json;

use crate::client::Client;
use crate::instance::Instance;

#[tokio::test]
async fn i1_who_keeps_an_id_is_decided_by_the_policy_of_its_app() {
    let redis = Redis::start().await.unwrap();
    let flags = ["--conflict", "takeover", "--conflict", "default=resume"];
    let one = Instance::start_with(&redis, &flags).await;
    let two = Instance::start_with(&redis, &flags).await;
    let alice = one.client("alice").await;
    let anew = async || {
        let hello = json!({ "type": "hello", "peer": "alice" });
        Client::hello(two.address(), "alice", hello).await
    };
    assert!(anew().await.is_none(), "she is connected");
    let back = alice.resume(0);
    drop(alice);
    assert!(anew().await.is_none(), "she may still be, or is away");
    let alice = two.hello("alice", back).await;
    assert_eq!(alice.welcome["resumed"], true);
}

#[tokio::test]
async fn sessions_last_and_connections_are_as_many_as_the_flags_say() {
    let redis = Redis::start().await.unwrap();
    let flags = ["--connections", "1", "--heartbeat", "7s", "--resume-window", "1s"];
    let instance = Instance::start_with(&redis, &flags).await;
    let alice = instance.client("alice").await;
    assert_eq!(alice.welcome["heartbeat_ms"], 7000);
    let bob = json!({ "type": "hello", "peer": "bob" });
    assert!(Client::hello(instance.address(), "bob", bob).await.is_none(), "it is full");
    drop(alice);
    instance.until_metric("p2p_signaling_sessions_expired_total", &[], |count| count == 1.0).await;
}

#[tokio::test]
async fn an_app_may_send_as_much_as_the_flag_says_whichever_connection_it_uses() {
    let redis = Redis::start().await.unwrap();
    let instance = Instance::start_with(&redis, &["--app-messages-per-second", "1"]).await;
    let (mut alice, mut bob) = (instance.client("alice").await, instance.client("bob").await);
    alice.tell("nobody", "one").await;
    alice.tell("nobody", "two").await;
    // Both have been taken when the second one has its receipt.
    while alice.receipt().await.0 != "two" {}
    // However slow the machine is, these are more than one a second.
    for number in 0..10 {
        bob.tell("nobody", &number.to_string()).await;
    }
    assert_eq!(bob.await_type("error").await["code"], "too_fast");
}

#[tokio::test]
async fn pages_and_proxies_are_those_that_the_flags_name() {
    let redis = Redis::start().await.unwrap();
    let flags =
        ["--allow-origin", "https://App.example.org/", "--trusted-proxy", "127.0.0.0/8,10.0.0.1"];
    let instance = Instance::start_with(&redis, &flags).await;
    let hello = async |origin: &str| {
        let headers = [("origin", origin), ("x-forwarded-for", "1.2.3.4, 203.0.113.7, 10.0.0.1")];
        let hello = json!({ "type": "hello", "peer": "alice" });
        Client::hello_with(instance.address(), "alice", &headers, hello).await
    };
    assert!(hello("https://evil.example").await.is_none());
    let alice = hello("https://app.example.org").await.expect("a page that is named");
    assert_eq!(alice.welcome["observed_address"], "203.0.113.7:0");
}
