//! A peer's session behind one WebSocket, whatever protocol is spoken there: who it is, how long it
//! may be silent and may stay, and what is told of its beginning and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p_auth::{LEEWAY_SECS, TokenError};
use p2p_registry::Ownership;
use p2p_stats::SessionRecord;
use p2p_telemetry::Phase;
use p2p_telemetry::metrics::SIGNALING_RESUMED;
use p2p_wire::{CloseCode, Redacted};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info};

use super::closing::Closing;
use super::rate::Bucket;
use crate::clock;
use crate::instance::Instance;
use crate::meters;
use crate::pacer::Slot;
use crate::random;

/// Far enough for any timer, near enough not to overflow.
const FAR_FUTURE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A session that is claimed.
pub(crate) struct Registered {
    pub(crate) instance: Arc<Instance>,
    pub(crate) owner: Arc<Ownership>,
    pub(crate) bucket: Bucket,
    /// Where its app's rate is kept.
    pub(crate) app_pace: Slot,
    /// What the client has acknowledged and the registry has not been told.
    pub(crate) acknowledged: Option<u64>,
    pub(crate) last_heard: Instant,
    /// Until when it has to move to another instance.
    pub(crate) drained: Option<Instant>,
    /// What statistics keep of it.
    record: SessionRecord,
    /// Of the token that counts, in seconds since the Unix epoch.
    expires_unix: u64,
    token_ends: Instant,
}

impl Registered {
    /// A claimed session whose token lasts this long, in seconds since the Unix epoch.
    pub(crate) fn new(
        instance: Arc<Instance>,
        owner: Ownership,
        expires_unix: u64,
        from: SocketAddr,
        resumed: bool,
    ) -> Self {
        let record = SessionRecord::opened(
            owner.session.clone(),
            owner.app.clone(),
            owner.peer.clone(),
            instance.registry.instance(),
            from.ip(),
            resumed,
            clock::unix_millis(),
        );
        instance.recorder.record(record.clone());
        let now = Instant::now();
        let limits = &instance.config.limits;
        Self {
            record,
            bucket: Bucket::new(limits.messages_per_second, limits.message_burst, now),
            app_pace: instance.app_pace.slot(&owner.app),
            acknowledged: None,
            last_heard: now,
            expires_unix,
            token_ends: token_end(expires_unix, now),
            drained: None,
            owner: Arc::new(owner),
            instance,
        }
    }

    /// Tells what concerns others that it is here.
    pub(crate) async fn announce(&self, protocol: &'static str, resumed: bool, from: SocketAddr) {
        let (app, peer) = (&self.owner.app, &self.owner.peer);
        if resumed {
            SIGNALING_RESUMED.get().increment(1);
            self.instance.attempts.peer_back(app, peer);
        } else {
            self.instance.attempts.peer_gone(app, peer).await;
        }
        info!(%app, %peer, protocol, resumed, from = %Redacted::from(from), "peer connected");
    }

    /// Greets the client, in time as a whole: nothing of the client's is read meanwhile.
    pub(crate) async fn greet(
        &self,
        patience: Duration,
        greeting: impl Future<Output = Result<(), Closing>>,
    ) -> Result<(), Closing> {
        let until = (self.last_heard + patience).min(self.token_ends);
        let greeted = tokio::select! {
            biased;
            greeted = timeout_at(until, greeting) => greeted,
            () = self.instance.stop.forced() => return Err(Closing::code(CloseCode::Draining)),
        };
        greeted.unwrap_or_else(|_| {
            if self.token_ends <= Instant::now() {
                return self.check_deadlines(self.token_ends, patience);
            }
            meters::limited("slow_answers");
            Err(Closing::TryLater("what was missed was taken too slowly; reconnect and resume"))
        })
    }

    /// Goes by a newer token.
    pub(crate) fn last_until(&mut self, expires_unix: u64) {
        self.token_ends = token_end(expires_unix, Instant::now());
        self.expires_unix = expires_unix;
    }

    pub(crate) fn next_deadline(&self, patience: Duration) -> Instant {
        let silent = self.last_heard + patience;
        self.drained.into_iter().chain([silent, self.token_ends]).min().unwrap_or(silent)
    }

    pub(crate) fn check_deadlines(&self, now: Instant, patience: Duration) -> Result<(), Closing> {
        if self.drained.is_some_and(|at| at <= now) {
            return Err(Closing::code(CloseCode::Draining));
        }
        if self.token_ends <= now {
            let (exp, now) = (self.expires_unix, clock::unix_seconds());
            let expired = TokenError::Expired { exp, now, ago: now.saturating_sub(exp) };
            return Err(Closing::explained(CloseCode::Auth, expired.problem()));
        }
        if self.last_heard + patience <= now {
            return Err(Closing::code(CloseCode::HeartbeatLost));
        }
        Ok(())
    }

    /// In how many milliseconds it has to move: another number for each, so that the reconnects of
    /// everybody are spread over the drain's window (invariant I12).
    pub(crate) fn move_on(&mut self) -> Result<u64, Closing> {
        if self.instance.stop.phase() == Phase::Forced {
            return Err(Closing::code(CloseCode::Draining));
        }
        let window = self.instance.config.timing.drain.as_millis();
        let after_ms = random::below(u64::try_from(window).unwrap_or(u64::MAX));
        self.drained = Some(Instant::now() + Duration::from_millis(after_ms));
        Ok(after_ms)
    }

    /// Ends the registration: for good after a goodbye, for a while after anything else.
    pub(crate) async fn end(&self, closing: &Closing) {
        let (app, peer) = (&self.owner.app, &self.owner.peer);
        let ended = match closing {
            Closing::Goodbye => self.instance.registry.release(&self.owner).await,
            Closing::Code(..) | Closing::TryLater(_) | Closing::Lost => {
                self.instance.registry.detach(&self.owner).await
            }
        };
        // Where a newer connection owns the id, the attempts are its own.
        match ended {
            Ok(true) if matches!(closing, Closing::Goodbye) => {
                self.instance.attempts.peer_gone(app, peer).await;
            }
            Ok(true) => self.instance.attempts.peer_lost(app, peer),
            Ok(false) => {}
            Err(error) => debug!(%app, %peer, %error, "the registry was not told of an end"),
        }
        let code = closing.frame().map(|(code, _)| code);
        self.instance.recorder.record(self.record.clone().closed(clock::unix_millis(), code));
        info!(%app, %peer, code, "peer disconnected");
    }
}

/// When a token ends, by the clock that timers use.
fn token_end(expires_unix: u64, now: Instant) -> Instant {
    let left = (expires_unix.saturating_add(LEEWAY_SECS + 1)).saturating_sub(clock::unix_seconds());
    now + Duration::from_secs(left).min(FAR_FUTURE)
}
