//! Turning an HTTP request into a WebSocket over its bare TCP stream.
//!
//! Done here because axum's extractor keeps the stream behind the layers of HTTP, which every frame
//! would pass, and takes frames only where it can check again that they are text.

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tracing::debug;

use crate::write_deadline::WriteDeadline;

/// A WebSocket over TCP, from the server's side.
pub(crate) type WebSocket = WebSocketStream<TcpStream>;

/// A request that may become a WebSocket.
pub(crate) struct Upgrade {
    key: HeaderValue,
    on_upgrade: OnUpgrade,
}

/// What an opening request lacks (RFC 6455 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoUpgrade {
    #[error("the method is not GET")]
    Method,
    #[error("`Connection` does not name `upgrade`")]
    Connection,
    #[error("`Upgrade` does not name `websocket`")]
    Upgrade,
    #[error("there is no `Sec-WebSocket-Key`")]
    Key,
    #[error("`Sec-WebSocket-Version` is not 13")]
    Version,
    #[error("this connection cannot become a WebSocket")]
    Impossible,
}

impl Upgrade {
    /// RFC 6455 §4.2.1.
    fn of(parts: &mut Parts) -> Result<Self, NoUpgrade> {
        let headers = &parts.headers;
        if parts.method != Method::GET {
            return Err(NoUpgrade::Method);
        }
        if !names(headers, header::CONNECTION, "upgrade") {
            return Err(NoUpgrade::Connection);
        }
        if !names(headers, header::UPGRADE, "websocket") {
            return Err(NoUpgrade::Upgrade);
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or(NoUpgrade::Key)?.clone();
        if !names(headers, header::SEC_WEBSOCKET_VERSION, "13") {
            return Err(NoUpgrade::Version);
        }
        let on_upgrade = parts.extensions.remove().ok_or(NoUpgrade::Impossible)?;
        Ok(Self { key, on_upgrade })
    }

    /// The answer, which names a subprotocol where one was offered (RFC 6455 §4.2.2). Once it is
    /// out, the WebSocket is handed to `serve`.
    pub(crate) fn accept<Served>(
        self,
        protocol: Option<HeaderValue>,
        config: WebSocketConfig,
        serve: impl FnOnce(WebSocket) -> Served + Send + 'static,
    ) -> Response
    where
        Served: Future<Output = ()> + Send,
    {
        let Self { key, on_upgrade } = self;
        tokio::spawn(async move {
            // Boxed: what happens before takes no room while the WebSocket is served.
            if let Some(socket) = Box::pin(open(on_upgrade, config)).await {
                serve(socket).await;
            }
        });
        let mut response = Response::default();
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
        let headers = [
            (header::CONNECTION, Some(HeaderValue::from_static("upgrade"))),
            (header::UPGRADE, Some(HeaderValue::from_static("websocket"))),
            (header::SEC_WEBSOCKET_ACCEPT, accept.ok()),
            (header::SEC_WEBSOCKET_PROTOCOL, protocol),
        ];
        let there = headers.into_iter().filter_map(|(name, value)| Some((name, value?)));
        response.headers_mut().extend(there);
        response
    }
}

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = NoUpgrade;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoUpgrade> {
        Self::of(parts)
    }
}

impl IntoResponse for NoUpgrade {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, self.to_string()).into_response()
    }
}

async fn open(on_upgrade: OnUpgrade, config: WebSocketConfig) -> Option<WebSocket> {
    let upgraded: Upgraded = match on_upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            debug!(%error, "a connection ended before it was a WebSocket");
            return None;
        }
    };
    let Ok(parts) = upgraded.downcast::<TokioIo<WriteDeadline>>() else {
        debug!("a WebSocket came over something else than TCP");
        return None;
    };
    let (stream, read) = (parts.io.into_inner().into_inner(), parts.read_buf.to_vec());
    Some(WebSocketStream::from_partially_read(stream, read, Role::Server, Some(config)).await)
}

/// Whether a header has a token in its list, whatever the case.
fn names(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    let mut tokens = values.iter().filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(','));
    tokens.any(|it| it.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENING: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];

    fn parts(method: Method, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri("/v1/ws");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn an_opening_request_has_all_that_the_rfc_asks_for() {
        let lack = |method, headers: &[_]| Upgrade::of(&mut parts(method, headers)).err();
        // What this request lacks is the connection beneath it.
        assert_eq!(lack(Method::GET, &OPENING), Some(NoUpgrade::Impossible));
        assert_eq!(lack(Method::POST, &OPENING), Some(NoUpgrade::Method));
        let lacks = [NoUpgrade::Connection, NoUpgrade::Upgrade, NoUpgrade::Key, NoUpgrade::Version];
        for (at, expected) in lacks.into_iter().enumerate() {
            let mut headers = OPENING.to_vec();
            headers.remove(at);
            assert_eq!(lack(Method::GET, &headers), Some(expected));
        }
        for (at, value) in [(0, "close"), (1, "h2c"), (3, "8")] {
            let mut headers = OPENING;
            headers[at].1 = value;
            assert_eq!(lack(Method::GET, &headers), Some(lacks[at]), "{value}");
        }
    }
}
