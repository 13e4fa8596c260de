//! Where statistics go: a file in a folder, memory, or a PostgreSQL database that instances share;
//! and how they get there, straight or through a stream in Redis.

use std::path::Path;
use std::sync::Arc;

use p2p_relay::{AllocationEnd, RelayUsage, Relayed};
use p2p_stats::{
    AddressDetail, Carried, PostgresStore, Recorder, RelayRecord, Retention, SqliteStore, Store,
    Stream, StreamSettings, Writer, WriterSettings,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::database::failure;
use crate::failure::Failure;

/// The statistics' file in the data folder.
const FILE: &str = "stats.sqlite";

/// What is kept in memory: some 20 MB at most, in a process that has other things to remember.
const IN_MEMORY: Retention = Retention { max_attempts: 10_000, max_age: None };

/// Records that wait in this process.
const WAITING: usize = 8_192;

/// Finished allocations that wait to become records: all that a relay holds on its usual ports, which
/// end at once when it stops.
const FINISHED: usize = 16_384;

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

    /// The way there: through the stream in Redis where instances share both, else straight.
    pub fn way(
        &self,
        redis: Option<&SecretString>,
        addresses: AddressDetail,
    ) -> Result<Way, Failure> {
        let (recorder, writer) = match (self, redis) {
            (Self::Shared(store), Some(url)) => {
                let stream = Stream::new(url.expose_secret(), StreamSettings::default())
                    .map_err(|error| failure(&error))?;
                let writer =
                    Writer::start(stream.clone(), store.clone(), WriterSettings::default());
                (Recorder::to_stream(stream, WAITING), Some(writer))
            }
            (Self::Shared(_) | Self::Embedded(_), _) => {
                (Recorder::new(self.store(), WAITING), None)
            }
        };
        Ok(Way { recorder: recorder.with_addresses(addresses), writer })
    }

    /// Closes it, after the last that writes.
    pub async fn close(&self) {
        match self {
            Self::Embedded(store) => store.close().await,
            Self::Shared(store) => store.close().await,
        }
    }
}

/// How statistics get from where they happen to the store.
pub struct Way {
    /// Where they are handed over.
    pub recorder: Recorder,
    writer: Option<Writer>,
}

impl Way {
    /// Stops writing from the stream; what waits there is for the other instances, or for later.
    pub async fn close(self) {
        if let Some(writer) = self.writer {
            writer.stop().await;
        }
    }
}

/// The way of a relay, which has no database of its own: into the stream, where any instance of
/// signaling writes from it.
pub fn of_redis(url: &SecretString) -> Result<Recorder, Failure> {
    let settings = StreamSettings { only_if_read: true, ..StreamSettings::default() };
    let stream = Stream::new(url.expose_secret(), settings).map_err(|error| failure(&error))?;
    Ok(Recorder::to_stream(stream, FINISHED))
}

/// Records what a relay reports of finished allocations, until the relay is gone.
pub fn of_relay(
    recorder: Recorder,
    region: Option<String>,
) -> (mpsc::Sender<RelayUsage>, JoinHandle<()>) {
    let (reports, mut reported) = mpsc::channel::<RelayUsage>(FINISHED);
    let task = tokio::spawn(async move {
        while let Some(usage) = reported.recv().await {
            // Nothing was ever relayed through one that got no socket.
            if usage.end != AllocationEnd::NoSocket {
                recorder.record(relay_record(usage, region.clone()));
            }
        }
    });
    (reports, task)
}

fn relay_record(usage: RelayUsage, region: Option<String>) -> RelayRecord {
    let end = match usage.end {
        AllocationEnd::Expired => "expired",
        AllocationEnd::Deleted => "deleted",
        AllocationEnd::Revoked => "revoked",
        AllocationEnd::Disconnected => "disconnected",
        AllocationEnd::Stopped => "stopped",
        AllocationEnd::NoSocket => "no_socket",
    };
    let carried = |relayed: Relayed| Carried { packets: relayed.packets, bytes: relayed.bytes };
    RelayRecord::ended(
        region,
        usage.user,
        end,
        usage.lived,
        carried(usage.client_to_peer),
        carried(usage.peer_to_client),
    )
}

/// Statistics in a folder, or in memory.
pub async fn open_embedded(data: Option<&Path>) -> Result<SqliteStore, Failure> {
    let opened = match data {
        Some(folder) => SqliteStore::open(folder.join(FILE)).await,
        None => SqliteStore::in_memory_with(IN_MEMORY).await,
    };
    opened.map_err(|error| failure(&error))
}
