//! What a message is charged to: its connection's rate, and those that it shares with others.

use std::time::Duration;

use p2p_registry::RegistryError;
use p2p_wire::{CloseCode, Code, PeerId, Problem};
use tokio::time::Instant;

use super::closing::Closing;
use super::registered::Registered;
use crate::meters;

/// Why a frame is not done: an answer, or the end of the connection.
pub(crate) enum Refusal {
    Problem(Problem),
    Closing(Closing),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<RegistryError> for Refusal {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::NotOwner => Self::Closing(error.into()),
            RegistryError::SessionExpired
            | RegistryError::PeerTaken
            | RegistryError::RoomNotFound
            | RegistryError::RoomFull
            | RegistryError::TooManyRooms
            | RegistryError::Full(_)
            | RegistryError::Unavailable(_) => Self::Problem(error.problem()),
        }
    }
}

impl Registered {
    /// What this connection shares with all of its app. Going over it is nothing to close the
    /// connection for.
    pub(crate) fn app_pace(&self, now: Instant) -> Result<(), Problem> {
        let instance = &self.instance;
        instance.app_pace.take_at(self.app_pace, now).map_err(|wait| {
            meters::limited("app");
            too_fast(
                format!(
                    "the app {} sends more than {} messages a second to this instance; this one is \
                     dropped",
                    self.owner.app, instance.config.limits.app_messages_per_second
                ),
                wait,
            )
        })
    }

    /// What the connections of this peer share: its offers to another one.
    pub(crate) fn offer_pace(&self, to: &PeerId, now: Instant) -> Result<(), Problem> {
        let instance = &self.instance;
        let limits = &instance.config.limits;
        instance.offer_pace.take((&self.owner.app, &self.owner.peer, to), now).map_err(|wait| {
            meters::limited("offers");
            too_fast(
                format!(
                    "more than {} offers a second to {to} after a burst of {}; this one is dropped",
                    limits.offers_per_second, limits.offer_burst
                ),
                wait,
            )
        })
    }

    /// The answer to a message over this connection's own rate, for the n-th time.
    pub(crate) fn slow_down(&self, strikes: u32) -> Refusal {
        let limits = &self.instance.config.limits;
        meters::limited("messages");
        let problem = too_fast(
            format!(
                "more than {} messages a second after a burst of {}; this one is dropped",
                limits.messages_per_second, limits.message_burst
            ),
            self.bucket.wait(),
        );
        if strikes > limits.too_fast_strikes {
            return Refusal::Closing(Closing::explained(CloseCode::TooFast, problem));
        }
        Refusal::Problem(problem)
    }
}

fn too_fast(detail: String, wait: Duration) -> Problem {
    let fix = format!("wait {} ms before the next message", wait.as_millis().max(1));
    Problem::new(Code::TooFast, "Too fast", detail, fix)
}
