//! The side that is connected to: takes QUIC connections and asks who they are.

use std::sync::Arc;

use p2p_wire::{AttemptId, PeerKey};
use quinn::crypto::rustls::HandshakeData;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::identity;

/// Handshakes under way at once.
const MAX_HANDSHAKES: usize = 64;

/// A connection with a proven key that names an attempt; whether both belong together is for the
/// attempt's owner to say.
pub(crate) struct Arrival {
    pub(crate) attempt: AttemptId,
    pub(crate) key: PeerKey,
    pub(crate) quic: quinn::Connection,
}

impl Arrival {
    /// Ends a connection that belongs to no attempt of this side's.
    pub(crate) fn refuse(&self) {
        self.quic.close(quinn::VarInt::from_u32(1), b"this attempt is not known here");
    }
}

/// Takes connections until cancelled.
pub(crate) async fn run(
    endpoint: quinn::Endpoint,
    arrivals: mpsc::Sender<Arrival>,
    cancel: CancellationToken,
) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let incoming = tokio::select! {
            () = cancel.cancelled() => return,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let arrivals = arrivals.clone();
        tokio::spawn(async move {
            if let Some(arrival) = handshake(incoming).await {
                // The receiver is gone only when the client is.
                let _ = arrivals.send(arrival).await;
            }
            drop(permit);
        });
    }
}

async fn handshake(incoming: quinn::Incoming) -> Option<Arrival> {
    let quic = match incoming.await {
        Ok(quic) => quic,
        Err(error) => {
            tracing::debug!(%error, "a handshake failed");
            return None;
        }
    };
    let data = quic.handshake_data()?.downcast::<HandshakeData>().ok()?;
    let attempt = data.server_name.and_then(|name| AttemptId::new(name).ok());
    match (attempt, identity::peer_key(&quic)) {
        (Some(attempt), Some(key)) => Some(Arrival { attempt, key, quic }),
        _ => {
            quic.close(quinn::VarInt::from_u32(1), b"no attempt is named");
            None
        }
    }
}
