//! `p2p recv`: files from peers that run `p2p send`.

use std::path::PathBuf;

use p2p_client::{Client, Connection, Stream};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::failure::{Failure, exit};
use crate::listen::say_ready;
use crate::progress::Bar;
use crate::session::{self, with_client};
use crate::talk::{self, Talk};
use crate::transfer::receive::{Inbox, Received};
use crate::transfer::{Progress, TransferError};
use crate::{paths, units};

/// Finished transfers that wait to be told.
const WAITING: usize = 16;

/// Receive files into a folder
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Go on after the first file, until stopped
    #[arg(long = "loop", env = "P2P_LOOP")]
    pub forever: bool,
    #[command(flatten)]
    pub session: session::SessionArgs,
}

/// Receives. Prints the path of every file that is there.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let talk = Talk::as_data(args.session.json);
    check(&args.folder)?;
    let work = async |client: &Client| {
        say_ready(client, &talk);
        let inbox = Inbox::new(args.folder.clone());
        let (done, mut finished) = mpsc::channel(WAITING);
        let mut connections = JoinSet::new();
        let mut refused = std::pin::pin!(session::refused(client));
        loop {
            tokio::select! {
                accepted = client.accept() => match accepted {
                    Some(connection) => {
                        let (talk, inbox, done) = (talk.clone(), inbox.clone(), done.clone());
                        connections.spawn(serve(connection, talk, inbox, done));
                    }
                    None => return Err(refused.await),
                },
                Some(received) = finished.recv() => {
                    tell(&talk, &received);
                    if !args.forever {
                        return Ok(());
                    }
                }
                Some(_) = connections.join_next() => {}
                failure = &mut refused => return Err(failure),
            }
        }
    };
    let ended = with_client(&args.session, &talk, work).await?;
    if args.forever { ended.when_serving() } else { ended.when_working() }
}

/// Takes every file that a peer sends over one connection.
async fn serve(connection: Connection, talk: Talk, inbox: Inbox, done: mpsc::Sender<Received>) {
    let transfers = async {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                accepted = connection.accept_stream() => match accepted {
                    Ok(stream) => {
                        let (connection, talk) = (connection.clone(), talk.clone());
                        let (inbox, done) = (inbox.clone(), done.clone());
                        tasks.spawn(receive(stream, connection, talk, inbox, done));
                    }
                    Err(_) => break,
                },
                Some(_) = tasks.join_next() => {}
            }
        }
        while tasks.join_next().await.is_some() {}
    };
    tokio::join!(paths::tell(&connection, &talk), transfers);
}

async fn receive(
    stream: Stream,
    connection: Connection,
    talk: Talk,
    inbox: Inbox,
    done: mpsc::Sender<Received>,
) {
    let from = connection.peer().to_string();
    let bar = |offer: &crate::transfer::frame::Offer| -> Box<dyn Progress> {
        let name = crate::transfer::name::harmless(&offer.name);
        let (talk, size, connection) = (talk.clone(), offer.size, connection.clone());
        Box::new(Bar::new(talk, name, size, move || paths::word(connection.path()).to_owned()))
    };
    match inbox.receive(&from, stream, bar).await {
        // The receiver of this channel is gone only when the program ends.
        Ok(received) => drop(done.send(received).await),
        Err(error) => {
            let fix = match &error {
                TransferError::Connection(_) => "what arrived is kept; the sender can go on",
                other => other.fix(),
            };
            talk.trouble(error.code(), &format!("from {from}: {error}"), fix);
        }
    }
}

fn tell(talk: &Talk, received: &Received) {
    let Received { path, size, resumed_at, sha256 } = received;
    let place = path.display().to_string();
    talk.event(
        "received",
        json!({ "path": place, "size": size, "resumed_at": resumed_at, "sha256": sha256 }),
        &format!("received {}, checksum verified", units::bytes(*size)),
    );
    if !talk.is_json() {
        talk::data(&place);
    }
}

/// Fails early where nothing could be saved.
fn check(folder: &std::path::Path) -> Result<(), Failure> {
    let place = folder.display();
    if !folder.is_dir() {
        let fix = format!("make it with `mkdir -p {place}`, or name another folder");
        return Err(Failure::new("folder", exit::USAGE, format!("{place} is not a folder"), fix));
    }
    tempfile_in(folder).map_err(|error| {
        let cause = format!("cannot write into {place}: {error}");
        Failure::new("folder", exit::USAGE, cause, "choose a folder that this user may write to")
    })
}

/// Makes and removes a file: permissions alone do not tell (read-only mounts, quotas).
fn tempfile_in(folder: &std::path::Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".p2p-recv-{}", std::process::id()));
    std::fs::OpenOptions::new().write(true).create_new(true).open(&probe)?;
    std::fs::remove_file(probe)
}
