//! What every registry does, as tests over the trait. Each implementation runs all of them.
//!
//! A test takes the settings of the registry it gets, so that one with a real clock can have short
//! windows and the in-memory one a paused clock.

// Named, because other crates include this file from elsewhere.
#[path = "conformance/policies.rs"]
mod policies;
#[path = "conformance/session.rs"]
mod session;
#[path = "conformance/standing.rs"]
mod standing;

use p2p_wire::Secret;
use p2p_wire::limits::{MAX_INBOX_MESSAGES, MAX_ROOM_MEMBERS, MAX_ROOMS_PER_PEER};
use p2p_wire::server::{PeerState, ReceiptStatus, RoomChange};
use p2p_wire::{AppId, Candidate, CandidateKind, Meta, NatProfile, NatType, Payload, PeerId};
use tokio::time::sleep;

use crate::{
    Claim, Delivery, End, Link, Outgoing, Page, Published, Registry, RegistryError, Sent, Settings,
    Target,
};

pub(crate) use policies::a_policy_holds;
use session::{QUEUE, a_claim, resume_with};
pub(crate) use session::{Session, claim};
pub(crate) use standing::{
    i2_a_client_with_a_standing_secret_finds_its_session_and_what_waits_there,
    who_yields_gets_no_id_under_which_another_one_is_connected,
};

/// Hands the names of all tests to a macro of the back end's, which makes a test of each: what one
/// back end promises, every other one is held to.
macro_rules! suite {
    ($conforms:ident) => {
        $conforms! {
            i1_a_newer_claim_takes_over_and_the_old_session_is_told,
            i1_a_late_close_of_an_old_socket_never_removes_a_newer_registration,
            i1_an_old_owner_cannot_act_any_more,
            i2_messages_arrive_in_order_and_receipts_follow_the_acknowledgement,
            i2_an_away_peer_gets_its_messages_when_it_resumes,
            i2_what_the_last_seq_of_a_resume_covers_is_not_sent_again,
            i2_the_same_message_sent_twice_is_delivered_once,
            i2_when_the_window_closes_the_sender_is_told,
            i2_a_peer_that_comes_back_anew_does_not_get_the_old_session_s_messages,
            a_receiver_that_does_not_acknowledge_is_reported_as_queued,
            i5_a_full_inbox_rejects_and_keeps_what_it_has,
            a_message_to_nobody_is_gone,
            a_resume_needs_the_newest_secret_that_arrived,
            a_resume_after_the_window_is_refused,
            a_snapshot_and_the_events_after_it_agree,
            losing_and_resuming_a_session_is_away_and_back_and_keeps_the_rooms,
            leaving_for_good_is_heard_in_the_rooms_at_once,
            a_room_message_reaches_everybody_but_its_sender,
            a_message_to_a_room_that_one_is_not_in_is_refused,
            i5_a_room_has_a_bound_and_so_has_a_peer_s_number_of_rooms,
            apps_do_not_meet,
            listings_are_bounded_and_go_on_at_their_cursor,
            what_a_peer_publishes_is_read_by_its_attempts,
            i5_a_session_that_does_not_take_its_frames_is_ended_and_can_resume,
            i2_a_client_with_a_standing_secret_finds_its_session_and_what_waits_there,
            who_yields_gets_no_id_under_which_another_one_is_connected,
        }
    };
}
pub(crate) use suite;

pub(crate) async fn i1_a_newer_claim_takes_over_and_the_old_session_is_told(
    registry: &dyn Registry,
    _: &Settings,
) {
    let mut old = Session::begin(registry, "alice").await;
    let new = Session::begin(registry, "alice").await;
    assert_eq!(old.feed.next().await, Delivery::End(End::Replaced));
    assert!(new.owner.epoch > old.owner.epoch);
    assert_ne!(new.owner.session, old.owner.session);
    assert_eq!(registry.counts().peers_on, 1);
}

pub(crate) async fn i1_a_late_close_of_an_old_socket_never_removes_a_newer_registration(
    registry: &dyn Registry,
    settings: &Settings,
) {
    let old = Session::begin(registry, "alice").await;
    let _new = Session::begin(registry, "alice").await;
    assert!(!registry.detach(&old.owner).await.unwrap());
    assert!(!registry.release(&old.owner).await.unwrap());
    sleep(2 * settings.resume_window).await;
    let alice = registry.peer(&app(), &peer("alice")).await.unwrap().unwrap();
    assert_eq!(alice.state, PeerState::On);
}

