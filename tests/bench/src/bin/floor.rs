//! The floor of what a relay of WebSocket messages costs on this stack: a hash map of senders, no
//! tokens, no acknowledgements, no bounds. Whatever does more is measured against it.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use axum::Router;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::any;
use serde::Deserialize;
use tokio::sync::mpsc;

/// Bytes of a connection's buffers.
const BUFFER: usize = 4 * 1024;

type Peers = Arc<RwLock<HashMap<String, mpsc::UnboundedSender<Utf8Bytes>>>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("ready on {}", listener.local_addr()?);
    let router = Router::new().route("/{id}", any(open)).with_state(Peers::default());
    axum::serve(listener, router).await?;
    Ok(())
}

async fn open(
    State(peers): State<Peers>,
    Path(id): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .on_upgrade(|socket| relay(peers, id, socket))
}

async fn relay(peers: Peers, id: String, mut socket: WebSocket) {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        to: &'a str,
    }
    let (sender, mut receiver) = mpsc::unbounded_channel::<Utf8Bytes>();
    lock(&peers, |peers| peers.insert(id.clone(), sender));
    loop {
        tokio::select! {
            received = socket.recv() => {
                let Some(Ok(Message::Text(text))) = received else { break };
                let Ok(Envelope { to }) = serde_json::from_str(&text) else { break };
                let peer = peers.read().ok().and_then(|peers| peers.get(to).cloned());
                if let Some(peer) = peer {
                    let _ = peer.send(text.clone());
                }
            }
            Some(text) = receiver.recv() => {
                if socket.send(Message::Text(text)).await.is_err() {
                    break;
                }
            }
        }
    }
    lock(&peers, |peers| peers.remove(&id));
}

fn lock<T>(
    peers: &Peers,
    change: impl FnOnce(&mut HashMap<String, mpsc::UnboundedSender<Utf8Bytes>>) -> T,
) {
    if let Ok(mut peers) = peers.write() {
        change(&mut peers);
    }
}
