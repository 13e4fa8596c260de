//! Programs of the lab: run to the end, or kept running with what they print in reach.
//!
//! Every wait is for an event (a line, an exit, a bound socket) and has an end.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Pause between two looks at something the kernel offers no event for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Runs a short command to its end and returns its standard output.
///
/// # Errors
/// Names the command and repeats what it said when it cannot start or exits with a failure.
pub fn run(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {line}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{line}: {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program started in the lab. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    output: Arc<Output>,
    log: PathBuf,
}

/// Where a program's standard output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StandardOutput {
    /// Lines, into the log.
    Lines,
    /// Bytes, for [`Running::take_bytes`].
    Bytes,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    /// Lines of standard output, in order.
    pub stdout: Vec<String>,
    /// Lines of standard error, in order.
    pub stderr: Vec<String>,
}

impl Finished {
    /// The exit code, or a failure that says the program died of a signal.
    pub fn code(&self) -> Result<i32> {
        self.status.code().with_context(|| format!("ended by a signal: {}", self.status))
    }

    /// The last thing the program said on standard error, for failure messages.
    pub fn last_words(&self) -> String {
        let from = self.stderr.len().saturating_sub(3);
        self.stderr[from..].join(" | ")
    }
}

impl Running {
    /// Starts `command`; its lines are kept and written to `<logs>/<name>.log`.
    pub fn start(name: &str, command: &mut Command, logs: &Path) -> Result<Self> {
        command.stdin(Stdio::null());
        Self::spawn(name, command, logs, StandardOutput::Lines)
    }

    /// Starts `command` with its standard input in the caller's hands and its standard output kept
    /// as bytes. Dropping the returned pipe tells the program that its input has ended.
    pub fn start_piped(
        name: &str,
        command: &mut Command,
        logs: &Path,
    ) -> Result<(Self, ChildStdin)> {
        command.stdin(Stdio::piped());
        let mut running = Self::spawn(name, command, logs, StandardOutput::Bytes)?;
        let stdin = running.child.stdin.take().context("the input was asked to be a pipe")?;
        Ok((running, stdin))
    }

    fn spawn(
        name: &str,
        command: &mut Command,
        logs: &Path,
        stdout_as: StandardOutput,
    ) -> Result<Self> {
        fs::create_dir_all(logs).with_context(|| format!("cannot create {}", logs.display()))?;
        let log = logs.join(format!("{name}.log"));
        let mut file =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let line = describe(command);
        writeln!(file, "$ {line}")?;

        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {line}"))?;
        let output = Arc::new(Output::new(file));
        let stdout = child.stdout.take().context("standard output was asked to be a pipe")?;
        let stderr = child.stderr.take().context("standard error was asked to be a pipe")?;
        match stdout_as {
            StandardOutput::Lines => collect_lines(stdout, Source::Stdout, &output),
            StandardOutput::Bytes => collect_bytes(stdout, &output),
        }
        collect_lines(stderr, Source::Stderr, &output);
        Ok(Self { name: name.to_owned(), child, output, log })
    }

    /// The log file with everything the program printed.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits for a line, of either stream, for which `is_it` holds, and returns it.
    ///
    /// # Errors
    /// Fails as soon as the program has closed its output without that line, or after `limit`.
    pub fn wait_for_line(&self, limit: Duration, is_it: impl Fn(&str) -> bool) -> Result<String> {
        let found = self.output.wait(limit, |state| {
            let line = state.lines.iter().find(|line| is_it(&line.text));
            line.map(|line| Some(line.text.clone())).or(state.is_closed().then_some(None))
        });
        match found {
            Some(Some(line)) => Ok(line),
            Some(None) => bail!("{} ended without the awaited line; {}", self.name, self.tail(5)),
            None => bail!("{}: awaited line missing after {limit:?}; {}", self.name, self.tail(5)),
        }
    }

    /// Waits until the program has bound `address`, as the kernel reports it.
    pub fn wait_until_bound(
        &mut self,
        transport: Transport,
        address: SocketAddrV4,
        limit: Duration,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !is_bound(self.child.id(), transport, address)? {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it bound {address}; {}", self.name, self.tail(5));
            }
            if Instant::now() >= deadline {
                bail!("{} did not bind {address} in {limit:?}; {}", self.name, self.tail(5));
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Waits for the program's end. A program still running after `limit` is killed: an error.
    pub fn finish(mut self, limit: Duration) -> Result<Finished> {
        let status = self.wait_for_end(limit)?;
        let state = self.output.lock();
        let of = |source| {
            let lines = state.lines.iter().filter(move |line| line.source == source);
            lines.map(|line| line.text.clone()).collect()
        };
        Ok(Finished { status, stdout: of(Source::Stdout), stderr: of(Source::Stderr) })
    }

    /// Waits for the program's end and returns with it the bytes of its standard output.
    pub fn finish_with_bytes(mut self, limit: Duration) -> Result<(Finished, Vec<u8>)> {
        self.wait_for_end(limit)?;
        let bytes = std::mem::take(&mut self.output.lock().bytes);
        Ok((self.finish(limit)?, bytes))
    }

    fn wait_for_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        self.output.wait(limit, |state| state.is_closed().then_some(()));
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} was still running after {limit:?}; {}", self.name, self.tail(5));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn tail(&self, count: usize) -> String {
        let state = self.output.lock();
        let from = state.lines.len().saturating_sub(count);
        let last: Vec<&str> = state.lines[from..].iter().map(|line| line.text.as_str()).collect();
        if last.is_empty() {
            "it printed nothing".into()
        } else {
            format!("last: {}", last.join(" | "))
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a child that has already been waited for.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A transport as `/proc/<pid>/net` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
}

/// Whether a socket in the network namespace of `pid` is bound (UDP) or listens (TCP) on `address`.
fn is_bound(pid: u32, transport: Transport, address: SocketAddrV4) -> Result<bool> {
    let (table, state) = match transport {
        Transport::Tcp => ("tcp", "0A"),
        Transport::Udp => ("udp", "07"),
    };
    match fs::read_to_string(format!("/proc/{pid}/net/{table}")) {
        Ok(text) => Ok(lists_socket(&text, address, state)),
        // The process has ended; the caller asks it for its status next.
        Err(_) => Ok(false),
    }
}

/// Looks for `address`, or the wildcard with its port, in the text of a `/proc/net` table.
fn lists_socket(table: &str, address: SocketAddrV4, state: &str) -> bool {
    let entry = |ip: u32| format!("{ip:08X}:{:04X}", address.port());
    // The kernel prints the address as one number in host order of the network-order bytes.
    let exact = entry(u32::from_ne_bytes(address.ip().octets()));
    let any = entry(0);
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().unwrap_or_default();
        (local == exact || local == any) && fields.nth(1) == Some(state)
    })
}

