//! The registry in Redis does what every registry does: the suite of `crates/registry`, over one
//! instance and over two that share a Redis.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

// The suite is written for the crate that it is part of.
pub(crate) use p2p_registry::{
    Claim, Claimed, ConflictPolicy, Delivery, End, Feed, Frame, Link, Outgoing, Ownership, Page,
    Published, Registry, RegistryError, Sent, Settings, Target,
};

#[path = "../../../../crates/registry/src/conformance.rs"]
mod conformance;
mod race;
mod several;

use std::time::Duration;

use p2p_cluster::Redis;

use several::Several;

/// Short windows: this clock is real.
fn settings() -> Settings {
    Settings {
        resume_window: Duration::from_secs(1),
        receipt_patience: Duration::from_millis(400),
        ..Settings::default()
    }
}

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {
        mod one_instance {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let redis = Redis::start().await.unwrap();
                conformance::$name(&Several::start(1, &redis).await, &settings()).await;
            })*
        }

        mod two_instances {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let redis = Redis::start().await.unwrap();
                conformance::$name(&Several::start(2, &redis).await, &settings()).await;
            })*
        }
    };
}

conforms!(
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
    a_resume_needs_the_newest_secret,
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
);

#[tokio::test]
async fn with_the_rejecting_policy_the_older_connection_keeps_the_id_at_every_instance() {
    let redis = Redis::start().await.unwrap();
    let rejecting = Settings { conflict: ConflictPolicy::Reject, ..settings() };
    let registry = Several::start_with(2, &redis, &rejecting).await;
    let first = conformance::Session::begin(&registry, "alice").await;
    let refused = conformance::claim(&registry, "alice").await.unwrap_err();
    assert_eq!(refused, RegistryError::PeerTaken);
    registry.detach(&first.owner).await.unwrap();
    assert!(conformance::claim(&registry, "alice").await.is_ok(), "the first is away");
}
