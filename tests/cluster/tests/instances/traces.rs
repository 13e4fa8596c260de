//! One attempt, one trace, whoever saw a part of it.

use p2p_cluster::Redis;
use serde_json::{Value, json};

use crate::collector::{Collector, Seen};
use crate::instance::Instance;

/// What the caller says that it is doing.
const CAUSE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn report(attempt: &Value) -> Value {
    json!({
        "type": "report", "attempt": attempt["attempt"], "outcome": "direct",
        "method": "udp-hole-punch", "ms": 40, "direct_ms": 90, "verdict": "direct: punched",
        "steps": [
            { "method": "udp-hole-punch", "result": "ok", "ms": 90 },
            { "method": "relay", "result": "ok", "ms": 40 },
        ],
    })
}

fn named<'a>(spans: &'a [Seen], name: &str) -> Vec<&'a Seen> {
    spans.iter().filter(|seen| seen.span.name == name).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn one_trace_has_what_both_peers_and_both_instances_saw_of_an_attempt() {
    let redis = Redis::start().await.unwrap();
    let collector = Collector::start().await;
    let environment = [collector.environment()];
    let one = Instance::start_in(&redis, &[], &environment).await;
    let two = Instance::start_in(&redis, &[], &environment).await;
    let (mut alice, mut bob) = (one.client("alice").await, two.client("bob").await);
    alice.send(json!({ "type": "connect", "id": "a1", "to": "bob", "traceparent": CAUSE })).await;
    let (near, far) = (alice.await_type("attempt").await, bob.await_type("attempt").await);
    assert_eq!(near["traceparent"], far["traceparent"]);
    alice.send(report(&near)).await;
    bob.send(report(&far)).await;

    let spans = collector
        .until(|spans| {
            let count = |name| named(spans, name).len();
            count("attempt") == 1
                && count("peer") == 2
                && count("connect") == 1
                && count("deliver attempt") == 1
        })
        .await;

    let id = near["attempt"].as_str().unwrap().split('.').next().unwrap();
    for seen in &spans {
        assert_eq!(hex(&seen.span.trace_id), id, "{}", seen.span.name);
    }
    let root = named(&spans, "attempt")[0];
    assert_eq!(root.attribute("p2p.outcome"), "direct");
    let parent = format!("00-{id}-{}-01", hex(&root.span.span_id));
    assert_eq!(near["traceparent"], json!(parent), "what peers add belongs to the root");

    let (connect, deliver) = (named(&spans, "connect")[0], named(&spans, "deliver attempt")[0]);
    assert_ne!(connect.instance, deliver.instance);
    assert_eq!(hex(&connect.span.links[0].span_id), "b7ad6b7169203331");
    let hop = named(&spans, "signal callee")[0];
    assert_eq!(hop.span.parent_span_id, connect.span.span_id);

    let mut peers: Vec<_> =
        named(&spans, "peer").iter().map(|seen| seen.attribute("p2p.peer")).collect();
    peers.sort();
    assert_eq!(peers, ["alice", "bob"]);
    for seen in named(&spans, "peer").into_iter().chain([connect, deliver]) {
        assert_eq!(seen.span.parent_span_id, root.span.span_id, "{}", seen.span.name);
    }
    assert_eq!(named(&spans, "udp-hole-punch").len(), 2, "a span for each method of each side");
}

#[tokio::test]
async fn a_collector_that_is_away_changes_nothing_and_is_counted() {
    let redis = Redis::start().await.unwrap();
    let nobody = "http://127.0.0.1:1".to_owned();
    let one = Instance::start_in(&redis, &[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", nobody)]).await;
    let (mut alice, mut bob) = (one.client("alice").await, one.client("bob").await);
    alice.send(json!({ "type": "connect", "id": "a1", "to": "bob" })).await;
    let (near, far) = (alice.await_type("attempt").await, bob.await_type("attempt").await);
    alice.send(report(&near)).await;
    bob.send(report(&far)).await;
    let dropped = "p2p_trace_spans_dropped_total";
    one.until_metric(dropped, &["reason=\"unreachable\""], |count| count >= 1.0).await;
    alice.send(json!({ "type": "connect", "id": "a2", "to": "bob" })).await;
    bob.await_type("attempt").await;
}
