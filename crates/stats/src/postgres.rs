//! The back end that several instances share: PostgreSQL 15 or newer.
//!
//! Attempts are partitioned by the day of their start; [`maintain`](PostgresStore::maintain) adds
//! the days ahead, drops those past the retention, and rolls settled hours and days up, so that
//! questions over millions of attempts read thousands of rows. Answers count every attempt that is
//! written, rolled up or not. Times over 255 ms that come from rollups are rounded down by less
//! than 1 % (by pair of NAT types over 63 ms by less than 3.2 %).
//!
//! The schema is brought up to date by [`migrate`], never by a store that is opened: with several
//! instances an operator says when. A store refuses to open on a schema that is older or newer.

mod maintenance;
mod partitions;
mod read;
mod rollups;
mod schema;
mod spans;
mod usage;
mod write;

use std::collections::BTreeSet;
use std::future::Future;
use std::str::FromStr;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use p2p_wire::AttemptId;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Pool, Postgres};
use tokio::task::JoinHandle;

pub use self::maintenance::Maintained;
use self::partitions::Table;
pub use self::schema::{Applied, MIGRATIONS, migrate};
use crate::attempt::AttemptRecord;
use crate::error::StatsError;
use crate::query::{Cursor, Filter, MethodCell, NatCell, Page, Summary};
use crate::store::{Store, StoreFuture};
use crate::usage::{RelayRecord, SessionRecord, Usage};

/// How a question of several statements begins: all of them see the same.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

const ANSWER: &str = "SELECT 1";

/// Every statement that the store asks, for tests that prepare them.
#[doc(hidden)]
pub fn statements() -> Vec<&'static str> {
    [
        partitions::statements(),
        read::statements(),
        rollups::statements(),
        schema::statements(),
        usage::statements(),
        write::statements(),
        vec![SNAPSHOT, ANSWER],
    ]
    .concat()
}

/// Connections of one instance that write: the recorder's, and the upkeep's.
const WRITERS: u32 = 2;
/// Those that answer questions. However slow these are, writing goes on.
const READERS: u32 = 4;
/// How long a call waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(3);
/// How long a call may take in all. A server that vanished from the network sends no error.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the server allows one session, so that a stuck one is in nobody's way: milliseconds for a
/// statement, for a lock, and for a transaction that does nothing.
const SERVER_LIMITS: [(&str, &str); 3] = [
    ("statement_timeout", "60000"),
    ("lock_timeout", "5000"),
    ("idle_in_transaction_session_timeout", "30000"),
];

/// The same for a question: nobody waits for its answer any longer.
const QUESTION_LIMIT: (&str, &str) = ("statement_timeout", "10000");

/// Statistics in PostgreSQL.
pub struct PostgresStore {
    inner: Arc<Inner>,
    upkeep: Mutex<Option<JoinHandle<()>>>,
}

/// What the store and its upkeep share.
struct Inner {
    /// For what writes.
    pool: Pool<Postgres>,
    /// For what answers.
    readers: Pool<Postgres>,
    /// Before which day nothing is left of rollups, as far as this instance saw to that.
    forgotten_before: AtomicI64,
    max_age: Option<Duration>,
    /// Days whose partitions are known to be there. One that another instance drops meanwhile does
    /// no harm: its rows go to the default partition.
    days: Mutex<BTreeSet<(Table, i64)>>,
}

impl PostgresStore {
    /// Opens the database at a URL such as `postgres://user:password@host:5432/p2p`. Attempts older
    /// than `max_age`, by this machine's clock and in whole days, are removed by
    /// [`PostgresStore::maintain`]; `None` keeps them for ever.
    ///
    /// # Errors
    /// A URL that is none, a server that does not answer, and a schema that is not the one of this
    /// version.
    pub async fn open(url: &str, max_age: Option<Duration>) -> Result<Self, StatsError> {
        let options = options(url)?.options(SERVER_LIMITS);
        let pool = |connections| {
            PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE)
        };
        let readers = pool(READERS).connect_lazy_with(options.clone().options([QUESTION_LIMIT]));
        let pool = match pool(WRITERS).connect_with(options.clone()).await {
            Err(sqlx::Error::PoolTimedOut) => return Err(at_connect(why_away(&options).await)),
            pool => pool.map_err(at_connect)?,
        };
        schema::check(&mut *pool.acquire().await?).await?;
        let forgotten_before = AtomicI64::new(i64::MIN);
        let inner = Inner { pool, readers, forgotten_before, max_age, days: Mutex::default() };
        Ok(Self { inner: Arc::new(inner), upkeep: Mutex::default() })
    }

    /// Maintains the database every minute from here on, until the store is closed or dropped. Every
    /// instance may do so.
    pub fn keep_up(&self) {
        let task = tokio::spawn(maintenance::run(Arc::clone(&self.inner)));
        if let Some(other) = self.upkeep().replace(task) {
            other.abort();
        }
    }

    /// Adds the days ahead, removes those past the retention, and rolls up what has settled: once.
    pub async fn maintain(&self) -> Result<Maintained, StatsError> {
        self.inner.maintain(maintenance::unix_ms()).await
    }

    /// Rolls up every hour and day that ended before this time, in milliseconds since 1970-01-01
    /// UTC, and says how many that were.
    pub async fn roll_up(&self, before_unix_ms: i64) -> Result<usize, StatsError> {
        let attempts = self.inner.roll_up(before_unix_ms).await?;
        Ok(attempts + self.inner.roll_usage_up(before_unix_ms).await?)
    }

    /// Stops the upkeep and closes all connections.
    pub async fn close(&self) {
        if let Some(task) = self.upkeep().take() {
            task.abort();
        }
        self.inner.readers.close().await;
        self.inner.pool.close().await;
    }

    fn upkeep(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.upkeep.lock().expect("no code panics while it holds the lock of the upkeep's handle")
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        if let Some(task) = self.upkeep().take() {
            task.abort();
        }
    }
}

