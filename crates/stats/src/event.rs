//! What happens, as it travels from where it happens to the store.

use serde::{Deserialize, Serialize};

use crate::attempt::AttemptRecord;
use crate::network::AddressDetail;
use crate::usage::{RelayRecord, SessionRecord};

/// One thing that happened. Events carry the id that makes storing them twice the same as once, so
/// they may be delivered twice, late and in any order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// What is known about an attempt has changed.
    Attempt(Box<AttemptRecord>),
    /// A connection to a signaling instance opened or closed.
    Session(Box<SessionRecord>),
    /// An allocation at a relay ended.
    Relay(Box<RelayRecord>),
}

impl Event {
    /// The event with addresses cut down to what may be kept.
    #[must_use]
    pub fn with_addresses(self, detail: AddressDetail) -> Self {
        match self {
            Self::Attempt(record) => Self::Attempt(Box::new(record.with_addresses(detail))),
            Self::Session(mut record) => {
                record.network = record.network.filter(|_| detail == AddressDetail::Network);
                Self::Session(record)
            }
            Self::Relay(_) => self,
        }
    }
}

impl Event {
    /// Its form on the way: JSON.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("records are maps with text keys")
    }
}

impl From<AttemptRecord> for Event {
    fn from(record: AttemptRecord) -> Self {
        Self::Attempt(Box::new(record))
    }
}

impl From<SessionRecord> for Event {
    fn from(record: SessionRecord) -> Self {
        Self::Session(Box::new(record))
    }
}

impl From<RelayRecord> for Event {
    fn from(record: RelayRecord) -> Self {
        Self::Relay(Box::new(record))
    }
}

/// Events by their kind, as stores take them.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    pub(crate) attempts: Vec<AttemptRecord>,
    pub(crate) sessions: Vec<SessionRecord>,
    pub(crate) relays: Vec<RelayRecord>,
}

impl Sorted {
    pub(crate) fn of(events: &[Event]) -> Self {
        let mut sorted = Self::default();
        for event in events {
            match event {
                Event::Attempt(record) => sorted.attempts.push((**record).clone()),
                Event::Session(record) => sorted.sessions.push((**record).clone()),
                Event::Relay(record) => sorted.relays.push((**record).clone()),
            }
        }
        sorted
    }
}
