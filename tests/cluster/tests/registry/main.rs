//! The registry in Redis does what every registry does: the suite of `crates/registry`, over one
//! instance and over two that share a Redis, and over every kind of Redis that there is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

// The suite is written for the crate that it is part of.
pub(crate) use p2p_registry::{
    Claim, Claimed, ConflictPolicy, Delivery, End, Feed, Frame, Link, Outgoing, Ownership, Page,
    Published, Registry, RegistryError, Sent, Settings, Standing, Target,
};

mod commands;
#[path = "../../../../crates/registry/src/conformance.rs"]
mod conformance;
mod kinds;
mod leases;
mod model;
mod peer;
mod race;
mod returning;
mod several;

use std::time::Duration;

use p2p_cluster::Redis;

use several::Several;

/// Short windows, for this clock is real, and long enough for a machine that has other work: half
/// a window is to hold what a test does inside it.
fn settings() -> Settings {
    Settings {
        resume_window: Duration::from_secs(4),
        receipt_patience: Duration::from_millis(1500),
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
                conformance::$name(&Several::start(1, redis.settings()).await, &settings()).await;
            })*
        }

        mod a_user_with_few_rights {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let redis = Redis::start_restricted().await.unwrap();
                conformance::$name(&Several::start(1, redis.settings()).await, &settings()).await;
            })*
        }

        mod two_instances {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let redis = Redis::start().await.unwrap();
                conformance::$name(&Several::start(2, redis.settings()).await, &settings()).await;
            })*
        }
    };
}

conformance::suite!(conforms);

#[tokio::test]
async fn each_policy_holds_at_every_instance() {
    let redis = Redis::start().await.unwrap();
    for policy in [ConflictPolicy::Takeover, ConflictPolicy::Reject, ConflictPolicy::Resume] {
        let settings = Settings { conflict: policy.into(), ..settings() };
        let name = policy.as_str();
        let registry = Several::start_under(2, redis.settings(), &settings, name).await;
        conformance::a_policy_holds(&registry, &settings, policy).await;
    }
}
