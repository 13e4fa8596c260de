//! The `p2p` command on a host of the lab, and what it prints.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ChildStdin, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::cases::Programs;
use crate::nat::Path;
use crate::process::{Finished, Running};
use crate::services::{CERTIFICATE, Services};
use crate::topology::{Lab, Site};

/// Signaling is up and one hop away: registering is a matter of one round trip.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// The client gives an attempt up after 30 s; a command that takes longer hangs.
pub const ATTEMPT_LIMIT: Duration = Duration::from_secs(45);
/// Often enough to time the first pong over a new path.
const PING_EVERY_SECS: &str = "0.05";
/// An attempt that uses its whole time, and the pings after it.
const PING_LIMIT: Duration = Duration::from_secs(60);
const NETCHECK_LIMIT: Duration = Duration::from_secs(30);

/// What the programs under test log in the lab, unless `P2P_LOG` says otherwise.
const LOG_FILTER: &str = "info,p2p_client=debug,p2p_traversal=debug,p2p_signaling=debug";

/// One host with a token: where `p2p` commands run.
#[derive(Debug)]
pub struct Peer<'a> {
    pub id: &'static str,
    lab: &'a Lab,
    site: &'a Site,
    program: PathBuf,
    server: String,
    token: String,
}

impl<'a> Peer<'a> {
    pub fn new(
        id: &'static str,
        lab: &'a Lab,
        site: &'a Site,
        services: &Services,
        programs: &Programs,
    ) -> Result<Self> {
        let (server, token) = (services.url(), services.token(id)?);
        Ok(Self { id, lab, site, program: programs.p2p.clone(), server, token })
    }

    /// `p2p listen --to TARGET`, once it waits for peers.
    pub fn listen(&self, target: &str) -> Result<Running> {
        let mut command = self.command("listen");
        command.args(["--to", target]);
        self.start_ready("listen", &mut command)
    }

    /// Starts what waits for peers, and waits until it does.
    fn start_ready(&self, verb: &str, command: &mut Command) -> Result<Running> {
        let running = self.start(verb, command)?;
        running.wait_for_line(READY_LIMIT, |line| {
            let line = line.to_lowercase();
            ["listening", "waiting", "ready"].iter().any(|word| line.contains(word))
        })?;
        Ok(running)
    }

    /// `p2p ping PEER --until-direct`, to its end.
    pub fn ping(&self, peer: &str, count: u32) -> Result<Ping> {
        let mut command = self.command("ping");
        command.args([peer, "--until-direct", "-c", &count.to_string()]);
        command.args(["--interval", PING_EVERY_SECS, "--json"]);
        Ping::read(self.start("ping", &mut command)?.finish(PING_LIMIT)?)
    }

    /// `p2p connect PEER` with what `feed` writes on its standard input; returns what came back and
    /// how long it took.
    pub fn pipe(
        &self,
        peer: &str,
        feed: impl FnOnce(&mut ChildStdin) -> Result<()>,
    ) -> Result<(Vec<u8>, Duration)> {
        self.pipe_by("auto", peer, feed)
    }

    /// The same under a policy on paths.
    pub fn pipe_by(
        &self,
        policy: &str,
        peer: &str,
        feed: impl FnOnce(&mut ChildStdin) -> Result<()>,
    ) -> Result<(Vec<u8>, Duration)> {
        let mut command = self.command("connect");
        command.args(["--policy", policy]).arg(peer);
        let started = Instant::now();
        let name = format!("{}-connect", self.id);
        let (running, mut stdin) = Running::start_piped(&name, &mut command, &self.lab.folder)?;
        let fed = feed(&mut stdin);
        drop(stdin);
        let (finished, output) = running.finish_with_bytes(ATTEMPT_LIMIT)?;
        let took = started.elapsed();
        // A program that has failed closes its input: its own words come before the broken pipe.
        ensure!(
            finished.status.success(),
            "`p2p connect` failed: {}: {}",
            finished.status,
            finished.last_words()
        );
        fed?;
        Ok((output, took))
    }

    /// `p2p recv FOLDER` for one file, once it waits for peers.
    pub fn receive(&self, folder: &std::path::Path) -> Result<Running> {
        let mut command = self.command("recv");
        command.arg(folder);
        self.start_ready("recv", &mut command)
    }

    /// `p2p send FILE PEER`, begun.
    pub fn send(&self, file: &std::path::Path, peer: &str) -> Result<Running> {
        self.send_by("auto", file, peer)
    }

    /// The same under a policy on paths.
    pub fn send_by(&self, policy: &str, file: &std::path::Path, peer: &str) -> Result<Running> {
        let mut command = self.command("send");
        command.args(["--policy", policy]).arg(file).arg(peer);
        self.start("send", &mut command)
    }

    /// `p2p netcheck --json` against the coordinator: its STUN servers and its relays.
    pub fn netcheck(&self) -> Result<Netcheck> {
        Netcheck::run(self.lab, &mut self.command("netcheck"))
    }

    /// `p2p forward LOCAL PEER`, once it is connected and accepts.
    pub fn forward(&self, local: &str, peer: &str) -> Result<Running> {
        let mut command = self.command("forward");
        command.args([local, peer]);
        let running = self.start("forward", &mut command)?;
        running.wait_for_line(ATTEMPT_LIMIT, |line| line.starts_with("forwarding "))?;
        Ok(running)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = p2p(self.site, &self.program, verb);
        command.args(["--server", &self.server, "--token", &self.token]);
        command
    }

