//! `p2p forward`: a TCP port here that leads to what the peer's `listen --to` names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use p2p_client::{Client, PeerId, Policy, Stream};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::failure::{Failure, exit};
use crate::reach::Reach;
use crate::session::{self, with_client};
use crate::talk::Talk;

/// Bytes moved at a time, each way.
const CHUNK: usize = 64 * 1024;

/// TCP connections at once; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 1024;

/// Pause after the system refuses to accept: it lacks descriptors, and will have some again.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Listen on a TCP port that leads to what a peer's `listen --to` names
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen: PORT on 127.0.0.1, or IP:PORT; port 0 takes a free one
    #[arg(value_parser = local)]
    pub local: SocketAddr,
    /// The peer, which runs `p2p listen --to HOST:PORT`
    pub peer: PeerId,
    /// Which paths may be used: auto, direct (fail rather than relay) or relay
    #[arg(long, env = "P2P_POLICY", default_value = "auto", value_parser = session::policy)]
    pub policy: Policy,
    #[command(flatten)]
    pub session: session::SessionArgs,
}

/// Forwards until stopped.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let talk = Talk::as_data(args.session.json);
    let listener = bind(args.local).await?;
    let address = listener.local_addr().map_err(|error| cannot_listen(args.local, &error))?;
    let work = async |client: &Client| {
        let reach = Reach::new(client, &args.peer, args.policy, &talk);
        // An absent peer should be known now and not at the first TCP connection.
        reach.connection().await?;
        talk.event(
            "listening",
            json!({ "address": address.to_string(), "peer": args.peer }),
            &format!("forwarding {address} to {}", args.peer),
        );
        let given_up = given_up(client, &reach, &talk);
        serve(&listener, &reach, &talk, given_up).await
    };
    with_client(&args.session, &talk, work).await?.when_serving()
}

/// Resolves when nothing can be forwarded any more: the coordinator will not have this client back, and
/// the connection that there was has ended. Until then it does without the coordinator (invariant I8).
async fn given_up(client: &Client, reach: &Reach<'_>, talk: &Talk) -> Failure {
    let failure = session::refused(client).await;
    if reach.is_connected().await {
        let Failure { code, cause, .. } = &failure;
        talk.trouble(code, cause, "forwarding over the connection that there is until it ends");
        reach.ended().await;
    }
    failure
}

async fn serve(
    listener: &TcpListener,
    reach: &Reach<'_>,
    talk: &Talk,
    given_up: impl Future<Output = Failure>,
) -> Result<(), Failure> {
    let mut open = FuturesUnordered::new();
    let mut given_up = std::pin::pin!(given_up);
    let failure = loop {
        tokio::select! {
            accepted = listener.accept(), if open.len() < MAX_CONNECTIONS => match accepted {
                Ok((tcp, _)) => open.push(carry(tcp, reach, talk)),
                Err(error) => {
                    let fix = "close programs or raise `ulimit -n`";
                    talk.trouble("accept_failed", &format!("cannot accept: {error}"), fix);
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
            },
            Some(()) = open.next() => {}
            failure = &mut given_up => break failure,
        }
    };
    // What has arrived may still be on its way to the TCP side.
    while open.next().await.is_some() {}
    Err(failure)
}

/// One TCP connection over one stream. A connection that died is made again, once.
async fn carry(tcp: TcpStream, reach: &Reach<'_>, talk: &Talk) {
    let stream = async { reach.connection().await?.open_stream().await };
    match stream.await {
        Ok(stream) => {
            // A task of its own: data must not wait for this program's one accept loop.
            let _ = tokio::spawn(join(tcp, stream)).await;
        }
        Err(error) => talk.trouble(error.code.as_str(), &error.cause, &error.fix),
    }
}

/// Copies both ways until both have ended; each end closes its direction alone.
pub async fn join(mut tcp: TcpStream, mut stream: Stream) {
    // Only a delay would come of it if the system refuses.
    let _ = tcp.set_nodelay(true);
    let copied =
        tokio::io::copy_bidirectional_with_sizes(&mut tcp, &mut stream, CHUNK, CHUNK).await;
    match copied {
        Ok(_) => stream.delivered().await,
        Err(error) => {
            // What broke here is not to look like an end over there. Dropping tells the TCP side.
            stream.reset();
            tracing::debug!(%error, "a forwarded stream broke");
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| cannot_listen(address, &error))
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Failure {
    let port = address.port();
    let (code, cause, fix) = match error.kind() {
        std::io::ErrorKind::AddrInUse => (
            "port_taken",
            format!("Port {port} already in use (tcp {address})"),
            format!(
                "choose another, or 0 for a free one; `ss -tlnp 'sport = :{port}'` names who has it"
            ),
        ),
        std::io::ErrorKind::PermissionDenied => (
            "missing_privilege",
            format!("this user may not listen on port {port}"),
            "choose a port from 1024 up".to_owned(),
        ),
        _ => (
            "listen_failed",
            format!("cannot listen on {address}: {error}"),
            "choose an address that `ip addr` shows".to_owned(),
        ),
    };
    Failure::new(code, exit::USAGE, cause, fix)
}

/// Reads `PORT` or `IP:PORT`.
fn local(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let text = text.replacen("localhost:", "127.0.0.1:", 1);
    text.parse().map_err(|_| "write PORT or IP:PORT, for example 9000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_port_means_loopback() {
        assert_eq!(local("9000").unwrap().to_string(), "127.0.0.1:9000");
        assert_eq!(local("localhost:9000").unwrap().to_string(), "127.0.0.1:9000");
        assert_eq!(local("0.0.0.0:0").unwrap().to_string(), "0.0.0.0:0");
        assert!(local("example.org:80").unwrap_err().contains("for example 9000"));
    }
}
