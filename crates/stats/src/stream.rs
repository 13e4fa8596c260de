//! The way of events from many processes to one database: a Redis stream.
//!
//! Whoever has events appends them ([`crate::Recorder::to_stream`]). Any process that has the
//! database writes them from there ([`Writer`]), in one consumer group: an event is given to one of
//! them, and is taken out of the stream once it is stored. Where a writer dies in between, another
//! one takes its events over. So each is delivered at least once, and storing is idempotent.
//!
//! The stream holds no more than its cap: what comes then is refused and counted, by the process
//! that appends and in Redis for all of them ([`Stream::state`]). An event that the database refuses
//! for what it is goes to a second stream, the dead letters, and is not in the others' way.

mod reply;
mod writer;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_redis::{Connection, Patience, Redis};
use p2p_telemetry::metrics::{STREAM_DEAD_LETTERS, STREAM_ENTRIES};
use redis::{RedisError, Script};
use tokio::sync::Mutex;

use self::reply::Entry;
pub use self::writer::{Writer, WriterSettings};
use crate::error::StatsError;
use crate::event::Event;

/// How long a command may take; those that wait for events take their time on top.
const DEADLINE: Duration = Duration::from_secs(5);
/// Dead letters that are kept, the newest: somebody looks at them, or nobody does.
const DEAD_LETTERS: usize = 10_000;
/// The group of all writers.
const GROUP: &str = "writers";

/// Appends what there is room for and says how much that was. What has no room is counted. Where a
/// stream is asked for that somebody reads and there is none, that is -1.
const APPEND: &str = "\
    if ARGV[2] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return -1 end \
    local room = tonumber(ARGV[1]) - redis.call('XLEN', KEYS[1]) \
    local taken = 0 \
    for i = 3, #ARGV do \
        if taken >= room then break end \
        redis.call('XADD', KEYS[1], '*', 'event', ARGV[i]) \
        taken = taken + 1 \
    end \
    local refused = #ARGV - 2 - taken \
    if refused > 0 then redis.call('INCRBY', KEYS[2], refused) end \
    return taken";

/// Moves an entry to the dead letters, unless another writer did. Says whether it did.
const BURY: &str = "\
    redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) \
    if redis.call('XDEL', KEYS[1], ARGV[2]) == 0 then return 0 end \
    redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[3], '*', 'event', ARGV[4], 'why', ARGV[5]) \
    redis.call('INCR', KEYS[3]) \
    return 1";

/// Which stream.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// What its keys begin with. `p2p:stats`.
    pub prefix: String,
    /// The most events that wait in it. 100,000, which are some 100 MB of Redis' memory.
    pub cap: usize,
    /// Whether events are appended only where a [`Writer`] has made the stream. A process that does
    /// not know whether there is a database does not fill Redis with what nobody reads.
    pub only_if_read: bool,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self { prefix: "p2p:stats".to_owned(), cap: 100_000, only_if_read: false }
    }
}

/// A Redis stream of events. It connects when it is first used, and again whenever it has to.
pub struct Stream {
    redis: Redis,
    settings: StreamSettings,
    keys: Keys,
    connection: Mutex<Option<Connection>>,
    append: Script,
    bury: Script,
}

/// One hash slot for all of them: scripts touch several.
struct Keys {
    events: String,
    dead: String,
    refused: String,
    buried: String,
}

/// What became of events that were to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// They are in the stream, but for so many that had no room.
    Refused(u64),
    /// None is: no writer has made the stream.
    Unread,
}

/// How a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// Events that are not known to be stored.
    pub waiting: u64,
    /// How long the oldest of them has waited, by this machine's clock against that of Redis.
    pub behind: Duration,
    /// Events that had no room, ever.
    pub refused: u64,
    /// Events that the database refused for what they are, ever.
    pub buried: u64,
}

impl Stream {
    /// The stream at a Redis: one of [`p2p_redis::FORMS`].
    ///
    /// # Errors
    /// A URL that is none, or names a file that is none.
    pub fn new(url: &str, settings: StreamSettings) -> Result<Arc<Self>, StatsError> {
        let redis = Redis::open(url).map_err(StatsError::BadStreamUrl)?;
        let key = |name: &str| format!("{{{}}}:{name}", settings.prefix);
        let keys = Keys {
            events: key("events"),
            dead: key("dead"),
            refused: key("refused"),
            buried: key("buried"),
        };
        Ok(Arc::new(Self {
            redis,
            settings,
            keys,
            connection: Mutex::default(),
            append: Script::new(APPEND),
            bury: Script::new(BURY),
        }))
    }

