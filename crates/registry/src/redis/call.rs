//! One command: its deadline, and what follows from its failure.

use std::sync::Arc;
use std::time::Duration;

use p2p_redis::Connection;
use p2p_telemetry::metrics::{REDIS_COMMAND_SECONDS, REDIS_COMMANDS};
use p2p_wire::AppId;
use redis::{RedisError, ScriptInvocation, Value};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::Shared;
use super::reply::Reply;
use super::scripts::Named;
use crate::claim::Ownership;
use crate::error::RegistryError;

/// How long a call whose command failed waits for Redis to come back.
const PATIENCE: Duration = Duration::from_millis(1500);

impl Shared {
    /// Runs a script for an app.
    pub(super) async fn call(
        self: &Arc<Self>,
        script: &Named,
        app: &AppId,
        arguments: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<Reply, RegistryError> {
        let connection = self.connection()?;
        let reply = self.run(connection, script, app, arguments).await?;
        self.suspect(&reply);
        Ok(reply)
    }

    /// Runs a script that acts for an owner.
    pub(super) async fn owned(
        self: &Arc<Self>,
        script: &Named,
        owner: &Ownership,
        arguments: impl Fn(&mut ScriptInvocation<'_>),
    ) -> Result<Reply, RegistryError> {
        let run = || {
            self.call(script, &owner.app, |call| {
                call.arg(owner.peer.as_str()).arg(owner.epoch);
                arguments(call);
            })
        };
        let mut reply = run().await?;
        // Redis lost the peer, and this instance serves it.
        if reply.word == "unknown" && self.table().owned(owner).is_some() {
            self.reassert(self.connection()?, owner).await?;
            reply = run().await?;
        }
        match reply.word.as_str() {
            "not_owner" | "unknown" => Err(RegistryError::NotOwner),
            "room_not_found" => Err(RegistryError::RoomNotFound),
            "room_full" => Err(RegistryError::RoomFull),
            "too_many_rooms" => Err(RegistryError::TooManyRooms),
            _ => Ok(reply),
        }
    }

    /// The same of one argument. Where Redis is about to be back it waits for that: a change that
    /// Redis did not hear of would have to be said before.
    pub(super) async fn owned_or_returned(
        self: &Arc<Self>,
        script: &Named,
        owner: &Ownership,
        argument: &str,
    ) -> Result<Reply, RegistryError> {
        let run = || {
            self.owned(script, owner, |call| {
                call.arg(argument);
            })
        };
        match run().await {
            Err(RegistryError::Unavailable(_)) if self.has_returned().await => run().await,
            told => told,
        }
    }

    /// The connection, where Redis can be used.
    pub(super) fn connection(&self) -> Result<Connection, RegistryError> {
        if let Some(trouble) = &*self.trouble.borrow() {
            return Err(RegistryError::Unavailable(trouble.clone()));
        }
        let connection = self.connection.lock().expect("a connection is cloned without panic");
        let none = || RegistryError::Unavailable("connecting".to_owned());
        connection.clone().ok_or_else(none)
    }

    pub(super) async fn run(
        &self,
        connection: Connection,
        script: &Named,
        app: &AppId,
        arguments: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<Reply, RegistryError> {
        let mut call = script.key(self.names.of_app(app.as_str()));
        call.arg(app.as_str()).arg(&self.names.channels);
        arguments(&mut call);
        self.invoke(connection, script.name, &call).await
    }

    /// Runs a script over all apps of a shard.
    pub(super) async fn run_in_shard(
        &self,
        connection: Connection,
        script: &Named,
        shard: u8,
        arguments: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<Reply, RegistryError> {
        let mut call = script.key(self.names.shard(shard));
        call.arg("").arg(&self.names.channels);
        arguments(&mut call);
        self.invoke(connection, script.name, &call).await
    }

    pub(super) async fn invoke(
        &self,
        mut connection: Connection,
        name: &'static str,
        call: &ScriptInvocation<'_>,
    ) -> Result<Reply, RegistryError> {
        let answer = call.invoke_async(&mut connection);
        let value: Value = self.counted_in_time(name, answer).await?;
        Reply::read(value)
    }

    /// Awaits the answer of a command that is no script.
    pub(super) async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RegistryError> {
        self.counted_in_time("other", answer).await
    }

    /// Awaits an answer for as long as one command may take. A connection that does not answer is
    /// taken for broken: all that wait on it learn it together.
    async fn counted_in_time<T>(
        &self,
        name: &'static str,
        answer: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RegistryError> {
        let (deadline, began) = (self.settings.deadline, Instant::now());
        match timeout(deadline, answer).await {
            Ok(Ok(value)) => {
                REDIS_COMMANDS.with([name, "ok"]).increment(1);
                REDIS_COMMAND_SECONDS.with([name]).record(began.elapsed().as_secs_f64());
                Ok(value)
            }
            Ok(Err(error)) => {
                let timed_out = error.is_timeout();
                let result = if timed_out { "timeout" } else { "error" };
                REDIS_COMMANDS.with([name, result]).increment(1);
                if timed_out || error.is_io_error() || error.is_unrecoverable_error() {
                    self.break_off(&error.to_string());
                }
                Err(RegistryError::Unavailable(error.to_string()))
            }
            Err(_) => {
                REDIS_COMMANDS.with([name, "timeout"]).increment(1);
                let why = format!("no answer within {} ms", deadline.as_millis());
                self.break_off(&why);
                Err(RegistryError::Unavailable(why))
            }
        }
    }

    /// From here on calls fail at once; the supervisor connects again.
    pub(super) fn break_off(&self, why: &str) {
        debug!(why, "the connection to Redis is broken");
        self.down(why);
        self.broken.notify_one();
    }

    pub(super) fn down(&self, why: &str) {
        *self.connection.lock().expect("a connection is cloned without panic") = None;
        let was_up = self.trouble.send_if_modified(|trouble| {
            let was_up = trouble.is_none();
            *trouble = Some(why.to_owned());
            was_up
        });
        if was_up {
            self.outage.lock().expect("an outage is counted without panic").begin();
            warn!(why, "Redis is away: only peers of this instance reach each other");
        }
    }

    pub(super) async fn connected(&self) {
        let mut trouble = self.trouble.subscribe();
        // The sender lives as long as `self`.
        let _ = trouble.wait_for(Option::is_none).await;
    }

    /// Whether Redis is back, after the moment in which it hears what passed it by.
    pub(super) async fn has_returned(&self) -> bool {
        let mut returning = self.returning.subscribe();
        // The sender lives as long as `self`.
        let said = timeout(PATIENCE, returning.wait_for(|returning| !*returning)).await.is_ok();
        said && self.trouble.borrow().is_none()
    }

    /// Whether Redis comes back while a call can still wait for it: not for ever again in an outage
    /// that lasts.
    pub(super) async fn returns_soon(&self) -> bool {
        let lasted = self.outage.lock().expect("an outage is counted without panic").lasts();
        timeout(PATIENCE.saturating_sub(lasted), self.connected()).await.is_ok()
    }
}
