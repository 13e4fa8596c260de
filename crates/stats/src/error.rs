//! What can go wrong with the store, each with a code, a cause and a fix.

use std::path::PathBuf;

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
            Self::Busy(_) => "stats_busy",
            Self::Database(_) => "stats_database",
            Self::Damaged { .. } => "stats_damaged",
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
            Self::Busy(_) => "stop the program that holds the database open in a transaction, \
                              such as an sqlite3 shell"
                .to_owned(),
            Self::Database(_) => {
                "check the free space and the permissions of the database's folder".to_owned()
            }
            Self::Damaged { .. } => "the row was written by something else than coordinator: \
                                     delete it, or restore the file from a copy"
                .to_owned(),
            Self::BadCursor(_) => {
                "start again without a cursor, and pass `next` of each page as it is".to_owned()
            }
        }
    }

    /// Whether the same call may succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy(_))
    }
}

impl From<sqlx::Error> for StatsError {
    fn from(error: sqlx::Error) -> Self {
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

/// SQLite's primary result code; extended codes keep it in their low byte.
pub(crate) fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(code & 0xff)
}
