//! The two players of a measured run, and what they say: one event a line, with the time.
//!
//! Times are readings of the machine's monotonic clock, which all namespaces share, so what one
//! player says can be compared with what the other says.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};
use p2p_client::pem::PemObject as _;
use p2p_client::{CertificateDer, Client, Config, Connection, PathKind, PeerId, Policy};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

use crate::nat::Path;
use crate::services::CERTIFICATE;

/// What a player says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// It has measured its network and can be called.
    Ready,
    /// The caller asks for the connection: where the clock starts.
    Asked { us: u64 },
    /// The first usable path is there, and what runs over it is set up.
    Connected { us: u64, path: Path, method: String },
    /// The listener's program has the first byte.
    FirstByte { us: u64 },
    /// The connection has a direct path.
    Direct { us: u64, method: String },
    /// There was none, or none in time.
    Failed { cause: String },
    /// The path at the end.
    End { path: Option<Path> },
}

impl Event {
    /// Prints it.
    pub fn say(&self) {
        let line = serde_json::to_string(self).expect("plain data");
        // A closed output means that nobody is listening any more.
        drop(writeln!(std::io::stdout().lock(), "{line}"));
    }
}

/// Microseconds on the clock that all players share.
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has it");
    u64::try_from(Duration::from(now).as_micros()).expect("less than an age")
}

/// A runtime like that of `p2p`.
pub fn runtime() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().context("a tokio runtime")
}

/// Our listener: answers the first byte of the first stream; ends when the caller has closed.
pub fn listen(server: &str, token: &str, name: &str) -> Result<()> {
    runtime()?.block_on(async {
        let client = start(server, token, name).await?;
        Event::Ready.say();
        let connection = client.accept().await.context("the client has ended")?;
        let mut stream = connection.accept_stream().await?;
        stream.read_u8().await?;
        Event::FirstByte { us: now_us() }.say();
        stream.write_u8(1).await?;
        connection.closed().await;
        Ok(())
    })
}

/// Our caller: connects, sends one byte, and waits for a direct path for `window`.
pub fn call(server: &str, token: &str, name: &str, peer: &str, window: Duration) -> Result<()> {
    runtime()?.block_on(async {
        let client = start(server, token, name).await?;
        let peer = PeerId::new(peer)?;
        Event::Asked { us: now_us() }.say();
        match client.connect(&peer, Policy::Auto).await {
            Ok(connection) => play(&connection, window).await?,
            Err(error) => Event::Failed { cause: error.to_string() }.say(),
        }
        client.shutdown().await;
        Ok(())
    })
}

async fn play(connection: &Connection, window: Duration) -> Result<()> {
    let us = now_us();
    let path = connection.path();
    let first = path.map_or(Path::Relay, |path| kind(path.kind));
    let method = path.map_or(String::new(), |path| path.method.to_string());
    Event::Connected { us, path: first, method }.say();
    let exchange = async {
        let mut stream = connection.open_stream().await?;
        stream.write_u8(1).await?;
        stream.read_u8().await.map_err(anyhow::Error::from)
    };
    let direct = async {
        if let Some(path) = connection.direct(window).await {
            Event::Direct { us: now_us(), method: path.method.to_string() }.say();
        }
    };
    let (answer, ()) = tokio::join!(exchange, direct);
    if let Err(error) = answer {
        Event::Failed { cause: format!("{error:#}") }.say();
    }
    Event::End { path: connection.path().map(|path| kind(path.kind)) }.say();
    connection.close("done");
    Ok(())
}

async fn start(server: &str, token: &str, name: &str) -> Result<Client> {
    let mut config = Config::new(server, token);
    config.peer = Some(PeerId::new(name)?);
    let pem = std::fs::read(CERTIFICATE).with_context(|| format!("cannot read {CERTIFICATE}"))?;
    config.extra_roots =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().context("certificates")?;
    Ok(Client::start(config).await?)
}

fn kind(kind: PathKind) -> Path {
    match kind {
        PathKind::Direct => Path::Direct,
        PathKind::Relay => Path::Relay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_back() {
        let event = Event::Direct { us: 93_000, method: "udp-hole-punch".into() };
        let line = serde_json::to_string(&event).expect("plain data");
        assert_eq!(serde_json::from_str::<Event>(&line).expect("well formed"), event);
    }

    #[test]
    fn the_clock_goes_forward() {
        let first = now_us();
        assert!(now_us() >= first);
    }
}
