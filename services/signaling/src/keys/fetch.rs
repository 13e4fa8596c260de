//! One fetch of a key set, bounded in time and size. Redirects are not followed: the URL of the
//! settings is the one that is trusted.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::url::JwksUrl;

/// Bytes of a key set. Sixty-four RSA keys with their certificates fit.
const MAX_BYTES: usize = 256 * 1024;

/// A stream to the issuer, encrypted or not.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// The text at the URL. The error is a phrase for the log.
pub(super) async fn get(url: &JwksUrl, deadline: Duration) -> Result<String, String> {
    match timeout(deadline, exchange(url)).await {
        Ok(answer) => answer.map_err(|why| format!("{url}: {why}")),
        Err(_) => Err(format!("{url}: no answer within {} ms", deadline.as_millis())),
    }
}

async fn exchange(url: &JwksUrl) -> Result<String, String> {
    let stream = connect(url).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let request = Request::get(url.path_and_query())
        .header(HOST, url.authority())
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answers {}", response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        let bytes = body.map_err(|e| e.to_string())?.to_bytes();
        String::from_utf8(bytes.into()).map_err(|_| "its answer is no text".to_owned())
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection ends when the answer is complete, or breaks before.
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

async fn connect(url: &JwksUrl) -> Result<Box<dyn Wire>, String> {
    let stream =
        TcpStream::connect((url.host(), url.port())).await.map_err(|error| error.to_string())?;
    if !url.is_https() {
        return Ok(Box::new(stream));
    }
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(url.host().to_owned()).map_err(|e| e.to_string())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    Ok(Box::new(stream.map_err(|error| error.to_string())?))
}
