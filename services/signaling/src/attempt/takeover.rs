//! Sides at other instances, and attempts whose instance dies.
//!
//! While an attempt is open, its instance watches both sides in the registry: one that goes away,
//! comes back or is gone is noticed wherever it is connected. What is known of the attempt is kept
//! there, too. When the instance dies, the one that puts its peers away goes on with the attempt
//! under the same id: a side that was at the dead instance has the grace to come back, what either
//! side reports finds the heir, and there is one verdict and one record (invariant I11).
//!
//! Two faults at once are too many: what is kept goes with all of Redis's data, and attempts whose
//! verdict is given are not kept, so that a relayed path whose coordinator is gone stays on record
//! as relayed.

use p2p_registry::{Notice, Presence};
use p2p_stats::AttemptRecord;
use p2p_wire::{AppId, AttemptId, Outcome, PeerId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{debug, info};

use super::Attempts;
use crate::clock;

/// What another instance needs to go on with an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) record: AttemptRecord,
    /// Candidates that each side has given.
    pub(super) given: [usize; 2],
    /// What each side has reported.
    pub(super) reported: [Option<Outcome>; 2],
}

impl Attempts {
    /// Watches an attempt while it is open; the registry gets what is known of it by now.
    pub(super) async fn watch_sides(&self, id: &AttemptId) {
        if self.registry.instance().is_none() {
            return;
        }
        let Some(standing) = self.lock().standing(id) else { return };
        let known = serde_json::to_string(&standing).expect("records have string keys");
        let Standing { record, .. } = standing;
        let sides = [&record.caller, &record.callee];
        match self.registry.watch(&record.app, id, sides, known.into()).await {
            Ok(presences) => {
                self.lock().is_kept(id);
                for (peer, presence) in sides.into_iter().zip(presences) {
                    // Nobody has to come back who has not been away.
                    if presence != Presence::On {
                        self.side_is(id, peer, presence).await;
                    }
                }
            }
            // Then the attempt's time decides; its sides at this instance tell as ever.
            Err(error) => debug!(attempt = %id, %error, "an attempt is not watched"),
        }
    }

    pub(super) async fn unwatch_sides(&self, record: &AttemptRecord) {
        if self.registry.instance().is_none() {
            return;
        }
        let sides = [&record.caller, &record.callee];
        let unwatched = self.registry.unwatch(&record.app, &record.attempt, sides).await;
        if let Err(error) = unwatched {
            debug!(attempt = %record.attempt, %error, "an attempt that ended is still watched");
        }
    }

    pub(super) async fn notice(&self, notice: Notice) {
        match notice {
            Notice::PassedOn(frame) => self.hear(&frame).await,
            Notice::Side { app, peer, presence, attempts } => {
                debug!(%app, %peer, ?presence, "a side of attempts is somewhere else");
                for id in &attempts {
                    self.side_is(id, &peer, presence).await;
                }
            }
            Notice::Inherited(known) => self.inherit(&known).await,
            Notice::TakenOver { heir } => {
                let open = self.lock().give_up(&heir);
                info!(open, heir, "another instance goes on with the attempts of this one");
            }
        }
    }

    async fn side_is(&self, id: &AttemptId, peer: &PeerId, presence: Presence) {
        let now = Instant::now();
        let effects = self.lock().side_is(id, peer, presence, now);
        self.perform(effects).await;
        self.earlier.notify_one();
    }

    /// Goes on with an attempt of an instance that died.
    async fn inherit(&self, known: &str) {
        let standing = match serde_json::from_str::<Standing>(known) {
            Ok(standing) => standing,
            Err(error) => {
                debug!(%error, "an instance of another version kept an attempt");
                return;
            }
        };
        let (id, app): (AttemptId, AppId) =
            (standing.record.attempt.clone(), standing.record.app.clone());
        let begun = u64::try_from(standing.record.started_unix_ms).unwrap_or(0);
        let now_ms = u64::try_from(clock::unix_millis()).unwrap_or(0);
        let age = std::time::Duration::from_millis(now_ms.saturating_sub(begun));
        if !self.lock().adopt(standing, age, Instant::now()) {
            return;
        }
        info!(attempt = %id, %app, "goes on with an attempt of an instance that is gone");
        self.watch_sides(&id).await;
        self.earlier.notify_one();
    }
}
