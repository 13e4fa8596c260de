//! Long-term credentials, nonces, and what unauthenticated sources may cost.

use std::time::Duration;

use p2p_auth::turn_rest::TurnSecrets;
use p2p_turn_core::{ChallengeRate, NonceKey, Reason};
use secrecy::ExposeSecret as _;
use stun_types::attribute::{ErrorCode, Nonce, RawAttribute, Realm};
use stun_types::message::{
    IntegrityAlgorithm, Message, MessageWrite as _, MessageWriteExt as _, MessageWriteVec,
};
use turn_types::attribute::{Lifetime, RequestedTransport, XorPeerAddress};
use turn_types::message::{ALLOCATE, CREATE_PERMISSION, REFRESH};

use super::world::{Client, NOON, OTHER_PEER, PEER, World, add, seconds};

#[test]
fn a_request_without_integrity_is_challenged_with_realm_and_nonce() {
    let mut world = World::new();
    let alice = Client::alice();
    world.feed(alice.addr, &allocate_request(&alice));
    let answer = world.answer_to(alice.addr);

    let message = Message::from_bytes(&answer).unwrap();
    assert_eq!(message.attribute::<ErrorCode>().unwrap().code(), 401);
    assert_eq!(message.attribute::<ErrorCode>().unwrap().reason(), "");
    assert_eq!(message.attribute::<Realm>().unwrap().realm(), "test");
    assert!(message.attribute::<Nonce>().is_ok());
    assert_eq!(message.iter_attributes().count(), 3);
}

/// I3. Nothing a source sends before it has echoed a nonce leaves anything behind.
#[test]
fn unauthenticated_requests_leave_no_state() {
    let mut world = World::new();
    for source in 0..1000u32 {
        let addr = format!("5.5.{}.{}:1000", source / 250, source % 250);
        let client = Client::new(&addr, "alice", "secret");
        world.feed(client.addr, &allocate_request(&client));
        world.answer_to(client.addr);
    }
    assert_eq!((world.server.allocation_count(), world.server.user_count()), (0, 0));
    assert_eq!(world.server.poll_timeout(), None);
    assert!(world.sockets.is_empty());
}

#[test]
fn right_credentials_allocate_and_wrong_ones_do_not() {
    let mut world = World::new();
    assert!(Client::alice().allocate(&mut world).is_ok());
    let mut wrong_password = Client::new("5.5.5.5:2000", "alice", "guess");
    assert_eq!(wrong_password.allocate(&mut world), Err(401));
    let mut nobody = Client::new("5.5.5.5:3000", "mallory", "secret");
    assert_eq!(nobody.allocate(&mut world), Err(401));
    assert_eq!(world.count(Reason::WrongCredentials), 2);
    assert_eq!(world.server.allocation_count(), 1);
}

#[test]
fn a_tampered_request_is_not_believed() {
    let mut world = World::new();
    let alice = Client::alice().challenged(&mut world);
    let mut request = allocate_request(&alice);
    // The lifetime of the first attribute, not the length of anything.
    request[24] ^= 1;
    world.feed(alice.addr, &request);
    assert_eq!(alice.read(&world.answer_to(alice.addr)), Err(401));
}

#[test]
fn a_stale_nonce_is_replaced_and_the_client_goes_on() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world).unwrap();
    world.pass(seconds(300));
    alice.refresh(&mut world, 3600).unwrap();
    world.pass(seconds(3400));
    assert_eq!(alice.refresh(&mut world, 3600), Ok(3600));
    assert_eq!(world.count(Reason::StaleNonce), 1);
}

#[test]
fn a_nonce_of_another_address_is_stale() {
    let mut world = World::new();
    let mut thief = Client::new("7.7.7.7:1000", "alice", "secret");
    thief.challenge = Client::alice().challenged(&mut world).challenge;
    world.feed(thief.addr, &allocate_request(&thief));
    assert_eq!(thief.read(&world.answer_to(thief.addr)), Err(438));
}

#[test]
fn nonces_survive_one_rotation_of_the_key() {
    let mut world = World::new();
    let mut alice = Client::alice().challenged(&mut world);
    world.server.rotate_nonce_key(NonceKey::new(&[2; 32]));
    alice.allocate(&mut world).unwrap();
    assert_eq!(world.count(Reason::StaleNonce), 0);
}

#[test]
fn integrity_without_the_attributes_that_go_with_it_is_a_bad_request() {
    let mut world = World::new();
    let alice = Client::alice();
    let mut request = Message::builder_request(ALLOCATE, MessageWriteVec::new());
    request.add_message_integrity(&alice.key(), IntegrityAlgorithm::Sha1).unwrap();
    world.feed(alice.addr, &request.finish());
    let answer = world.answer_to(alice.addr);
    let message = Message::from_bytes(&answer).unwrap();
    assert_eq!(message.attribute::<ErrorCode>().unwrap().code(), 400);
}

