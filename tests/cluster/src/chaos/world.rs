//! What the faults happen to: a Redis that keeps its data, and instances, each behind a proxy where
//! Redis is one node.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::time::{sleep, timeout};

use super::backend::{Backend, Kind};
use crate::coordinator::{self, Coordinator, metric};
use crate::proxy::Proxy;

/// Longer than healing takes; only what does not heal reaches it.
const HEALING: Duration = Duration::from_secs(60);

/// A Redis and the instances that share it.
pub(super) struct World {
    pub(super) redis: Backend,
    pub(super) slots: Vec<Slot>,
    binary: PathBuf,
    logs: Option<PathBuf>,
    started: usize,
}

/// One place for an instance. Its proxy stays when the instance is another one. Sentinels and
/// Clusters name their nodes themselves, past any proxy.
pub(super) struct Slot {
    pub(super) proxy: Option<Proxy>,
    pub(super) instance: Coordinator,
}

/// Where clients may connect; changes as instances come and go.
#[derive(Debug, Default)]
pub(super) struct Addresses(Mutex<Vec<String>>);

impl Addresses {
    pub(super) fn any(&self, random: &mut StdRng) -> Option<String> {
        self.0.lock().expect("a list is read without panic").choose(random).cloned()
    }

    /// Any but this one, where there is another.
    pub(super) fn other(&self, than: &str, random: &mut StdRng) -> Option<String> {
        let all = self.0.lock().expect("a list is read without panic");
        let others: Vec<&String> = all.iter().filter(|address| *address != than).collect();
        others.choose(random).map(|address| (*address).clone())
    }
}

impl World {
    pub(super) async fn start(kind: Kind, instances: usize, logs: Option<PathBuf>) -> Result<Self> {
        let redis = Backend::start(kind).await?;
        let binary = coordinator::binary()?;
        let mut world = Self { redis, slots: Vec::new(), binary, logs, started: 0 };
        for _ in 0..instances {
            let proxy = match &world.redis {
                Backend::Single(redis) => Some(Proxy::start(&redis.socket()).await?),
                Backend::Sentinel(_) | Backend::Cluster(_) => None,
            };
            let url = proxy.as_ref().map_or_else(|| world.redis.url(), Proxy::url);
            let instance = world.instance(&url).await?;
            world.slots.push(Slot { proxy, instance });
        }
        Ok(world)
    }

    /// The address of Redis for whoever is in this place.
    pub(super) fn url(&self, slot: usize) -> String {
        self.slots[slot].proxy.as_ref().map_or_else(|| self.redis.url(), Proxy::url)
    }

    /// The proxy between an instance and Redis.
    pub(super) fn proxy(&self, slot: usize) -> Result<&Proxy> {
        self.slots[slot].proxy.as_ref().context("there is no proxy")
    }

    /// One more instance that finds Redis at this address.
    pub(super) async fn instance(&mut self, url: &str) -> Result<Coordinator> {
        self.started += 1;
        let log = self.logs.as_ref().map(|at| at.join(format!("instance-{}.log", self.started)));
        Coordinator::start(&self.binary, url, &[], log).await
    }

    /// Tells clients where they may connect.
    pub(super) fn publish(&self, addresses: &Addresses) {
        let all = self.slots.iter().map(|slot| slot.instance.address().to_owned()).collect();
        *addresses.0.lock().expect("a list is written without panic") = all;
    }

    /// Resolves when every instance says that all is well.
    pub(super) async fn healed(&self) -> Result<()> {
        for slot in &self.slots {
            let asking = async {
                while !slot
                    .instance
                    .get("/readyz")
                    .await
                    .is_ok_and(|(status, body)| status == 200 && body.contains("registry: ok"))
                {
                    sleep(Duration::from_millis(50)).await;
                }
            };
            timeout(HEALING, asking).await.context("an instance does not heal")?;
        }
        Ok(())
    }

    /// The sum of a metric over the instances.
    pub(super) async fn sum(&self, name: &str) -> Result<f64> {
        let mut sum = 0.0;
        for slot in &self.slots {
            sum += metric(&slot.instance.get("/metrics").await?.1, name, &[]);
        }
        Ok(sum)
    }
}
