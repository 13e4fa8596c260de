//! A client's token and the one that follows it.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail")]

mod support;

use p2p_client::{Client, Config, ErrorCode};
use support::{Coordinator, token};

#[tokio::test]
async fn a_newer_token_is_shown_to_the_coordinator_and_its_answer_told() {
    let coordinator = Coordinator::start().await;
    let mut config = Config::new(coordinator.url(), token("alice"));
    config.allow_loopback = true;
    let alice = Client::start(config).await.unwrap();

    let newer = format!("{}newer", token("alice"));
    alice.refresh_token(newer.clone()).await.unwrap();
    assert_eq!(coordinator.tokens()[0].expose(), newer);

    let refused = alice.refresh_token("refused").await.unwrap_err();
    assert_eq!((refused.code, refused.cause.as_str()), (ErrorCode::Auth, "no key fits"));
    let for_bob = alice.refresh_token(token("bob")).await.unwrap_err();
    assert_eq!(for_bob.code, ErrorCode::Auth);
    assert_eq!(coordinator.tokens().len(), 1, "it was not even shown");

    // While the coordinator is away the token waits for the next connection.
    coordinator.drop_everybody();
    alice.refresh_token(newer).await.unwrap();
    alice.shutdown().await;
    let ended = alice.refresh_token(token("alice")).await.unwrap_err();
    assert_eq!(ended.code, ErrorCode::Closed);
}
