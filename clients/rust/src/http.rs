//! One question to the coordinator's HTTP API, where a WebSocket would register this peer: a check
//! must not take the place of the program that is being checked.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::{AUTHORIZATION, HOST};
use ::http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use p2p_wire::Secret;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::dial;
use crate::tls::Wire;

/// How long the whole exchange may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of an answer; the API's are a few KB.
const MAX_BODY: usize = 256 * 1024;

/// `GET path` with the token. The error is a phrase that says what stands in the way.
pub(crate) async fn get(
    server: &str,
    path: &str,
    token: &Secret,
    tls: &Arc<ClientConfig>,
) -> Result<(StatusCode, Bytes), String> {
    match tokio::time::timeout(DEADLINE, exchange(server, path, token, tls)).await {
        Ok(answer) => answer,
        Err(_) => Err("it does not answer".to_owned()),
    }
}

async fn exchange(
    server: &str,
    path: &str,
    token: &Secret,
    tls: &Arc<ClientConfig>,
) -> Result<(StatusCode, Bytes), String> {
    let base: Uri = base_url(server).parse().map_err(|e| format!("the address is no URL: {e}"))?;
    let authority = base.authority().ok_or("the address names no host")?.clone();
    let stream = connect(&base, tls).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    // It ends with the exchange; its error is the exchange's too.
    tokio::spawn(connection);
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .header(AUTHORIZATION, format!("Bearer {}", token.expose().trim()))
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    Ok((status, body.map_err(|e| e.to_string())?.to_bytes()))
}

async fn connect(base: &Uri, tls: &Arc<ClientConfig>) -> Result<Box<dyn Wire>, String> {
    let is_tls = base.scheme_str() == Some("https");
    let host = base.host().ok_or("the address names no host")?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = base.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = dial::tcp(bare, port).await.map_err(|e| e.to_string())?;
    if !is_tls {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(bare.to_owned()).map_err(|e| e.to_string())?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
    Ok(Box::new(stream.map_err(|e| e.to_string())?))
}

/// The HTTP side of a server that may be named by its WebSocket.
fn base_url(server: &str) -> String {
    match server.split_once("://") {
        Some(("ws", rest)) => format!("http://{rest}"),
        Some(("wss", rest)) => format!("https://{rest}"),
        Some(_) => server.to_owned(),
        None => format!("http://{server}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_address_means_its_http_twin() {
        assert_eq!(base_url("ws://h:1"), "http://h:1");
        assert_eq!(base_url("wss://h"), "https://h");
        assert_eq!(base_url("https://h"), "https://h");
        assert_eq!(base_url("h:8080"), "http://h:8080");
    }

    #[tokio::test]
    async fn a_closed_port_is_said_in_words() {
        let tls = crate::tls::config(&[]).unwrap();
        let token = Secret::new("t");
        let error = get("ws://127.0.0.1:1", "/v1/ice-servers", &token, &tls).await.unwrap_err();
        assert!(error.to_lowercase().contains("refused"), "{error}");
    }
}