pub(crate) async fn i1_an_old_owner_cannot_act_any_more(registry: &dyn Registry, _: &Settings) {
    let old = Session::begin(registry, "alice").await;
    let mut new = Session::begin(registry, "alice").await;
    let mut bob = Session::begin(registry, "bob").await;
    let owner = &old.owner;
    let refused = Err(RegistryError::NotOwner);
    assert_eq!(registry.send(owner, &message("m", "bob")).await.map(|_| ()), refused);
    assert_eq!(registry.join(owner, room("r"), None).await.map(|_| ()), refused);
    assert_eq!(registry.set_meta(owner, Meta::default()).await.map(drop), refused);
    assert_eq!(registry.publish(owner, Published::default()).await, refused);
    assert_eq!(registry.ack(owner, 1).await, refused);
    new.expect_silence().await;
    bob.expect_silence().await;
}

pub(crate) async fn i2_messages_arrive_in_order_and_receipts_follow_the_acknowledgement(
    registry: &dyn Registry,
    _: &Settings,
) {
    let mut alice = Session::begin(registry, "alice").await;
    let mut bob = Session::begin(registry, "bob").await;
    for id in ["m1", "m2", "m3"] {
        let sent = registry.send(&alice.owner, &message(id, "bob")).await.unwrap();
        assert_eq!(sent, Sent::OnItsWay { receivers: 1 });
    }
    for seq in 1..=3 {
        assert_eq!(bob.message().await, (seq, format!("m{seq}")));
    }
    alice.expect_silence().await;
    registry.ack(&bob.owner, 2).await.unwrap();
    assert_eq!(alice.receipt().await, ("m1".to_owned(), ReceiptStatus::Delivered));
    assert_eq!(alice.receipt().await, ("m2".to_owned(), ReceiptStatus::Delivered));
    alice.expect_silence().await;
    registry.ack(&bob.owner, 99).await.unwrap();
    assert_eq!(alice.receipt().await, ("m3".to_owned(), ReceiptStatus::Delivered));
}

pub(crate) async fn i2_an_away_peer_gets_its_messages_when_it_resumes(
    registry: &dyn Registry,
    _: &Settings,
) {
    let mut alice = Session::begin(registry, "alice").await;
    let bob = Session::begin(registry, "bob").await;
    registry.send(&alice.owner, &message("m1", "bob")).await.unwrap();
    registry.detach(&bob.owner).await.unwrap();
    assert_eq!(alice.receipt().await, ("m1".to_owned(), ReceiptStatus::Queued));
    let sent = registry.send(&alice.owner, &message("m2", "bob")).await.unwrap();
    assert_eq!(status(&sent), ReceiptStatus::Queued);

    let (bob, replay) = bob.resume(registry, 0).await.unwrap();
    assert_eq!(replay, [(1, "m1".to_owned()), (2, "m2".to_owned())]);
    registry.ack(&bob.owner, 2).await.unwrap();
    assert_eq!(alice.receipt().await, ("m1".to_owned(), ReceiptStatus::Delivered));
    assert_eq!(alice.receipt().await, ("m2".to_owned(), ReceiptStatus::Delivered));
}

pub(crate) async fn i2_what_the_last_seq_of_a_resume_covers_is_not_sent_again(
    registry: &dyn Registry,
    _: &Settings,
) {
    let mut alice = Session::begin(registry, "alice").await;
    let bob = Session::begin(registry, "bob").await;
    for id in ["m1", "m2"] {
        registry.send(&alice.owner, &message(id, "bob")).await.unwrap();
    }
    registry.detach(&bob.owner).await.unwrap();
    let (mut bob, replay) = bob.resume(registry, 1).await.unwrap();
    assert_eq!(replay, [(2, "m2".to_owned())]);
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(alice.receipt().await);
    }
    assert!(told.contains(&("m1".to_owned(), ReceiptStatus::Delivered)), "{told:?}");
    registry.send(&alice.owner, &message("m3", "bob")).await.unwrap();
    assert_eq!(bob.message().await, (3, "m3".to_owned()), "numbers go on");
}

