//! Connections to a Redis 7 or Valkey, whichever way it is run: one node, a master behind Sentinel,
//! or a Cluster; over TCP, TLS or a Unix socket.
//!
//! [`Redis`] is where one is, written as a URL. [`Connection`] takes commands, and [`Subscription`]
//! hears channels. Neither connects again by itself: who uses them has to know that something was
//! missed, so both end, and [`Redis::connect`] finds out anew who is master of what.
#![warn(missing_docs)]

mod address;
mod cluster;
mod connection;
mod node;
mod query;
mod sentinel;
mod slot;
mod subscription;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use ::redis::RedisError;
use futures_util::future::Either;
use tokio::time::timeout;

use self::address::Address;
pub use self::address::{AddressError, FORMS, Kind};
pub use self::connection::Connection;
use self::node::Nodes;
pub use self::query::with_parameter;
use self::sentinel::{Known, Sentinels};
pub use self::slot::{SLOTS, slot_of};
pub use self::subscription::{Heard, Subscription};

/// A Redis, as its URL says. Nothing is connected.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    nodes: Nodes,
    sentinels: Option<Sentinels>,
    kind: Kind,
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until a connection stands, whoever has to be asked for the way before.
    pub connect: Duration,
    /// For the answer to one command.
    pub answer: Duration,
}

impl Redis {
    /// Reads a URL; [`FORMS`] says which there are. Files of certificates are read as well, to find
    /// out now what is wrong with them, and again at each connection, because they are renewed.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right. Never with a password in it.
    pub fn open(url: &str) -> Result<Self, AddressError> {
        let address = Address::parse(url)?;
        if let Some(files) = &address.tls {
            files.read()?;
        }
        let kind = address.kind.clone();
        let sentinels = Sentinels::of(&address);
        let shared = Shared { nodes: Nodes::of(address), sentinels, kind };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// How it is run.
    pub fn kind(&self) -> &Kind {
        &self.shared.kind
    }

    /// Connects to it: to its master, or to all of them.
    ///
    /// # Errors
    /// Nobody answers in time, nobody is master, or it refuses.
    pub async fn connect(&self, patience: Patience) -> Result<Connection, RedisError> {
        let connecting = async {
            let Shared { nodes, sentinels, kind } = &*self.shared;
            match (kind, sentinels) {
                (Kind::Cluster, _) => cluster::connect(nodes, patience).await,
                (_, Some(sentinels)) => match sentinels.known(patience.connect).await? {
                    Known::Master(master) => node::connect_to_master(nodes, master, patience).await,
                    Known::UnderWay => {
                        let why = "Sentinel is replacing the master";
                        Err(std::io::Error::new(std::io::ErrorKind::NotConnected, why).into())
                    }
                },
                (_, None) => node::connect(nodes, nodes.first().clone(), patience).await,
            }
        };
        match timeout(patience.connect, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(too_late(patience.connect)),
        }
    }

    /// Hears these channels at the same nodes. What was published before this returns is not heard.
    /// In a Cluster they are sharded channels, each heard at the master of its slot.
    ///
    /// # Errors
    /// As [`Redis::connect`].
    pub async fn subscribe(
        &self,
        connection: &Connection,
        channels: &[String],
        patience: Patience,
    ) -> Result<Subscription, RedisError> {
        let nodes = &self.shared.nodes;
        let subscribing = async {
            match connection.node() {
                Some(node) => subscription::of_node(nodes, node, channels).await,
                None => subscription::of_cluster(nodes, channels, patience).await,
            }
        };
        match timeout(patience.connect, subscribing).await {
            Ok(subscribed) => subscribed,
            Err(_) => Err(too_late(patience.connect)),
        }
    }

    /// Whether the node of this connection is master, as far as most of the Sentinels that answer
    /// know. Without Sentinel it is: a Cluster says so with each answer.
    pub async fn is_still_master(&self, connection: &Connection, within: Duration) -> bool {
        match (&self.shared.sentinels, connection.node()) {
            (Some(sentinels), Some(node)) => match sentinels.known(within).await {
                Ok(known) => known == Known::Master(node.clone()),
                // Nobody knows better.
                Err(_) => true,
            },
            _ => true,
        }
    }

    /// Hears the Sentinels, all that can be reached within this time. What this returns resolves when
    /// one begins to replace the master: what is written from then on may be written to one that has
    /// a successor already. A master is used after this, so that no failover is missed.
    ///
    /// # Errors
    /// One has begun since this connection was made.
    pub async fn watch_master(
        &self,
        connection: &Connection,
        within: Duration,
    ) -> Result<impl Future<Output = ()>, RedisError> {
        Ok(match (&self.shared.sentinels, connection.node()) {
            (Some(sentinels), Some(master)) => Either::Left(sentinels.watch(master, within).await?),
            _ => Either::Right(std::future::pending()),
        })
    }
}

/// The URL may hold passwords.
impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redis({}, {})", self.shared.kind, self.shared.nodes)
    }
}

fn too_late(waited: Duration) -> RedisError {
    let why = format!("no answer within {} ms", waited.as_millis());
    std::io::Error::new(std::io::ErrorKind::TimedOut, why).into()
}
