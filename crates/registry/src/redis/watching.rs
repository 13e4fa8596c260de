//! What instances tell each other past the sessions: texts, where the sides of attempts are, and
//! what one that died was at.
//!
//! The instance that puts the peers of a dead one away is its heir. It writes that down when it has
//! taken over everything, so that whatever is addressed to the dead one comes after what it is
//! about.

use std::sync::Arc;

use p2p_redis::Connection;
use p2p_telemetry::metrics::REGISTRY_INBOX_DROPPED;
use p2p_wire::{AppId, AttemptId, PeerId};
use tokio::time::sleep;

use super::Shared;
use super::event::{PASSED_ON, presence};
use super::leases::SUSPICION;
use super::reply::text;
use super::scripts::KEEP_ATTEMPTS_MS;
use crate::error::RegistryError;
use crate::notice::{Notice, Presence};

/// How often what is for a dead instance looks for its heir, [`SUSPICION`] apart where there is none
/// yet.
const LOOKS_FOR_HEIR: usize = 6;
/// Attempts of one peer that are watched at once, at all instances together.
const MAX_WATCHED: usize = 1024;

impl Shared {
    pub(super) fn notice(&self, notice: Notice) {
        if self.notices.0.try_send(notice).is_err() {
            REGISTRY_INBOX_DROPPED.with(["full"]).increment(1);
        }
    }

    pub(super) async fn watch(
        self: &Arc<Self>,
        app: &AppId,
        attempt: &AttemptId,
        sides: [&PeerId; 2],
        known: &str,
    ) -> Result<[Presence; 2], RegistryError> {
        let watching = self.call(&self.scripts.watch, app, |call| {
            call.arg(&self.instance)
                .arg(attempt.as_str())
                .arg(sides[0].as_str())
                .arg(sides[1].as_str())
                .arg(known)
                .arg(KEEP_ATTEMPTS_MS)
                .arg(MAX_WATCHED);
        });
        let mut reply = watching.await?;
        let mut side = || -> Result<Presence, RegistryError> {
            let word = reply.text()?;
            let unknown = || RegistryError::Unavailable(format!("Redis has a peer that is {word}"));
            presence(&word).ok_or_else(unknown)
        };
        Ok([side()?, side()?])
    }

    pub(super) async fn unwatch(
        self: &Arc<Self>,
        app: &AppId,
        attempt: &AttemptId,
        sides: [&PeerId; 2],
    ) -> Result<(), RegistryError> {
        let unwatching = self.call(&self.scripts.unwatch, app, |call| {
            call.arg(&self.instance)
                .arg(attempt.as_str())
                .arg(sides[0].as_str())
                .arg(sides[1].as_str());
        });
        unwatching.await.map(drop)
    }

    /// Hands a text to another instance, or to its heir, or to that one's. A dead one that has none
    /// yet gets one.
    pub(super) async fn pass_on(
        self: &Arc<Self>,
        instance: &str,
        text: &str,
    ) -> Result<bool, RegistryError> {
        let mut instance = instance.to_owned();
        for look in 0..LOOKS_FOR_HEIR {
            if self.pass_on_to(&instance, text).await? {
                return Ok(true);
            }
            if let Some(heir) = self.heir_of(&instance).await? {
                if heir == self.instance {
                    self.notice(Notice::PassedOn(text.into()));
                    return Ok(true);
                }
                instance = heir;
                continue;
            }
            // The first look may find it subscribing again. One without a lease is no instance, or
            // so long gone that nobody goes on with what it was at: its name is the word of a client.
            if look > 0 {
                if self.lease_of(&self.connection()?, &instance).await?.is_none() {
                    return Ok(false);
                }
                self.check(&instance).await?;
            }
            sleep(SUSPICION).await;
        }
        Ok(false)
    }

    async fn pass_on_to(&self, instance: &str, text: &str) -> Result<bool, RegistryError> {
        let mut connection = self.connection()?;
        // Over one of its channels, always the same: texts stay in order.
        let channel = &self.names.channels_of(instance)[0];
        let publish = self.names.publish(channel, &format!("{PASSED_ON}\n{text}"));
        let listeners: u64 = self.in_time(publish.query_async(&mut connection)).await?;
        Ok(listeners > 0)
    }

    async fn heir_of(&self, instance: &str) -> Result<Option<String>, RegistryError> {
        let mut connection = self.connection()?;
        let mut get = redis::cmd("GET");
        get.arg(self.names.heir_of(instance));
        self.in_time(get.query_async(&mut connection)).await
    }

    pub(super) async fn become_heir(
        &self,
        connection: &Connection,
        instance: &str,
    ) -> Result<(), RegistryError> {
        let mut set = redis::cmd("SET");
        set.arg(self.names.heir_of(instance)).arg(&self.instance);
        set.arg("PX").arg(KEEP_ATTEMPTS_MS);
        self.in_time(set.query_async(&mut connection.clone())).await
    }

    /// Goes on with what a dead instance watched in a shard, whose peers have been put away.
    pub(super) async fn inherit(
        self: &Arc<Self>,
        connection: &Connection,
        instance: &str,
        shard: u8,
    ) -> Result<(), RegistryError> {
        let taking = self.run_in_shard(connection.clone(), &self.scripts.inherit, shard, |call| {
            call.arg(instance).arg(&self.instance).arg(KEEP_ATTEMPTS_MS);
        });
        for known in taking.await?.list()? {
            self.notice(Notice::Inherited(text(known)?.into()));
        }
        Ok(())
    }

    /// Gives up what another instance goes on with, which took this one for dead.
    pub(super) async fn heed_heir(&self, connection: &Connection) -> Result<(), RegistryError> {
        let mut take = redis::cmd("GETDEL");
        take.arg(self.names.heir_of(&self.instance));
        let heir: Option<String> = self.in_time(take.query_async(&mut connection.clone())).await?;
        if let Some(heir) = heir {
            self.notice(Notice::TakenOver { heir });
        }
        Ok(())
    }

    /// Ends the lease now. Others put away what is still here.
    pub(super) async fn retire(&self) -> Result<(), RegistryError> {
        let mut connection = self.connection()?;
        self.closed.send_replace(true);
        let mut end = redis::cmd("ZADD");
        end.arg(&self.names.leases).arg("XX").arg(0).arg(&self.instance);
        self.in_time(end.query_async(&mut connection)).await
    }
}