    /// Appends events and says how many of them had no room. Where it fails, some may have been
    /// appended.
    pub async fn append(&self, events: &[Event]) -> Result<Appended, StatsError> {
        let mut call = self.append.key(&self.keys.events);
        call.key(&self.keys.refused).arg(self.settings.cap).arg(self.settings.only_if_read);
        for event in events {
            call.arg(event.to_text());
        }
        let mut connection = self.connection().await?;
        let taken = call.invoke_async::<i64>(&mut connection).await;
        Ok(match u64::try_from(self.checked(taken).await?) {
            Ok(taken) => Appended::Refused((events.len() as u64).saturating_sub(taken)),
            Err(_) => Appended::Unread,
        })
    }

    /// What there is in it.
    pub async fn state(&self) -> Result<StreamState, StatsError> {
        let mut connection = self.connection().await?;
        let asked = redis::pipe()
            .cmd("XLEN")
            .arg(&self.keys.events)
            .get(&self.keys.refused)
            .get(&self.keys.buried)
            .cmd("XRANGE")
            .arg(&self.keys.events)
            .arg("-")
            .arg("+")
            .arg("COUNT")
            .arg(1)
            .query_async::<(u64, Option<u64>, Option<u64>, Vec<Entry>)>(&mut connection)
            .await;
        let (waiting, refused, buried, first) = self.checked(asked).await?;
        STREAM_ENTRIES.get().set(waiting as f64);
        Ok(StreamState {
            waiting,
            behind: first.first().map(|entry| age_of(&entry.0)).unwrap_or_default(),
            refused: refused.unwrap_or(0),
            buried: buried.unwrap_or(0),
        })
    }

    /// Takes entries out that are stored.
    async fn settle(&self, ids: &[&str]) -> Result<(), StatsError> {
        let mut connection = self.connection().await?;
        let done = redis::pipe()
            .cmd("XACK")
            .arg(&self.keys.events)
            .arg(GROUP)
            .arg(ids)
            .ignore()
            .cmd("XDEL")
            .arg(&self.keys.events)
            .arg(ids)
            .ignore()
            .query_async::<()>(&mut connection)
            .await;
        self.checked(done).await
    }

    /// Moves an entry to the dead letters.
    async fn bury(&self, id: &str, event: &[u8], why: &str) -> Result<bool, StatsError> {
        let Keys { events, dead, buried, .. } = &self.keys;
        let mut call = self.bury.key(events);
        call.key(dead).key(buried).arg(GROUP).arg(id).arg(DEAD_LETTERS).arg(event).arg(why);
        let mut connection = self.connection().await?;
        let done = call.invoke_async::<bool>(&mut connection).await;
        let done = self.checked(done).await?;
        if done {
            STREAM_DEAD_LETTERS.get().increment(1);
        }
        Ok(done)
    }

    async fn connection(&self) -> Result<Connection, StatsError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let new = self.connect(DEADLINE).await?;
        *connection = Some(new.clone());
        Ok(new)
    }

    /// A connection whose answers may take this long.
    async fn connect(&self, deadline: Duration) -> Result<Connection, StatsError> {
        let patience = Patience { connect: DEADLINE, answer: deadline };
        self.redis.connect(patience).await.map_err(StatsError::StreamAway)
    }

    /// The answer; a connection that failed is not used again.
    async fn checked<T>(&self, answer: Result<T, RedisError>) -> Result<T, StatsError> {
        // Whatever it refuses, another node may be the one to ask by now.
        if answer.is_err() {
            *self.connection.lock().await = None;
        }
        answer.map_err(StatsError::StreamAway)
    }
}

/// How long ago an entry came: its id begins with milliseconds since 1970-01-01 UTC.
fn age_of(id: &str) -> Duration {
    let since = id.split('-').next().and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
}

impl std::fmt::Debug for Stream {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("settings", &self.settings).finish_non_exhaustive()
    }
}
