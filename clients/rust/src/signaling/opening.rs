//! Opening a WebSocket, and what an answer that is none means.

use std::sync::Arc;

use ::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use ::http::{HeaderValue, StatusCode};
use p2p_wire::{Problem, SUBPROTOCOL, Secret};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, client_async_tls_with_config};

use super::{Lost, Socket, refused, unreachable};
use crate::dial;
use crate::error::{Error, ErrorCode};

pub(super) async fn open(
    server: &str,
    token: &Secret,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<Socket, Lost> {
    let usage = |cause: String| {
        Lost::Ended(Error::new(
            ErrorCode::Usage,
            cause,
            "give the server as ws://HOST:PORT or wss://HOST",
        ))
    };
    let url = websocket_url(server);
    let mut request = url.as_str().into_client_request().map_err(|e| usage(e.to_string()))?;
    let no_host = || usage(format!("{url} names no host"));
    let host = request.uri().host().ok_or_else(no_host)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let default_port = if request.uri().scheme_str() == Some("wss") { 443 } else { 80 };
    let port = request.uri().port_u16().unwrap_or(default_port);
    let bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose().trim()));
    let mut bearer = bearer.map_err(|_| {
        let fix = "pass the token as it was minted: three base64url parts with dots between";
        Lost::Ended(Error::new(ErrorCode::Auth, "the token has characters that no token has", fix))
    })?;
    bearer.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, bearer);
    let protocol = HeaderValue::from_static(SUBPROTOCOL);
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    let limits = WebSocketConfig::default()
        .max_message_size(Some(4 * p2p_wire::limits::MAX_MESSAGE_BYTES))
        .read_buffer_size(16 * 1024);
    let tls = Connector::Rustls(Arc::clone(tls));
    let unreached = |cause: &str| Lost::Retry(unreachable(server, cause));
    let tcp = dial::tcp(&host, port).await.map_err(|error| unreached(&error.to_string()))?;
    // Only a delay would come of it if the system refuses.
    let _ = tcp.set_nodelay(true);
    match client_async_tls_with_config(request, tcp, Some(limits), Some(tls)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => {
            let status = response.status();
            let body = response.body().as_deref().unwrap_or_default();
            Err(rejected(server, status, body))
        }
        Err(tungstenite::Error::Url(error)) => Err(usage(error.to_string())),
        Err(error) => Err(unreached(&error.to_string())),
    }
}

/// An HTTP answer instead of a WebSocket.
pub(super) fn rejected(server: &str, status: StatusCode, body: &[u8]) -> Lost {
    let problem = serde_json::from_slice::<Problem>(body).ok();
    let is_foreign = problem.is_none();
    let error = match problem {
        Some(problem) => refused(problem.code, problem.detail, problem.fix),
        None => unreachable(server, &format!("it answers {status} and not as a coordinator does")),
    };
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        Lost::Retry(error)
    } else if is_foreign {
        Lost::Foreign(error)
    } else {
        Lost::Ended(error)
    }
}

/// `http` and `https` mean their WebSocket twins, and a bare server means `/v1/ws`.
fn websocket_url(server: &str) -> String {
    let server = server.trim_end_matches('/');
    let server = match server.split_once("://") {
        Some(("http", rest)) => format!("ws://{rest}"),
        Some(("https", rest)) => format!("wss://{rest}"),
        Some(_) => server.to_owned(),
        None => format!("ws://{server}"),
    };
    let path_at = server.find("://").map_or(0, |at| at + 3);
    if server[path_at..].contains('/') { server } else { format!("{server}/v1/ws") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_in_any_of_the_usual_ways() {
        for (given, expected) in [
            ("ws://h:8080", "ws://h:8080/v1/ws"),
            ("http://h:8080/", "ws://h:8080/v1/ws"),
            ("https://h", "wss://h/v1/ws"),
            ("h:8080", "ws://h:8080/v1/ws"),
            ("wss://h/p2p/v1/ws", "wss://h/p2p/v1/ws"),
        ] {
            assert_eq!(websocket_url(given), expected);
        }
    }

    #[test]
    fn a_refused_token_is_an_auth_error_with_the_servers_words() {
        let body = br#"{"code":"token_expired","title":"t","detail":"expired 42 s ago","fix":"get a fresh one"}"#;
        let Lost::Ended(error) = rejected("h", StatusCode::UNAUTHORIZED, body) else {
            panic!("an expired token is tried again");
        };
        assert_eq!((error.code, error.code.exit_code()), (ErrorCode::Auth, 3));
        assert_eq!(error.to_string(), "expired 42 s ago (get a fresh one)");
    }

    #[test]
    fn an_answer_that_is_no_problem_of_ours_does_not_speak_for_the_coordinator() {
        let portal = b"<html>please log in</html>";
        for status in [StatusCode::FOUND, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND] {
            let lost = rejected("h", status, portal);
            assert!(matches!(&lost, Lost::Foreign(_)));
            assert_eq!(lost.error().code, ErrorCode::Unreachable);
        }
        for status in [StatusCode::BAD_GATEWAY, StatusCode::TOO_MANY_REQUESTS] {
            assert!(matches!(rejected("h", status, portal), Lost::Retry(_)));
        }
    }
}
