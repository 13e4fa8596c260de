//! A coordinator on this machine, and the real `p2p` as alice and bob.
#![allow(dead_code, unreachable_pub, reason = "every test file is a crate and uses its part")]

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before the test fails: far beyond what it needs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `coordinator dev` on free ports; ends when dropped.
pub struct Coordinator {
    child: Child,
    /// What it said about itself.
    pub said: Value,
}

impl Coordinator {
    pub fn start() -> Self {
        let binary = next_to_p2p("coordinator");
        let mut command = clean(&binary);
        command.args(["dev", "--json", "--signaling", "127.0.0.1:0", "--relay", "127.0.0.1:0"]);
        command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{}: {error}; run `cargo build -p p2p-coordinator` first", binary.display())
        });
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("stdout");
        let said = serde_json::from_str(&line).expect("one line of JSON");
        Self { child, said }
    }

    /// The server that clients take.
    pub fn server(&self) -> &str {
        self.said["signaling"].as_str().expect("a URL")
    }

    /// The program as this peer.
    pub fn p2p<I: AsRef<OsStr>>(&self, peer: &str, args: impl IntoIterator<Item = I>) -> Command {
        let mut command = clean(Path::new(env!("CARGO_BIN_EXE_p2p")));
        command.env("P2P_SERVER", self.server());
        command.env("P2P_TOKEN", self.said["tokens"][peer].as_str().expect("a token"));
        command.args(args);
        command
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The program without the caller's settings and without a server.
pub fn p2p<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Command {
    let mut command = clean(Path::new(env!("CARGO_BIN_EXE_p2p")));
    command.args(args);
    command
}

fn clean(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("P2P_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// A binary of another package, in the folder where cargo puts them all.
fn next_to_p2p(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_p2p")).with_file_name(name);
    assert!(path.exists(), "{} is missing: run `cargo build -p p2p-{name}` first", path.display());
    path
}

/// What a run left behind.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ended {
    /// Panics, with everything that was said, unless the run succeeded.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    /// Panics unless the run failed with this status and said all of these.
    pub fn failed_with(&self, code: i32, said: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        for part in said {
            assert!(self.stderr.contains(part), "{part:?} is missing in {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }

    /// stdout as lines of JSON.
    pub fn json_lines(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.stdout).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// Runs to the end.
pub fn ended(command: &mut Command) -> Ended {
    Running::start(command, Vec::new()).wait()
}

/// Runs to the end with these bytes on stdin.
pub fn ended_with_input(command: &mut Command, input: Vec<u8>) -> Ended {
    Running::start(command, input).wait()
}

/// A program that runs; killed when dropped.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    has_output: Receiver<()>,
    stderr: Receiver<String>,
    said: String,
}

impl Running {
    /// Starts with these bytes on stdin.
    pub fn start(command: &mut Command, input: Vec<u8>) -> Self {
        let mut running = Self::start_reading(command, |stdout, bytes| {
            stdout.read_to_end(bytes).expect("stdout");
        });
        let mut stdin = running.stdin.take().expect("a pipe");
        // A program that ends without reading closes the pipe; its status tells the story.
        thread::spawn(move || drop(stdin.write_all(&input)));
        running
    }

    /// Starts with a stdin that stays open, and closes stdout after its first byte as `head -c 1` does.
    pub fn start_for_its_head(command: &mut Command) -> Self {
        Self::start_reading(command, |_, _| {})
    }

    fn start_reading(command: &mut Command, rest: fn(&mut ChildStdout, &mut Vec<u8>)) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdin = child.stdin.take();
        let mut out = child.stdout.take().expect("a pipe");
        let (output, has_output) = mpsc::channel();
        let stdout = thread::spawn(move || {
            let mut bytes = vec![0];
            let first = out.read(&mut bytes).expect("stdout");
            bytes.truncate(first);
            // Nobody may be waiting for it.
            let _ = output.send(());
            rest(&mut out, &mut bytes);
            bytes
        });
        let err = BufReader::new(child.stderr.take().expect("a pipe"));
        let (lines, stderr) = mpsc::channel();
        thread::spawn(move || err.lines().map_while(Result::ok).try_for_each(|l| lines.send(l)));
        Self { child, stdin, stdout: Some(stdout), has_output, stderr, said: String::new() }
    }

    /// Waits for a line on stderr with this text.
    pub fn line_with(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.stderr.recv_timeout(left) {
                Ok(line) => {
                    self.said.push_str(&line);
                    self.said.push('\n');
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("{text:?} was not said: {}", self.said),
            }
        }
    }

    /// Waits for the first byte on stdout.
    pub fn first_output(&self) {
        self.has_output.recv_timeout(PATIENCE).expect("something on stdout");
    }

    /// Sends a signal, by name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.stderr.recv_timeout(left) {
                Ok(line) => {
                    self.said.push_str(&line);
                    self.said.push('\n');
                }
                // It closes its stderr by ending.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {}", self.said),
            }
        }
        let status: ExitStatus = self.child.wait().expect("the program ends");
        let stdout = self.stdout.take().expect("taken once").join().expect("read");
        let code = status.code().unwrap_or(-1);
        Ended { code, stdout, stderr: std::mem::take(&mut self.said) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Bytes that repeat nowhere near.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}
