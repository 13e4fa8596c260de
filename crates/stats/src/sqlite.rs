//! The embedded back end: one SQLite file, or memory.
//!
//! One connection writes and a small pool reads, in WAL mode, so that neither waits for the other.
//! Writes begin with `BEGIN IMMEDIATE`: a read snapshot that turns into a write fails at once with
//! `SQLITE_BUSY_SNAPSHOT`, which no busy timeout retries. Several processes may open one file.

mod read;
mod usage;
mod write;

use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use p2p_wire::AttemptId;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Pool, Sqlite};

use crate::attempt::AttemptRecord;
use crate::error::StatsError;
use crate::query::{Cursor, Filter, MethodCell, NatCell, Page, Summary};
use crate::store::{Store, StoreFuture};
use crate::usage::{RelayRecord, SessionRecord, Usage};

/// The migrations of this version, in order.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

const ANSWER: &str = "SELECT attempt FROM attempts LIMIT 1";

const BEGIN: &str = "BEGIN IMMEDIATE";

/// Every statement that the store asks, for tests that prepare them.
#[doc(hidden)]
pub fn statements() -> Vec<&'static str> {
    [read::statements(), usage::statements(), write::statements(), vec![ANSWER, BEGIN]].concat()
}

/// How long a statement waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers at once; questions beyond that queue.
const READERS: u32 = 4;
/// How often opening is tried while other processes open the same new file. Switching a new file to
/// WAL fails at once where it meets another, without regard to the busy timeout.
const OPEN_TRIES: u32 = 50;
/// The pause between those.
const OPEN_PAUSE: Duration = Duration::from_millis(20);

/// How much is kept. The oldest attempts go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The most attempts, the most sessions, and the most allocations at relays. Between two trims
    /// there may be one hundredth more, and at most 1,000.
    pub max_attempts: u64,
    /// How old each of them may grow, by this machine's clock; `None` is for ever.
    pub max_age: Option<Duration>,
}

impl Default for Retention {
    /// A million attempts or 30 days, whichever is less.
    fn default() -> Self {
        Self { max_attempts: 1_000_000, max_age: Some(Duration::from_secs(30 * 24 * 60 * 60)) }
    }
}

/// Attempts in SQLite.
pub struct SqliteStore {
    writer: Pool<Sqlite>,
    readers: Pool<Sqlite>,
    retention: Retention,
    written_since_trim: AtomicU64,
    trimmed: AtomicU64,
}

impl SqliteStore {
    /// Opens a file with the default retention, and makes it and its folder where they are missing.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StatsError> {
        Self::open_with(path, Retention::default()).await
    }

    /// Opens a file.
    pub async fn open_with(
        path: impl AsRef<Path>,
        retention: Retention,
    ) -> Result<Self, StatsError> {
        let path = path.as_ref().to_owned();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| StatsError::Unwritable {
                path: path.clone(),
                cause: error.to_string(),
            })?;
        }
        let mut tries = 1;
        loop {
            match Self::open_once(&path, retention).await.map_err(|error| at_open(&path, error)) {
                Err(error) if error.is_transient() && tries < OPEN_TRIES => tries += 1,
                result => return result,
            }
            tokio::time::sleep(OPEN_PAUSE).await;
        }
    }

    async fn open_once(path: &Path, retention: Retention) -> Result<Self, StatsError> {
        let file = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_TIMEOUT);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(
                file.clone()
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    // In WAL mode a power cut may lose the last transactions, never the file.
                    .synchronous(SqliteSynchronous::Normal),
            )
            .await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(0)
            .connect_lazy_with(file.pragma("query_only", "ON"));
        Self::prepare(writer, readers, retention).await
    }

    /// A store that lives as long as this value and keeps the default number of attempts, however
    /// old.
    pub async fn in_memory() -> Result<Self, StatsError> {
        Self::in_memory_with(Retention { max_age: None, ..Retention::default() }).await
    }

    /// A store that lives as long as this value.
    pub async fn in_memory_with(retention: Retention) -> Result<Self, StatsError> {
        // The database is the connection's own, so there is exactly one and it is never replaced.
        let only = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(SqliteConnectOptions::from_str("sqlite::memory:")?.shared_cache(false))
            .await?;
        Self::prepare(only.clone(), only, retention).await
    }

    async fn prepare(
        writer: Pool<Sqlite>,
        readers: Pool<Sqlite>,
        retention: Retention,
    ) -> Result<Self, StatsError> {
        // SQLite has no lock for migrations of its own: this transaction keeps other processes out
        // until the schema is complete.
        let mut transaction = writer.begin_with(BEGIN).await?;
        // `run` does the same; its future is not `Send` with a connection borrowed from here.
        MIGRATIONS.run_direct(None, &mut *transaction, false).await?;
        transaction.commit().await?;
        let store = Self {
            writer,
            readers,
            retention,
            written_since_trim: AtomicU64::new(0),
            trimmed: AtomicU64::new(0),
        };
        store.trim().await?;
        Ok(store)
    }

    /// Records that the retention bound removed, since this store was opened.
    pub fn trimmed(&self) -> u64 {
        self.trimmed.load(Relaxed)
    }

    /// Closes all connections; the file then holds everything without its write-ahead log.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl Store for SqliteStore {
    fn record_attempts<'a>(&'a self, records: &'a [AttemptRecord]) -> StoreFuture<'a, ()> {
        Box::pin(self.write(records))
    }

    fn record_sessions<'a>(&'a self, records: &'a [SessionRecord]) -> StoreFuture<'a, ()> {
        Box::pin(self.write_sessions(records))
    }

    fn record_relays<'a>(&'a self, records: &'a [RelayRecord]) -> StoreFuture<'a, ()> {
        Box::pin(self.write_relays(records))
    }

    fn attempt<'a>(&'a self, id: &'a AttemptId) -> StoreFuture<'a, Option<AttemptRecord>> {
        Box::pin(read::attempt(&self.readers, id))
    }

    fn attempts<'a>(
        &'a self,
        filter: &'a Filter,
        after: Option<&'a Cursor>,
        limit: usize,
    ) -> StoreFuture<'a, Page> {
        Box::pin(read::attempts(&self.readers, filter, after, limit))
    }

    fn summary<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Summary> {
        Box::pin(read::summary(&self.readers, filter))
    }

    fn nat_matrix<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Vec<NatCell>> {
        Box::pin(read::nat_matrix(&self.readers, filter))
    }

    fn methods<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Vec<MethodCell>> {
        Box::pin(usage::methods(&self.readers, filter))
    }

    fn usage<'a>(&'a self, filter: &'a Filter) -> StoreFuture<'a, Usage> {
        Box::pin(usage::usage(&self.readers, filter))
    }

    fn check(&self) -> StoreFuture<'_, ()> {
        Box::pin(async {
            // Reads the file, which a statement without a table would not.
            sqlx::query(ANSWER).execute(&self.readers).await?;
            Ok(())
        })
    }
}

/// Says in terms of the file what went wrong while opening it.
fn at_open(path: &Path, error: StatsError) -> StatsError {
    let StatsError::Database(sql) = &error else {
        return error;
    };
    // https://sqlite.org/rescode.html: 3 PERM, 8 READONLY, 10 IOERR, 13 FULL, 14 CANTOPEN;
    // 11 CORRUPT, 26 NOTADB.
    let (path, cause) = (path.to_owned(), sql.to_string());
    match crate::error::sqlite_code(sql) {
        Some(3 | 8 | 10 | 13 | 14) => StatsError::Unwritable { path, cause },
        Some(11 | 26) => StatsError::NotADatabase { path, cause },
        _ => error,
    }
}
