//! Labels that repeat names of the protocol hold exactly those names.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use p2p_telemetry::Metric;
use p2p_telemetry::metrics::{
    ATTEMPTS, ATTEMPTS_BY_NAT, SIGNALING_CONNECTIONS_CLOSED, SIGNALING_MESSAGES,
    SIGNALING_RECEIPTS, SIGNALING_REJECTED,
};
use p2p_wire::CloseCode;
use serde_json::Value;

/// The names that an enum of the protocol has on the wire, by the protocol's own schema.
fn on_the_wire(definition: &str, property: Option<&str>) -> BTreeSet<String> {
    let schema = p2p_wire::schema::protocol();
    let mut names = BTreeSet::new();
    let definition = find(&schema, definition).unwrap();
    for variant in definition["oneOf"].as_array().unwrap() {
        let variant = property.map_or(variant, |name| &variant["properties"][name]);
        names.extend(variant["const"].as_str().map(str::to_owned));
        let list = variant["enum"].as_array().into_iter().flatten();
        names.extend(list.filter_map(Value::as_str).map(str::to_owned));
    }
    names
}

fn find<'a>(schema: &'a Value, definition: &str) -> Option<&'a Value> {
    match schema {
        Value::Object(fields) => fields
            .get(definition)
            .filter(|found| found.get("oneOf").is_some())
            .or_else(|| fields.values().find_map(|value| find(value, definition))),
        Value::Array(values) => values.iter().find_map(|value| find(value, definition)),
        _ => None,
    }
}

fn label(metric: &Metric, name: &str) -> BTreeSet<String> {
    let label = metric.labels.iter().find(|label| label.name == name).unwrap();
    label.values.iter().map(|value| (*value).to_owned()).collect()
}

#[test]
fn rejections_are_counted_by_the_codes_of_the_protocol() {
    assert_eq!(label(SIGNALING_REJECTED.metric(), "reason"), on_the_wire("Code", None));
}

#[test]
fn receipts_are_counted_by_the_statuses_of_the_protocol() {
    assert_eq!(label(SIGNALING_RECEIPTS.metric(), "status"), on_the_wire("ReceiptStatus", None));
}

#[test]
fn messages_are_counted_by_the_types_that_clients_send() {
    assert_eq!(
        label(SIGNALING_MESSAGES.metric(), "kind"),
        on_the_wire("ClientMessage", Some("type"))
    );
}

#[test]
fn attempts_are_counted_by_outcome_and_method_of_the_protocol() {
    assert_eq!(label(ATTEMPTS.metric(), "outcome"), on_the_wire("Outcome", None));
    let mut methods = on_the_wire("Method", None);
    methods.insert("none".to_owned());
    assert_eq!(label(ATTEMPTS.metric(), "method"), methods);
}

#[test]
fn attempts_are_counted_by_the_types_of_network_of_the_protocol() {
    let types = on_the_wire("NatType", None);
    assert_eq!(label(ATTEMPTS_BY_NAT.metric(), "caller_nat"), types);
    assert_eq!(label(ATTEMPTS_BY_NAT.metric(), "callee_nat"), types);
}

#[test]
fn every_close_code_of_the_protocol_is_counted_by_itself() {
    let counted = label(SIGNALING_CONNECTIONS_CLOSED.metric(), "code");
    for code in CloseCode::ALL {
        assert!(counted.contains(&code.code().to_string()), "{}", code.code());
    }
}
