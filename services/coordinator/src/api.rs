//! Asking a signaling service over its HTTP API, for the commands that show what it answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use http::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use p2p_wire::{Code, Problem};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::failure::{Failure, exit};
use crate::settings::{duration, secret};

/// Bytes of an answer: two hundred attempts with all their steps fit.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Whom to ask, as every command that asks takes it.
#[derive(Debug, clap::Args)]
pub struct ServerArgs {
    /// The signaling service: http://HOST:PORT or https://HOST; as for `p2p`, ws and wss do as well
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL", env = "P2P_SERVER")]
    server: String,
    /// Token with the scope admin
    #[arg(long, value_name = "JWT", env = "P2P_TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
    /// File with that token: does not show in the list of processes
    #[arg(long, value_name = "FILE", env = "P2P_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// How long to wait for an answer
    #[arg(long, default_value = "10s", value_parser = duration::parse, env = "P2P_SERVER_TIMEOUT")]
    timeout: Duration,
}

/// A stream to the service, encrypted or not.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A service that answers.
pub struct Api<'a> {
    args: &'a ServerArgs,
    token: SecretString,
    base: Uri,
}

impl<'a> Api<'a> {
    /// The service of these arguments. Nothing is asked yet.
    pub fn of(args: &'a ServerArgs, matches: &ArgMatches) -> Result<Self, Failure> {
        let token = secret::read(matches, "token")?.into_iter().next().ok_or_else(|| {
            let fix = "pass --token-file FILE or set P2P_TOKEN; \
                       `coordinator token --peer ID --scope admin` mints one";
            Failure::usage("no token is given", fix)
        })?;
        let wrong = || {
            let cause = format!("--server {:?} is no URL of a service", args.server);
            Failure::usage(cause, "write http://HOST:PORT or https://HOST")
        };
        let base: Uri = args.server.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let known = matches!(base.scheme_str(), Some("http" | "https" | "ws" | "wss"));
        let bare = base.path() == "/" && base.query().is_none();
        let named = base.host().is_some_and(|host| !host.is_empty());
        let anonymous = base.authority().is_some_and(|part| !part.as_str().contains('@'));
        if known && bare && named && anonymous {
            Ok(Self { args, token, base })
        } else {
            Err(wrong())
        }
    }

    /// Where the service is, for people.
    pub fn url(&self) -> &str {
        self.args.server.trim_end_matches('/')
    }

    /// What it answers to a GET.
    pub async fn get(&self, path_and_query: &str) -> Result<Value, Failure> {
        let unreachable = |cause: String| {
            let fix = "start the service, or name its address: --server http://HOST:PORT";
            Failure::new("unreachable", exit::UNREACHABLE, format!("{}: {cause}", self.url()), fix)
        };
        let waited = duration::show(self.args.timeout);
        let (status, body) = tokio::time::timeout(self.args.timeout, self.exchange(path_and_query))
            .await
            .map_err(|_| unreachable(format!("no answer in {waited}")))?
            .map_err(unreachable)?;
        if status == 200 {
            return serde_json::from_slice(&body).map_err(|_| {
                unreachable("its answer is not JSON; is it this service?".to_owned())
            });
        }
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => refused(problem),
            Err(_) => unreachable(format!("it answers {status}; is it this service?")),
        })
    }

    async fn exchange(&self, path_and_query: &str) -> Result<(u16, Bytes), String> {
        let authority = self.base.authority().map(|part| part.as_str()).unwrap_or_default();
        let request = Request::get(path_and_query)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("coordinator/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, format!("Bearer {}", self.token.expose_secret().trim()))
            .body(Empty::<Bytes>::new())
            .map_err(|_| "the token is no JWT".to_owned())?;
        let stream = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            Ok((status, body.map_err(|e| e.to_string())?.to_bytes()))
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

    async fn connect(&self) -> Result<Box<dyn Wire>, String> {
        let host = self.base.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let https = matches!(self.base.scheme_str(), Some("https" | "wss"));
        let port = self.base.port_u16().unwrap_or(if https { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
        if !https {
            return Ok(Box::new(stream));
        }
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        Ok(Box::new(stream.map_err(|error| error.to_string())?))
    }
}

/// What the service says, with the exit status that scripts branch on.
fn refused(problem: Problem) -> Failure {
    let exit = match problem.code {
        Code::TokenMissing
        | Code::TokenInvalid
        | Code::TokenExpired
        | Code::TokenNotYetValid
        | Code::NotAllowed => exit::AUTH,
        Code::BadMessage | Code::NotFound | Code::AttemptNotFound => exit::USAGE,
        _ => exit::UNREACHABLE,
    };
    Failure::new(problem.code.as_str(), exit, problem.detail, problem.fix)
}
