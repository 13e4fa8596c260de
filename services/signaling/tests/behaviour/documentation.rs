//! docs/protocol.md against the types: an example that does not parse, or a frame, code or bound
//! that nobody described, fails here.

use p2p_wire::{ClientMessage, CloseCode, Problem, ServerMessage, limits, schema};
use serde_json::Value;

const PAGE: &str = include_str!("../../../../docs/protocol.md");

#[test]
fn every_example_is_a_frame_and_has_no_field_that_the_types_do_not_know() {
    for text in examples("client") {
        let message = ClientMessage::parse(text).unwrap_or_else(|r| panic!("{text}: {r:?}"));
        expect_same_fields(text, &message.to_text());
    }
    for text in examples("server") {
        let message = ServerMessage::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let message = message.unwrap_or_else(|| panic!("an unknown type: {text}"));
        expect_same_fields(text, &message.to_text());
    }
    for text in examples("problem") {
        let problem: Problem = serde_json::from_str(text).unwrap();
        expect_same_fields(text, &serde_json::to_string(&problem).unwrap());
    }
}

#[test]
fn every_frame_of_both_directions_has_an_example() {
    for (direction, definition) in [("client", "ClientMessage"), ("server", "ServerMessage")] {
        for variant in schema::protocol()["$defs"][definition]["oneOf"].as_array().unwrap() {
            let kind = &variant["properties"]["type"]["const"];
            let has_example = examples(direction).any(|text| {
                let example: Value = serde_json::from_str(text).unwrap();
                example["type"] == *kind
            });
            assert!(has_example, "no example of {kind} in direction {direction}");
        }
    }
}

#[test]
fn every_error_code_and_close_code_is_described() {
    for code in schema::protocol()["$defs"]["Code"]["oneOf"].as_array().unwrap() {
        let code = format!("`{}`", code["const"].as_str().unwrap());
        assert!(PAGE.contains(&code), "{code}");
    }
    for code in CloseCode::ALL {
        assert!(PAGE.contains(&format!("| {} |", code.code())), "{code}");
    }
}

#[test]
fn the_bounds_on_the_page_are_those_of_the_code() {
    let limits = limits::Limits::default();
    let section = PAGE.split("## 10. Limits").nth(1).unwrap();
    for bound in [
        limits.message_bytes.to_string(),
        limits.meta_bytes.to_string(),
        limits.rooms.to_string(),
        limits.candidates.to_string(),
        format!(
            "{} a second after a burst of {}",
            limits.messages_per_second, limits.message_burst
        ),
        limits::MAX_ROOM_MEMBERS.to_string(),
        format!("{}; {}", limits::MAX_OPEN_ATTEMPTS, limits::MAX_OPEN_ATTEMPTS_TO_ONE),
        format!("| {} |", limits::MAX_OPEN_ATTEMPTS_OF_CALLEE),
        limits::MAX_INBOX_MESSAGES.to_string(),
        format!("{} s", limits::HELLO_DEADLINE_MS / 1000),
        format!("{} s", limits::HEARTBEAT_MS / 1000),
        format!("{} s", limits::RESUME_WINDOW_MS / 1000),
        format!("{} s", limits::ATTEMPT_TIMEOUT_MS / 1000),
    ] {
        assert!(section.contains(&bound), "{bound}");
    }
}

/// The blocks of a kind: one frame each.
fn examples(kind: &str) -> impl Iterator<Item = &'static str> {
    let opening = format!("```json {kind}\n");
    let blocks: Vec<_> = PAGE.split(&opening).skip(1).collect();
    assert!(!blocks.is_empty(), "{kind}");
    blocks.into_iter().map(|rest| rest.split("\n```").next().unwrap())
}

/// Every field of the example survives being read and written.
fn expect_same_fields(example: &str, written: &str) {
    let (example, written) =
        (serde_json::from_str(example).unwrap(), serde_json::from_str(written).unwrap());
    expect_part_of(&example, &written, "");
}

fn expect_part_of(example: &Value, written: &Value, path: &str) {
    match (example, written) {
        (Value::Object(fields), _) => {
            for (name, value) in fields {
                let path = format!("{path}.{name}");
                let found = written.get(name);
                // Empty maps are left out when they are written.
                if found.is_none() && value.as_object().is_some_and(|map| map.is_empty()) {
                    continue;
                }
                expect_part_of(value, found.unwrap_or_else(|| panic!("{path}")), &path);
            }
        }
        (Value::Array(items), Value::Array(others)) => {
            assert_eq!(items.len(), others.len(), "{path}");
            items.iter().zip(others).for_each(|(a, b)| expect_part_of(a, b, path));
        }
        _ => assert_eq!(example, written, "{path}"),
    }
}
