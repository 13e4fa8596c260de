//! A private Redis for tests: a real `redis-server` on a socket in a folder of its own.

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

/// A running `redis-server` that keeps nothing on disk.
pub struct Redis {
    folder: TempDir,
    process: Child,
}

impl Redis {
    /// Starts one and waits until it answers.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let process = serve(folder.path())?;
        let redis = Self { folder, process };
        redis.answers().await?;
        Ok(redis)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Settings with this address.
    pub fn settings(&self) -> RedisSettings {
        RedisSettings::new(self.url())
    }

    /// Kills it. What it had is lost.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Starts it again after [`kill`](Self::kill), empty.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = serve(self.folder.path())?;
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

    fn socket(&self) -> std::path::PathBuf {
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

fn serve(folder: &Path) -> Result<Child> {
    Command::new("redis-server")
        .args(["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .spawn()
        .context("redis-server: install it with `apt-get install redis-server`")
}