pub(crate) async fn i2_the_same_message_sent_twice_is_delivered_once(
    registry: &dyn Registry,
    _: &Settings,
) {
    let mut alice = Session::begin(registry, "alice").await;
    let mut bob = Session::begin(registry, "bob").await;
    registry.send(&alice.owner, &message("m1", "bob")).await.unwrap();
    let again = registry.send(&alice.owner, &message("m1", "bob")).await.unwrap();
    assert_eq!(status(&again), ReceiptStatus::Queued);
    assert_eq!(bob.message().await, (1, "m1".to_owned()));
    bob.expect_silence().await;
    registry.ack(&bob.owner, 1).await.unwrap();
    assert_eq!(alice.receipt().await.1, ReceiptStatus::Delivered);
    let again = registry.send(&alice.owner, &message("m1", "bob")).await.unwrap();
    assert_eq!(status(&again), ReceiptStatus::Delivered);
    bob.expect_silence().await;
}

pub(crate) async fn i2_when_the_window_closes_the_sender_is_told(
    registry: &dyn Registry,
    settings: &Settings,
) {
    let mut alice = Session::begin(registry, "alice").await;
    let bob = Session::begin(registry, "bob").await;
    registry.detach(&bob.owner).await.unwrap();
    registry.send(&alice.owner, &message("m1", "bob")).await.unwrap();
    sleep(settings.resume_window / 2).await;
    alice.expect_silence().await;
    assert_eq!(alice.receipt().await, ("m1".to_owned(), ReceiptStatus::Gone));
    assert_eq!(registry.peer(&app(), &peer("bob")).await.unwrap(), None);
}

pub(crate) async fn i2_a_peer_that_comes_back_anew_does_not_get_the_old_session_s_messages(
    registry: &dyn Registry,
    _: &Settings,
) {
    let mut alice = Session::begin(registry, "alice").await;
    let old = Session::begin(registry, "bob").await;
    registry.detach(&old.owner).await.unwrap();
    registry.send(&alice.owner, &message("m1", "bob")).await.unwrap();
    let mut bob = Session::begin(registry, "bob").await;
    assert_eq!(alice.receipt().await, ("m1".to_owned(), ReceiptStatus::Gone));
    registry.send(&alice.owner, &message("m2", "bob")).await.unwrap();
    assert_eq!(bob.message().await, (1, "m2".to_owned()));
}

pub(crate) async fn a_receiver_that_does_not_acknowledge_is_reported_as_queued(
    registry: &dyn Registry,
    settings: &Settings,
) {
    let mut alice = Session::begin(registry, "alice").await;
    let mut bob = Session::begin(registry, "bob").await;
    registry.send(&alice.owner, &message("m1", "bob")).await.unwrap();
    sleep(settings.receipt_patience / 2).await;
    registry.send(&alice.owner, &message("m2", "bob")).await.unwrap();
    assert_eq!(alice.receipt().await, ("m1".to_owned(), ReceiptStatus::Queued));
    assert_eq!(alice.receipt().await, ("m2".to_owned(), ReceiptStatus::Queued));
    bob.message().await;
    registry.ack(&bob.owner, 1).await.unwrap();
    assert_eq!(alice.receipt().await, ("m1".to_owned(), ReceiptStatus::Delivered));
}

pub(crate) async fn i5_a_full_inbox_rejects_and_keeps_what_it_has(
    registry: &dyn Registry,
    _: &Settings,
) {
    let alice = Session::begin(registry, "alice").await;
    let bob = Session::begin(registry, "bob").await;
    registry.detach(&bob.owner).await.unwrap();
    for n in 1..=MAX_INBOX_MESSAGES {
        registry.send(&alice.owner, &message(&format!("m{n}"), "bob")).await.unwrap();
    }
    let sent = registry.send(&alice.owner, &message("over", "bob")).await.unwrap();
    assert_eq!(status(&sent), ReceiptStatus::Rejected);
    assert_eq!(registry.counts().inbox_full, 1);

    let (bob, replay) = bob.resume(registry, 0).await.unwrap();
    assert_eq!(replay.len(), MAX_INBOX_MESSAGES);
    registry.ack(&bob.owner, replay.len() as u64).await.unwrap();
    let sent = registry.send(&alice.owner, &message("over", "bob")).await.unwrap();
    assert_eq!(sent, Sent::OnItsWay { receivers: 1 }, "a rejected message may be tried again");
}

