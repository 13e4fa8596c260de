//! A master, replicas of it, and three Sentinels that watch them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use p2p_registry::RedisSettings;
use tokio::time::{sleep, timeout};

use super::{DURABLE, HANG, Redis};

/// What the Sentinels call the master.
const SERVICE: &str = "registry";
/// Their own password, and that of the nodes.
const PASSWORDS: (&str, &str) = ("of-sentinels", "of-nodes");
/// How long a node may be silent until it counts as gone, in ms.
const GONE_AFTER: u64 = 1000;

/// Nodes with three Sentinels, of which two must agree.
pub struct Sentinels {
    nodes: Vec<Redis>,
    sentinels: Vec<Redis>,
}

impl Sentinels {
    /// Starts a master with so many replicas, and waits until the Sentinels know each other and
    /// them. With two replicas, a master without any takes nothing: it has been replaced.
    ///
    /// # Errors
    /// One does not start.
    pub async fn start(replicas: usize) -> Result<Self> {
        let password = PASSWORDS.1;
        let least = usize::from(replicas > 1);
        let flags = move |port: u16| {
            format!(
                "--port {port} {DURABLE} --requirepass {password} --masterauth {password} \
                 --min-replicas-to-write {least}"
            )
        };
        let mut all = Self { nodes: Vec::new(), sentinels: Vec::new() };
        for at in 0..=replicas {
            all.nodes.push(Redis::start_on_port(flags).await?);
            if at > 0 {
                let master = all.nodes[0].port();
                all.ask_node(at, &format!("REPLICAOF 127.0.0.1 {master}")).await?;
            }
        }
        all.until_in_step().await?;
        all.with_sentinels().await
    }

    async fn with_sentinels(mut self) -> Result<Self> {
        for _ in 0..3 {
            let port = self.nodes[0].port();
            let settings = format!(
                "requirepass {}\n\
                 sentinel sentinel-pass {}\n\
                 sentinel monitor {SERVICE} 127.0.0.1 {port} 2\n\
                 sentinel auth-pass {SERVICE} {}\n\
                 sentinel down-after-milliseconds {SERVICE} {GONE_AFTER}\n\
                 sentinel failover-timeout {SERVICE} 4000\n",
                PASSWORDS.0, PASSWORDS.0, PASSWORDS.1
            );
            self.sentinels.push(Redis::start_sentinel(&settings).await?);
        }
        let known = async {
            for at in 0..self.sentinels.len() {
                while !self.know_all(at).await.unwrap_or(false) {
                    sleep(Duration::from_millis(50)).await;
                }
            }
        };
        timeout(HANG, known).await.context("the Sentinels do not find each other")?;
        Ok(self)
    }

    async fn know_all(&self, at: usize) -> Result<bool> {
        let said = self.ask_sentinel(at, &format!("SENTINEL MASTER {SERVICE}")).await?;
        let fields: Vec<&str> = said.lines().filter(|line| !line.starts_with('$')).collect();
        let replicas = (self.nodes.len() - 1).to_string();
        let is = |name: &str, value: &str| fields.windows(2).any(|pair| pair == [name, value]);
        Ok(is("num-slaves", &replicas) && is("num-other-sentinels", "2") && is("flags", "master"))
    }

    /// Their address.
    pub fn url(&self) -> String {
        let hosts: Vec<String> =
            self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port())).collect();
        format!(
            "redis+sentinel://:{}@{}/{SERVICE}?sentinel_password={}",
            PASSWORDS.1,
            hosts.join(","),
            PASSWORDS.0
        )
    }

    /// Settings with this address.
    pub fn settings(&self) -> RedisSettings {
        RedisSettings::new(self.url())
    }

    /// The node that is master, as most Sentinels say.
    ///
    /// # Errors
    /// They say nothing.
    pub async fn master(&self) -> Result<usize> {
        let mut votes = vec![0; self.nodes.len()];
        for at in 0..self.sentinels.len() {
            let ask = format!("SENTINEL GET-MASTER-ADDR-BY-NAME {SERVICE}");
            let said = self.ask_sentinel(at, &ask).await?;
            for (node, votes) in self.nodes.iter().zip(&mut votes) {
                *votes += usize::from(said.lines().any(|line| line == node.port().to_string()));
            }
        }
        let most = votes.iter().enumerate().max_by_key(|(_, votes)| **votes);
        let (master, _) = most.filter(|(_, votes)| **votes > 1).context("no master is named")?;
        Ok(master)
    }

    /// Where a node is.
    pub fn at(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.nodes[node].port())
    }

    /// One of the nodes.
    pub fn node(&mut self, at: usize) -> &mut Redis {
        &mut self.nodes[at]
    }

    /// Waits until the other node is master.
    ///
    /// # Errors
    /// It does not become master.
    pub async fn until_master_is_not(&self, node: usize) -> Result<()> {
        let switching = async {
            while !self.master().await.is_ok_and(|master| master != node) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(HANG, switching).await.context("no other node becomes master")
    }

    /// Waits until one node is master and the others its replicas, which have everything.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn until_in_step(&self) -> Result<()> {
        let in_step = async {
            loop {
                let (mut masters, mut replicas, all) = (0, 0, self.nodes.len() - 1);
                for at in 0..=all {
                    let info = self.ask_node(at, "INFO replication").await.unwrap_or_default();
                    let is = |role: &str| usize::from(info.contains(role));
                    masters += is("role:master") * is(&format!("connected_slaves:{all}"));
                    replicas += is("role:slave") * is("master_link_status:up");
                }
                if (masters, replicas) == (1, all) {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(2 * HANG, in_step).await.context("the replica does not follow")
    }

    /// Asks for a failover, with both nodes well.
    ///
    /// # Errors
    /// They refuse for too long.
    pub async fn fail_over(&self) -> Result<()> {
        let asking = async {
            // One is refused while the last one is not over for all of them.
            let order = format!("SENTINEL FAILOVER {SERVICE}");
            while !self.ask_sentinel(0, &order).await.is_ok_and(|said| said.contains("+OK\r\n+OK"))
            {
                sleep(Duration::from_millis(200)).await;
            }
        };
        timeout(2 * HANG, asking).await.context("no failover is begun")
    }

    /// The answer of a node to a command.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn ask_node(&self, at: usize, command: &str) -> Result<String> {
        self.nodes[at].ask(&format!("AUTH {}\r\n{command}", PASSWORDS.1)).await
    }

    /// The answers of all nodes to a command.
    ///
    /// # Errors
    /// One does not answer.
    pub async fn ask_nodes(&self, command: &str) -> Result<Vec<String>> {
        let mut said = Vec::new();
        for at in 0..self.nodes.len() {
            said.push(self.ask_node(at, command).await?);
        }
        Ok(said)
    }

    async fn ask_sentinel(&self, at: usize, command: &str) -> Result<String> {
        self.sentinels[at].ask(&format!("AUTH {}\r\n{command}", PASSWORDS.0)).await
    }
}

impl Redis {
    async fn start_sentinel(settings: &str) -> Result<Self> {
        let mut tries = 0;
        loop {
            let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let folder = tempfile::tempdir()?;
            let own = format!("port {port}\nunixsocket redis.sock\n{settings}");
            std::fs::write(folder.path().join("sentinel.conf"), own)?;
            match Self::start_in(folder, port, "").await {
                Err(_) if tries < super::TRIES => tries += 1,
                started => return started,
            }
        }
    }
}
