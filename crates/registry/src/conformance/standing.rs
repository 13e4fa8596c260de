//! Clients that keep nothing between two connections, and are known by something that stays.

use p2p_wire::Secret;
use p2p_wire::server::ReceiptStatus;

use super::message;
use super::session::{QUEUE, Session, a_claim};
use crate::{
    Claim, Claimed, Delivery, End, Feed, Link, Registry, RegistryError, Settings, Standing,
};

async fn claim_as(
    registry: &dyn Registry,
    secret: &str,
    yields: bool,
) -> Result<(Claimed, Feed), RegistryError> {
    let (link, feed) = Link::pair(QUEUE);
    let standing = Some(Standing { secret: Secret::new(secret), yields });
    let claimed = registry.claim(Claim { standing, ..a_claim("bob", link) }).await?;
    Ok((claimed, feed))
}

pub(crate) async fn i2_a_client_with_a_standing_secret_finds_its_session_and_what_waits_there(
    registry: &dyn Registry,
    _: &Settings,
) {
    let mut alice = Session::begin(registry, "alice").await;
    let (first, mut first_feed) = claim_as(registry, "bob's", true).await.unwrap();
    assert!(!first.resumed && first.replay.is_empty());
    for id in ["m1", "m2"] {
        registry.send(&alice.owner, &message(id, "bob")).await.unwrap();
    }
    registry.ack(&first.ownership, 1).await.unwrap();
    assert_eq!(alice.receipt().await, ("m1".to_owned(), ReceiptStatus::Delivered));

    // While the first connection is there, and once it is away.
    let (second, _second_feed) = claim_as(registry, "bob's", true).await.unwrap();
    while first_feed.next().await != Delivery::End(End::Replaced) {}
    assert!(second.resumed && second.ownership.session == first.ownership.session);
    assert_eq!(second.replay.len(), 1, "m2 is not acknowledged");
    assert!(!registry.detach(&first.ownership).await.unwrap(), "I1: it is the newer one's");
    registry.detach(&second.ownership).await.unwrap();
    let (third, _third_feed) = claim_as(registry, "bob's", true).await.unwrap();
    assert!(third.resumed && third.replay == second.replay);
    registry.ack(&third.ownership, 2).await.unwrap();
    let delivered = ("m2".to_owned(), ReceiptStatus::Delivered);
    while alice.receipt().await != delivered {}
}

pub(crate) async fn who_yields_gets_no_id_under_which_another_one_is_connected(
    registry: &dyn Registry,
    _: &Settings,
) {
    let (first, mut first_feed) = claim_as(registry, "one's", true).await.unwrap();
    assert_eq!(claim_as(registry, "other's", true).await.unwrap_err(), RegistryError::PeerTaken);
    let native = Session::begin(registry, "alice").await;
    registry.release(&native.owner).await.unwrap();
    // The policy is to take over, which those do who do not yield.
    let (second, _second_feed) = claim_as(registry, "other's", false).await.unwrap();
    assert_eq!(first_feed.next().await, Delivery::End(End::Replaced));
    assert!(!second.resumed && second.ownership.session != first.ownership.session);
    // Nobody is connected any more: the id is free for another one, and the session is over.
    registry.detach(&second.ownership).await.unwrap();
    let (third, _third_feed) = claim_as(registry, "one's", true).await.unwrap();
    assert!(!third.resumed);
}
