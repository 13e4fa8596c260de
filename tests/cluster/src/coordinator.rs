//! One `coordinator signaling --redis …` process.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use p2p_auth::{Claims, Scope, SigningSecret, mint};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Longer than anything here takes; only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

const SECRET: &str = "a secret of this test that is long enough";

/// A running instance. It ends with this value, at the latest.
pub struct Coordinator {
    process: Child,
    address: String,
    _data: TempDir,
}

impl Coordinator {
    /// Starts one, with further flags, and waits until it serves. What it says goes to `log`, if
    /// there is one.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(
        binary: &Path,
        redis: &str,
        flags: &[&str],
        log: Option<PathBuf>,
    ) -> Result<Self> {
        Self::start_in(binary, redis, flags, &[], log).await
    }

    /// One with more in its environment.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_in(
        binary: &Path,
        redis: &str,
        flags: &[&str],
        environment: &[(&str, String)],
        log: Option<PathBuf>,
    ) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let mut process = Command::new(binary)
            .args(["signaling", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET])
            .arg("--redis")
            .arg(redis)
            .args(flags)
            .arg("--data")
            .arg(data.path())
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{}: `cargo build` makes it", binary.display()))?;
        let lines = BufReader::new(process.stderr.take().context("a pipe was asked for")?).lines();
        let (found, address) = oneshot::channel();
        let mut log = log.map(File::create).transpose()?;
        // A full pipe would stop it.
        std::thread::spawn(move || {
            let mut found = Some(found);
            for line in lines.map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("ready on http://")
                    && let Some(found) = found.take()
                {
                    let _ = found.send(address.to_owned());
                }
                if let Some(log) = &mut log {
                    let _ = writeln!(log, "{line}");
                }
            }
        });
        let address = timeout(HANG, address).await.context("it does not say that it is ready")?;
        let address = address.context("it ended instead of serving")?;
        Ok(Self { process, address, _data: data })
    }

    /// Where it serves, as host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// SIGKILL: it can say nothing to anybody.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Sends a signal by name.
    ///
    /// # Errors
    /// The system's.
    pub fn signal(&self, name: &str) -> Result<()> {
        crate::signal(name, self.process.id())
    }

    /// SIGTERM, and whether it ended well.
    ///
    /// # Errors
    /// It does not end.
    pub async fn drain(mut self) -> Result<bool> {
        self.signal("-TERM")?;
        let ended = spawn_blocking(move || self.process.wait().map(|status| status.success()));
        Ok(timeout(HANG, ended).await.context("it does not end")???)
    }

    /// Status and body.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        get(&self.address, path, None).await
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks over HTTP, with a token if there is one: status and body.
///
/// # Errors
/// No answer.
pub async fn get(address: &str, path: &str, token: Option<&str>) -> Result<(u16, String)> {
    ask(address, "GET", path, token).await
}

/// The same with any method.
///
/// # Errors
/// There is no answer.
pub async fn ask(
    address: &str,
    method: &str,
    path: &str,
    token: Option<&str>,
) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let bearer = bearer.unwrap_or_default();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{bearer}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    timeout(HANG, stream.read_to_string(&mut answer)).await.context("no answer")??;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
    let status = head.split(' ').nth(1).context("a head without a status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// The sum of the series of a metric that have all these labels (`name="value"`), in the text that
/// `/metrics` answers.
pub fn metric(text: &str, name: &str, labels: &[&str]) -> f64 {
    let value = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let of = series.split_once('{').map_or(series, |(of, _)| of);
        let is_it = of == name && labels.iter().all(|label| series.contains(label));
        if is_it { value.parse::<f64>().ok() } else { None }
    };
    text.lines().filter_map(value).sum()
}

/// A token that instances of these tests take.
///
/// # Errors
/// The name is no peer id.
pub fn token(peer: &str) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = Claims::new(peer.parse()?, now + 6 * 3600)
        .with_rooms(["*".parse()?])
        .with_scopes(Scope::ALL);
    Ok(mint(&claims, &SigningSecret::new(SECRET)?)?.expose().to_owned())
}

/// The binary that was built beside this program.
///
/// # Errors
/// It was not built.
pub fn binary() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.parent().context("a program is in a folder")?;
    // A test's own binary is one folder deeper.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let binary = folder.join("coordinator");
    anyhow::ensure!(binary.exists(), "{} is missing: `cargo build` makes it", binary.display());
    Ok(binary)
}
