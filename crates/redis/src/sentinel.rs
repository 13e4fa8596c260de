//! Sentinels, and who they say is master.

use std::collections::HashMap;
use std::time::Duration;

use ::redis::RedisError;
use ::redis::aio::MultiplexedConnection;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::debug;

use crate::Patience;
use crate::address::{Address, Host};
use crate::node::{Nodes, at};

/// Those of one master. Their connections are kept: they are asked often.
pub(crate) struct Sentinels {
    nodes: Nodes,
    service: String,
    open: Mutex<HashMap<Host, MultiplexedConnection>>,
}

impl Sentinels {
    /// Those that an address names.
    pub(crate) fn of(address: &Address) -> Option<Self> {
        let (nodes, service) = Nodes::sentinels(address)?;
        Some(Self { nodes, service, open: Mutex::default() })
    }

    /// The master. One that most Sentinels agree on is it at once; otherwise the one that most of
    /// those name that answer in half of the time, for one alone may be cut off from the others.
    pub(crate) async fn master(&self, within: Duration) -> Result<Host, RedisError> {
        let all = self.nodes.hosts().len();
        let mut votes: HashMap<Host, usize> = HashMap::new();
        let mut trouble = None;
        let mut asking: FuturesUnordered<_> =
            self.nodes.hosts().iter().map(|host| self.ask(host, within / 2)).collect();
        while let Some(answer) = asking.next().await {
            match answer {
                Ok(master) => {
                    let count = votes.entry(master.clone()).or_default();
                    *count += 1;
                    if *count * 2 > all {
                        return Ok(master);
                    }
                }
                Err(error) => {
                    debug!(%error, "a Sentinel does not name a master");
                    trouble = Some(error);
                }
            }
        }
        let most = votes.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(master, _)| master).ok_or_else(|| {
            let why = trouble.map(|error| error.to_string()).unwrap_or_default();
            let why = format!("no Sentinel names the master of {}: {why}", self.service);
            std::io::Error::new(std::io::ErrorKind::NotConnected, why).into()
        })
    }

    async fn ask(&self, host: &Host, within: Duration) -> Result<Host, RedisError> {
        match timeout(within, self.ask_over_open(host, within)).await {
            Ok(Ok(master)) => Ok(master),
            Ok(Err(error)) => {
                self.open.lock().await.remove(host);
                Err(error)
            }
            Err(_) => {
                self.open.lock().await.remove(host);
                Err(at(host, &crate::too_late(within)))
            }
        }
    }

    async fn ask_over_open(&self, host: &Host, within: Duration) -> Result<Host, RedisError> {
        let open = self.open.lock().await.get(host).cloned();
        let mut open = match open {
            Some(open) => open,
            None => {
                let patience = Patience { connect: within, answer: within };
                let open = self.nodes.reach(host, patience).await?;
                self.open.lock().await.insert(host.clone(), open.clone());
                open
            }
        };
        let mut ask = ::redis::cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.service);
        let named: Option<(String, u16)> =
            ask.query_async(&mut open).await.map_err(|error| at(host, &error))?;
        let (master, port) = named.ok_or_else(|| {
            let why = format!("{host} knows no master of that name");
            RedisError::from(std::io::Error::other(why))
        })?;
        Ok(Host::Tcp(master, port))
    }
}
