//! From the stream into the store, by every process that has the store.

use std::sync::Arc;
use std::time::Duration;

use p2p_redis::Connection;
use p2p_telemetry::metrics::RECORDER_WRITTEN;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::reply::{Claimed, Entry, Read, event_of};
use super::{DEADLINE, GROUP, Stream};
use crate::error::StatsError;
use crate::event::Event;
use crate::outage::Outage;
use crate::store::Store;

/// The most events that are written at once.
const BATCH: usize = 256;
/// How long one question for events waits for them.
const WAIT: Duration = Duration::from_secs(1);
/// The first pause after something failed; each next one doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest: how much later than the store or Redis itself a writer is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a batch is tried as a whole while the store is busy, before its events are tried one
/// by one.
const BUSY_TRIES: u32 = 6;

/// How a writer works.
#[derive(Debug, Clone)]
pub struct WriterSettings {
    /// How long a writer may be silent before others take its events over. 10 s; where one only took
    /// its time, its events are stored twice, which is the same as once.
    pub take_over_after: Duration,
}

impl Default for WriterSettings {
    fn default() -> Self {
        Self { take_over_after: Duration::from_secs(10) }
    }
}

/// Writes events from a stream into a store, until it is stopped or dropped.
pub struct Writer {
    stopping: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Begins. Must be called within a Tokio runtime, after the metrics' recorder is installed.
    pub fn start(stream: Arc<Stream>, store: Arc<dyn Store>, settings: WriterSettings) -> Self {
        let (stopping, watched) = watch::channel(false);
        let work = Work {
            stream,
            store,
            settings,
            name: Uuid::new_v4().to_string(),
            outage: Outage::none(),
            next_look: Instant::now(),
        };
        let task = tokio::spawn(async move {
            let mut watched = watched;
            let mut work = work;
            tokio::select! {
                () = work.run() => {}
                // An error means that the writer is dropped.
                _ = watched.wait_for(|stopping| *stopping) => {}
            }
            // What it has in hand is another writer's in a while; with nothing in hand nobody needs
            // to remember it.
            let _ = timeout(DEADLINE, work.leave()).await;
        });
        Self { stopping, task }
    }

    /// Stops. A batch that is being written may be stored: it stays in the stream, and whoever takes
    /// it over finds it stored.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        let _ = (&mut self.task).await;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
    }
}

struct Work {
    stream: Arc<Stream>,
    store: Arc<dyn Store>,
    settings: WriterSettings,
    /// Among the group's consumers.
    name: String,
    outage: Outage,
    /// When it next looks for what others left.
    next_look: Instant,
}