pub(crate) async fn a_message_to_nobody_is_gone(registry: &dyn Registry, _: &Settings) {
    let alice = Session::begin(registry, "alice").await;
    let sent = registry.send(&alice.owner, &message("m1", "nobody")).await.unwrap();
    assert_eq!(status(&sent), ReceiptStatus::Gone);
    registry.join(&alice.owner, room("r"), None).await.unwrap();
    let sent = registry.send(&alice.owner, &to_room("m2", "r")).await.unwrap();
    assert_eq!(status(&sent), ReceiptStatus::Gone);
}

pub(crate) async fn a_resume_needs_the_newest_secret_that_arrived(
    registry: &dyn Registry,
    _: &Settings,
) {
    let bob = Session::begin(registry, "bob").await;
    let (first, session) = (bob.secret.clone(), bob.owner.session.clone());
    registry.detach(&bob.owner).await.unwrap();
    let guessed = resume_with(registry, &bob.owner, Secret::new("guess")).await.unwrap_err();
    assert_eq!(guessed, RegistryError::SessionExpired);
    resume_with(registry, &bob.owner, first.clone()).await.expect("an answer that is lost");
    let (bob, _) = bob.resume(registry, 0).await.unwrap();
    assert_eq!(bob.owner.session, session);
    registry.ack(&bob.owner, 0).await.unwrap();
    let used = resume_with(registry, &bob.owner, first).await.unwrap_err();
    assert_eq!(used, RegistryError::SessionExpired, "a secret is good for one resume");
}

pub(crate) async fn a_resume_after_the_window_is_refused(
    registry: &dyn Registry,
    settings: &Settings,
) {
    let bob = Session::begin(registry, "bob").await;
    registry.detach(&bob.owner).await.unwrap();
    sleep(settings.resume_window + settings.resume_window / 4).await;
    assert_eq!(bob.resume(registry, 0).await.map(|_| ()), Err(RegistryError::SessionExpired));
    assert_eq!(registry.counts().expired, 1);
}

pub(crate) async fn a_snapshot_and_the_events_after_it_agree(
    registry: &dyn Registry,
    _: &Settings,
) {
    let mut alice = Session::begin(registry, "alice").await;
    let bob = Session::begin(registry, "bob").await;
    let first = registry.join(&alice.owner, room("r"), None).await.unwrap();
    let second = registry.join(&bob.owner, room("r"), Some("guest".to_owned())).await.unwrap();
    assert_eq!(names(&first.members), ["alice"]);
    assert_eq!(names(&second.members), ["alice", "bob"]);
    assert_eq!(second.members[1].role.as_deref(), Some("guest"));
    assert_eq!(second.version, first.version + 1);
    assert_eq!(alice.event().await, (RoomChange::Join, "bob".to_owned(), second.version));

    let again = registry.join(&bob.owner, room("r"), None).await.unwrap();
    assert_eq!(again, second, "joining again tells nobody");
    assert_eq!(registry.set_meta(&bob.owner, meta("Bob")).await, Ok(2), "both are members");
    assert_eq!(alice.event().await, (RoomChange::Meta, "bob".to_owned(), second.version + 1));
    registry.leave(&bob.owner, &room("r")).await.unwrap();
    assert_eq!(alice.event().await, (RoomChange::Leave, "bob".to_owned(), second.version + 2));
    let left = registry.leave(&bob.owner, &room("r")).await;
    assert_eq!(left, Err(RegistryError::RoomNotFound));
}

pub(crate) async fn losing_and_resuming_a_session_is_away_and_back_and_keeps_the_rooms(
    registry: &dyn Registry,
    _: &Settings,
) {
    let mut alice = Session::begin(registry, "alice").await;
    let bob = Session::begin(registry, "bob").await;
    registry.join(&alice.owner, room("r"), None).await.unwrap();
    let joined = registry.join(&bob.owner, room("r"), None).await.unwrap();
    alice.event().await;
    registry.detach(&bob.owner).await.unwrap();
    assert_eq!(alice.event().await, (RoomChange::Away, "bob".to_owned(), joined.version + 1));
    let view = registry.room(&app(), &room("r")).await.unwrap().unwrap();
    assert_eq!(view.members[1].state, PeerState::Away);
    let (mut bob, _) = bob.resume(registry, 0).await.unwrap();
    let back = (RoomChange::Back, "bob".to_owned(), joined.version + 2);
    assert_eq!(alice.event().await, back);
    assert_eq!(bob.event().await, back, "its version says whether more has happened");
}