/// What a program has printed so far, shared with the threads that read it.
#[derive(Debug)]
struct Output {
    state: Mutex<OutputState>,
    changed: Condvar,
}

#[derive(Debug)]
struct OutputState {
    lines: Vec<Line>,
    bytes: Vec<u8>,
    open_streams: usize,
    file: File,
}

#[derive(Debug)]
struct Line {
    source: Source,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Stdout,
    Stderr,
}

impl OutputState {
    fn is_closed(&self) -> bool {
        self.open_streams == 0
    }
}

impl Output {
    fn new(file: File) -> Self {
        let state = OutputState { lines: Vec::new(), bytes: Vec::new(), open_streams: 2, file };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, OutputState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, how: impl FnOnce(&mut OutputState)) {
        how(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `is_there` gives a value; `None` after `limit`.
    fn wait<T>(&self, limit: Duration, is_there: impl Fn(&OutputState) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            if let Some(value) = is_there(&state) {
                return Some(value);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn collect_lines(stream: impl Read + Send + 'static, source: Source, output: &Arc<Output>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { break };
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            output.change(|state| {
                // A full disk must not stop the run; the lines are kept in memory too.
                drop(writeln!(state.file, "{text}"));
                state.lines.push(Line { source, text });
            });
        }
        output.change(|state| state.open_streams -= 1);
    });
}

fn collect_bytes(mut stream: impl Read + Send + 'static, output: &Arc<Output>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count) = stream.read(&mut buffer) {
            if count == 0 {
                break;
            }
            output.change(|state| state.bytes.extend_from_slice(&buffer[..count]));
        }
        output.change(|state| state.open_streams -= 1);
    });
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn logs() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn a_failing_command_repeats_what_it_said() {
        let error = run(&mut shell("echo no such bridge >&2; exit 3")).expect_err("must fail");
        assert!(error.to_string().contains("no such bridge"), "{error}");
    }

    #[test]
    fn an_awaited_line_is_returned_and_a_missing_one_is_an_error_once_the_program_has_ended() {
        let logs = logs();
        let running = Running::start("lines", &mut shell("echo one; echo two >&2"), logs.path());
        let running = running.expect("starts");
        assert_eq!(running.wait_for_line(LIMIT, |line| line.contains("tw")).expect("line"), "two");
        let error = running.wait_for_line(LIMIT, |line| line == "three").expect_err("must fail");
        assert!(error.to_string().contains("ended without"), "{error}");
    }

    #[test]
    fn a_program_that_never_ends_is_an_error_and_is_killed() {
        let logs = logs();
        let running = Running::start("endless", &mut shell("exec sleep 600"), logs.path());
        let running = running.expect("starts");
        let pid = running.child.id();
        let error = running.finish(Duration::from_millis(30)).expect_err("must fail");
        assert!(error.to_string().contains("still running"), "{error}");
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn bytes_go_through_a_piped_program_unchanged() {
        let input: Vec<u8> = (0..=255_u8).cycle().take(300_000).collect();
        let logs = logs();
        let piped = Running::start_piped("pipe", &mut shell("exec cat"), logs.path());
        let (running, mut stdin) = piped.expect("starts");
        stdin.write_all(&input).expect("cat reads to the end");
        drop(stdin);
        let (finished, bytes) = running.finish_with_bytes(LIMIT).expect("ends");
        assert!(finished.status.success());
        assert_eq!(bytes, input);
    }

    #[test]
    fn a_bound_socket_is_found_by_address_state_and_wildcard() {
        let table = "  sl  local_address rem_address   st\n\
             0: 017100CB:0D96 00000000:0000 07 00000000:00000000\n\
             1: 00000000:1F90 00000000:0000 0A 00000000:00000000\n";
        let at = |text: &str| text.parse().expect("an address");
        assert!(lists_socket(table, at("203.0.113.1:3478"), "07"));
        assert!(!lists_socket(table, at("203.0.113.2:3478"), "07"));
        assert!(!lists_socket(table, at("203.0.113.1:3478"), "0A"));
        assert!(lists_socket(table, at("203.0.113.1:8080"), "0A"));
    }
}
