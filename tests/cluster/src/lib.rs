//! A private Redis for tests: a real `redis-server` on a socket in a folder of its own. And, beside
//! it, what several instances are tested with: their processes, a proxy that fails as networks do,
//! and [`chaos`].

pub mod chaos;
pub mod coordinator;
pub mod proxy;
pub mod relay;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use p2p_registry::RedisSettings;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Longer than a start takes; only a hang reaches it.
const HANG: Duration = Duration::from_secs(20);

/// A running `redis-server`.
pub struct Redis {
    folder: TempDir,
    process: Child,
    durable: bool,
    /// Name and password that the address has.
    user: Option<(&'static str, &'static str)>,
}

/// What the user of [`Redis::start_restricted`] may do: what the registry needs, with its own keys
/// and channels.
pub const RIGHTS: &str = "~p2p:* &p2p:* +@read +@write +@pubsub +@scripting +@connection +time \
                          -@dangerous";

impl Redis {
    /// Starts one that keeps nothing on disk, and waits until it answers.
    pub async fn start() -> Result<Self> {
        Self::start_with(false).await
    }

    /// Starts one that keeps what it has when it is killed.
    pub async fn start_durable() -> Result<Self> {
        Self::start_with(true).await
    }

    /// Starts one whose address has a user with as few rights as the registry can do with.
    pub async fn start_restricted() -> Result<Self> {
        let mut redis = Self::start().await?;
        let (name, password) = ("coordinator", "a-password");
        let command = format!("ACL SETUSER {name} on >{password} {RIGHTS}");
        let answer = redis.ask(&command).await?;
        anyhow::ensure!(answer.starts_with("+OK"), "{command}: {answer}");
        redis.user = Some((name, password));
        Ok(redis)
    }

    async fn start_with(durable: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let process = serve(folder.path(), durable)?;
        let redis = Self { folder, process, durable, user: None };
        redis.answers().await?;
        Ok(redis)
    }

    /// Its address.
    pub fn url(&self) -> String {
        let socket = self.socket();
        match self.user {
            Some((name, password)) => {
                format!("redis+unix://{}?user={name}&pass={password}", socket.display())
            }
            None => format!("redis+unix://{}", socket.display()),
        }
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
        self.process = serve(self.folder.path(), self.durable)?;
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
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("redis.sock")
    }

    async fn answers(&self) -> Result<()> {
        let answering = async {
            while !self.ask("PING").await.is_ok_and(|answer| answer.starts_with("+PONG")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(HANG, answering).await.context("redis-server does not answer")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a signal by name to a process.
pub fn signal(name: &str, process: u32) -> Result<()> {
    let status = Command::new("kill").arg(name).arg(process.to_string()).status()?;
    anyhow::ensure!(status.success(), "kill {name} {process}: {status}");
    Ok(())
}

fn serve(folder: &Path, durable: bool) -> Result<Child> {
    Command::new("redis-server")
        .args(["--port", "0", "--unixsocket", "redis.sock", "--save", ""])
        // Written before a command is answered: a killed process loses nothing of it. With
        // `everysec` Redis puts writing off while the disk is slow.
        .args(["--appendonly", if durable { "yes" } else { "no" }, "--appendfsync", "no"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .spawn()
        .context("redis-server: install it with `apt-get install redis-server`")
}
