//! Redis as it is run, and what can be done to it.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::sleep;

use crate::{Cluster, Redis, Sentinels};

/// How Redis is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// One node, which keeps its data.
    Single,
    /// A master and two replicas behind three Sentinels. A master without replicas takes nothing.
    Sentinel,
    /// A Cluster of three masters. One has a replica, the others keep their data.
    Cluster,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single => "single",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        })
    }
}

/// A running one.
pub(super) enum Backend {
    Single(Redis),
    Sentinel(Sentinels),
    Cluster(Cluster),
}

/// Longer than a replica on the same machine needs to get what its master has.
const COPYING: Duration = Duration::from_millis(200);

/// The prefix of keys that has the app of all clients in it.
const KEY: &str = "p2p:*:peers:default";

impl Backend {
    pub(super) async fn start(kind: Kind) -> Result<Self> {
        Ok(match kind {
            Kind::Single => Self::Single(Redis::start_durable().await?),
            Kind::Sentinel => Self::Sentinel(Sentinels::start(2).await?),
            Kind::Cluster => Self::Cluster(Cluster::start(true).await?),
        })
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::Single(redis) => redis.url(),
            Self::Sentinel(sentinels) => sentinels.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    /// The one node that there is.
    pub(super) fn single(&mut self) -> Result<&mut Redis> {
        match self {
            Self::Single(redis) => Ok(redis),
            Self::Sentinel(_) | Self::Cluster(_) => anyhow::bail!("there are several nodes"),
        }
    }

    /// A command to every node that takes commands.
    pub(super) async fn ask_all(&self, command: &str) -> Result<()> {
        match self {
            Self::Single(redis) => _ = redis.ask(command).await?,
            Self::Sentinel(sentinels) => {
                let master = sentinels.master().await?;
                sentinels.ask_node(master, command).await?;
            }
            Self::Cluster(cluster) => {
                for node in cluster.nodes() {
                    // A replica that is paused takes nothing from its master either.
                    if !node.ask("INFO replication").await?.contains("role:slave") {
                        node.ask(command).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits until somebody can take over from the master: another fault before that is two at once.
    async fn in_step(&self) -> Result<()> {
        match self {
            Self::Single(_) => Ok(()),
            Self::Sentinel(sentinels) => sentinels.until_in_step().await,
            Self::Cluster(cluster) => {
                cluster.until_well().await?;
                let master = cluster.replicated_master().await?;
                cluster.until_replica(twin(master)).await
            }
        }
    }

    /// Whether whoever may take over has everything that the master has.
    async fn is_copied(&self) -> Result<bool> {
        let said = match self {
            Self::Single(_) => return Ok(true),
            Self::Sentinel(sentinels) => sentinels.ask_nodes("INFO replication").await?,
            Self::Cluster(cluster) => {
                let nodes = cluster.nodes();
                let twins = [&nodes[Cluster::REPLICATED], &nodes[Cluster::REPLICA]];
                let asking = twins.map(|node| node.ask("INFO replication"));
                futures_util::future::try_join_all(asking).await?
            }
        };
        let offsets: HashSet<_> = said
            .iter()
            .flat_map(|said| said.lines())
            .filter(|line| line.starts_with("master_repl_offset:"))
            .collect();
        Ok(offsets.len() == 1)
    }

    /// Lets a master take nothing new until others have everything, unless it is to go abruptly.
    async fn copy_unless(&self, abruptly: bool) -> Result<()> {
        let mut copied = abruptly;
        while !copied {
            self.ask_all("CLIENT PAUSE 1000 WRITE").await?;
            sleep(COPYING).await;
            copied = self.is_copied().await?;
        }
        Ok(())
    }

    /// SIGKILL of a master that another node takes over from; back as its replica later. Redis
    /// answers before replicas have what it answers, so a master takes some of it with it when it
    /// dies: unless `abruptly`, it takes nothing new for a moment before.
    pub(super) async fn lose_master(&mut self, back_after: Duration, abruptly: bool) -> Result<()> {
        self.in_step().await?;
        self.copy_unless(abruptly).await?;
        match self {
            Self::Single(_) => anyhow::bail!("nobody can take over"),
            Self::Sentinel(sentinels) => {
                let master = sentinels.master().await?;
                sentinels.node(master).kill()?;
                sentinels.until_master_is_not(master).await?;
                sleep(back_after).await;
                sentinels.node(master).start_again().await
            }
            Self::Cluster(cluster) => {
                let master = cluster.replicated_master().await?;
                cluster.node(master).kill()?;
                cluster.until_master(twin(master)).await?;
                sleep(back_after).await;
                cluster.node(master).start_again().await
            }
        }
    }

    /// SIGSTOP of such a master, until another node has taken over and a little longer. What it had not
    /// copied is lost as with one that dies.
    pub(super) async fn freeze_master(&mut self, longer: Duration, abruptly: bool) -> Result<()> {
        self.in_step().await?;
        self.copy_unless(abruptly).await?;
        match self {
            Self::Single(_) => anyhow::bail!("nobody can take over"),
            Self::Sentinel(sentinels) => {
                let master = sentinels.master().await?;
                sentinels.node(master).pause()?;
                let switched = sentinels.until_master_is_not(master).await;
                sleep(longer).await;
                sentinels.node(master).go_on()?;
                switched
            }
            Self::Cluster(cluster) => {
                let master = cluster.replicated_master().await?;
                cluster.node(master).pause()?;
                let switched = cluster.until_master(twin(master)).await;
                sleep(longer).await;
                cluster.node(master).go_on()?;
                switched
            }
        }
    }

    /// Another node takes over, as an operator asks for before an upgrade.
    pub(super) async fn fail_over(&mut self) -> Result<()> {
        self.in_step().await?;
        match self {
            Self::Single(_) => anyhow::bail!("nobody can take over"),
            Self::Sentinel(sentinels) => {
                let master = sentinels.master().await?;
                sentinels.fail_over().await?;
                sentinels.until_master_is_not(master).await
            }
            Self::Cluster(cluster) => {
                let next = twin(cluster.replicated_master().await?);
                cluster.fail_over_to(next).await
            }
        }
    }

    /// SIGKILL of a master without a replica, which starts again with its data.
    pub(super) async fn restart_node(&mut self, back_after: Duration) -> Result<()> {
        let Self::Cluster(cluster) = self else { anyhow::bail!("there is one part of slots") };
        let node = cluster.node(LONELY);
        node.kill()?;
        sleep(back_after).await;
        node.start_again().await
    }

    /// The slot of the clients' app goes to the next master with everything in it.
    pub(super) async fn move_slot(&mut self, within: Duration) -> Result<()> {
        self.in_step().await?;
        let Self::Cluster(cluster) = self else { anyhow::bail!("there are no slots") };
        let (slot, from) = cluster.home_of(KEY).await.context("the app's keys")?;
        let replicated = cluster.replicated_master().await?;
        // Back and forth between the one with a replica and one without.
        let to = if from == replicated { LONELY } else { replicated };
        cluster.begin_to_move(slot, from, to).await?;
        sleep(within).await;
        cluster.end_to_move(slot, from, to).await
    }
}

/// A master of a Cluster that has no replica.
const LONELY: usize = 0;

/// The other one of the two that have the same slots.
fn twin(of: usize) -> usize {
    Cluster::REPLICATED + Cluster::REPLICA - of
}
