//! One `coordinator relay --redis …` process.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::Redis;
use crate::coordinator::{binary, get};

/// Longer than anything here takes; only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

/// The secret of its credentials.
pub const TURN_SECRET: &str = "north";

/// A running relay on loopback, over UDP. It ends with this value, at the latest.
pub struct Relay {
    process: Child,
    address: String,
    admin: String,
}

impl Relay {
    /// Starts one, with further flags, and waits until it serves.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(redis: &Redis, region: &str, flags: &[&str]) -> Result<Self> {
        let mut process = Command::new(binary()?)
            .args(["relay", "--listen", "udp://127.0.0.1:0", "--turn-secret", TURN_SECRET])
            .args(["--admin-listen", "127.0.0.1:0", "--region", region, "--redis"])
            .arg(redis.url())
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(process.stderr.take().context("a pipe was asked for")?).lines();
        let (found, addresses) = oneshot::channel();
        // A full pipe would stop it.
        std::thread::spawn(move || {
            let (mut found, mut udp) = (Some(found), None);
            for line in lines.map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("ready on udp://") {
                    udp = Some(address.trim().to_owned());
                }
                if let Some((_, admin)) = line.split_once("relay admin ready on http://")
                    && let (Some(found), Some(udp)) = (found.take(), udp.take())
                {
                    let _ = found.send((udp, admin.trim().to_owned()));
                }
            }
        });
        let addresses = timeout(HANG, addresses).await.context("it does not say that it serves")?;
        let (address, admin) = addresses.context("it ended instead of serving")?;
        Ok(Self { process, address, admin })
    }

    /// As signaling hands it out.
    pub fn turn_url(&self) -> String {
        format!("turn:{}?transport=udp", self.address)
    }

    /// What `/metrics` says.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metrics(&self) -> Result<String> {
        Ok(get(&self.admin, "/metrics", None).await?.1)
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// The system's.
    pub fn terminate(&self) -> Result<()> {
        crate::signal("-TERM", self.process.id())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// The system's.
    pub fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill()?)
    }

    /// Whether it has not ended.
    ///
    /// # Errors
    /// The system's.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// Waits for its end, and says whether it was a good one.
    ///
    /// # Errors
    /// It does not end.
    pub async fn ended(mut self) -> Result<bool> {
        let ended = spawn_blocking(move || self.process.wait().map(|status| status.success()));
        Ok(timeout(HANG, ended).await.context("it does not end")???)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
