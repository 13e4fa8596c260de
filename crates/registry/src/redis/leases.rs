//! Leases. An instance renews its own, and puts the peers of those away whose lease has ended or whose
//! channel nobody hears.
//!
//! Such an instance may be alive: it was frozen, or cut off, or Redis' clock was set. So whoever puts
//! its peers away ends its lease first. It finds that at its next renewal and says everything again,
//! and the other one stops where it finds the lease renewed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::try_join_all;
use p2p_redis::Connection;
use p2p_telemetry::metrics::REGISTRY_REAPED;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{debug, info};

use super::Shared;
use super::event::ARE_YOU_THERE;
use super::reply::{Reply, text};
use super::scripts::SHARDS;
use super::supervisor::BACKOFF;
use crate::error::RegistryError;

/// How often a lease is renewed while it lasts. Whoever renews looks for leases that have ended, so
/// one that ends is noticed a fifteenth of it later.
const RENEWALS: u32 = 15;
/// Renewals of this instance, one after the other, that find a lease ended which is that of an instance
/// that still hears: one that lives renews its own in between, however the two fall.
const LIVES: u32 = 3;
/// How long after an outage of Redis others may take to be back.
const RETURN: Duration = BACKOFF.1.saturating_mul(2);
/// Peers that one command puts away.
const BATCH: usize = 64;
/// How long an instance that nobody hears may take to subscribe again.
pub(super) const SUSPICION: Duration = Duration::from_millis(500);

/// What renewals found, and nobody has seen to yet.
#[derive(Debug, Default)]
pub(super) struct Lapses {
    /// This instance's own lease had ended.
    pub(super) own: bool,
    /// Instances whose lease has ended, and how many renewals running have found it so.
    pub(super) others: Vec<(String, u32)>,
}

impl Shared {
    /// Renews the lease for as long as Redis answers.
    pub(super) async fn keep_lease(
        &self,
        connection: &Connection,
        lapses: &Mutex<Lapses>,
    ) -> Result<(), RegistryError> {
        let began = Instant::now();
        let mut ended_for = HashMap::<String, u32>::new();
        let mut renewing = interval(self.settings.lease / RENEWALS);
        renewing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        renewing.tick().await;
        loop {
            renewing.tick().await;
            let (lasted, ended) = self.renew(connection).await?;
            let counted = ended.into_iter().map(|instance| {
                let before = ended_for.get(&instance).copied().unwrap_or(0);
                (instance, before + 1)
            });
            ended_for = counted.collect();
            {
                let mut lapses = lapses.lock().expect("a list is moved without panic");
                lapses.own |= !lasted;
                if began.elapsed() >= RETURN {
                    lapses.others = ended_for.clone().into_iter().collect();
                }
            }
            if !self.redis.is_still_master(connection, self.settings.deadline).await {
                let why = format!("{} is not master any more", connection.place());
                return Err(RegistryError::Unavailable(why));
            }
        }
    }

    /// Renews the lease. Whether it lasted, and whose have ended.
    pub(super) async fn renew(
        &self,
        connection: &Connection,
    ) -> Result<(bool, Vec<String>), RegistryError> {
        let mut call = self.scripts.renew.key(&self.names.leases);
        call.arg(&self.instance).arg(self.settings.lease.as_millis() as u64);
        let renewing = self.invoke(connection.clone(), self.scripts.renew.name, &call);
        let mut reply = renewing.await?;
        let lasted = reply.number()? == 1;
        let ended = reply.list()?.map(text).collect::<Result<_, _>>()?;
        Ok((lasted, ended))
    }

    /// When the lease of an instance ends, in ms of Redis' clock; 0 where it was ended. `None` is no
    /// instance, or one that is long gone.
    pub(super) async fn lease_of(
        &self,
        connection: &Connection,
        instance: &str,
    ) -> Result<Option<f64>, RegistryError> {
        let mut score = redis::cmd("ZSCORE");
        score.arg(&self.names.leases).arg(instance);
        self.in_time(score.query_async(&mut connection.clone())).await
    }

