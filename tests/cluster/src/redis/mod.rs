//! One `redis-server`, on a socket in a folder of its own, and on a free port where it is to have
//! one.

mod cluster;
mod sentinel;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use p2p_registry::RedisSettings;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

pub use self::cluster::Cluster;
pub use self::sentinel::Sentinels;
use crate::signal;

/// Longer than a start takes; only a hang reaches it.
const HANG: Duration = Duration::from_secs(30);
/// How often a free port may be somebody else's by the time that it is used.
const TRIES: usize = 5;

/// What the user of [`Redis::start_restricted`] may do: what the registry needs, with its own keys
/// and channels.
pub const RIGHTS: &str = "~p2p:* &p2p:* +@read +@write +@pubsub +@scripting +@connection +time \
                          -@dangerous";

/// What keeps nothing.
const FORGETFUL: &str = "--appendonly no";
/// Written before a command is answered: a killed process loses nothing of it. With `everysec`
/// Redis puts writing off while the disk is slow.
/// Replicas wait for no others that might want the same.
const DURABLE: &str = "--appendonly yes --appendfsync no --repl-diskless-sync-delay 0";

/// A running `redis-server`.
pub struct Redis {
    folder: TempDir,
    process: Child,
    arguments: Vec<String>,
    port: u16,
    url: String,
}

impl Redis {
    /// Starts one that keeps nothing on disk, and waits until it answers.
    pub async fn start() -> Result<Self> {
        Self::start_with(FORGETFUL).await
    }

    /// Starts one that keeps what it has when it is killed.
    pub async fn start_durable() -> Result<Self> {
        Self::start_with(DURABLE).await
    }

    /// Starts one whose address has a user with as few rights as the registry can do with.
    pub async fn start_restricted() -> Result<Self> {
        let mut redis = Self::start().await?;
        let (name, password) = ("coordinator", "a-password");
        redis.orders(&format!("ACL SETUSER {name} on >{password} {RIGHTS}")).await?;
        redis.url = format!("{}?user={name}&pass={password}", redis.url);
        Ok(redis)
    }

    /// Starts one that is reached over TLS alone, and asks its clients for a certificate of the same
    /// authority. It shows `tests/certificates/one.crt`, which is its own authority.
    pub async fn start_tls() -> Result<Self> {
        let (certificate, key) = (certificate("one.crt"), certificate("one.key"));
        let files = format!(
            "--tls-cert-file {certificate} --tls-key-file {key} --tls-ca-cert-file {certificate}"
        );
        let flags = |port| format!("{FORGETFUL} --port 0 --tls-port {port} {files}");
        let mut redis = Self::start_on_port(flags).await?;
        redis.url = format!(
            "rediss://127.0.0.1:{}?ca_file={certificate}&cert_file={certificate}&key_file={key}",
            redis.port
        );
        Ok(redis)
    }

    async fn start_with(flags: &str) -> Result<Self> {
        Self::start_as(0, &format!("--port 0 {flags}")).await
    }

    /// One that listens on a free port, with the flags for it.
    async fn start_on_port(flags: impl Fn(u16) -> String) -> Result<Self> {
        let mut tries = 0;
        loop {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            match Self::start_as(port, &flags(port)).await {
                Err(_) if tries < TRIES => tries += 1,
                started => return started,
            }
        }
    }

    async fn start_as(port: u16, flags: &str) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, port, flags).await
    }

    async fn start_in(folder: TempDir, port: u16, flags: &str) -> Result<Self> {
        let arguments: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
        let process = serve(folder.path(), &arguments)?;
        let url = match port {
            0 => format!("redis+unix://{}", folder.path().join("redis.sock").display()),
            port => format!("redis://127.0.0.1:{port}"),
        };
        let mut redis = Self { folder, process, arguments, port, url };
        redis.answers().await?;
        Ok(redis)
    }

    /// Its address.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Settings with this address.
    pub fn settings(&self) -> RedisSettings {
        RedisSettings::new(self.url())
    }

    /// Kills it. What it had is lost, unless it is durable.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Starts it again after [`kill`](Self::kill).
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = serve(self.folder.path(), &self.arguments)?;
        self.answers().await
    }

    /// Lets it fall silent, with its connections open.
    pub fn pause(&self) -> Result<()> {
        signal("-STOP", self.process.id())
    }

    /// Lets it go on.
    pub fn go_on(&self) -> Result<()> {
        signal("-CONT", self.process.id())
    }

    /// Its answer to a command of plain words.
    pub async fn ask(&self, command: &str) -> Result<String> {
        let mut stream = UnixStream::connect(self.socket()).await?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        // That it has answered is seen at the end; Sentinel knows no `QUIT`.
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// A command that it must take.
    pub async fn orders(&self, command: &str) -> Result<()> {
        let answer = self.ask(command).await?;
        anyhow::ensure!(answer.starts_with("+OK"), "{command}: {answer}");
        Ok(())
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    fn port(&self) -> u16 {
        self.port
    }

    /// Waits until it says that a field of `INFO` is so.
    async fn until(&self, field: &str) -> Result<()> {
        let asking = async {
            while !self.ask("INFO replication").await.is_ok_and(|info| info.contains(field)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(HANG, asking).await.with_context(|| format!("no {field}"))
    }

    async fn answers(&mut self) -> Result<()> {
        let answering = async {
            loop {
                match self.ask("PING").await {
                    Ok(answer) if answer.starts_with("-LOADING") => {}
                    // One with a password refuses, which is an answer.
                    Ok(answer) if !answer.is_empty() => return Ok(()),
                    Ok(_) | Err(_) => {}
                }
                if let Some(status) = self.process.try_wait()? {
                    anyhow::bail!("redis-server ended at its start: {status}");
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(HANG, answering).await.context("redis-server does not answer")?
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A file of `tests/certificates`.
pub fn certificate(name: &str) -> String {
    format!("{}/../certificates/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn serve(folder: &Path, arguments: &[String]) -> Result<Child> {
    let is_sentinel = folder.join("sentinel.conf").exists();
    let mut server = Command::new("redis-server");
    if is_sentinel {
        server.args(["sentinel.conf", "--sentinel"]);
    } else {
        server.args(["--unixsocket", "redis.sock", "--save", ""]).args(arguments);
    }
    server
        .current_dir(folder)
        .stdout(Stdio::null())
        .spawn()
        .context("redis-server: install it with `apt-get install redis-server`")
}
