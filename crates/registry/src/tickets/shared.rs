//! Tickets that are good at every instance.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use p2p_redis::{Connection, Redis};
use redis::Script;
use serde::{Deserialize, Serialize};

use super::{Kept, MAX_TICKETS_OF_ONE, TicketBox, hash};
use crate::error::RegistryError;
use crate::redis::RedisSettings;
use crate::registry::Answer;
use crate::relays::{invoke, unavailable};

/// A place among those of the holder, by the clock of Redis. Another key than the ticket's, and in a
/// Cluster perhaps another node's: a ticket is looked for without its holder.
const ENTER: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1";

const LEAVE: &str = "return redis.call('ZREM', KEYS[1], ARGV[1])";

const PUT: &str = "return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])";

const TAKE: &str = "return redis.call('GETDEL', KEYS[1])";

/// Tickets in Redis, from where every instance takes them.
pub struct RedisTickets {
    settings: RedisSettings,
    redis: Redis,
    connection: Mutex<Option<Connection>>,
    scripts: [Script; 4],
}

/// What is kept of a ticket.
#[derive(Serialize, Deserialize)]
struct Held {
    /// The hash of whom it belongs to.
    of: String,
    what: String,
}

impl RedisTickets {
    /// Tickets in this Redis. It is connected to when there is the first one.
    ///
    /// # Errors
    /// The address is not one.
    pub fn new(settings: RedisSettings) -> Result<Self, RegistryError> {
        let redis = Redis::open(&settings.url).map_err(|error| unavailable(&error))?;
        let scripts = [ENTER, LEAVE, PUT, TAKE].map(Script::new);
        Ok(Self { settings, redis, connection: Mutex::new(None), scripts })
    }

    async fn ask<T: redis::FromRedisValue>(
        &self,
        call: &redis::ScriptInvocation<'_>,
    ) -> Result<T, RegistryError> {
        let mut connection = self.lock().clone();
        let answer = invoke(&self.redis, &mut connection, &self.settings, call).await;
        *self.lock() = connection;
        answer
    }

    async fn keep_there(
        &self,
        ticket: &str,
        holder: &str,
        what: String,
        ttl: Duration,
    ) -> Result<Kept, RegistryError> {
        let [enter, _, put, _] = &self.scripts;
        let (ticket, of, ttl) = (hash(ticket), hash(holder), ttl.as_millis() as u64);
        let mut call = enter.prepare_invoke();
        call.key(self.holder_key(&of)).arg(&ticket).arg(ttl).arg(MAX_TICKETS_OF_ONE);
        if self.ask::<u32>(&call).await? == 0 {
            return Ok(Kept::HolderFull);
        }
        let held = serde_json::to_string(&Held { of, what }).expect("its keys are strings");
        let mut call = put.prepare_invoke();
        call.key(self.ticket_key(&ticket)).arg(held).arg(ttl);
        self.ask::<String>(&call).await?;
        Ok(Kept::Yes)
    }

    async fn take_there(&self, ticket: &str) -> Result<Option<String>, RegistryError> {
        let [_, leave, _, take] = &self.scripts;
        let ticket = hash(ticket);
        let mut call = take.prepare_invoke();
        call.key(self.ticket_key(&ticket));
        let held: Option<String> = self.ask(&call).await?;
        let Some(Held { of, what }) = held.and_then(|held| serde_json::from_str(&held).ok()) else {
            return Ok(None);
        };
        // The ticket is taken, whatever becomes of its place: that ends by itself.
        let mut call = leave.prepare_invoke();
        call.key(self.holder_key(&of)).arg(&ticket);
        let _ = self.ask::<u32>(&call).await;
        Ok(Some(what))
    }

    fn ticket_key(&self, hash: &str) -> String {
        format!("{}:ticket:{hash}", self.settings.prefix)
    }

    fn holder_key(&self, hash: &str) -> String {
        format!("{}:tickets-of:{hash}", self.settings.prefix)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().expect("no code panics while it holds the connection's lock")
    }
}

impl TicketBox for RedisTickets {
    fn keep<'a>(
        &'a self,
        ticket: &'a str,
        holder: &'a str,
        what: String,
        ttl: Duration,
    ) -> Answer<'a, Kept> {
        Box::pin(self.keep_there(ticket, holder, what, ttl))
    }

    fn take<'a>(&'a self, ticket: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(self.take_there(ticket))
    }
}

impl std::fmt::Debug for RedisTickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisTickets").field("settings", &self.settings).finish_non_exhaustive()
    }
}
