//! The same run played by `webrtc-ice`, the ICE agent of webrtc-rs: with its defaults, and tuned.
//!
//! Both sides have gathered all candidates before the clock starts, and offer and answer carry them
//! whole: the best that its users can do.

use std::net::{IpAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use webrtc_ice::agent::Agent;
use webrtc_ice::agent::agent_config::AgentConfig;
use webrtc_ice::candidate::candidate_base::unmarshal_candidate;
use webrtc_ice::candidate::{Candidate, CandidateType};
use webrtc_ice::mdns::MulticastDnsMode;
use webrtc_ice::network_type::NetworkType;
use webrtc_ice::url::{ProtoType, SchemeType, Url};
use webrtc_util::Conn;

use crate::nat::Path;
use crate::player::{Event, now_us, runtime};

/// How long gathering may take: its STUN requests give up before.
const GATHER_LIMIT: Duration = Duration::from_secs(12);
/// A byte is sent again after this: there is no stream over its connection.
const SEND_AGAIN: Duration = Duration::from_millis(100);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// What both players are told.
#[derive(Debug, Clone, clap::Args)]
pub struct IceArgs {
    /// The broker.
    #[arg(long)]
    pub broker: SocketAddrV4,
    /// STUN and TURN.
    #[arg(long)]
    pub relay: SocketAddrV4,
    #[arg(long)]
    pub username: String,
    #[arg(long)]
    pub password: String,
    /// Acceptance waits of zero and a check interval of 50 ms.
    #[arg(long)]
    pub tuned: bool,
    /// How long a connection is waited for.
    #[arg(long)]
    pub window_ms: u64,
}

/// What one side tells the other.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    ufrag: String,
    pwd: String,
    candidates: Vec<String>,
}

/// The listener: answers the offer and the first byte.
pub fn listen(args: &IceArgs) -> Result<()> {
    runtime()?.block_on(async {
        let (mut hears, mut says) = meet(args).await?;
        let (agent, own) = gather(args, false).await?;
        Event::Ready.say();
        let offer = hear(&mut hears).await?;
        tell(&mut says, &own).await?;
        take(&agent, &offer)?;
        let (_cancel, cancelled) = mpsc::channel(1);
        let connection = agent.accept(cancelled, offer.ufrag, offer.pwd).await?;
        let mut buffer = [0; 16];
        connection.recv(&mut buffer).await?;
        Event::FirstByte { us: now_us() }.say();
        // Each time it comes: the answer may be lost. Until the caller has left.
        loop {
            connection.send(&buffer[..1]).await?;
            tokio::select! {
                received = connection.recv(&mut buffer) => drop(received?),
                line = hears.next_line() => if line?.is_none() { return Ok(()) },
            }
        }
    })
}

/// The caller: offers, connects, sends one byte.
pub fn call(args: &IceArgs) -> Result<()> {
    runtime()?.block_on(async {
        let (mut hears, mut says) = meet(args).await?;
        let (agent, own) = gather(args, true).await?;
        let window = Duration::from_millis(args.window_ms);
        Event::Asked { us: now_us() }.say();
        tell(&mut says, &own).await?;
        let answer = hear(&mut hears).await?;
        take(&agent, &answer)?;
        let (_cancel, cancelled) = mpsc::channel(1);
        match timeout(window, agent.dial(cancelled, answer.ufrag, answer.pwd)).await {
            Ok(Ok(connection)) => play(&agent, connection, args).await?,
            Ok(Err(error)) => Event::Failed { cause: error.to_string() }.say(),
            Err(_) => Event::Failed { cause: format!("nothing within {window:?}") }.say(),
        }
        Ok(())
    })
}

