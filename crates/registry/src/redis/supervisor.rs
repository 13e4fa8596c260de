//! Keeps an instance connected: connect, subscribe, say again what is served here, then listen for
//! probes, do what is due, and put the peers of dead instances away. Beside that it renews its lease
//! (`leases`).

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::try_join_all;
use p2p_redis::Connection;
use p2p_telemetry::metrics::REGISTRY_REASSERTED;
use p2p_wire::server::ReceiptStatus;
use p2p_wire::{AppId, PeerId};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, info};

use super::Shared;
use super::due::Looks;
use super::event::{Event, PROBE};
use super::leases::Lapses;
use super::reply::{number, parsed, text, written_role};
use super::scripts::SHARDS;
use super::{to_json, write_published};
use crate::claim::Ownership;
use crate::error::RegistryError;
use crate::notice::Notice;

/// Between two looks at the clock, for what is to be done now and then.
const TICK: Duration = Duration::from_millis(100);
/// Between two probes of the subscription.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// How long to wait before the first try to connect again, and at most.
pub(super) const BACKOFF: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(2));
/// Peers said again at once.
const BATCH: usize = 64;
/// How long Redis must not know a message that it took until its sender is told that it is lost:
/// longer than any that is still on its way can be.
const FORGOTTEN: Duration = Duration::from_secs(8);
/// How often peers are said again of which something changed meanwhile.
const TRIES: usize = 5;

