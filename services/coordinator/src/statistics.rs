//! Where statistics go: a file in a folder, memory, or a PostgreSQL database that instances share.

use std::path::Path;
use std::sync::Arc;

use p2p_stats::{PostgresStore, Retention, SqliteStore, Store};
use secrecy::{ExposeSecret as _, SecretString};

use crate::database::failure;
use crate::failure::Failure;

/// The statistics' file in the data folder.
const FILE: &str = "stats.sqlite";

/// What is kept in memory: some 20 MB at most, in a process that has other things to remember.
const IN_MEMORY: Retention = Retention { max_attempts: 10_000, max_age: None };

/// An open store that can be closed.
pub enum Statistics {
    Embedded(Arc<SqliteStore>),
    Shared(Arc<PostgresStore>),
}

impl Statistics {
    /// Opens the database, or the file in the folder where there is none.
    pub async fn open(database: Option<&SecretString>, data: &Path) -> Result<Self, Failure> {
        let Some(url) = database else {
            return Ok(Self::Embedded(Arc::new(open_embedded(Some(data)).await?)));
        };
        let store = PostgresStore::open(url.expose_secret(), Retention::default().max_age)
            .await
            .map_err(|error| failure(&error))?;
        store.keep_up();
        Ok(Self::Shared(Arc::new(store)))
    }

    /// The store as signaling takes it.
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Embedded(store) => store.clone(),
            Self::Shared(store) => store.clone(),
        }
    }

    /// Closes it, after the last that writes.
    pub async fn close(&self) {
        match self {
            Self::Embedded(store) => store.close().await,
            Self::Shared(store) => store.close().await,
        }
    }
}

/// Statistics in a folder, or in memory.
pub async fn open_embedded(data: Option<&Path>) -> Result<SqliteStore, Failure> {
    let opened = match data {
        Some(folder) => SqliteStore::open(folder.join(FILE)).await,
        None => SqliteStore::in_memory_with(IN_MEMORY).await,
    };
    opened.map_err(|error| failure(&error))
}