async fn play(agent: &Agent, connection: Arc<impl Conn>, args: &IceArgs) -> Result<()> {
    let us = now_us();
    let path = path(agent, args).context("connected without a pair")?;
    Event::Connected { us, path, method: "webrtc-ice".into() }.say();
    if path == Path::Direct {
        Event::Direct { us, method: "webrtc-ice".into() }.say();
    }
    let exchange = async {
        let mut buffer = [0; 16];
        loop {
            connection.send(b"1").await?;
            if let Ok(received) = timeout(SEND_AGAIN, connection.recv(&mut buffer)).await {
                received?;
                return anyhow::Ok(());
            }
        }
    };
    match timeout(ANSWER_LIMIT, exchange).await {
        Ok(answered) => answered?,
        Err(_) => Event::Failed { cause: "the first byte was not answered".into() }.say(),
    }
    Event::End { path: self::path(agent, args) }.say();
    Ok(())
}

/// By the selected pair: the relay's address at either end makes it relayed.
fn path(agent: &Agent, args: &IceArgs) -> Option<Path> {
    let pair = agent.get_selected_candidate_pair()?;
    let relayed = pair.local.candidate_type() == CandidateType::Relay
        || pair.remote.addr().ip() == IpAddr::V4(*args.relay.ip());
    Some(if relayed { Path::Relay } else { Path::Direct })
}

async fn gather(args: &IceArgs, controlling: bool) -> Result<(Agent, Description)> {
    let url = |scheme| Url {
        scheme,
        host: args.relay.ip().to_string(),
        port: args.relay.port(),
        username: args.username.clone(),
        password: args.password.clone(),
        proto: ProtoType::Udp,
    };
    let mut config = AgentConfig {
        urls: vec![url(SchemeType::Stun), url(SchemeType::Turn)],
        network_types: vec![NetworkType::Udp4],
        multicast_dns_mode: MulticastDnsMode::Disabled,
        is_controlling: controlling,
        ..AgentConfig::default()
    };
    if args.tuned {
        config.check_interval = Duration::from_millis(50);
        config.host_acceptance_min_wait = Some(Duration::ZERO);
        config.srflx_acceptance_min_wait = Some(Duration::ZERO);
        config.prflx_acceptance_min_wait = Some(Duration::ZERO);
        config.relay_acceptance_min_wait = Some(Duration::ZERO);
    }
    let agent = Agent::new(config).await?;
    let (found, mut candidates) = mpsc::unbounded_channel();
    agent.on_candidate(Box::new(move |candidate| {
        // Nobody waits for candidates that come after the limit.
        drop(found.send(candidate.map(|candidate| candidate.marshal())));
        Box::pin(async {})
    }));
    agent.gather_candidates()?;
    let mut all = Vec::new();
    let gathered = async {
        while let Some(Some(candidate)) = candidates.recv().await {
            all.push(candidate);
        }
    };
    // With what is there by then.
    drop(timeout(GATHER_LIMIT, gathered).await);
    let (ufrag, pwd) = agent.get_local_user_credentials().await;
    Ok((agent, Description { ufrag, pwd, candidates: all }))
}

fn take(agent: &Agent, other: &Description) -> Result<()> {
    for candidate in &other.candidates {
        let candidate: Arc<dyn Candidate + Send + Sync> = Arc::new(unmarshal_candidate(candidate)?);
        agent.add_remote_candidate(&candidate)?;
    }
    Ok(())
}

async fn meet(args: &IceArgs) -> Result<(Lines<BufReader<OwnedReadHalf>>, OwnedWriteHalf)> {
    let stream = TcpStream::connect(args.broker).await.context("the broker")?;
    stream.set_nodelay(true)?;
    let (hears, says) = stream.into_split();
    Ok((BufReader::new(hears).lines(), says))
}

async fn tell(says: &mut OwnedWriteHalf, own: &Description) -> Result<()> {
    let line = serde_json::to_string(own)? + "\n";
    Ok(says.write_all(line.as_bytes()).await?)
}

async fn hear(hears: &mut Lines<BufReader<OwnedReadHalf>>) -> Result<Description> {
    let line = hears.next_line().await?.context("the other side has left")?;
    serde_json::from_str(&line).context("what the other side said")
}