impl Work {
    /// Never returns.
    async fn run(&mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            let Err(error) = self.serve().await;
            tracing::debug!(%error, "the stream of statistics cannot be used; trying again");
            if began.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, StatsError> {
        // A connection of its own: questions that wait would hold up every other.
        let mut connection = self.stream.connect(WAIT + DEADLINE).await?;
        self.found(&mut connection).await?;
        // What it had in hand when the connection broke, or when it was given up.
        let mut entries = self.read(&mut connection, "0").await?;
        loop {
            if !entries.is_empty() {
                self.write(&entries).await?;
            }
            if self.next_look <= Instant::now() {
                entries = self.take_over(&mut connection).await?;
                self.stream.state().await?;
                // More may be left where there was a batch full.
                if entries.is_empty() {
                    self.next_look = Instant::now() + self.settings.take_over_after / 2;
                }
                continue;
            }
            entries = self.read(&mut connection, ">").await?;
        }
    }

    /// Makes the group, and the stream where there is none: Redis may have lost both.
    async fn found(&self, connection: &mut Connection) -> Result<(), StatsError> {
        let made = redis::cmd("XGROUP")
            .arg("CREATE")
            .arg(&self.stream.keys.events)
            .arg(GROUP)
            .arg("0")
            .arg("MKSTREAM")
            .query_async::<()>(connection)
            .await;
        match made {
            Err(error) if error.code() != Some("BUSYGROUP") => Err(StatsError::StreamAway(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    async fn read(
        &self,
        connection: &mut Connection,
        from: &str,
    ) -> Result<Vec<Entry>, StatsError> {
        let read = redis::cmd("XREADGROUP")
            .arg("GROUP")
            .arg(GROUP)
            .arg(&self.name)
            .arg("COUNT")
            .arg(BATCH)
            .arg("BLOCK")
            .arg(WAIT.as_millis() as u64)
            .arg("STREAMS")
            .arg(&self.stream.keys.events)
            .arg(from)
            .query_async::<Read>(connection)
            .await
            .map_err(StatsError::StreamAway)?;
        Ok(read.unwrap_or_default().into_iter().flat_map(|(_, entries)| entries).collect())
    }

    /// Entries of writers that have been silent for too long. Those without any are forgotten.
    async fn take_over(&self, connection: &mut Connection) -> Result<Vec<Entry>, StatsError> {
        let idle = u64::try_from(self.settings.take_over_after.as_millis()).unwrap_or(u64::MAX);
        let claimed = redis::cmd("XAUTOCLAIM")
            .arg(&self.stream.keys.events)
            .arg(GROUP)
            .arg(&self.name)
            .arg(idle)
            .arg("0-0")
            .arg("COUNT")
            .arg(BATCH)
            .query_async::<Claimed>(connection)
            .await
            .map_err(StatsError::StreamAway)?;
        self.forget_others(connection, idle).await?;
        Ok(claimed.1)
    }

    /// Without this the names of processes that are gone would add up (invariant I5). Any of a batch
    /// that one still writes is in the group's list of entries, which is empty for it.
    async fn forget_others(
        &self,
        connection: &mut Connection,
        idle: u64,
    ) -> Result<(), StatsError> {
        let consumers = redis::cmd("XINFO")
            .arg("CONSUMERS")
            .arg(&self.stream.keys.events)
            .arg(GROUP)
            .query_async::<Vec<std::collections::HashMap<String, redis::Value>>>(connection)
            .await
            .map_err(StatsError::StreamAway)?;
        for consumer in consumers {
            let number = |key: &str| match consumer.get(key) {
                Some(redis::Value::Int(number)) => u64::try_from(*number).ok(),
                _ => None,
            };
            let Some(redis::Value::BulkString(name)) = consumer.get("name") else { continue };
            let is_gone = number("pending") == Some(0)
                && number("idle").is_some_and(|silent| silent > idle.saturating_mul(10));
            if is_gone && *name != self.name.as_bytes() {
                self.forget(connection, name).await?;
            }
        }
        Ok(())
    }

    async fn forget(&self, connection: &mut Connection, name: &[u8]) -> Result<(), StatsError> {
        redis::cmd("XGROUP")
            .arg("DELCONSUMER")
            .arg(&self.stream.keys.events)
            .arg(GROUP)
            .arg(name)
            .query_async::<()>(connection)
            .await
            .map_err(StatsError::StreamAway)
    }

    /// Tells the group that this one is gone, unless it has something in hand.
    async fn leave(&self) -> Result<(), StatsError> {
        let mut connection = self.stream.connect(DEADLINE).await?;
        if self.read(&mut connection, "0").await?.is_empty() {
            self.forget(&mut connection, self.name.as_bytes()).await?;
        }
        Ok(())
    }

    /// Stores entries and takes them out of the stream. Waits for a store that is away.
    async fn write(&mut self, entries: &[Entry]) -> Result<(), StatsError> {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for entry in entries {
            match serde_json::from_slice::<Event>(event_of(entry)) {
                Ok(event) => good.push((entry, event)),
                Err(error) => bad.push((entry, error.to_string())),
            }
        }
        let events: Vec<Event> = good.iter().map(|(_, event)| event.clone()).collect();
        if !events.is_empty() {
            match self.store(&events).await {
                Ok(()) => self.settle(&good).await?,
                Err(_) => {
                    // One of them is to blame.
                    for one in &good {
                        match self.store(std::slice::from_ref(&one.1)).await {
                            Ok(()) => self.settle(std::slice::from_ref(one)).await?,
                            Err(error) => bad.push((one.0, error.to_string())),
                        }
                    }
                }
            }
        }
        for (entry, why) in bad {
            if self.stream.bury(&entry.0, event_of(entry), &why).await? {
                tracing::warn!(entry = entry.0, why, "a statistic goes to the dead letters");
            }
        }
        Ok(())
    }

    async fn settle(&self, stored: &[(&Entry, Event)]) -> Result<(), StatsError> {
        let ids: Vec<&str> = stored.iter().map(|(entry, _)| entry.0.as_str()).collect();
        RECORDER_WRITTEN.get().increment(ids.len() as u64);
        self.stream.settle(&ids).await
    }

    /// Stores events, however long the store is away. An error is what is wrong with them.
    async fn store(&mut self, events: &[Event]) -> Result<(), StatsError> {
        let mut pause = FIRST_PAUSE;
        let mut busy = 0;
        loop {
            let error = match self.store.record_events(events).await {
                Err(error) if error.is_transient() => error,
                answer => {
                    if self.outage.over() {
                        tracing::info!("statistics are written again");
                    }
                    return answer;
                }
            };
            if error.is_away() {
                if self.outage.gone() {
                    let (code, fix) = (error.code(), error.fix());
                    tracing::warn!(code, fix, "statistics wait in the stream: {error}");
                }
            } else {
                busy += 1;
                if busy >= BUSY_TRIES && events.len() > 1 {
                    return Err(error);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
