//! What is due: windows that close, and receipts that say `queued`.
//!
//! One instance is on duty for a shard and looks as often as there is something to do; the others
//! ask now and then whether it still is. So what instances ask of Redis hardly grows with their
//! number, and not at all with that of shards, except in a cluster.
//!
//! Whatever is put down is due a patience or a window later. So it is soon enough to look again
//! after the shorter of the two, or when the first of what is there is due.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use p2p_redis::Connection;
use tokio::time::Instant;

use super::Shared;
use super::scripts::Names;
use crate::error::RegistryError;

/// Between two looks at least. Windows and receipts are late by this at most, as long as the
/// instance on duty lives.
const SHORTEST: Duration = Duration::from_millis(100);
/// Between two looks at most.
const LONGEST: Duration = Duration::from_secs(2);
/// How long after it should have looked an instance is on duty. Windows and receipts are late by
/// this if it has died.
const GRACE: Duration = Duration::from_secs(1);
/// Entries of one shard that one look does. Where there are more it looks again at once.
const BATCH: usize = 64;
/// How long it may look again at once, until other work has its turn.
const TURN: Duration = Duration::from_millis(200);

/// When to look where again.
pub(super) struct Looks(Vec<Look>);

struct Look {
    shards: Vec<String>,
    next: Instant,
}

impl Looks {
    /// Everywhere, as soon as possible.
    pub(super) fn at_once(names: &Names) -> Self {
        let next = Instant::now();
        Self(names.shards_at_once().into_iter().map(|shards| Look { shards, next }).collect())
    }
}

impl Shared {
    /// Looks where it is time to.
    pub(super) async fn do_what_is_due(
        self: &Arc<Self>,
        connection: &Connection,
        looks: &mut Looks,
    ) -> Result<(), RegistryError> {
        let now = Instant::now();
        let looking = looks.0.iter_mut().filter(|look| look.next <= now).map(|look| async {
            let mut wait = Duration::ZERO;
            while wait.is_zero() && now.elapsed() < TURN {
                wait = self.look(connection, &look.shards).await?;
            }
            look.next = Instant::now() + wait;
            Ok(())
        });
        try_join_all(looking).await.map(drop)
    }

    /// How long to wait before the next look there; not at all where there is more to do.
    async fn look(
        self: &Arc<Self>,
        connection: &Connection,
        shards: &[String],
    ) -> Result<Duration, RegistryError> {
        let patience = self.behaviour.receipt_patience;
        let longest = patience.min(self.behaviour.resume_window).min(LONGEST);
        let millis = |time: Duration| time.as_millis() as u64;
        let mut call = self.scripts.due.key(&shards[0]);
        for shard in &shards[1..] {
            call.key(shard);
        }
        call.arg("").arg(&self.names.channels).arg(&self.instance).arg(millis(patience));
        call.arg(BATCH).arg(millis(SHORTEST)).arg(millis(longest)).arg(millis(GRACE));
        let mut reply = self.invoke(connection.clone(), self.scripts.due.name, &call).await?;
        self.suspect(&reply);
        let expired = reply.number()?;
        self.table().counts.expired += expired;
        Ok(Duration::from_millis(reply.number()?))
    }
}