#[test]
fn an_unknown_required_attribute_is_refused_after_authentication() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let answer = alice.request(&mut world, ALLOCATE, |request, _| {
        add(request, &RawAttribute::new(0x7fff.into(), &[]));
    });
    assert_eq!(answer, Err(420));
    assert_eq!(world.server.allocation_count(), 0);
}

/// The class of coturn ab762f33: attributes that MESSAGE-INTEGRITY does not cover were obeyed.
#[test]
fn attributes_behind_the_integrity_are_not_obeyed() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world).unwrap();
    let request = alice.build(CREATE_PERMISSION, &|request, id| {
        add(request, &XorPeerAddress::new(PEER.parse().unwrap(), id));
    });
    let id = Message::from_bytes(&request).unwrap().transaction_id();
    let smuggled = XorPeerAddress::new(OTHER_PEER.parse().unwrap(), id);
    world.feed(alice.addr, &with_appended(request, &smuggled));
    assert_eq!(alice.read(&world.answer_to(alice.addr)), Ok(()));

    assert!(alice.send(&mut world, PEER, b"x").is_some());
    assert_eq!(alice.send(&mut world, OTHER_PEER, b"x"), None);

    let refresh = alice.build(REFRESH, &|request, _| add(request, &Lifetime::new(700)));
    world.feed(alice.addr, &with_appended(refresh, &Lifetime::new(0)));
    assert_eq!(super::world::lifetime(&world.answer_to(alice.addr)), 700);
    assert_eq!(world.server.allocation_count(), 1);
}

#[test]
fn a_credential_that_expires_ends_no_call_but_starts_none() {
    let secrets = TurnSecrets::new(vec!["north".into()]);
    let minted = secrets.mint("carol", NOON, Duration::from_secs(60)).unwrap();
    let password = minted.password.expose_secret();
    let mut world = World::new();
    let mut carol = Client::new("5.5.5.5:1000", &minted.username, password);
    carol.allocate(&mut world).unwrap();

    world.pass(seconds(120));
    assert_eq!(carol.refresh(&mut world, 600), Ok(600));
    let mut again = Client::new("5.5.5.5:2000", &minted.username, password);
    assert_eq!(again.allocate(&mut world), Err(401));
    assert_eq!(world.count(Reason::CredentialExpired), 1);
}

#[test]
fn a_fresh_credential_of_the_same_user_carries_the_allocation_on() {
    let secrets = TurnSecrets::new(vec!["north".into()]);
    let mut world = World::new();
    let client_at = |now: u64| {
        let minted = secrets.mint("carol", now, Duration::from_secs(600)).unwrap();
        Client::new("5.5.5.5:1000", &minted.username, minted.password.expose_secret())
    };
    client_at(NOON).allocate(&mut world).unwrap();
    assert_eq!(client_at(NOON + 100).refresh(&mut world, 600), Ok(600));
}

/// The `turn` crate's gap: any valid user may act on a 5-tuple.
#[test]
fn another_users_credentials_do_not_open_an_allocation() {
    let mut world = World::new();
    Client::alice().allocate(&mut world).unwrap();
    let mut bob = Client::new("5.5.5.5:1000", "bob", "secret");
    assert_eq!(bob.refresh(&mut world, 0), Err(441));
    assert_eq!(bob.permit(&mut world, &[PEER]), Err(441));
    assert_eq!(bob.bind(&mut world, 0x4000, PEER), Err(441));
    assert_eq!(world.server.allocation_count(), 1);
}

/// I5: unauthenticated answers are limited per source, silently, and counted.
#[test]
fn challenges_to_one_source_are_limited() {
    let mut world = World::with(|setup| {
        setup.limits.challenges = ChallengeRate { per_second: 2, burst: 5 };
    });
    let alice = Client::alice();
    for _ in 0..100 {
        world.feed(alice.addr, &allocate_request(&alice));
    }
    assert_eq!(std::iter::from_fn(|| world.next_sent()).count(), 5);
    assert_eq!(world.count(Reason::ChallengeRateLimited), 95);

    let mut bob = Client::bob();
    assert!(bob.allocate(&mut world).is_ok(), "another source is not affected");
    world.pass(seconds(1));
    assert!(Client::alice().allocate(&mut world).is_ok(), "the limit is for a while");
}

/// A 401 stays small: the shortest request gets at most 3.6 times its size back.
#[test]
fn a_challenge_amplifies_little() {
    let mut world = World::new();
    let alice = Client::alice();
    let bare = Message::builder_request(ALLOCATE, MessageWriteVec::new()).finish();
    world.feed(alice.addr, &bare);
    assert!(world.answer_to(alice.addr).len() <= 72);
}

fn allocate_request(client: &Client) -> Vec<u8> {
    client.build(ALLOCATE, &|request, _| {
        add(request, &RequestedTransport::new(RequestedTransport::UDP));
    })
}

/// Appends an attribute that the sender of the message never vouched for.
fn with_appended(
    mut message: Vec<u8>,
    attribute: &dyn stun_types::attribute::AttributeWrite,
) -> Vec<u8> {
    message.extend(attribute.to_raw().to_bytes());
    let length = (message.len() - 20) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    message
}
