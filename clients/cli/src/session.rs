//! What every verb that reaches a peer has in common: server, token, a client, a clean end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use p2p_client::{
    CertificateDer, Client, ClientEvent, Config, PeerId, Policy, pem::PemObject as _,
};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use crate::failure::{Failure, exit};
use crate::talk::Talk;
use crate::token::TokenArgs;

/// How long a client may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Server, token, and this program's place in the network
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Server and identity")]
pub struct SessionArgs {
    /// The coordinator: ws://HOST:PORT or wss://HOST
    #[arg(long, env = "P2P_SERVER", value_name = "URL")]
    pub server: Option<String>,
    #[command(flatten)]
    pub token: TokenArgs,
    /// Name to use, where the token allows several
    #[arg(long = "as", env = "P2P_PEER", value_name = "PEER")]
    pub name: Option<PeerId>,
    /// STUN server beside those of the coordinator; may be repeated
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "P2P_STUN",
        value_delimiter = ',',
        value_parser = stun_server
    )]
    pub stun: Vec<String>,
    /// File with certificates to trust besides the public ones (PEM)
    #[arg(long, env = "P2P_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// UDP port; 0 takes a free one
    #[arg(long, value_name = "PORT", env = "P2P_LOCAL_PORT", default_value_t = 0)]
    pub local_port: u16,
    /// Seconds that a connection may take to come about
    #[arg(
        long,
        value_name = "SECONDS",
        env = "P2P_TIMEOUT",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub timeout: u64,
    /// Print events as JSON lines
    #[arg(long, env = "P2P_JSON", help_heading = "Options")]
    pub json: bool,
}

impl SessionArgs {
    fn config(&self) -> Result<Config, Failure> {
        let server = self.server.clone().filter(|server| !server.trim().is_empty());
        let server = server.ok_or_else(|| {
            Failure::usage(
                "no server is named",
                "pass --server URL or set P2P_SERVER; `coordinator dev` starts one on this machine",
            )
        })?;
        let token = match self.token.read()? {
            Some(token) => token,
            None => {
                return Err(Failure::usage(
                    "no token is given",
                    "pass --token-file FILE or set P2P_TOKEN; \
                     `coordinator token --peer ID` mints one, `coordinator dev` prints two",
                ));
            }
        };
        let mut config = Config::new(server.trim(), token);
        config.peer.clone_from(&self.name);
        config.stun_servers.clone_from(&self.stun);
        config.local_port = self.local_port;
        config.connect_timeout = Duration::from_secs(self.timeout);
        config.extra_roots = extra_roots(self.ca_file.as_deref())?;
        // A coordinator on this machine means peers on this machine.
        config.allow_loopback = is_loopback(&server);
        Ok(config)
    }
}

/// The certificates in a file, none without one.
pub fn extra_roots(file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let unusable = |cause: String| {
        Failure::usage(
            format!("the certificates in {} are of no use: {cause}", file.display()),
            "name a file with one certificate or more in PEM",
        )
    };
    let pem = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| unusable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(unusable("there are none".to_owned()));
    }
    Ok(certificates)
}

/// How a verb that was not stopped by a failure ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its work is done.
    Done,
    /// A signal came.
    Stopped,
}

impl Ended {
    /// For verbs that serve until they are stopped.
    pub fn when_serving(self) -> Result<(), Failure> {
        Ok(())
    }

    /// For verbs that have an end of their own.
    pub fn when_working(self) -> Result<(), Failure> {
        match self {
            Self::Done => Ok(()),
            Self::Stopped => Err(Failure::new(
                "interrupted",
                exit::INTERRUPTED,
                "stopped before the end",
                "run it again",
            )),
        }
    }
}

/// Starts a client, does the work, and says goodbye, whatever ends the work.
pub async fn with_client(
    args: &SessionArgs,
    talk: &Talk,
    work: impl AsyncFnOnce(&Client) -> Result<(), Failure>,
) -> Result<Ended, Failure> {
    let config = args.config()?;
    let mut stop = std::pin::pin!(signalled());
    let client = tokio::select! {
        started = Client::start(config) => started?,
        () = &mut stop => return Ok(Ended::Stopped),
    };
    let ended = tokio::select! {
        done = work(&client) => done.map(|()| Ended::Done),
        () = &mut stop => Ok(Ended::Stopped),
        never = tell_of_signaling(&client, talk) => match never {},
    };
    // A goodbye that nobody hears must not hold up the end.
    let _ = tokio::time::timeout(GOODBYE, client.shutdown()).await;
    ended
}

/// Resolves when the coordinator will not have this client back, with the reason; at once where that
/// was so before.
pub async fn refused(client: &Client) -> Failure {
    client.signaling_ended().await.into()
}

/// Tells when the coordinator is lost and when it is back. Connections go on meanwhile.
async fn tell_of_signaling(client: &Client, talk: &Talk) -> std::convert::Infallible {
    let mut events = client.events();
    let mut lost = false;
    loop {
        match events.recv().await {
            // The first loss says it all to a person; a script may want every try.
            Ok(ClientEvent::SignalingLost { cause, retry_in }) if !lost || talk.is_json() => {
                lost = true;
                talk.event(
                    "signaling_lost",
                    json!({ "cause": cause, "retry_ms": retry_in.as_millis() as u64 }),
                    &format!("coordinator lost: {cause}; connections stay, trying again"),
                );
            }
            Ok(ClientEvent::Registered { resumed }) if lost => {
                lost = false;
                talk.event("registered", json!({ "resumed": resumed }), "coordinator is back");
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Which paths a connection may take, as flags name them.
pub fn policy(text: &str) -> Result<Policy, String> {
    match text {
        "auto" => Ok(Policy::Auto),
        "direct" => Ok(Policy::Direct),
        "relay" => Ok(Policy::Relay),
        _ => Err("use auto, direct or relay".to_owned()),
    }
}

/// A STUN server as `HOST:PORT`, `HOST` or `stun:HOST:PORT`.
pub fn stun_server(text: &str) -> Result<String, String> {
    if p2p_client::is_stun_server(text) {
        return Ok(text.to_owned());
    }
    Err("write HOST:PORT, for example stun.example.org:3478; clients ask over UDP".to_owned())
}

/// Whether a server's URL names this machine.
pub fn is_loopback(server: &str) -> bool {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Resolves at the first SIGINT or SIGTERM.
#[cfg(unix)]
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without handlers a signal ends the process as the system does it.
        _ => std::future::pending().await,
    }
}

/// Resolves at the first Ctrl-C.
#[cfg(not(unix))]
async fn signalled() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_server_is_known_by_its_host() {
        for url in ["ws://127.0.0.1:8080", "http://localhost/", "ws://[::1]:80/v1", "127.0.0.2:1"] {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["ws://192.0.2.1:8080", "wss://example.org", "ws://[2001:db8::1]", ""] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
