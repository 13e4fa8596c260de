//! A connection's path in words, and the telling of its changes.

use p2p_client::{Connection, Path, PathKind};
use serde_json::{Value, json};

use crate::talk::Talk;
use crate::units;

/// `direct 198.51.100.9:41641 (udp-hole-punch)`, `relay 203.0.113.1:50211`.
pub fn words(path: Option<Path>) -> String {
    match path {
        None => "no path at the moment".to_owned(),
        Some(path) => match path.kind {
            PathKind::Direct => format!("direct {} ({})", path.remote, path.method),
            PathKind::Relay => format!("relay {}", path.remote),
        },
    }
}

/// The one word for a progress bar.
pub fn word(path: Option<Path>) -> &'static str {
    match path.map(|path| path.kind) {
        None => "no path",
        Some(PathKind::Direct) => "direct",
        Some(PathKind::Relay) => "relay",
    }
}

/// The fields of an event.
pub fn fields(path: Option<Path>) -> Value {
    match path {
        None => json!({ "path": null }),
        Some(path) => json!({
            "path": word(Some(path)),
            "method": path.method.as_str(),
            "remote": path.remote.to_string(),
        }),
    }
}

/// Tells of the path that a connection has and of every change, until the connection ends.
pub async fn tell(connection: &Connection, talk: &Talk) {
    let mut paths = connection.paths();
    let mut told: Option<String> = None;
    loop {
        let path = *paths.borrow_and_update();
        let text = words(path);
        if told.as_ref() != Some(&text) {
            let took = units::time(connection.started().elapsed());
            let peer = connection.peer();
            let sentence = match told {
                None => format!("connected to {peer} in {took}: {text}"),
                Some(_) => format!("path to {peer} after {took}: {text}"),
            };
            let name = if told.is_none() { "connected" } else { "path" };
            talk.event(name, event(connection, path), &sentence);
            told = Some(text);
        }
        if paths.changed().await.is_err() {
            return;
        }
    }
}

fn event(connection: &Connection, path: Option<Path>) -> Value {
    let mut event = fields(path);
    if let Value::Object(event) = &mut event {
        event.insert("peer".to_owned(), json!(connection.peer()));
        let ms = connection.started().elapsed().as_millis() as u64;
        event.insert("since_start_ms".to_owned(), json!(ms));
    }
    event
}