impl Store for PostgresStore {
    fn record_attempts<'a>(&'a self, records: &'a [AttemptRecord]) -> StoreFuture<'a, ()> {
        Box::pin(answered(self.inner.write(records)))
    }

    fn record_sessions<'a>(&'a self, records: &'a [SessionRecord]) -> StoreFuture<'a, ()> {
        Box::pin(answered(self.inner.write_sessions(records)))
    }

    fn record_relays<'a>(&'a self, records: &'a [RelayRecord]) -> StoreFuture<'a, ()> {
        Box::pin(answered(self.inner.write_relays(records)))
    }

    fn attempt<'a>(&'a self, id: &'a AttemptId) -> StoreFuture<'a, Option<AttemptRecord>> {
        Box::pin(answered(read::attempt(&self.inner.readers, id)))
    }

    fn attempts<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<&'a Cursor>,
        limit: usize,
    ) -> StoreFuture<'a, Page> {
        Box::pin(answered(read::attempts(&self.inner.readers, filter, after, limit)))
    }

    fn summary<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Summary> {
        Box::pin(answered(read::summary(&self.inner.readers, filter)))
    }

    fn nat_matrix<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Vec<NatCell>> {
        Box::pin(answered(read::nat_matrix(&self.inner.readers, filter)))
    }

    fn methods<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Vec<MethodCell>> {
        Box::pin(answered(read::methods(&self.inner.readers, filter)))
    }

    fn usage<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Usage> {
        Box::pin(answered(usage::usage(&self.inner.readers, filter)))
    }

    fn check(&self) -> StoreFuture<'_, ()> {
        Box::pin(answered(async {
            sqlx::query(ANSWER).execute(&self.inner.pool).await?;
            Ok(())
        }))
    }
}

/// The options that a URL stands for. What is wrong with it is said without repeating it: it holds
/// a password.
fn options(url: &str) -> Result<PgConnectOptions, StatsError> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(StatsError::BadUrl("it does not begin with postgres://".to_owned()));
    }
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| StatsError::BadUrl(error.to_string().replace(url, "the URL")))?;
    Ok(options.application_name("p2p-coordinator"))
}

/// The pool tries again until its time is over, and does not tell why it had to.
async fn why_away(options: &PgConnectOptions) -> sqlx::Error {
    match tokio::time::timeout(ACQUIRE, options.connect()).await {
        Ok(Err(error)) => error,
        Ok(Ok(_)) | Err(_) => sqlx::Error::PoolTimedOut,
    }
}

/// Whatever keeps a first connection from being made is for the operator to look at.
fn at_connect(error: sqlx::Error) -> StatsError {
    match StatsError::from(error) {
        StatsError::Database(error) | StatsError::Busy(error) => StatsError::Away(error),
        error => error,
    }
}

/// The answer, or that there is none within the time that a call may take.
async fn answered<T>(call: impl Future<Output = Result<T, StatsError>>) -> Result<T, StatsError> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Err(StatsError::Busy(error) | StatsError::Database(error))) if is_connection(&error) => {
            Err(StatsError::Away(error))
        }
        Ok(answer) => answer,
        Err(_) => Err(StatsError::Away(sqlx::Error::PoolTimedOut)),
    }
}

/// Whether the connection failed, not what was asked over it.
fn is_connection(error: &sqlx::Error) -> bool {
    use sqlx::Error::{Io, PoolTimedOut, Protocol, Tls, WorkerCrashed};
    matches!(error, Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | WorkerCrashed)
}
