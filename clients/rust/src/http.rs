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
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long the whole exchange may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of an answer; the API's are a few KB.
const MAX_BODY: usize = 256 * 1024;

/// A stream to the server, encrypted or not.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// `GET path` with the token. The error is a phrase that says what stands in the way.
pub(crate) async fn get(
    server: &str,
    path: &str,
    token: &Secret,
) -> Result<(StatusCode, Bytes), String> {
    match tokio::time::timeout(DEADLINE, exchange(server, path, token)).await {
        Ok(answer) => answer,
        Err(_) => Err("it does not answer".to_owned()),
    }
}

async fn exchange(server: &str, path: &str, token: &Secret) -> Result<(StatusCode, Bytes), String> {
    let base: Uri = base_url(server).parse().map_err(|e| format!("the address is no URL: {e}"))?;
    let authority = base.authority().ok_or("the address names no host")?.clone();
    let stream = connect(&base).await?;
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

async fn connect(base: &Uri) -> Result<Box<dyn Wire>, String> {
    let tls = base.scheme_str() == Some("https");
    let host = base.host().ok_or("the address names no host")?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = base.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let stream = TcpStream::connect((bare, port)).await.map_err(|e| e.to_string())?;
    if !tls {
        return Ok(Box::new(stream));
    }
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(bare.to_owned()).map_err(|e| e.to_string())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
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
        let error =
            get("ws://127.0.0.1:1", "/v1/ice-servers", &Secret::new("t")).await.unwrap_err();
        assert!(error.to_lowercase().contains("refused"), "{error}");
    }
}
