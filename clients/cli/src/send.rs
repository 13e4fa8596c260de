//! `p2p send`: a file to a peer that runs `p2p recv`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use p2p_client::{Client, PeerId, Policy};
use serde_json::json;

use crate::failure::{Failure, exit, is_passing};
use crate::progress::Bar;
use crate::reach::Reach;
use crate::session::{self, with_client};
use crate::talk::Talk;
use crate::transfer::send::{Sent, send};
use crate::{paths, units};

/// The pause before the first retry; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Send a file to a peer that runs `recv`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file
    pub file: PathBuf,
    /// The peer
    pub peer: PeerId,
    /// Which paths may be used: auto, direct (fail rather than relay) or relay
    #[arg(long, env = "P2P_POLICY", default_value = "auto", value_parser = session::policy)]
    pub policy: Policy,
    /// How often a lost connection is made again
    #[arg(long, value_name = "N", env = "P2P_RETRIES", default_value_t = 10)]
    pub retries: u32,
    #[command(flatten)]
    pub session: session::SessionArgs,
}

/// Sends, again and again where the connection breaks, each time from where it stopped.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let talk = Talk::as_data(args.session.json);
    let size = check(&args.file)?;
    let name = args.file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let work = async |client: &Client| {
        let started = Instant::now();
        let reach = Reach::new(client, &args.peer, args.policy, &talk);
        let mut pause = FIRST_PAUSE;
        let mut tries_left = args.retries;
        let sent = loop {
            match attempt(&reach, args, &talk, &name, size).await {
                Ok(sent) => break sent,
                Err((failure, passing)) if passing && tries_left > 0 => {
                    tries_left -= 1;
                    let retry_in = units::time(pause);
                    talk.trouble(
                        &failure.code,
                        &failure.cause,
                        &format!("trying again in {retry_in}"),
                    );
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err((failure, _)) => return Err(failure),
            }
        };
        tell(&talk, &sent, &args.peer, started.elapsed());
        Ok(())
    };
    with_client(&args.session, &talk, work).await?.when_working()
}

/// One try; a failure says whether another one makes sense.
async fn attempt(
    reach: &Reach<'_>,
    args: &Args,
    talk: &Talk,
    name: &str,
    size: u64,
) -> Result<Sent, (Failure, bool)> {
    let connected = async {
        let connection = reach.connection().await?;
        let stream = connection.open_stream().await?;
        Ok((connection, stream))
    };
    let (connection, stream) = connected.await.map_err(|error: p2p_client::Error| {
        // A peer that is absent from the start stays absent; one that was there may come back. Whom the
        // coordinator will not have back finds nobody.
        let passing = is_passing(&error) && reach.has_connected() && !reach.is_refused();
        (Failure::from(error), passing)
    })?;
    let mut bar = Bar::new(talk.clone(), name, size, {
        let connection = connection.clone();
        move || paths::word(connection.path()).to_owned()
    });
    let sent = send(stream, &args.file, &mut bar).await;
    sent.map_err(|error| {
        let passing = error.is_worth_a_retry();
        if passing {
            // Whatever broke the stream: the next try begins with a new connection.
            connection.close("the transfer broke off");
        }
        (Failure::from(error), passing)
    })
}

fn tell(talk: &Talk, sent: &Sent, peer: &PeerId, took: Duration) {
    let Sent { name, size, resumed_at, sha256 } = sent;
    let moved = size.saturating_sub(*resumed_at);
    let resumed = match resumed_at {
        0 => String::new(),
        at => format!(", resumed at {}", units::bytes(*at)),
    };
    talk.event(
        "sent",
        json!({
            "peer": peer, "name": name, "size": size, "resumed_at": resumed_at,
            "sha256": sha256, "ms": took.as_millis() as u64,
        }),
        &format!(
            "sent {name} to {peer}: {} in {} ({}{resumed}), checksum verified",
            units::bytes(*size),
            units::time(took),
            units::rate(moved, took),
        ),
    );
}

/// Fails early on what could not be sent anyway.
fn check(file: &Path) -> Result<u64, Failure> {
    let place = file.display();
    let metadata = std::fs::metadata(file).map_err(|error| {
        Failure::new("file", exit::USAGE, format!("{place}: {error}"), "check the path")
    })?;
    if !metadata.is_file() {
        let fix = "pack a folder first, for example `tar czf folder.tar.gz folder`";
        return Err(Failure::new("file", exit::USAGE, format!("{place} is not a file"), fix));
    }
    Ok(metadata.len())
}
