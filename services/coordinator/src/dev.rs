//! `coordinator dev`: every role in one process, for development on this machine.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use p2p_signaling::PeerJs;
use p2p_telemetry::{Shutdown, prometheus};
use p2p_wire::AppId;
use serde_json::{Value, json};

use crate::admin;
use crate::embedded::{Embedded, Listen, ROOM};
use crate::failure::Failure;
use crate::version::VERSION;

/// The peers that get a token.
pub const PEERS: [&str; 2] = ["alice", "bob"];

/// Serve every role in one process for development: loopback only, keys of this run
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where signaling listens; port 0 takes a free one
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "P2P_DEV_SIGNALING",
        default_value = "127.0.0.1:8080"
    )]
    signaling: SocketAddr,
    /// Where the relay listens; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", env = "P2P_DEV_RELAY", default_value = "127.0.0.1:3478")]
    relay: SocketAddr,
    /// Folder for statistics [default: none, they end with the process]
    #[arg(long, value_name = "DIR", env = "P2P_DATA")]
    data: Option<PathBuf>,
    /// Let PeerJS clients in without a JWT, as whoever they say they are, and let them list each other
    #[arg(long, env = "P2P_PEERJS_OPEN")]
    peerjs_open: bool,
    /// Print one line of JSON with URLs and tokens
    #[arg(long, env = "P2P_JSON")]
    json: bool,
}

/// Serves until a signal ends it.
pub async fn run(args: &Args) -> Result<(), Failure> {
    for (flag, address) in [("--signaling", args.signaling), ("--relay", args.relay)] {
        if !address.ip().is_loopback() {
            return Err(Failure::usage(
                format!(
                    "{flag} {address} is not a loopback address, and dev mode is for this machine only"
                ),
                format!(
                    "use {flag} 127.0.0.1:{}, or run `coordinator signaling` and `coordinator relay` \
                     with secrets of your own",
                    address.port()
                ),
            ));
        }
    }
    let shutdown = Shutdown::new();
    shutdown.listen().map_err(|error| Failure::bug(format!("no signal handler: {error}")))?;
    let metrics = prometheus::install(VERSION).map_err(|error| Failure::bug(error.to_string()))?;
    admin::keep_up(metrics);
    let listen = Listen { signaling: args.signaling, relay: args.relay };
    let discovery = if args.peerjs_open { vec![AppId::default()] } else { Vec::new() };
    let peerjs = PeerJs { open: args.peerjs_open, discovery };
    let embedded = Embedded::start_with(listen, args.data.as_deref(), peerjs).await?;
    let text =
        if args.json { format!("{}\n", document(&embedded)?) } else { banner(&embedded, args)? };
    // A closed stdout is somebody who does not want to know.
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    drop(stdout);
    shutdown.draining().await;
    embedded.stop(&shutdown).await;
    Ok(())
}

/// URLs and tokens for a program.
pub fn document(embedded: &Embedded) -> Result<Value, Failure> {
    let mut tokens = serde_json::Map::new();
    for peer in PEERS {
        tokens.insert(peer.to_owned(), json!(embedded.token(peer)?.expose()));
    }
    Ok(json!({
        "signaling": embedded.signaling_url(),
        "relay": embedded.relay_url(),
        "dashboard": embedded.page("/"),
        "test_page": embedded.page("/test"),
        "tokens": tokens,
        "admin_token": embedded.admin_token()?.expose(),
    }))
}

fn banner(embedded: &Embedded, args: &Args) -> Result<String, Failure> {
    let statistics =
        if args.data.is_some() { "statistics on disk" } else { "statistics in memory" };
    Ok(format!(
        "coordinator {VERSION}  dev mode: loopback only, keys of this run, {statistics}\n\n{}\n{}\
         Ctrl-C stops it.\n",
        urls_and_tokens(embedded)?,
        if args.peerjs_open { open_to_peerjs(embedded) } else { String::new() },
    ))
}

fn open_to_peerjs(embedded: &Embedded) -> String {
    let port = embedded.page("").rsplit_once(':').map(|(_, port)| port.to_owned());
    let port = port.unwrap_or_default();
    format!(
        "PeerJS clients need no token (--peerjs-open), and any page of this machine may be one:\n\n\
         \x20 new Peer(id, {{ host: '127.0.0.1', port: {port}, path: '/peerjs' }})\n\n"
    )
}

/// What a person needs to try it.
pub fn urls_and_tokens(embedded: &Embedded) -> Result<String, Failure> {
    let (signaling, relay) = (embedded.signaling_url(), embedded.relay_url());
    let (admin, peer) = (embedded.admin_token()?, embedded.token(PEERS[0])?);
    // In the fragment, which a browser keeps to itself.
    let dashboard = format!("{}#token={}", embedded.page("/"), admin.expose());
    let test_page = format!("{}#token={}", embedded.page("/test"), peer.expose());
    let mut text = format!(
        "  signaling  {signaling}\n\
         \x20 STUN/TURN  {relay}\n\n\
         Open in a browser, live figures and what the browser can reach:\n\n\
         {dashboard}\n\
         {test_page}\n\n\
         Paste into every terminal (tokens of this run, room {ROOM:?}, 24 h):\n\n\
         export P2P_SERVER={signaling}\n"
    );
    for peer in PEERS {
        let token = embedded.token(peer)?;
        text.push_str(&format!("export {}={}\n", peer.to_uppercase(), token.expose()));
    }
    text.push_str(
        "\nThen, each in a terminal of its own:\n\n\
         \x20 P2P_TOKEN=$BOB p2p listen\n\
         \x20 P2P_TOKEN=$ALICE p2p connect bob\n",
    );
    Ok(text)
}
