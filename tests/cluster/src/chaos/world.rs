//! What the faults happen to: a Redis that keeps its data, and instances behind a proxy each.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::time::{sleep, timeout};

use crate::Redis;
use crate::coordinator::{self, Coordinator, metric};
use crate::proxy::Proxy;

/// Longer than healing takes; only what does not heal reaches it.
const HEALING: Duration = Duration::from_secs(60);

/// A Redis and the instances that share it.
pub(super) struct World {
    pub(super) redis: Redis,
    pub(super) slots: Vec<Slot>,
    binary: PathBuf,
    logs: Option<PathBuf>,
    started: usize,
}

/// One place for an instance. Its proxy stays when the instance is another one.
pub(super) struct Slot {
    pub(super) proxy: Proxy,
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
    pub(super) async fn start(instances: usize, logs: Option<PathBuf>) -> Result<Self> {
        let redis = Redis::start_durable().await?;
        let binary = coordinator::binary()?;
        let mut world = Self { redis, slots: Vec::new(), binary, logs, started: 0 };
        for _ in 0..instances {
            let proxy = Proxy::start(&world.redis.socket()).await?;
            let instance = world.instance(&proxy.url()).await?;
            world.slots.push(Slot { proxy, instance });
        }
        Ok(world)
    }

    /// One more instance over the proxy at this address.
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