pub(crate) async fn leaving_for_good_is_heard_in_the_rooms_at_once(
    registry: &dyn Registry,
    _: &Settings,
) {
    let mut alice = Session::begin(registry, "alice").await;
    let bob = Session::begin(registry, "bob").await;
    registry.join(&alice.owner, room("r"), None).await.unwrap();
    let joined = registry.join(&bob.owner, room("r"), None).await.unwrap();
    alice.event().await;
    assert!(registry.release(&bob.owner).await.unwrap());
    assert_eq!(alice.event().await, (RoomChange::Leave, "bob".to_owned(), joined.version + 1));
    assert_eq!(registry.peer(&app(), &peer("bob")).await.unwrap(), None);
    assert_eq!(bob.resume(registry, 0).await.map(|_| ()), Err(RegistryError::SessionExpired));
}

pub(crate) async fn a_room_message_reaches_everybody_but_its_sender(
    registry: &dyn Registry,
    _: &Settings,
) {
    let mut alice = Session::begin(registry, "alice").await;
    let mut bob = Session::begin(registry, "bob").await;
    let mut carol = Session::begin(registry, "carol").await;
    for session in [&alice, &bob, &carol] {
        registry.join(&session.owner, room("r"), None).await.unwrap();
    }
    alice.event().await;
    alice.event().await;
    bob.event().await;
    let sent = registry.send(&alice.owner, &to_room("m1", "r")).await.unwrap();
    assert_eq!(sent, Sent::OnItsWay { receivers: 2 });
    assert_eq!(bob.message().await, (1, "m1".to_owned()));
    assert_eq!(carol.message().await, (1, "m1".to_owned()));
    registry.ack(&bob.owner, 1).await.unwrap();
    alice.expect_silence().await;
    registry.release(&carol.owner).await.unwrap();
    assert_eq!(alice.event().await.0, RoomChange::Leave);
    let receipt = alice.full_receipt().await;
    assert_eq!(receipt.status, ReceiptStatus::Delivered);
    assert_eq!(receipt.reason.as_deref(), Some("1 of 2 members"));
}

pub(crate) async fn a_message_to_a_room_that_one_is_not_in_is_refused(
    registry: &dyn Registry,
    _: &Settings,
) {
    let alice = Session::begin(registry, "alice").await;
    let bob = Session::begin(registry, "bob").await;
    registry.join(&bob.owner, room("r"), None).await.unwrap();
    let refused = registry.send(&alice.owner, &to_room("m1", "r")).await.unwrap_err();
    assert_eq!(refused, RegistryError::RoomNotFound);
}

pub(crate) async fn i5_a_room_has_a_bound_and_so_has_a_peer_s_number_of_rooms(
    registry: &dyn Registry,
    _: &Settings,
) {
    let alice = Session::begin(registry, "alice").await;
    for n in 0..MAX_ROOMS_PER_PEER {
        registry.join(&alice.owner, room(&format!("r{n}")), None).await.unwrap();
    }
    let refused = registry.join(&alice.owner, room("one more"), None).await.unwrap_err();
    assert_eq!(refused, RegistryError::TooManyRooms);
    for n in 1..MAX_ROOM_MEMBERS {
        let other = Session::begin(registry, &format!("p{n}")).await;
        registry.join(&other.owner, room("r0"), None).await.unwrap();
    }
    let last = Session::begin(registry, "last").await;
    let refused = registry.join(&last.owner, room("r0"), None).await.unwrap_err();
    assert_eq!(refused, RegistryError::RoomFull);
}

