//! `p2p listen`: waits for peers. Without `--to` the first stream is piped to stdin and stdout; with
//! it every stream becomes a TCP connection.

use std::sync::Arc;

use p2p_client::{Client, Connection, Stream};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::failure::Failure;
use crate::session::{self, with_client};
use crate::talk::Talk;
use crate::{forward, paths, pipe, units};

/// Streams that wait to be piped; there is one stdin, so one is enough.
const WAITING: usize = 1;

/// Wait for peers: pipe stdin and stdout, or forward each stream to HOST:PORT
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Forward every stream to this TCP address, until stopped
    #[arg(long, value_name = "HOST:PORT", env = "P2P_TO", value_parser = host_and_port)]
    pub to: Option<String>,
    #[command(flatten)]
    pub session: session::SessionArgs,
}

/// Listens.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let talk = match &args.to {
        Some(_) => Talk::as_data(args.session.json),
        None => Talk::beside_data(args.session.json),
    };
    let work = async |client: &Client| {
        say_ready(client, &talk);
        match &args.to {
            Some(to) => forward_streams(client, &talk, to).await,
            None => pipe_one(client, &talk).await,
        }
    };
    with_client(&args.session, &talk, work).await?.when_serving()
}

/// Tells that peers can come, and what they will find.
pub fn say_ready(client: &Client, talk: &Talk) {
    let peer = client.peer_id();
    let nat = client.nat();
    let (method, chance) = client.recommended_strategy();
    talk.event(
        "ready",
        json!({ "peer": peer, "nat": nat, "method": method.as_str(), "chance": chance }),
        &format!("ready as {peer} (network: {})", nat.nat_type),
    );
}

/// Pipes the first stream of the first peer that opens one, and ends with it.
async fn pipe_one(client: &Client, talk: &Talk) -> Result<(), Failure> {
    let (found, mut streams) = mpsc::channel::<(Connection, Stream)>(WAITING);
    let mut connections = JoinSet::new();
    let mut refused = std::pin::pin!(session::refused(client));
    let (connection, stream) = loop {
        tokio::select! {
            accepted = client.accept() => match accepted {
                Some(connection) => {
                    let (talk, found) = (talk.clone(), found.clone());
                    connections.spawn(async move { offer_streams(connection, &talk, found).await });
                }
                None => return Err(refused.await),
            },
            Some(first) = streams.recv() => break first,
            failure = &mut refused => return Err(failure),
        }
    };
    // One pipe is all there is: later streams are refused by dropping them.
    streams.close();
    let carried = pipe::standard(stream, &connection).await?;
    let peer = connection.peer();
    let (sent, received) = (units::bytes(carried.sent), units::bytes(carried.received));
    talk.event(
        "closed",
        json!({ "peer": peer, "sent": carried.sent, "received": carried.received }),
        &format!("closed: {sent} sent to {peer}, {received} received"),
    );
    Ok(())
}

/// Hands the streams of a connection over, and answers its pings meanwhile.
async fn offer_streams(
    connection: Connection,
    talk: &Talk,
    found: mpsc::Sender<(Connection, Stream)>,
) {
    connection.allow_bench();
    let accepting = async {
        while let Ok(stream) = connection.accept_stream().await {
            // Nobody takes it any more: dropping the stream tells the peer.
            drop(found.try_send((connection.clone(), stream)));
        }
    };
    tokio::join!(paths::tell(&connection, talk), accepting);
}

/// Serves every stream of every peer until the coordinator refuses this client for good.
async fn forward_streams(client: &Client, talk: &Talk, to: &str) -> Result<(), Failure> {
    let to: Arc<str> = to.into();
    let mut connections = JoinSet::new();
    let mut refused = std::pin::pin!(session::refused(client));
    let failure = loop {
        tokio::select! {
            accepted = client.accept() => match accepted {
                Some(connection) => {
                    let (talk, to) = (talk.clone(), Arc::clone(&to));
                    connections.spawn(async move { forward_connection(connection, &talk, to).await });
                }
                None => break refused.await,
            },
            failure = &mut refused => break failure,
            Some(_) = connections.join_next() => {}
        }
    };
    // Nobody new can come, but who is connected does not need the coordinator (invariant I8).
    if !connections.is_empty() {
        talk.trouble(
            &failure.code,
            &failure.cause,
            "serving those who are connected until they go",
        );
        while connections.join_next().await.is_some() {}
    }
    Err(failure)
}

async fn forward_connection(connection: Connection, talk: &Talk, to: Arc<str>) {
    connection.allow_bench();
    let streams = async {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                accepted = connection.accept_stream() => match accepted {
                    Ok(stream) => {
                        let (talk, to) = (talk.clone(), Arc::clone(&to));
                        tasks.spawn(async move { forward_stream(stream, &talk, &to).await });
                    }
                    Err(_) => break,
                },
                Some(_) = tasks.join_next() => {}
            }
        }
        // Streams whose data has all arrived may still be on their way to the TCP side.
        while tasks.join_next().await.is_some() {}
        let peer = connection.peer();
        talk.event("disconnected", json!({ "peer": peer }), &format!("{peer} is gone"));
    };
    tokio::join!(paths::tell(&connection, talk), streams);
}

async fn forward_stream(stream: Stream, talk: &Talk, to: &str) {
    match TcpStream::connect(to).await {
        Ok(tcp) => forward::join(tcp, stream).await,
        Err(error) => {
            let fix = "start the program that should be reached, or correct --to";
            talk.trouble("to_unreachable", &format!("cannot reach {to}: {error}"), fix);
        }
    }
}

/// Checks `HOST:PORT` as far as it can be without asking the network.
fn host_and_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port))
            if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) =>
        {
            Ok(text.to_owned())
        }
        _ => Err("write HOST:PORT, for example 127.0.0.1:8000".to_owned()),
    }
}