/// Runs until the registry is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut closed = shared.closed.subscribe();
    let mut backoff = BACKOFF.0;
    loop {
        let began = Instant::now();
        shared.outage.lock().expect("an outage is counted without panic").count();
        let why = tokio::select! {
            why = shared.connect_and_keep() => why,
            _ = closed.wait_for(|closed| *closed) => return,
        };
        debug!(%why, "Redis cannot be used");
        shared.down(&why.to_string());
        shared.is_returning(false);
        if began.elapsed() > BACKOFF.1 {
            backoff = BACKOFF.0;
        }
        tokio::select! {
            () = sleep(backoff) => {}
            _ = closed.wait_for(|closed| *closed) => return,
        }
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

impl Shared {
    /// Returns why it could not go on.
    async fn connect_and_keep(self: &Arc<Self>) -> RegistryError {
        match self.try_connect_and_keep().await {
            Ok(()) => RegistryError::Unavailable("the subscription ended".to_owned()),
            Err(why) => why,
        }
    }

    async fn try_connect_and_keep(self: &Arc<Self>) -> Result<(), RegistryError> {
        let patience = self.settings.patience();
        let connection = self.in_time(self.redis.connect(patience)).await?;
        let watching = self.redis.watch_master(&connection, patience.connect / 2);
        let replaced = self.in_time(watching).await?;
        let channels = self.names.channels_of(&self.instance);
        let subscribing = self.redis.subscribe(&connection, &channels, patience);
        let mut events = self.in_time(subscribing).await?;
        // What an earlier connection found out about itself.
        let _ = timeout(Duration::ZERO, self.broken.notified()).await;

        let listening = async {
            while let Some(heard) = events.next().await {
                self.on_event(heard.payload());
            }
        };
        tokio::select! {
            () = listening => Ok(()),
            kept = self.keep(&connection) => kept,
            () = replaced => {
                Err(RegistryError::Unavailable("Sentinel replaces the master".to_owned()))
            }
            () = self.broken.notified() => {
                Err(RegistryError::Unavailable("a command had no answer".to_owned()))
            }
        }
    }

    /// Renews the lease beside everything else: that may take longer than the lease lasts.
    async fn keep(self: &Arc<Self>, connection: &Connection) -> Result<(), RegistryError> {
        self.renew(connection).await?;
        let lapses = Mutex::default();
        tokio::select! {
            kept = self.keep_lease(connection, &lapses) => kept,
            kept = self.keep_told(connection, &lapses) => kept,
        }
    }

    async fn keep_told(
        self: &Arc<Self>,
        connection: &Connection,
        lapses: &Mutex<Lapses>,
    ) -> Result<(), RegistryError> {
        self.say_again(connection).await?;
        self.heed_heir(connection).await?;
        self.up(connection).await?;
        self.outage.lock().expect("an outage is counted without panic").end();
        self.flush_acks(connection).await?;
        info!("Redis is connected");

        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut probed = Instant::now();
        let mut looks = Looks::at_once(&self.names);
        loop {
            tick.tick().await;
            self.do_what_is_due(connection, &mut looks).await?;
            let losers = self.table().losers(FORGOTTEN);
            for owner in losers {
                self.reassert(connection.clone(), &owner).await?;
            }
            let lapsed =
                std::mem::take(&mut *lapses.lock().expect("a list is moved without panic"));
            if lapsed.own {
                info!("Redis did not know this instance any more");
                self.say_again(connection).await?;
                self.heed_heir(connection).await?;
            }
            for (instance, renewals) in lapsed.others {
                self.look_after(connection, &instance, renewals).await?;
            }
            if probed.elapsed() >= PROBE_EVERY {
                probed = Instant::now();
                self.probe(connection).await?;
            }
        }
    }

    fn on_event(self: &Arc<Self>, payload: &[u8]) {
        let event = std::str::from_utf8(payload).ok().and_then(Event::parse);
        let Some(event) = event else {
            debug!("an event that no script of this version writes");
            return;
        };
        if let Event::Probe(channel, number) = event {
            self.heard.send_modify(|heard| {
                if let Some(last) = heard.get_mut(channel) {
                    *last = number.max(*last);
                }
            });
        }
        let event = match event {
            Event::PassedOn(text) => return self.notice(Notice::PassedOn(text.into())),
            Event::Side { app, peer, presence, attempts } => {
                return self.notice(Notice::Side { app, peer, presence, attempts });
            }
            event => event,
        };
        let fetch = self.table().take_in(event);
        for owner in fetch {
            self.fetch(owner);
        }
    }

    /// Fetches messages whose events were lost.
    pub(super) fn fetch(self: &Arc<Self>, owner: Ownership) {
        let shared = self.clone();
        tokio::spawn(async move {
            loop {
                match shared.missed(&owner).await {
                    Ok(mail) => {
                        if !shared.table().fetched(&owner, mail) {
                            return;
                        }
                    }
                    Err(RegistryError::NotOwner) => return,
                    Err(error) => {
                        debug!(peer = %owner.peer, %error, "messages are fetched later");
                        if *shared.closed.borrow() {
                            return;
                        }
                        sleep(TICK).await;
                    }
                }
            }
        });
    }

    async fn missed(
        self: &Arc<Self>,
        owner: &Ownership,
    ) -> Result<Vec<(u64, super::event::Mail)>, RegistryError> {
        let last = self.table().owned(owner).map(|local| local.last);
        let last = last.ok_or(RegistryError::NotOwner)?;
        let told = self.owned(&self.scripts.missed, owner, |call| {
            call.arg(last);
        });
        told.await?.mail()
    }

    /// Whether the subscription still hears what is published. What was published to it before has
    /// been taken in when this returns.
    pub(super) async fn probe(&self, connection: &Connection) -> Result<(), RegistryError> {
        let number = self.probes.fetch_add(1, Relaxed) + 1;
        let deaf = || RegistryError::Unavailable("the subscription does not hear".to_owned());
        let mut heard = self.heard.subscribe();
        let channels = self.names.channels_of(&self.instance);
        let probing = channels.iter().enumerate().map(|(at, channel)| {
            let publish = self.names.publish(channel, &format!("{PROBE}\n{at}\n{number}"));
            let mut connection = connection.clone();
            async move { self.in_time(publish.query_async::<u64>(&mut connection)).await }
        });
        if try_join_all(probing).await?.contains(&0) {
            return Err(deaf());
        }
        let answered = heard.wait_for(|heard| heard.iter().all(|last| *last >= number));
        match timeout(self.settings.deadline, answered).await {
            Ok(_) => Ok(()),
            Err(_) => Err(deaf()),
        }
    }

    /// From here on calls go to Redis. What changed while sessions were said again is said before,
    /// and nothing passes Redis by after it was: that what is left is little, and soon said, is what
    /// the first pass is for.
    async fn up(self: &Arc<Self>, connection: &Connection) -> Result<(), RegistryError> {
        let unsaid = self.table().unsaid();
        self.reassert_all(connection, &unsaid).await?;
        self.is_returning(true);
        for _ in 0..TRIES {
            let unsaid = {
                let mut table = self.table();
                let unsaid = table.unsaid();
                if unsaid.is_empty() {
                    table.all_is_said();
                    *self.connection.lock().expect("a connection is cloned without panic") =
                        Some(connection.clone());
                    self.trouble.send_replace(None);
                    self.returning.send_replace(false);
                    break;
                }
                unsaid
            };
            self.reassert_all(connection, &unsaid).await?;
        }
        if self.trouble.borrow().is_some() {
            let why = "peers change too fast to be said again";
            return Err(RegistryError::Unavailable(why.to_owned()));
        }
        // Sessions that ended meanwhile.
        for shard in 0..SHARDS {
            self.take_back(connection, shard).await?;
        }
        Ok(())
    }

    /// Says again what is served here, and takes back what is not.
    async fn say_again(self: &Arc<Self>, connection: &Connection) -> Result<(), RegistryError> {
        let owners: Vec<Ownership> =
            self.table().sessions.values().map(|local| local.owner.clone()).collect();
        self.reassert_all(connection, &owners).await?;
        for shard in 0..SHARDS {
            self.take_back(connection, shard).await?;
        }
        Ok(())
    }

    async fn reassert_all(
        self: &Arc<Self>,
        connection: &Connection,
        owners: &[Ownership],
    ) -> Result<(), RegistryError> {
        for some in owners.chunks(BATCH) {
            try_join_all(some.iter().map(|owner| self.reassert(connection.clone(), owner))).await?;
        }
        Ok(())
    }

    /// Whether Redis is being told the last of what passed it by.
    fn is_returning(&self, is: bool) {
        // Whoever passes something on holds it.
        let _table = self.table();
        self.returning.send_replace(is);
    }

    /// Says one peer again. A newer owner wins. What passes Redis by meanwhile is left to be said.
    pub(super) async fn reassert(
        self: &Arc<Self>,
        connection: Connection,
        owner: &Ownership,
    ) -> Result<(), RegistryError> {
        let Some((arguments, last)) = self.what_is_known(owner) else { return Ok(()) };
        let said = self.run(connection, &self.scripts.reassert, &owner.app, |call| {
            for argument in &arguments {
                call.arg(argument);
            }
        });
        let mut reply = said.await?;
        if reply.word != "ok" {
            self.table().take_in(Event::Replaced {
                app: owner.app.clone(),
                peer: owner.peer.clone(),
                epoch: owner.epoch,
            });
            return Ok(());
        }
        let (mail, mut receipts) = (reply.mail()?, reply.receipts()?);
        let forgotten = reply.list()?.map(|id| parsed(&text(id)?));
        let forgotten: Vec<_> = forgotten.collect::<Result<_, _>>()?;
        let mut table = self.table();
        receipts.extend(table.forgotten(owner, &forgotten, FORGOTTEN));
        table.told(owner, receipts);
        if table.reasserted(owner, last, mail) {
            REGISTRY_REASSERTED.get().increment(1);
        }
        Ok(())
    }

    fn what_is_known(&self, owner: &Ownership) -> Option<(Vec<String>, u64)> {
        let mut table = self.table();
        let local = table.owned(owner)?;
        // What happens from here on is for the next time.
        local.stale = false;
        let mut arguments = vec![
            owner.peer.to_string(),
            owner.epoch.to_string(),
            self.instance.clone(),
            owner.session.to_string(),
            local.secret.to_text(),
            to_json(&local.meta),
            local.key.as_ref().map(to_json).unwrap_or_default(),
            write_published(&local.published),
            local.synced.to_string(),
            local.last.to_string(),
            local.acked.to_string(),
            local.settled.len().to_string(),
        ];
        for (seq, session, id) in &local.settled {
            arguments.extend([seq.to_string(), session.to_string(), id.to_string()]);
        }
        arguments.push(local.rooms.len().to_string());
        for (room, (role, version)) in &local.rooms {
            arguments.extend([
                room.to_string(),
                written_role(role.as_deref()),
                version.to_string(),
            ]);
        }
        arguments.push(local.sent.len().to_string());
        for (id, status) in &local.sent {
            let parcel = match status {
                ReceiptStatus::Delivered => "0 1 1 0 1 0",
                ReceiptStatus::Queued => "1 0 1 0 1 0",
                ReceiptStatus::Gone | ReceiptStatus::Rejected => "0 0 1 0 1 0",
            };
            arguments.extend([id.to_string(), parcel.to_owned()]);
        }
        arguments.push(local.here.len().to_string());
        for (session, id) in &local.here {
            arguments.extend([session.to_string(), id.to_string()]);
        }
        arguments.push(local.awaiting.ids().count().to_string());
        arguments.extend(local.awaiting.ids().map(ToString::to_string));
        arguments.push(local.inbox.len().to_string());
        for held in &local.inbox {
            arguments.extend([
                held.seq.to_string(),
                held.mail.from.to_string(),
                held.mail.session.to_string(),
                held.mail.id.to_string(),
                u8::from(held.mail.to_room).to_string(),
                held.mail.rest.to_string(),
            ]);
        }
        Some((arguments, local.last))
    }

    /// Peers that Redis has here and this instance does not serve: their sessions ended, or their
    /// claims failed, while Redis did not answer.
    async fn take_back(
        self: &Arc<Self>,
        connection: &Connection,
        shard: u8,
    ) -> Result<(), RegistryError> {
        let owned = self.run_in_shard(connection.clone(), &self.scripts.owned, shard, |call| {
            call.arg(&self.instance);
        });
        let mut values = owned.await?.list()?;
        let window = self.behaviour.resume_window.as_millis() as u64;
        while let Some(app) = values.next() {
            let app: AppId = parsed(&text(app)?)?;
            let peer: PeerId = parsed(&text(values.next().unwrap_or_default())?)?;
            let epoch = number(values.next().unwrap_or_default())?;
            let key = (app, peer);
            let served = {
                let table = self.table();
                table.is_claiming(&key)
                    || table.sessions.get(&key).is_some_and(|local| local.owner.epoch == epoch)
            };
            if !served {
                let (app, peer) = &key;
                let detach = self.run(connection.clone(), &self.scripts.detach, app, |call| {
                    call.arg(peer.as_str()).arg(epoch).arg(window);
                });
                detach.await?;
            }
        }
        Ok(())
    }

    /// Tells Redis what was acknowledged while it was away.
    async fn flush_acks(self: &Arc<Self>, connection: &Connection) -> Result<(), RegistryError> {
        let waiting: Vec<(Ownership, u64)> = self
            .table()
            .sessions
            .values()
            .filter(|local| local.inbox.front().is_some_and(|held| held.seq <= local.acked))
            .map(|local| (local.owner.clone(), local.acked))
            .collect();
        for (owner, acked) in waiting {
            let ack = self.run(connection.clone(), &self.scripts.ack, &owner.app, |call| {
                call.arg(owner.peer.as_str()).arg(owner.epoch).arg(acked);
            });
            ack.await?;
            if let Some(local) = self.table().owned(&owner) {
                local.acknowledged(acked);
            }
        }
        Ok(())
    }
}
