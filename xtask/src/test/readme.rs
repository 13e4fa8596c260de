//! Every command of README.md is run as it stands there.
//!
//! The commands run in a network namespace of their own, where the ports that README.md names are
//! free, in a temporary folder, with the binaries of the development profile first in `PATH`. A
//! command that keeps running is waited for until it is ready, and stays for those that follow.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::Outcome;
use super::readme_commands::{Action, blocks, classify};
use crate::failures::Failures;
use crate::packages::{self, README};
use crate::run::{output_of, stream};
use crate::tally::Tally;
use crate::workspace::Workspace;

const PAGE: &str = "README.md";
/// The demo is the longest: two connections and 16 MiB in a development build.
const RUN_LIMIT_SECS: u32 = 90;
const READY_LIMIT: Duration = Duration::from_secs(30);

/// What a program says once it serves.
const READY_WORDS: [&str; 5] = ["ready", "listening", "waiting", "serving", "forwarding"];

/// Starts [`run_commands`] in namespaces of its own: ports are free, and nothing survives it.
pub(super) fn tier(workspace: &Workspace, failures: &mut Failures) -> Result<Outcome> {
    if let Err(why) = packages::provide(README).and_then(|()| packages::check_namespaces()) {
        return Ok(Outcome::CannotRun(format!("{why:#}")));
    }
    let mut command = Command::new("unshare");
    if !packages::is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--net", "--pid", "--fork", "--kill-child"]);
    // By its path: the running file itself may have been replaced by the build tier.
    command.arg(workspace.binary("xtask")).arg("readme-commands");
    let mut tally = None;
    let status = stream(&mut command, |line| {
        failures.hear(line);
        tally = Tally::of_last_line(line).or(tally);
    })?;
    let tally = tally.with_context(|| format!("README.md's commands ended early: {status}"))?;
    Ok(Outcome::Counted(tally))
}

