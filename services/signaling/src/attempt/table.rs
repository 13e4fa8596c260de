//! The attempts and their endings. No I/O and no clock: time comes in, effects go out.
//!
//! An attempt is *open* until it has its verdict, and it has its verdict when
//!
//! - both sides have reported,
//! - a side is gone, or has been away for longer than the grace, and no path was reported, or
//! - its time has passed.
//!
//! After that it is *decided*: reports may still improve the stored record (a relayed path that
//! turns direct), for as long as the upgrade window is open and there is room.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use p2p_registry::Presence;
use p2p_stats::{AttemptRecord, Side};
use p2p_wire::limits::MAX_CANDIDATES;
use p2p_wire::server::{EndReason, Ended};
use p2p_wire::{AppId, AttemptId, Candidate, Code, Outcome, PeerId, Policy, Problem, Report};
use tokio::time::Instant;

use super::open::OpenAttempts;
use super::takeover::Standing;
use crate::config::Timing;
use crate::meters;

/// What is to be done after a change.
#[derive(Debug)]
pub(super) enum Effect {
    /// A peer hears that the attempt will not succeed.
    Tell { app: AppId, peer: PeerId, ended: Ended },
    /// The store gets what is known.
    Record(Box<AttemptRecord>),
    /// The attempt has its verdict; happens once.
    Decided(Box<AttemptRecord>),
}

pub(super) struct Table {
    capacity: usize,
    timeout: Duration,
    grace: Duration,
    upgrade: Duration,
    entries: HashMap<AttemptId, Entry>,
    open: OpenAttempts,
    open_due: BTreeSet<(Instant, AttemptId)>,
    decided_due: BTreeSet<(Instant, AttemptId)>,
    /// Attempts that began here and are gone on with at another instance, which is named.
    moved: HashMap<AttemptId, String>,
}

struct Entry {
    record: AttemptRecord,
    sides: [SideState; 2],
    /// When the attempt's time has passed, whoever is there.
    deadline: Instant,
    /// When the table looks at it next.
    due: Instant,
    decided: bool,
    /// Whether the registry keeps what another instance needs to go on with it.
    kept: bool,
}

#[derive(Default)]
struct SideState {
    candidates: usize,
    reported: Option<Outcome>,
    lost_until: Option<Instant>,
    /// Whether it has heard that the attempt ended.
    told: bool,
}

impl Table {
    pub(super) fn new(capacity: usize, timing: &Timing) -> Self {
        Self {
            capacity,
            timeout: timing.attempt,
            grace: timing.attempt_grace,
            upgrade: timing.upgrade,
            entries: HashMap::new(),
            open: OpenAttempts::default(),
            open_due: BTreeSet::new(),
            decided_due: BTreeSet::new(),
            moved: HashMap::new(),
        }
    }

    pub(super) fn open(&self) -> usize {
        self.open_due.len()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let first = |due: &BTreeSet<(Instant, AttemptId)>| due.first().map(|(at, _)| *at);
        first(&self.open_due).into_iter().chain(first(&self.decided_due)).min()
    }

