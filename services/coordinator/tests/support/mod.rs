//! Runs the real `coordinator` and talks HTTP to it.
#![allow(dead_code, unreachable_pub, reason = "every test file is a crate and uses its part")]

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// How long anything may take before the test fails: far beyond what it needs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program, without the caller's settings.
pub fn coordinator() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("P2P_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs to the end.
pub fn run<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Ended {
    ended(coordinator().args(args))
}

/// Runs a prepared command to the end.
pub fn ended(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    Ended {
        code: status.code().expect("the program is not killed"),
        stdout: String::from_utf8(stdout).expect("UTF-8"),
        stderr: String::from_utf8(stderr).expect("UTF-8"),
    }
}

/// What a run left behind.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Panics, with everything that was said, unless the run failed with this status and said all
    /// of these.
    pub fn failed_with(&self, code: i32, said: &[&str]) {
        assert_eq!(self.code, code, "{self:#?}");
        for part in said {
            assert!(self.stderr.contains(part), "{part:?} is missing in {self:#?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        assert_eq!(self.stdout, "", "a failure leaves stdout alone");
    }

    /// stdout of a run that succeeded.
    pub fn data(&self) -> &str {
        assert_eq!(self.code, 0, "{self:#?}");
        self.stdout.trim_end()
    }

    /// stdout of a run that succeeded, as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.data()).expect("JSON")
    }
}

/// A service that runs; killed when dropped.
pub struct Service {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Service {
    pub fn start<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Self {
        Self::of(coordinator().args(args))
    }

    /// Starts a prepared command.
    pub fn of(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        Self { child, stdout, stderr }
    }

    /// The next line on stdout.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("stdout");
        if line.is_empty() {
            let mut said = String::new();
            let _ = self.stderr.read_to_string(&mut said);
            panic!("the service ended: {said}");
        }
        line.trim_end().to_owned()
    }

    /// The next line on stdout, which may be empty.
    pub fn line_or_blank(&mut self) -> String {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line).expect("stdout");
        assert!(read > 0, "the service ended");
        line.trim_end().to_owned()
    }

    /// Reads stderr up to a line with this text and returns it.
    pub fn line_with(&mut self, text: &str) -> String {
        let mut said = String::new();
        loop {
            let mut line = String::new();
            if self.stderr.read_line(&mut line).expect("stderr") == 0 {
                panic!("the service ended without saying {text:?}: {said}");
            }
            if line.contains(text) {
                return line.trim_end().to_owned();
            }
            said.push_str(&line);
        }
    }

    /// Sends SIGTERM.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the end.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("the program ends")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A GET over HTTP/1.1: status and body.
pub fn get(url: &str, token: Option<&str>) -> (u16, String) {
    let rest = url.strip_prefix("http://").expect("an http URL");
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(authority).expect("the service listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let bearer = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {authority}\r\n{bearer}Connection: close\r\n\r\n"
    )
    .expect("the request goes out");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status line");
    let (head, body) = text.split_once("\r\n\r\n").expect("a body");
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    (status, if chunked { dechunked(body) } else { body.to_owned() })
}

/// RFC 9112 §7.1.
fn dechunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk size");
        if size == 0 {
            break;
        }
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    body
}

/// A file that only its owner reads.
pub fn private_file(dir: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = dir.join(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(&path).expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    path
}

/// Text of a path, for arguments.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
