//! Who has how many attempts open, and as what.
//!
//! The two roles are counted apart, and a pair has a bound of its own: whoever calls a peer again and
//! again takes neither that peer's own calls from it nor its place for those who call it too.

use std::collections::{HashMap, HashSet};

use p2p_stats::AttemptRecord;
use p2p_wire::limits::{MAX_OPEN_ATTEMPTS, MAX_OPEN_ATTEMPTS_OF_CALLEE, MAX_OPEN_ATTEMPTS_TO_ONE};
use p2p_wire::{AppId, AttemptId, PeerId};

/// The attempts that have no verdict, by their peers.
#[derive(Default)]
pub(super) struct OpenAttempts {
    by_peer: HashMap<(AppId, PeerId), OfPeer>,
}

#[derive(Default)]
struct OfPeer {
    /// Those that it asked for, and whom it called.
    calling: HashMap<AttemptId, PeerId>,
    /// Those that others asked it for.
    called: HashSet<AttemptId>,
}

/// A bound that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The caller's own.
    Caller,
    /// That of the caller's attempts with this callee.
    Pair,
    /// The callee's.
    Callee,
}

impl OpenAttempts {
    /// Whether there may be another attempt from one peer to another.
    pub(super) fn admit(&self, app: &AppId, caller: &PeerId, callee: &PeerId) -> Result<(), Full> {
        let of = |peer: &PeerId| self.by_peer.get(&(app.clone(), peer.clone()));
        if let Some(OfPeer { calling, .. }) = of(caller) {
            if calling.values().filter(|called| *called == callee).count()
                >= MAX_OPEN_ATTEMPTS_TO_ONE
            {
                return Err(Full::Pair);
            }
            if calling.len() >= MAX_OPEN_ATTEMPTS {
                return Err(Full::Caller);
            }
        }
        match of(callee) {
            Some(OfPeer { called, .. }) if called.len() >= MAX_OPEN_ATTEMPTS_OF_CALLEE => {
                Err(Full::Callee)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn insert(&mut self, record: &AttemptRecord) {
        let AttemptRecord { attempt, caller, callee, .. } = record;
        self.of_peer(record, caller).calling.insert(attempt.clone(), callee.clone());
        self.of_peer(record, callee).called.insert(attempt.clone());
    }

    /// The attempt has its verdict, or is forgotten.
    pub(super) fn remove(&mut self, record: &AttemptRecord) {
        for peer in [&record.caller, &record.callee] {
            let key = (record.app.clone(), peer.clone());
            let Some(open) = self.by_peer.get_mut(&key) else { continue };
            open.calling.remove(&record.attempt);
            open.called.remove(&record.attempt);
            if open.calling.is_empty() && open.called.is_empty() {
                self.by_peer.remove(&key);
            }
        }
    }

    /// A peer's attempts, in either role.
    pub(super) fn of(&self, app: &AppId, peer: &PeerId) -> Vec<AttemptId> {
        let Some(open) = self.by_peer.get(&(app.clone(), peer.clone())) else { return Vec::new() };
        open.calling.keys().chain(&open.called).cloned().collect()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_peer.is_empty()
    }

    fn of_peer(&mut self, record: &AttemptRecord, peer: &PeerId) -> &mut OfPeer {
        self.by_peer.entry((record.app.clone(), peer.clone())).or_default()
    }
}

impl Full {
    /// Its name where it is counted.
    pub(super) fn limit(self) -> &'static str {
        match self {
            Self::Caller => "attempts",
            Self::Pair => "attempts_of_pair",
            Self::Callee => "attempts_of_callee",
        }
    }

    pub(super) fn detail(self, caller: &PeerId, callee: &PeerId) -> String {
        match self {
            Self::Caller => {
                format!("{caller} has {MAX_OPEN_ATTEMPTS} attempts open, which is all it may have")
            }
            Self::Pair => format!(
                "{caller} has {MAX_OPEN_ATTEMPTS_TO_ONE} attempts open to {callee}, which is all \
                 it may have to one peer"
            ),
            Self::Callee => format!(
                "{callee} is being called {MAX_OPEN_ATTEMPTS_OF_CALLEE} times, which is as often \
                 as a peer may be at once"
            ),
        }
    }

    pub(super) fn fix(self) -> &'static str {
        match self {
            Self::Caller | Self::Pair => {
                "wait until they end, at most 30 s, or report how they ended"
            }
            Self::Callee => "try again in a few seconds: its attempts end within 30 s",
        }
    }
}