    /// Whether there is room for another attempt of these two. Decided attempts make room.
    pub(super) fn admit(
        &mut self,
        app: &AppId,
        caller: &PeerId,
        callee: &PeerId,
    ) -> Result<(), Problem> {
        if let Err(full) = self.open.admit(app, caller, callee) {
            meters::limited(full.limit());
            let detail = full.detail(caller, callee);
            return Err(refused(Code::LimitReached, detail, full.fix()));
        }
        if self.entries.len() >= self.capacity {
            match self.decided_due.first().map(|(_, id)| id.clone()) {
                Some(oldest) => self.forget(&oldest),
                None => {
                    meters::limited("attempts");
                    return Err(refused(
                        Code::Overloaded,
                        "this instance has as many attempts open as it can".to_owned(),
                        "try again in a few seconds",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Takes in an attempt that has just begun. `given` counts the candidates that each side has
    /// given already: they are part of its budget.
    pub(super) fn insert(&mut self, record: AttemptRecord, given: [usize; 2], now: Instant) {
        let id = record.attempt.clone();
        self.open.insert(&record);
        let deadline = now + self.timeout;
        self.open_due.insert((deadline, id.clone()));
        let sides = given.map(|candidates| SideState { candidates, ..SideState::default() });
        let entry = Entry { record, sides, deadline, due: deadline, decided: false, kept: false };
        self.entries.insert(id, entry);
    }

    /// What another instance needs to go on with an attempt that is open.
    pub(super) fn standing(&self, id: &AttemptId) -> Option<Standing> {
        let entry = self.entries.get(id).filter(|entry| !entry.decided)?;
        Some(Standing {
            record: entry.record.clone(),
            given: entry.sides.each_ref().map(|side| side.candidates),
            reported: entry.sides.each_ref().map(|side| side.reported),
        })
    }

    /// Goes on with an attempt that began `age` ago at an instance that died. Says whether there
    /// was room.
    pub(super) fn adopt(&mut self, standing: Standing, age: Duration, now: Instant) -> bool {
        let id = standing.record.attempt.clone();
        if self.entries.contains_key(&id) {
            return false;
        }
        if self.entries.len() >= self.capacity {
            meters::limited("attempts");
            return false;
        }
        self.moved.remove(&id);
        self.insert(standing.record, standing.given, now);
        if let Some(entry) = self.entries.get_mut(&id) {
            for (side, reported) in entry.sides.iter_mut().zip(standing.reported) {
                side.reported = reported;
            }
            // Its peers count from when it began; the grace is for a side that has to come back.
            entry.deadline = now + self.timeout.saturating_sub(age).max(self.grace);
        }
        self.reschedule(&id);
        true
    }

    /// The registry keeps what another instance needs to go on with an attempt.
    pub(super) fn is_kept(&mut self, id: &AttemptId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.kept = true;
        }
    }

    /// Forgets without a verdict what `heir` goes on with: all that is open and that the registry
    /// kept. Says how many.
    pub(super) fn give_up(&mut self, heir: &str) -> usize {
        let kept = |id: &&AttemptId| self.entries.get(*id).is_some_and(|entry| entry.kept);
        let given: Vec<AttemptId> =
            self.open_due.iter().map(|(_, id)| id).filter(kept).cloned().collect();
        if self.moved.len() + given.len() > self.capacity {
            self.moved.clear();
        }
        for id in &given {
            self.forget(id);
            self.moved.insert(id.clone(), heir.to_owned());
        }
        given.len()
    }

    /// The instance that took an attempt over from this one.
    pub(super) fn moved_to(&self, id: &AttemptId) -> Option<&str> {
        self.moved.get(id).map(String::as_str)
    }

    pub(super) fn has(&self, id: &AttemptId) -> bool {
        self.entries.contains_key(id)
    }

    /// Takes an attempt out without a verdict.
    pub(super) fn forget(&mut self, id: &AttemptId) {
        let Some(entry) = self.entries.remove(id) else { return };
        let due = (entry.due, id.clone());
        self.open_due.remove(&due);
        self.decided_due.remove(&due);
        self.open.remove(&entry.record);
    }

    /// Charges a candidate to a side's budget; says to whom it goes.
    pub(super) fn candidate(
        &mut self,
        app: &AppId,
        from: &PeerId,
        id: &AttemptId,
        candidate: &Candidate,
    ) -> Result<(PeerId, Policy), Problem> {
        let (entry, side) = self.of(app, from, id)?;
        let spent = &mut entry.sides[index(side)].candidates;
        if *spent >= MAX_CANDIDATES {
            meters::limited("candidates");
            return Err(refused(
                Code::LimitReached,
                format!("{MAX_CANDIDATES} candidates is all that one side of an attempt may offer"),
                "send the candidates that are likely to work first",
            ));
        }
        *spent += 1;
        let story = &mut entry.record.story;
        match side {
            Side::Caller => story.caller_candidates.insert(candidate.into()),
            Side::Callee => story.callee_candidates.insert(candidate.into()),
        };
        Ok((entry.peer(other(side)).clone(), entry.record.policy))
    }

    pub(super) fn report(
        &mut self,
        app: &AppId,
        from: &PeerId,
        report: &Report,
        now: Instant,
    ) -> Result<Vec<Effect>, Problem> {
        let grace = self.grace;
        let (entry, side) = self.of(app, from, &report.attempt)?;
        entry.record.apply(side, report);
        entry.sides[index(side)].reported = Some(report.outcome);
        let mut effects = vec![Effect::Record(Box::new(entry.record.clone()))];
        if entry.decided {
            if entry.is_final() {
                self.forget(&report.attempt);
            }
            return Ok(effects);
        }
        if entry.sides.iter().all(|side| side.reported.is_some()) {
            effects.extend(self.decide(&report.attempt, now));
        } else if report.outcome == Outcome::Failed {
            // The other side cannot succeed alone; it has the grace to say what it saw.
            effects.push(entry.tell(other(side), EndReason::PeerFailed));
            let deadline = entry.deadline.min(now + grace);
            entry.deadline = deadline;
            self.reschedule(&report.attempt);
        }
        Ok(effects)
    }

    /// Says whether that brought a deadline forward.
    pub(super) fn peer_lost(&mut self, app: &AppId, peer: &PeerId, now: Instant) -> bool {
        let until = now + self.grace;
        self.each_open(app, peer, |side| side.lost_until = Some(until))
    }

    pub(super) fn peer_back(&mut self, app: &AppId, peer: &PeerId) {
        self.each_open(app, peer, |side| side.lost_until = None);
    }

    pub(super) fn peer_gone(&mut self, app: &AppId, peer: &PeerId, now: Instant) -> Vec<Effect> {
        self.each_open(app, peer, |side| side.lost_until = Some(now));
        self.open.of(app, peer).iter().flat_map(|id| self.end(id, now)).collect()
    }

    /// One side of one attempt is at another place than before.
    pub(super) fn side_is(
        &mut self,
        id: &AttemptId,
        peer: &PeerId,
        presence: Presence,
        now: Instant,
    ) -> Vec<Effect> {
        let until = match presence {
            Presence::On => None,
            Presence::Away => Some(now + self.grace),
            Presence::Gone => Some(now),
        };
        let Some(entry) = self.entries.get_mut(id).filter(|entry| !entry.decided) else {
            return Vec::new();
        };
        let Some(side) = entry.side_of(peer) else { return Vec::new() };
        entry.sides[index(side)].lost_until = until;
        if presence == Presence::Gone {
            return self.end(id, now);
        }
        self.reschedule(id);
        Vec::new()
    }

    /// Ends what is due.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some((at, id)) = self.open_due.first().cloned()
            && at <= now
        {
            effects.extend(self.end(&id, now));
        }
        while let Some((at, id)) = self.decided_due.first().cloned()
            && at <= now
        {
            self.forget(&id);
        }
        effects
    }

    /// Gives an open attempt the verdict of what is known by now.
    fn end(&mut self, id: &AttemptId, now: Instant) -> Vec<Effect> {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| !entry.decided) else {
            return Vec::new();
        };
        let gone = |side: &SideState| side.lost_until.is_some_and(|until| until <= now);
        let somebody_gone = entry.sides.iter().any(gone);
        let mut effects = Vec::new();
        if entry.record.outcome == Outcome::Failed {
            let (reason, code) = if somebody_gone {
                (EndReason::PeerGone, "peer_gone")
            } else {
                (EndReason::Timeout, "timeout")
            };
            for side in [Side::Caller, Side::Callee] {
                let state = &entry.sides[index(side)];
                if !gone(state) && state.reported.is_none() && !state.told {
                    effects.push(entry.tell(side, reason));
                }
            }
            if entry.record.reason.as_deref() == Some("no_report") {
                entry.record.reason = Some(code.to_owned());
            }
            if entry.record.verdict.is_empty() {
                entry.record.verdict = entry.why_failed(somebody_gone, now);
            }
        }
        effects.push(Effect::Record(Box::new(entry.record.clone())));
        effects.extend(self.decide(id, now));
        effects
    }

    fn decide(&mut self, id: &AttemptId, now: Instant) -> Option<Effect> {
        let entry = self.entries.get_mut(id)?;
        entry.decided = true;
        self.open_due.remove(&(entry.due, id.clone()));
        entry.due = now + self.upgrade;
        self.decided_due.insert((entry.due, id.clone()));
        let record = entry.record.clone();
        let is_final = entry.is_final();
        self.open.remove(&record);
        if is_final {
            self.forget(id);
        }
        Some(Effect::Decided(Box::new(record)))
    }

    /// The attempt, if this peer takes part in it.
    fn of(
        &mut self,
        app: &AppId,
        peer: &PeerId,
        id: &AttemptId,
    ) -> Result<(&mut Entry, Side), Problem> {
        let unknown = || {
            refused(
                Code::AttemptNotFound,
                format!("there is no attempt {id} of this peer, or it ended a while ago"),
                "use the id from the `attempt` message, and connect again for a new one",
            )
        };
        let entry = self.entries.get_mut(id).ok_or_else(unknown)?;
        if entry.record.app != *app {
            return Err(unknown());
        }
        let side = entry.side_of(peer).ok_or_else(unknown)?;
        Ok((entry, side))
    }

    /// Changes the side of a peer in all of its open attempts; says whether there was one.
    fn each_open(
        &mut self,
        app: &AppId,
        peer: &PeerId,
        mut change: impl FnMut(&mut SideState),
    ) -> bool {
        let open = self.open.of(app, peer);
        for id in &open {
            if let Some(entry) = self.entries.get_mut(id) {
                let side = if entry.record.caller == *peer { Side::Caller } else { Side::Callee };
                change(&mut entry.sides[index(side)]);
                self.reschedule(id);
            }
        }
        !open.is_empty()
    }

    fn reschedule(&mut self, id: &AttemptId) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        self.open_due.remove(&(entry.due, id.clone()));
        // A path that was reported stands, whoever loses its connection to the coordinator.
        let lost = entry.sides.iter().filter_map(|side| side.lost_until).min();
        entry.due = match lost {
            Some(until) if entry.record.outcome == Outcome::Failed => entry.deadline.min(until),
            _ => entry.deadline,
        };
        self.open_due.insert((entry.due, id.clone()));
    }
}

impl Entry {
    fn side_of(&self, peer: &PeerId) -> Option<Side> {
        match &self.record {
            record if record.caller == *peer => Some(Side::Caller),
            record if record.callee == *peer => Some(Side::Callee),
            _ => None,
        }
    }

    fn peer(&self, side: Side) -> &PeerId {
        match side {
            Side::Caller => &self.record.caller,
            Side::Callee => &self.record.callee,
        }
    }

    fn tell(&mut self, side: Side, reason: EndReason) -> Effect {
        self.sides[index(side)].told = true;
        Effect::Tell {
            app: self.record.app.clone(),
            peer: self.peer(side).clone(),
            ended: Ended { attempt: self.record.attempt.clone(), reason },
        }
    }

    /// Whether no report can change anything any more.
    fn is_final(&self) -> bool {
        let done =
            |side: &SideState| matches!(side.reported, Some(Outcome::Direct | Outcome::Failed));
        self.sides.iter().all(done)
    }

    fn why_failed(&self, somebody_gone: bool, now: Instant) -> String {
        let gone =
            |side: Side| self.sides[index(side)].lost_until.is_some_and(|until| until <= now);
        if somebody_gone {
            let who = if gone(Side::Caller) { Side::Caller } else { Side::Callee };
            return format!("failed: {} left before there was a path", self.peer(who));
        }
        "failed: neither peer reported a path in time".to_owned()
    }
}

fn index(side: Side) -> usize {
    match side {
        Side::Caller => 0,
        Side::Callee => 1,
    }
}

fn other(side: Side) -> Side {
    match side {
        Side::Caller => Side::Callee,
        Side::Callee => Side::Caller,
    }
}

fn refused(code: Code, detail: String, fix: &str) -> Problem {
    Problem::new(code, "Attempt refused", detail, fix)
}

#[cfg(test)]
mod tests;
