//! A request that will be upgraded, whatever protocol it is for: origin, a place, the WebSocket's
//! bounds.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use p2p_wire::limits::MAX_MESSAGE_BYTES;
use p2p_wire::{Code, Problem};
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use axum::response::Response;

use super::socket::Socket;
use super::upgrade::{NoUpgrade, Upgrade, WebSocket};
use crate::config::Origins;
use crate::half_open::Unproven;
use crate::http::ProblemResponse;
use crate::instance::Instance;
use crate::meters;

/// Bytes of the WebSocket's own buffers. The library's defaults take 256 KiB per connection. Most
/// frames have a few hundred bytes; a large one costs some more reads, and only while it arrives.
const BUFFER_BYTES: usize = 2 * 1024;
/// What may wait in the write buffer: one message of the largest size and its neighbours.
const WRITE_BUFFER_BYTES: usize = 2 * MAX_MESSAGE_BYTES;

/// A request that has a place.
pub(crate) struct Admission {
    upgrade: Upgrade,
    place: OwnedSemaphorePermit,
}

/// Whether a WebSocket may be opened here and now.
pub(crate) fn check(instance: &Instance, headers: &HeaderMap) -> Result<(), ProblemResponse> {
    if instance.stop.is_draining() {
        return Err(refuse(
            Code::Draining,
            "this instance is shutting down".to_owned(),
            "connect again: another instance, or this one restarted, will answer",
        ));
    }
    if may_come_from(&instance.config.origins, headers) {
        return Ok(());
    }
    Err(refuse(
        Code::NotAllowed,
        "pages of this origin may not connect here".to_owned(),
        "add the page's origin to the allowed ones of this service",
    ))
}

/// The request's half of a WebSocket.
pub(crate) fn opened(upgrade: Result<Upgrade, NoUpgrade>) -> Result<Upgrade, ProblemResponse> {
    upgrade.map_err(|lack| {
        refuse(
            Code::BadMessage,
            lack.to_string(),
            "open a WebSocket here: GET with `Upgrade: websocket`",
        )
    })
}

impl Admission {
    /// Takes one of the instance's places.
    pub(crate) fn take(instance: &Instance, upgrade: Upgrade) -> Result<Self, ProblemResponse> {
        let Ok(place) = instance.places.clone().try_acquire_owned() else {
            meters::limited("connections");
            return Err(refuse(
                Code::Overloaded,
                "this instance has all the connections it can have".to_owned(),
                "try again in a few seconds, or at another instance",
            ));
        };
        Ok(Self { upgrade, place })
    }

    /// Answers, and serves the WebSocket. Who has no valid token, which is who comes with `unproven`,
    /// stays counted until told so.
    pub(crate) fn accept<Served>(
        self,
        instance: &Arc<Instance>,
        protocol: Option<HeaderValue>,
        unproven: Option<Arc<Unproven>>,
        serve: impl FnOnce(Box<Socket>) -> Served + Send + 'static,
    ) -> Response
    where
        Served: Future<Output = ()> + Send,
    {
        let Self { upgrade, place } = self;
        // Counted from here, so that a drain also waits for those that are being upgraded.
        let counted = instance.sessions.token();
        let timing = &instance.config.timing;
        let (write, linger) = (timing.write, timing.linger);
        let task = move |socket: WebSocket| async move {
            // Boxed, because it moves through the futures below, and each keeps room for it.
            serve(Box::new(Socket::new(socket, write, linger))).await;
            drop((place, counted, unproven));
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(BUFFER_BYTES)
            .max_write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        upgrade.accept(protocol, config, task)
    }
}

/// Whether a page of this origin is welcome.
pub(crate) fn may_come_from(origins: &Origins, headers: &HeaderMap) -> bool {
    let Origins::Only(allowed) = origins else { return true };
    let Some(origin) = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok()) else {
        return true;
    };
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let own = origin.split_once("://").map(|(_, rest)| rest);
    (own.is_some() && own == host) || allowed.iter().any(|a| a == origin)
}

pub(crate) fn refuse(code: Code, detail: String, fix: &str) -> ProblemResponse {
    Problem::new(code, "Connection refused", detail, fix).into()
}