    fn start(&self, verb: &str, command: &mut Command) -> Result<Running> {
        Running::start(&format!("{}-{verb}", self.id), command, &self.lab.folder)
    }
}

/// `p2p netcheck --json` on a host, against these STUN servers and no signaling.
pub fn netcheck(
    lab: &Lab,
    site: &Site,
    programs: &Programs,
    stun_servers: &[String],
) -> Result<Netcheck> {
    let mut command = p2p(site, &programs.p2p, "netcheck");
    for server in stun_servers {
        command.args(["--stun", server]);
    }
    Netcheck::run(lab, &mut command)
}

fn p2p(site: &Site, program: &std::path::Path, verb: &str) -> Command {
    let mut command = site.host.command(program);
    // Logs are read in files.
    command.env("NO_COLOR", "1").env("P2P_CA_FILE", CERTIFICATE);
    if std::env::var_os("P2P_LOG").is_none() {
        command.env("P2P_LOG", LOG_FILTER);
    }
    command.arg(verb);
    command
}

/// What `p2p ping --json` printed, and how it ended.
#[derive(Debug)]
pub struct Ping {
    pub code: i32,
    pub pongs: Vec<Pong>,
    pub summary: Option<Summary>,
    pub finished: Finished,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Pong {
    pub pong: u64,
    pub path: Path,
    pub method: String,
    pub remote: SocketAddr,
    pub rtt_ms: f64,
    pub since_start_ms: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Summary {
    pub sent: u64,
    pub received: u64,
    pub path: Path,
    pub method: String,
    /// From the start of the attempt to the first usable path, once the attempt has its verdict.
    pub connected_ms: Option<u64>,
    /// From the start of the attempt to the direct path, where there is one.
    pub direct_ms: Option<u64>,
}

impl Ping {
    fn read(finished: Finished) -> Result<Self> {
        let (code, mut pongs, mut summary) = (finished.code()?, Vec::new(), None);
        for line in &finished.stdout {
            let context = || format!("a line of `p2p ping --json`: {line}");
            let mut document: Value = serde_json::from_str(line).with_context(context)?;
            if document.get("pong").is_some() {
                pongs.push(serde_json::from_value(document).with_context(context)?);
            } else if let Some(read) = document.get_mut("summary") {
                summary = Some(serde_json::from_value(read.take()).with_context(context)?);
            }
            // Lines of other kinds may be added to the output; they are no concern of the lab.
        }
        Ok(Self { code, pongs, summary, finished })
    }
}

/// The part of `p2p netcheck --json` that names the NAT and the relays.
#[derive(Debug, Deserialize)]
pub struct Netcheck {
    pub nat: Nat,
    pub udp: bool,
    pub relays: Vec<RelayCheck>,
    pub detect_ms: u64,
}

#[derive(Debug, Deserialize)]
pub struct Nat {
    #[serde(rename = "type")]
    pub nat_type: String,
    pub mapping: String,
    pub filtering: String,
    pub public_address: Option<String>,
    pub port_allocation: Option<String>,
    pub hairpin: Option<bool>,
    pub tcp: Option<Tcp>,
    #[serde(default)]
    pub unknown_because: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub struct Tcp {
    pub mapping: String,
    pub public_address: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct RelayCheck {
    pub transport: String,
    pub ok: bool,
}

impl Netcheck {
    fn run(lab: &Lab, command: &mut Command) -> Result<Self> {
        command.arg("--json");
        let finished = Running::start("netcheck", command, &lab.folder)?.finish(NETCHECK_LIMIT)?;
        let document = finished.stdout.join("\n");
        serde_json::from_str(&document).with_context(|| {
            let (status, words) = (finished.status, finished.last_words());
            format!("`p2p netcheck --json` ({status}; {words}) printed {document:?}")
        })
    }
}

/// Bytes nobody can have guessed or cached.
pub fn random_bytes(count: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(bytes)
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    fn finished(code: i32, lines: &[&str]) -> Finished {
        Finished {
            status: ExitStatus::from_raw(code << 8),
            stdout: lines.iter().map(|line| (*line).to_owned()).collect(),
            stderr: Vec::new(),
        }
    }

    #[test]
    fn pongs_and_summary_are_read_and_unknown_lines_are_left_alone() {
        let ping = Ping::read(finished(
            5,
            &[
                r#"{"event":"path"}"#,
                r#"{"pong":1,"path":"relay","method":"relay","remote":"203.0.113.1:50000","rtt_ms":1.2,"since_start_ms":480}"#,
                r#"{"summary":{"sent":1,"received":1,"path":"relay","method":"relay","connected_ms":40,"direct_ms":null}}"#,
            ],
        ))
        .expect("well formed");
        assert_eq!(ping.code, 5);
        assert_eq!(ping.pongs[0].remote.port(), 50000);
        let summary = ping.summary.expect("a summary");
        assert_eq!((summary.path, summary.direct_ms), (Path::Relay, None));
    }

    #[test]
    fn text_between_the_json_lines_is_an_error() {
        assert!(Ping::read(finished(0, &["pong from bob"])).is_err());
    }

    #[test]
    fn a_pong_that_lacks_its_path_is_an_error() {
        assert!(Ping::read(finished(0, &[r#"{"pong":1,"rtt_ms":1.0}"#])).is_err());
    }
}