pub(crate) async fn apps_do_not_meet(registry: &dyn Registry, _: &Settings) {
    let alice = Session::begin(registry, "alice").await;
    let (link, _feed) = Link::pair(8);
    let elsewhere = Claim { app: "other".parse().unwrap(), ..a_claim("bob", link) };
    let bob = registry.claim(elsewhere).await.unwrap().ownership;
    let sent = registry.send(&alice.owner, &message("m1", "bob")).await.unwrap();
    assert_eq!(status(&sent), ReceiptStatus::Gone);
    assert_eq!(registry.peer(&app(), &peer("bob")).await.unwrap(), None);
    let everybody = Page { after: None, limit: 10 };
    let listed = registry.peers(&bob.app, everybody).await.unwrap();
    assert_eq!(names(&listed.items), ["bob"]);
}

pub(crate) async fn listings_are_bounded_and_go_on_at_their_cursor(
    registry: &dyn Registry,
    _: &Settings,
) {
    let mut sessions = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        let session = Session::begin(registry, name).await;
        registry.join(&session.owner, room(&format!("room {name}")), None).await.unwrap();
        sessions.push(session);
    }
    let (mut after, mut pages) = (None, Vec::new());
    loop {
        let page = registry.peers(&app(), Page { after, limit: 2 }).await.unwrap();
        pages.push(names(&page.items).join(""));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, ["ab", "cd", "e"]);
    let rooms = registry.rooms(&app(), Page { after: None, limit: 4 }).await.unwrap();
    assert_eq!(rooms.items.len(), 4);
    assert_eq!(rooms.next, Some(room("room d")));
}

pub(crate) async fn what_a_peer_publishes_is_read_by_its_attempts(
    registry: &dyn Registry,
    _: &Settings,
) {
    let mut alice = Session::begin(registry, "alice").await;
    let published = Published {
        nat: Some(NatProfile { nat_type: NatType::FullCone, ..NatProfile::default() }),
        candidates: vec![Candidate::udp(CandidateKind::Host, "192.0.2.1:5".parse().unwrap())],
        region: Some("eu".to_owned()),
    };
    registry.publish(&alice.owner, published.clone()).await.unwrap();
    let view = registry.peer(&app(), &peer("alice")).await.unwrap().unwrap();
    assert_eq!(view.published, published);
    assert!(registry.signal(&app(), &peer("alice"), "hello".into()).await.unwrap());
    assert_eq!(alice.feed.next().await, Delivery::Frame("hello".into()));
    registry.detach(&alice.owner).await.unwrap();
    assert!(!registry.signal(&app(), &peer("alice"), "hello".into()).await.unwrap());
}

pub(crate) async fn i5_a_session_that_does_not_take_its_frames_is_ended_and_can_resume(
    registry: &dyn Registry,
    _: &Settings,
) {
    let alice = Session::begin(registry, "alice").await;
    let mut bob = Session::begin(registry, "bob").await;
    for n in 0..=QUEUE {
        registry.send(&alice.owner, &message(&format!("m{n}"), "bob")).await.unwrap();
    }
    assert_eq!(bob.feed.next().await, Delivery::End(End::Lagging));
    assert_eq!(registry.counts().lagging, 1);
    registry.detach(&bob.owner).await.unwrap();
    let (_bob, replay) = bob.resume(registry, 0).await.unwrap();
    assert_eq!(replay.len(), QUEUE + 1, "nothing is lost");
}

fn message(id: &str, to: &str) -> Outgoing {
    outgoing(id, Target::Peer(peer(to)))
}

fn to_room(id: &str, to: &str) -> Outgoing {
    outgoing(id, Target::Room(room(to)))
}

fn outgoing(id: &str, target: Target) -> Outgoing {
    let payload = Payload::default();
    Outgoing { id: id.parse().unwrap(), target, kind: id.to_owned(), payload }
}

fn status(sent: &Sent) -> ReceiptStatus {
    match sent {
        Sent::Receipt { status, .. } => *status,
        Sent::OnItsWay { .. } => panic!("no receipt yet"),
    }
}

fn names(members: &[p2p_wire::server::Member]) -> Vec<&str> {
    members.iter().map(|member| member.peer.as_str()).collect()
}

fn meta(name: &str) -> Meta {
    serde_json::from_value(serde_json::json!({ "name": name })).unwrap()
}

fn app() -> AppId {
    AppId::default()
}

fn peer(name: &str) -> PeerId {
    name.parse().unwrap()
}

fn room(name: &str) -> p2p_wire::RoomName {
    name.parse().unwrap()
}
