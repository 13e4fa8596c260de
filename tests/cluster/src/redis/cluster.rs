//! A Redis Cluster: three masters, and a replica of the one that has the app `default`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use p2p_registry::RedisSettings;
use tokio::time::{sleep, timeout};

use super::{DURABLE, HANG, Redis};

/// How long a node may be silent until it counts as gone, in ms.
const GONE_AFTER: u64 = 1500;
const SLOTS: usize = 16_384;

/// The nodes. The first three begin as masters, the last as a replica.
pub struct Cluster {
    nodes: Vec<Redis>,
    ids: Vec<String>,
}

impl Cluster {
    /// The node that the replica begins as one of.
    pub const REPLICATED: usize = 1;
    /// The replica.
    pub const REPLICA: usize = 3;

    /// Starts three masters, and the replica if there is to be one, and waits until all of them know
    /// that all is well.
    ///
    /// # Errors
    /// One does not start.
    pub async fn start(with_replica: bool) -> Result<Self> {
        let mut nodes = Vec::new();
        for _ in 0..if with_replica { 4 } else { 3 } {
            nodes.push(Redis::start_in_cluster().await?);
        }
        let mut ids = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            let said = node.ask("CLUSTER MYID").await?;
            ids.push(said.lines().nth(1).context("an id")?.to_owned());
            // Epochs that collide are sorted out by and by, which takes its time.
            node.orders(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1)).await?;
        }
        let cluster = Self { nodes, ids };
        for at in 0..3 {
            let (first, last) = (SLOTS * at / 3, SLOTS * (at + 1) / 3 - 1);
            cluster.nodes[at].orders(&format!("CLUSTER ADDSLOTSRANGE {first} {last}")).await?;
        }
        for node in &cluster.nodes[1..] {
            let (port, bus) = (node.port(), node.bus_port()?);
            cluster.nodes[0].orders(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}")).await?;
        }
        cluster.until_all_know_all().await?;
        if with_replica {
            let replicate = format!("CLUSTER REPLICATE {}", cluster.ids[Self::REPLICATED]);
            cluster.nodes[Self::REPLICA].orders(&replicate).await?;
            cluster.until_replica(Self::REPLICA).await?;
        }
        cluster.until_well().await?;
        Ok(cluster)
    }

    /// Its address: two of its nodes.
    pub fn url(&self) -> String {
        let [one, two] = [0, 1].map(|at| self.nodes[at].port());
        format!("redis+cluster://127.0.0.1:{one},127.0.0.1:{two}")
    }

    /// Settings with this address.
    pub fn settings(&self) -> RedisSettings {
        RedisSettings::new(self.url())
    }

    /// One of the nodes.
    pub fn node(&mut self, at: usize) -> &mut Redis {
        &mut self.nodes[at]
    }

    /// All of the nodes.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// Where a node is.
    pub fn at(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.nodes[node].port())
    }

    /// The slot of a key that is like this, and the node that has it.
    ///
    /// # Errors
    /// None has one.
    pub async fn home_of(&self, pattern: &str) -> Result<(u16, usize)> {
        for (at, node) in self.nodes.iter().enumerate() {
            let said = node.ask(&format!("KEYS {pattern}")).await?;
            if let Some(key) = said.lines().nth(2)
                && node.ask("INFO replication").await?.contains("role:master")
            {
                return Ok((p2p_redis::slot_of(key), at));
            }
        }
        anyhow::bail!("no node has {pattern}")
    }

    /// Which of the two that have the same slots is master.
    ///
    /// # Errors
    /// Neither answers.
    pub async fn replicated_master(&self) -> Result<usize> {
        for at in [Self::REPLICATED, Self::REPLICA] {
            let said = self.nodes[at].ask("INFO replication").await.unwrap_or_default();
            if said.contains("role:master") {
                return Ok(at);
            }
        }
        anyhow::bail!("neither is master")
    }

    /// Waits until this node is master.
    ///
    /// # Errors
    /// It does not become master.
    pub async fn until_master(&self, at: usize) -> Result<()> {
        self.nodes[at].until("role:master").await
    }

    /// Lets this replica take over from its master, with both of them well.
    ///
    /// # Errors
    /// It does not.
    pub async fn fail_over_to(&self, at: usize) -> Result<()> {
        // A replica gives up after 5 s, when the other masters have not all agreed; it is not told
        // what that was.
        let again = Duration::from_secs(6);
        let taking_over = async {
            loop {
                let _ = self.nodes[at].ask("CLUSTER FAILOVER").await;
                if let Ok(Ok(())) = timeout(again, self.until_master(at)).await {
                    return;
                }
            }
        };
        timeout(3 * HANG, taking_over).await.context("the replica does not take over")
    }

    /// Waits until this node is a replica that has everything.
    ///
    /// # Errors
    /// It does not follow.
    pub async fn until_replica(&self, at: usize) -> Result<()> {
        self.nodes[at].until("role:slave").await?;
        self.nodes[at].until("master_link_status:up").await
    }

    /// Waits until every node says that all slots are served.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn until_well(&self) -> Result<()> {
        self.until_info("cluster_state:ok").await
    }

    async fn until_all_know_all(&self) -> Result<()> {
        self.until_info(&format!("cluster_known_nodes:{}", self.nodes.len())).await
    }

    async fn until_info(&self, field: &str) -> Result<()> {
        let asking = async {
            for node in &self.nodes {
                while !node.ask("CLUSTER INFO").await.is_ok_and(|info| info.contains(field)) {
                    sleep(Duration::from_millis(20)).await;
                }
            }
        };
        timeout(HANG, asking).await.with_context(|| format!("no {field}"))
    }

    /// Begins to move a slot from one master to another.
    ///
    /// # Errors
    /// They refuse.
    pub async fn begin_to_move(&self, slot: u16, from: usize, to: usize) -> Result<()> {
        let (giver, taker) = (&self.ids[from], &self.ids[to]);
        self.nodes[to].orders(&format!("CLUSTER SETSLOT {slot} IMPORTING {giver}")).await?;
        self.nodes[from].orders(&format!("CLUSTER SETSLOT {slot} MIGRATING {taker}")).await
    }

    /// Moves what is in the slot, and the slot.
    ///
    /// # Errors
    /// They refuse.
    pub async fn end_to_move(&self, slot: u16, from: usize, to: usize) -> Result<()> {
        let port = self.nodes[to].port();
        loop {
            let said = self.nodes[from].ask(&format!("CLUSTER GETKEYSINSLOT {slot} 100")).await?;
            let keys: Vec<&str> = said.lines().filter(|line| line.starts_with("p2p")).collect();
            if keys.is_empty() {
                break;
            }
            let keys = keys.join(" ");
            let migrate = format!("MIGRATE 127.0.0.1 {port} \"\" 0 5000 KEYS {keys}");
            self.nodes[from].orders(&migrate).await?;
        }
        // The new master first, then the old one; the others hear it from them.
        let taker = &self.ids[to];
        for at in [to, from] {
            self.nodes[at].orders(&format!("CLUSTER SETSLOT {slot} NODE {taker}")).await?;
        }
        Ok(())
    }
}

impl Redis {
    async fn start_in_cluster() -> Result<Self> {
        Self::start_on_port(|port| {
            // Not ten thousand above: there may be no such port.
            let bus = std::net::TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .map_or(0, |address| address.port());
            format!(
                "--port {port} {DURABLE} --cluster-enabled yes --cluster-port {bus} \
                 --cluster-node-timeout {GONE_AFTER} --cluster-replica-validity-factor 0"
            )
        })
        .await
    }

    fn bus_port(&self) -> Result<&str> {
        let at = self.arguments.iter().position(|flag| flag == "--cluster-port");
        let port = at.and_then(|at| self.arguments.get(at + 1));
        Ok(port.context("a node of a cluster")?)
    }
}