/// Runs all commands, in order; whether all succeeded. A block stops at its first failure.
pub(crate) fn run_commands(workspace: &Workspace) -> Result<bool> {
    output_of(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    let page = fs::read_to_string(workspace.root.join(PAGE)).context(PAGE)?;
    let mut reader = Reader::new(workspace)?;
    let mut tally = Tally::default();
    for block in blocks(&page) {
        for command in &block.commands {
            let outcome = classify(command).and_then(|action| reader.follow(&action));
            let place = format!("{PAGE}:{}", block.line);
            match &outcome {
                Ok(how) => println!("ok      {place}: {command} ({how})"),
                Err(error) => println!("FAILED  {place}: {command}: {error:#}"),
            }
            tally += Tally::one(outcome.is_ok());
            if outcome.is_err() {
                break;
            }
        }
    }
    ensure!(tally.passed + tally.failed > 0, "{PAGE} shows no command");
    fs::remove_dir_all(&reader.folder)?;
    println!("{tally}");
    Ok(tally.failed == 0)
}

/// Someone who types the commands of the page, one after another.
struct Reader {
    folder: PathBuf,
    environment: BTreeMap<String, String>,
    /// Tokens by peer, as the running `coordinator dev` gave them.
    tokens: BTreeMap<String, String>,
    running: Vec<Serving>,
}

impl Reader {
    fn new(workspace: &Workspace) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("readme-{}", unique()?));
        fs::create_dir_all(&folder)?;
        let binary = workspace.binary("coordinator");
        let binaries = binary.parent().unwrap_or(Path::new(".")).to_string_lossy().into_owned();
        let path = format!("{binaries}:{}", std::env::var("PATH").unwrap_or_default());
        let environment = BTreeMap::from([("PATH".to_owned(), path)]);
        Ok(Self { folder, environment, tokens: BTreeMap::new(), running: Vec::new() })
    }

    /// Does what the page says, and tells how.
    fn follow(&mut self, action: &Action) -> Result<String> {
        match action {
            Action::Elsewhere(why) => Ok((*why).to_owned()),
            Action::Export(command) => self.export(command).map(|()| "environment".into()),
            Action::Run(command) => self.run(command).map(|()| "run".into()),
            Action::Serve(command) => self.serve(command).map(|()| "runs on".into()),
        }
    }

    fn run(&mut self, command: &str) -> Result<()> {
        self.need_coordinator(command)?;
        let mut shell = Command::new("timeout");
        shell.arg(RUN_LIMIT_SECS.to_string()).args(["sh", "-c", command]);
        output_of(self.prepare(&mut shell, command)).map(drop)
    }

    fn export(&mut self, command: &str) -> Result<()> {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{command}; env -0")]);
        let listing = output_of(self.prepare(&mut shell, command))?;
        for (name, value) in listing.split('\0').filter_map(|entry| entry.split_once('=')) {
            self.environment.insert(name.to_owned(), value.to_owned());
        }
        Ok(())
    }

    fn serve(&mut self, command: &str) -> Result<()> {
        if is_dev(command) {
            return self.start_dev(command);
        }
        self.need_coordinator(command)?;
        let mut shell = Command::new("sh");
        shell.args(["-c", command]);
        let serving = Serving::start(self.prepare(&mut shell, command))?;
        serving.wait_for(|line| {
            let line = line.to_lowercase();
            READY_WORDS.iter().any(|word| line.contains(word))
        })?;
        self.running.push(serving);
        Ok(())
    }

    /// Starts the coordinator that a `p2p` command needs, unless the page has already.
    fn need_coordinator(&mut self, command: &str) -> Result<()> {
        let needs = command.contains("p2p ") && !command.contains("netcheck --stun");
        if needs && self.tokens.is_empty() { self.start_dev("coordinator dev") } else { Ok(()) }
    }

    /// A new `coordinator dev` is a new scene: what ran before it ends. `--json` is added to learn
    /// the tokens that a person would copy from the screen.
    fn start_dev(&mut self, command: &str) -> Result<()> {
        self.running.clear();
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{command} --json")]);
        let serving = Serving::start(self.prepare(&mut shell, command))?;
        let line = serving.wait_for(|line| line.starts_with('{'))?;
        let dev: Value = serde_json::from_str(&line).context("the line of `coordinator dev`")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let server = text(&dev["signaling"]).context("no `signaling` in it")?;
        self.environment.insert("P2P_SERVER".into(), server);
        for peer in ["alice", "bob"] {
            let token =
                text(&dev["tokens"][peer]).with_context(|| format!("no token of {peer}"))?;
            self.tokens.insert(peer.into(), token);
        }
        self.running.push(serving);
        Ok(())
    }

    /// Sets folder and environment. Who waits is bob, who calls is alice.
    fn prepare<'c>(&self, shell: &'c mut Command, command: &str) -> &'c mut Command {
        shell.current_dir(&self.folder).envs(&self.environment);
        let waits = ["p2p listen", "p2p recv"].iter().any(|verb| command.contains(verb));
        let peer = if waits { "bob" } else { "alice" };
        if let Some(token) = self.tokens.get(peer) {
            shell.env("P2P_TOKEN", token);
        }
        for (peer, token) in &self.tokens {
            shell.env(peer.to_uppercase(), token);
        }
        shell
    }
}

fn is_dev(command: &str) -> bool {
    command.contains("coordinator dev")
}

/// A program that keeps running. Dropping it ends it.
struct Serving {
    child: Child,
    lines: Receiver<String>,
}

impl Serving {
    fn start(command: &mut Command) -> Result<Self> {
        // Its own process group would outlive us; the namespace takes what a shell leaves behind.
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start a shell")?;
        let (send, lines) = mpsc::channel();
        let stdout = child.stdout.take().context("standard output was asked to be a pipe")?;
        let stderr = child.stderr.take().context("standard error was asked to be a pipe")?;
        pass_lines(stdout, send.clone());
        pass_lines(stderr, send);
        Ok(Self { child, lines })
    }

    fn wait_for(&self, is_it: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + READY_LIMIT;
        let mut last = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if is_it(&line) => return Ok(line),
                Ok(line) => last = line,
                Err(RecvTimeoutError::Timeout) => bail!("not ready in {READY_LIMIT:?}: {last}"),
                Err(RecvTimeoutError::Disconnected) => bail!("it ended: {last}"),
            }
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Both fail only for a child that has already been waited for.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn pass_lines(stream: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            // Nobody listens once the program is ready; the pipe still has to be emptied.
            drop(to.send(line));
        }
    });
}

/// A name for a folder that no other run has: process ids repeat inside a namespace.
fn unique() -> Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid").context("a random name")?;
    Ok(id.trim().to_owned())
}