    /// Looks at instances whose channel nobody heard.
    pub(super) fn suspect(self: &Arc<Self>, reply: &Reply) {
        for suspect in &reply.suspects {
            let mut suspects = self.suspects.lock().expect("a set is changed without panic");
            if *suspect == self.instance {
                // It is connected, and its channel is somewhere else.
                self.break_off("the instance's own channel is not heard");
                continue;
            }
            if !suspects.insert(suspect.clone()) {
                continue;
            }
            let (shared, suspect) = (self.clone(), suspect.clone());
            tokio::spawn(async move {
                sleep(SUSPICION).await;
                if let Err(error) = shared.check(&suspect).await {
                    debug!(%error, "a silent instance is looked at later");
                }
                shared.suspects.lock().expect("a set is changed without panic").remove(&suspect);
            });
        }
    }

    /// Puts the peers of an instance away that does not hear.
    pub(super) async fn check(self: &Arc<Self>, suspect: &str) -> Result<(), RegistryError> {
        let connection = self.connection()?;
        if !self.hears(&connection, suspect).await? {
            self.reap(&connection, suspect).await?;
        }
        Ok(())
    }

    /// Puts the peers of an instance away whose lease has ended, unless it hears and may yet renew it.
    pub(super) async fn look_after(
        self: &Arc<Self>,
        connection: &Connection,
        instance: &str,
        renewals: u32,
    ) -> Result<(), RegistryError> {
        if renewals >= LIVES || !self.hears(connection, instance).await? {
            self.reap(connection, instance).await?;
        }
        Ok(())
    }

    async fn hears(&self, connection: &Connection, instance: &str) -> Result<bool, RegistryError> {
        // One that has lost a node of a cluster still hears the others.
        let channels = self.names.channels_of(instance);
        let asking = channels.iter().map(|channel| {
            let publish = self.names.publish(channel, ARE_YOU_THERE);
            let mut connection = connection.clone();
            async move { self.in_time(publish.query_async::<u64>(&mut connection)).await }
        });
        Ok(try_join_all(asking).await?.iter().any(|listeners| *listeners > 0))
    }

    /// Puts the peers of a dead instance away, if no other instance is at it. One that dies while
    /// it does this is followed by the next.
    async fn reap(
        self: &Arc<Self>,
        connection: &Connection,
        instance: &str,
    ) -> Result<(), RegistryError> {
        let mut take = redis::cmd("SET");
        take.arg(format!("{}:reaping:{instance}", self.names.leases)).arg(&self.instance);
        take.arg("NX").arg("PX").arg(10_000);
        let mut plain = connection.clone();
        let won: Option<String> = self.in_time(take.query_async(&mut plain)).await?;
        if won.is_none() {
            return Ok(());
        }
        let mut end = redis::cmd("ZADD");
        end.arg(&self.names.leases).arg(0).arg(instance);
        let _: u64 = self.in_time(end.query_async(&mut plain)).await?;
        let window = self.behaviour.resume_window.as_millis() as u64;
        for shard in 0..SHARDS {
            loop {
                let reaping =
                    self.run_in_shard(connection.clone(), &self.scripts.reap, shard, |call| {
                        call.arg(instance).arg(window).arg(BATCH);
                    });
                if reaping.await?.number()? == 0 {
                    break;
                }
                if self.is_back(connection, instance).await? {
                    return Ok(());
                }
            }
        }
        for shard in 0..SHARDS {
            self.inherit(connection, instance, shard).await?;
        }
        self.become_heir(connection, instance).await?;
        let mut forget = redis::cmd("ZREM");
        forget.arg(&self.names.leases).arg(instance);
        let _: u64 = self.in_time(forget.query_async(&mut plain)).await?;
        REGISTRY_REAPED.get().increment(1);
        info!(instance, "another instance is gone; its peers are away");
        Ok(())
    }

    /// Whether an instance whose peers are being put away has renewed its lease. Some may have been put
    /// away after it had said them again, so it is made to do that once more.
    async fn is_back(
        &self,
        connection: &Connection,
        instance: &str,
    ) -> Result<bool, RegistryError> {
        match self.lease_of(connection, instance).await? {
            Some(0.0) => return Ok(false),
            // Another one has put all of its peers away.
            None => return Ok(true),
            Some(_) => {}
        }
        let mut end = redis::cmd("ZADD");
        end.arg(&self.names.leases).arg("XX").arg(0).arg(instance);
        let _: u64 = self.in_time(end.query_async(&mut connection.clone())).await?;
        info!(instance, "another instance is back before its peers were away");
        Ok(true)
    }
}
