//! A relay's entry in Redis, which ends by itself.

use std::time::Duration;

use p2p_redis::{Connection, Patience, Redis};
use redis::Script;
use tokio::time::timeout;

use super::{MAX_RELAYS, RelayRecord};
use crate::error::RegistryError;
use crate::redis::RedisSettings;

/// How long a relay is known that says nothing more.
const LEASE: Duration = Duration::from_secs(4);

/// Where all relays are written down: what they say, and until when it holds. The tag keeps both on
/// one node of a cluster.
pub(super) fn keys(prefix: &str) -> [String; 2] {
    [format!("{prefix}:{{relays}}:records"), format!("{prefix}:{{relays}}:until")]
}

/// `until` is by Redis' own clock, the only one that all have in common.
const RENEW: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
    redis.call('HDEL', KEYS[1], dead)
    redis.call('ZREM', KEYS[2], dead)
  end
  if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 'full' end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[3]), ARGV[1])
return 'ok'";

const WITHDRAW: &str = "
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 'ok'";

/// What a relay keeps in Redis while it runs.
pub struct RelayLease {
    settings: RedisSettings,
    redis: Redis,
    connection: Option<Connection>,
    renew: Script,
    withdraw: Script,
}

impl RelayLease {
    /// How often to renew.
    pub const EVERY: Duration = Duration::from_secs(1);

    /// Nothing is sent yet.
    ///
    /// # Errors
    /// The address is not one.
    pub fn new(settings: RedisSettings) -> Result<Self, RegistryError> {
        let redis = Redis::open(&settings.url).map_err(|error| unavailable(&error))?;
        Ok(Self {
            settings,
            redis,
            connection: None,
            renew: Script::new(RENEW),
            withdraw: Script::new(WITHDRAW),
        })
    }

    /// Says how the relay is, for the next four seconds.
    ///
    /// # Errors
    /// [`RegistryError::Full`] where there are [`MAX_RELAYS`] others,
    /// [`RegistryError::Unavailable`] where Redis does not answer; the next call connects again.
    pub async fn renew(&mut self, record: &RelayRecord) -> Result<(), RegistryError> {
        let written = serde_json::to_string(record).expect("a record has string keys");
        let mut call = self.renew.prepare_invoke();
        let [records, until] = keys(&self.settings.prefix);
        call.key(records).key(until).arg(&record.id).arg(written);
        call.arg(LEASE.as_millis() as u64).arg(MAX_RELAYS);
        let said: String = invoke(&self.redis, &mut self.connection, &self.settings, &call).await?;
        match said.as_str() {
            "full" => Err(RegistryError::Full(MAX_RELAYS)),
            _ => Ok(()),
        }
    }

    /// The relay ends: nobody is to be sent to it from here on.
    ///
    /// # Errors
    /// Redis does not answer. The lease ends by itself then.
    pub async fn withdraw(&mut self, id: &str) -> Result<(), RegistryError> {
        let mut call = self.withdraw.prepare_invoke();
        let [records, until] = keys(&self.settings.prefix);
        call.key(records).key(until).arg(id);
        let withdrawn: Result<String, _> =
            invoke(&self.redis, &mut self.connection, &self.settings, &call).await;
        withdrawn.map(drop)
    }
}

/// Runs a script over a connection that is made where there is none, and forgotten where it fails.
pub(crate) async fn invoke<T>(
    redis: &Redis,
    connection: &mut Option<Connection>,
    settings: &RedisSettings,
    call: &redis::ScriptInvocation<'_>,
) -> Result<T, RegistryError>
where
    T: redis::FromRedisValue,
{
    let asked = async {
        let mut open = match connection.take() {
            Some(open) => open,
            None => {
                let patience = Patience { connect: settings.deadline, answer: settings.deadline };
                redis.connect(patience).await?
            }
        };
        let answer = call.invoke_async(&mut open).await;
        if answer.is_ok() {
            *connection = Some(open);
        }
        answer
    };
    match timeout(settings.deadline, asked).await {
        Ok(answer) => answer.map_err(|error| unavailable(&error)),
        Err(_) => {
            let millis = settings.deadline.as_millis();
            Err(RegistryError::Unavailable(format!("no answer within {millis} ms")))
        }
    }
}

pub(crate) fn unavailable(error: &impl std::fmt::Display) -> RegistryError {
    RegistryError::Unavailable(error.to_string())
}
