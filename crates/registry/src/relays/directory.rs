//! The list of relays that an instance has at hand.

use std::sync::Arc;
use std::time::Duration;

use p2p_redis::Redis;
use redis::Script;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{debug, info};

use super::lease::{invoke, keys, unavailable};
use super::{MAX_RELAYS, RelayRecord};
use crate::error::RegistryError;
use crate::redis::RedisSettings;

/// Between two looks at the list: with the lease, how long a dead relay is still handed out.
const EVERY: Duration = Duration::from_secs(1);

const LIST: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
  redis.call('HDEL', KEYS[1], dead)
  redis.call('ZREM', KEYS[2], dead)
end
return redis.call('HVALS', KEYS[1])";

/// The relays that are there. While Redis is away, those that were there last (invariant I6).
pub struct RelayDirectory {
    relays: watch::Receiver<Arc<[RelayRecord]>>,
    task: Option<JoinHandle<()>>,
}

impl RelayDirectory {
    /// Follows the list in Redis until it is dropped. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The address is not one.
    pub fn start(settings: RedisSettings) -> Result<Arc<Self>, RegistryError> {
        let redis = Redis::open(&settings.url).map_err(|error| unavailable(&error))?;
        let (found, relays) = watch::channel(Arc::from([]));
        let task = tokio::spawn(follow(settings, redis, found));
        Ok(Arc::new(Self { relays, task: Some(task) }))
    }

    /// A list that stays as it is.
    pub fn of(relays: Vec<RelayRecord>) -> Arc<Self> {
        Arc::new(Self { relays: watch::channel(Arc::from(relays)).1, task: None })
    }

    /// The relays of this moment, draining ones among them.
    pub fn relays(&self) -> Arc<[RelayRecord]> {
        self.relays.borrow().clone()
    }
}

impl std::fmt::Debug for RelayDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RelayDirectory({} relays)", self.relays().len())
    }
}

impl Drop for RelayDirectory {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn follow(settings: RedisSettings, redis: Redis, found: watch::Sender<Arc<[RelayRecord]>>) {
    let (list, mut connection) = (Script::new(LIST), None);
    let [records, until] = keys(&settings.prefix);
    loop {
        let mut call = list.prepare_invoke();
        call.key(&records).key(&until);
        match invoke::<Vec<String>>(&redis, &mut connection, &settings, &call).await {
            Ok(written) => {
                let relays = read(&written);
                found.send_if_modified(|known| {
                    let news = **known != *relays;
                    if known.len() != relays.len() {
                        info!(relays = relays.len(), "the list of relays has changed");
                    }
                    *known = relays;
                    news
                });
            }
            Err(error) => debug!(%error, "the list of relays cannot be read"),
        }
        sleep(EVERY).await;
    }
}

/// A relay of another version may say what cannot be read here; the others count nevertheless.
fn read(written: &[String]) -> Arc<[RelayRecord]> {
    let records = written.iter().take(MAX_RELAYS).filter_map(|text| {
        serde_json::from_str::<RelayRecord>(text)
            .inspect_err(|error| debug!(%error, "a relay of another version"))
            .ok()
    });
    let mut relays: Vec<RelayRecord> = records.collect();
    relays.sort_by(|one, other| one.id.cmp(&other.id));
    relays.into()
}
