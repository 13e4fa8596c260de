//! Plans show what became of earlier attempts.

use std::sync::Arc;

use p2p_registry::Settings;
use p2p_stats::{AttemptRecord, NatSummary, SqliteStore, Store};
use p2p_wire::{AttemptId, Filtering, Mapping, Method, NatType, Step, StepResult};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Client, HANG, World, config, now};

const CLASS: NatType = NatType::PortRestrictedCone;

/// An attempt of another app's peers behind such NATs, between which no punch came through.
fn failed(number: usize) -> AttemptRecord {
    let nat = NatSummary {
        nat_type: CLASS,
        mapping: Mapping::EndpointIndependent,
        filtering: Filtering::AddressAndPortDependent,
        network: None,
    };
    AttemptRecord {
        caller_nat: Some(nat.clone()),
        callee_nat: Some(nat),
        caller_steps: vec![Step {
            tactic: None,
            method: Method::UdpHolePunch,
            result: StepResult::Failed,
            ms: 1,
            detail: String::new(),
        }],
        ..AttemptRecord::begun(
            AttemptId::new(format!("earlier-{number}")).unwrap(),
            "another".parse().unwrap(),
            "carol".parse().unwrap(),
            "dave".parse().unwrap(),
            i64::try_from(now() * 1000).unwrap(),
        )
    }
}

/// The chance that the plan of an attempt between the two gives a method; the attempt is over then.
async fn chance(alice: &mut Client, bob: &mut Client, method: &str) -> f64 {
    alice.send(json!({ "type": "connect", "id": "a", "to": "bob" })).await;
    let attempt = alice.expect("attempt").await;
    assert_eq!(bob.expect("attempt").await["plan"], attempt["plan"]);
    let id = &attempt["attempt"];
    alice.send(json!({ "type": "report", "attempt": id, "outcome": "failed", "ms": 1 })).await;
    bob.expect("ended").await;
    alice.expect_silence().await;
    let steps = attempt["plan"].as_array().unwrap();
    let step = steps.iter().find(|step| step["method"] == method).unwrap();
    step["chance"].as_f64().unwrap()
}

fn nat() -> Value {
    let profile = json!({
        "type": CLASS, "mapping": "endpoint-independent",
        "filtering": "address-and-port-dependent", "udp": true,
    });
    json!({ "type": "nat", "profile": profile, "candidates": [] })
}

#[tokio::test]
async fn a_plan_shows_the_recorded_chance_once_outcomes_of_such_a_pair_are_stored() {
    let store = SqliteStore::in_memory().await.unwrap();
    let earlier: Vec<_> = (0..90).map(failed).collect();
    store.record_attempts(&earlier).await.unwrap();
    let mut config = config();
    config.limits.offers_per_second = 1_000_000;
    config.limits.offer_burst = 1_000_000;
    config.limits.messages_per_second = 1_000_000;
    config.limits.message_burst = 1_000_000;
    let world = World::of(config, Settings::default(), Arc::new(store)).await;
    let (mut alice, mut bob) = (world.client("alice").await, world.client("bob").await);
    alice.send(nat()).await;
    bob.send(nat()).await;
    bob.expect_silence().await;

    // The prior counts as ten attempts, and stands alone until the store has answered.
    let prior = 0.85;
    let recorded = prior * 10.0 / 100.0;
    let learned = async {
        loop {
            let chance = chance(&mut alice, &mut bob, "udp-hole-punch").await;
            if (chance - recorded).abs() < 1e-9 {
                return;
            }
            assert!((chance - prior).abs() < 1e-9, "{chance}");
        }
    };
    timeout(HANG, learned).await.expect("the instance asks its store when it begins");
}
