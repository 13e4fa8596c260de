//! The JSON Schema of the protocol, generated from the types so that it cannot disagree with them.

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};

use crate::client::ClientMessage;
use crate::server::ServerMessage;

/// The schema of both directions: `{"client": …, "server": …}` under one set of definitions.
pub fn protocol() -> serde_json::Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let client = generator.subschema_for::<ClientMessage>();
    let server = generator.subschema_for::<ServerMessage>();
    document(generator, &client, &server)
}

fn document(mut generator: SchemaGenerator, client: &Schema, server: &Schema) -> serde_json::Value {
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "P2P Coordinator signaling protocol p2p.v1",
        "description": "Text frames of the WebSocket subprotocol p2p.v1. docs/protocol.md explains them.",
        "properties": { "client": client, "server": server },
        "$defs": generator.take_definitions(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `P2P_BLESS=1 cargo test -p p2p-wire` writes the file anew.
    #[test]
    fn the_published_schema_is_the_one_of_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.schema.json");
        let schema = format!("{:#}\n", protocol());
        if std::env::var_os("P2P_BLESS").is_some() {
            std::fs::write(path, &schema).unwrap();
        }
        let published = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            published == schema,
            "docs/protocol.schema.json is stale: run P2P_BLESS=1 cargo test -p p2p-wire"
        );
    }

    #[test]
    fn every_message_of_both_directions_is_in_the_schema() {
        let text = protocol().to_string();
        for name in ["hello", "candidate", "report", "welcome", "attempt", "goaway", "ended"] {
            assert!(text.contains(&format!("\"const\":\"{name}\"")), "{name}");
        }
    }
}
