//! What can go wrong with the store, each with a code, a cause and a fix.

use std::path::PathBuf;

use p2p_redis::AddressError;

/// A fault of the statistics store.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    /// The database file cannot be opened, created or written.
    #[error("the statistics database {} cannot be opened for writing: {cause}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: String,
    },
    /// The file is there and is not a database, or is damaged.
    #[error("{} is not a usable SQLite database: {cause}", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        cause: String,
    },
    /// The schema cannot be brought up to date.
    #[error("the statistics schema cannot be brought up to date: {0}")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// The address of the database is not one.
    #[error("this is no address of a PostgreSQL database: {0}")]
    BadUrl(String),
    /// The database server does not answer, or is not able to at the moment.
    #[error("the statistics database does not answer: {0}")]
    Away(#[source] sqlx::Error),
    /// The database has no schema yet, or an older one.
    #[error("the statistics database lacks {missing} of {known} migrations")]
    Unmigrated {
        /// Migrations that it does not have.
        missing: usize,
        /// Migrations that this version has.
        known: usize,
    },
    /// Another process holds the database for longer than the store waits.
    #[error("the statistics database is locked by another process: {0}")]
    Busy(#[source] sqlx::Error),
    /// A statement failed.
    #[error("the statistics database refused a statement: {0}")]
    Database(#[source] sqlx::Error),
    /// A stored row does not read back.
    #[error("the stored attempt {attempt} cannot be read: {cause}")]
    Damaged {
        /// The row's id.
        attempt: String,
        /// Which part, and why.
        cause: String,
    },
    /// The address of the Redis with the stream of events is not one.
    #[error("{0}")]
    BadStreamUrl(#[source] AddressError),
    /// The Redis with the stream of events does not answer, or refuses.
    #[error("the stream of statistics does not answer: {0}")]
    StreamAway(#[source] redis::RedisError),
    /// A cursor that this store did not give out.
    #[error("{0:?} is not a cursor of this list")]
    BadCursor(String),
}

impl StatsError {
    /// The fault's name, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unwritable { .. } => "stats_unwritable",
            Self::NotADatabase { .. } => "stats_not_a_database",
            Self::Migration(_) => "stats_migration",
            Self::BadUrl(_) => "stats_bad_url",
            Self::Away(_) => "stats_away",
            Self::Unmigrated { .. } => "stats_unmigrated",
            Self::Busy(_) => "stats_busy",
            Self::Database(_) => "stats_database",
            Self::Damaged { .. } => "stats_damaged",
            Self::BadStreamUrl(_) => "stats_bad_stream_url",
            Self::StreamAway(_) => "stats_stream_away",
            Self::BadCursor(_) => "stats_bad_cursor",
        }
    }

    /// What to do about it.
    pub fn fix(&self) -> String {
        match self {
            Self::Unwritable { path, .. } => format!(
                "make {} and its folder writable for this user, or choose another folder with --data",
                path.display()
            ),
            Self::NotADatabase { path, .. } => format!(
                "move {} away (a new one is made at the next start), or choose another folder with --data",
                path.display()
            ),
            Self::Migration(_) => "run the same or a newer version of coordinator as the one that \
                                   wrote this database"
                .to_owned(),
            Self::BadUrl(_) => {
                "write postgres://USER:PASSWORD@HOST:5432/DATABASE, with the characters of the \
                 password percent-encoded"
                    .to_owned()
            }
            Self::Away(_) => {
                "check that PostgreSQL runs, that its address, user and password are right, and \
                 that this machine may connect"
                    .to_owned()
            }
            Self::Unmigrated { .. } => {
                "run `coordinator migrate` with the same database, once, before the first instance \
                 of this version"
                    .to_owned()
            }
            Self::Busy(_) => "stop the program that holds the database open in a transaction, \
                              such as an sqlite3 or psql shell"
                .to_owned(),
            Self::Database(_) => {
                "check the free space and the permissions of the database, and see its log"
                    .to_owned()
            }
            Self::Damaged { .. } => "the row was written by something else than coordinator: \
                                     delete it, or restore the database from a copy"
                .to_owned(),
            Self::BadStreamUrl(error) => error.fix().to_owned(),
            Self::StreamAway(_) => "check that Redis runs, that it has memory left, and that its \
                                    address, user and password are right"
                .to_owned(),
            Self::BadCursor(_) => {
                "start again without a cursor, and pass `next` of each page as it is".to_owned()
            }
        }
    }

    /// Whether the same call may succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy(_)) || self.is_away()
    }

    /// Whether the store, or the stream to it, is out of reach as a whole, however long that lasts:
    /// no record is to blame.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away(_) | Self::StreamAway(_))
    }
}

impl From<sqlx::Error> for StatsError {
    fn from(error: sqlx::Error) -> Self {
        if let Some(state) = postgres_state(&error) {
            // https://www.postgresql.org/docs/current/errcodes-appendix.html: 40 rollback because
            // of others, 55P03 lock not available; 08 connection, 53 out of resources, 57P shut
            // down or starting, 57014 cancelled by a time limit, 25P02 and 25P03 cut off idle.
            return match state.as_str() {
                state if state.starts_with("40") || state == "55P03" => Self::Busy(error),
                "57014" | "25P02" | "25P03" => Self::Busy(error),
                state if ["08", "53", "57P"].iter().any(|class| state.starts_with(class)) => {
                    Self::Away(error)
                }
                _ => Self::Database(error),
            };
        }
        match sqlite_code(&error) {
            // 5 BUSY, 6 LOCKED.
            Some(5 | 6) => Self::Busy(error),
            _ if matches!(error, sqlx::Error::PoolTimedOut) => Self::Busy(error),
            _ => Self::Database(error),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StatsError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            // The database itself failed, not the schema.
            sqlx::migrate::MigrateError::Execute(error) => error.into(),
            error => Self::Migration(error),
        }
    }
}

/// PostgreSQL's SQLSTATE, where the error is a PostgreSQL server's.
fn postgres_state(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()?;
    error.code().map(|code| code.into_owned())
}

/// SQLite's primary result code; extended codes keep it in their low byte.
pub(crate) fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(code & 0xff)
}
