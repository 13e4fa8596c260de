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

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use p2p_stats::{AttemptRecord, Side};
use p2p_wire::limits::{MAX_CANDIDATES, MAX_OPEN_ATTEMPTS};
use p2p_wire::server::{EndReason, Ended};
use p2p_wire::{AppId, AttemptId, Code, Outcome, PeerId, Policy, Problem, Report};
use tokio::time::Instant;

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
    open: HashMap<(AppId, PeerId), HashSet<AttemptId>>,
    open_due: BTreeSet<(Instant, AttemptId)>,
    decided_due: BTreeSet<(Instant, AttemptId)>,
}

struct Entry {
    record: AttemptRecord,
    sides: [SideState; 2],
    /// When the attempt's time has passed, whoever is there.
    deadline: Instant,
    /// When the table looks at it next.
    due: Instant,
    decided: bool,
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
            open: HashMap::new(),
            open_due: BTreeSet::new(),
            decided_due: BTreeSet::new(),
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
        for peer in [caller, callee] {
            let key = (app.clone(), peer.clone());
            if self.open.get(&key).is_some_and(|open| open.len() >= MAX_OPEN_ATTEMPTS) {
                meters::limited("attempts");
                return Err(refused(
                    Code::LimitReached,
                    format!(
                        "{peer} has {MAX_OPEN_ATTEMPTS} attempts open, which is all it may have"
                    ),
                    "wait until they end, at most 30 s, or report how they ended",
                ));
            }
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
        for peer in [&record.caller, &record.callee] {
            let key = (record.app.clone(), peer.clone());
            self.open.entry(key).or_default().insert(id.clone());
        }
        let deadline = now + self.timeout;
        self.open_due.insert((deadline, id.clone()));
        let sides = given.map(|candidates| SideState { candidates, ..SideState::default() });
        let entry = Entry { record, sides, deadline, due: deadline, decided: false };
        self.entries.insert(id, entry);
    }

    /// Takes an attempt out without a verdict.
    pub(super) fn forget(&mut self, id: &AttemptId) {
        let Some(entry) = self.entries.remove(id) else { return };
        let due = (entry.due, id.clone());
        self.open_due.remove(&due);
        self.decided_due.remove(&due);
        self.close(&entry.record);
    }

    /// Charges a candidate to a side's budget; says to whom it goes.
    pub(super) fn candidate(
        &mut self,
        app: &AppId,
        from: &PeerId,
        id: &AttemptId,
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
        self.open_of(app, peer).iter().flat_map(|id| self.end(id, now)).collect()
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
        self.close(&record);
        if is_final {
            self.forget(id);
        }
        Some(Effect::Decided(Box::new(record)))
    }

    /// Takes an attempt from its peers' lists of open ones.
    fn close(&mut self, record: &AttemptRecord) {
        for peer in [&record.caller, &record.callee] {
            let key = (record.app.clone(), peer.clone());
            if let Some(open) = self.open.get_mut(&key) {
                open.remove(&record.attempt);
                if open.is_empty() {
                    self.open.remove(&key);
                }
            }
        }
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
        let side = match &entry.record {
            record if record.app != *app => return Err(unknown()),
            record if record.caller == *peer => Side::Caller,
            record if record.callee == *peer => Side::Callee,
            _ => return Err(unknown()),
        };
        Ok((entry, side))
    }

    fn open_of(&self, app: &AppId, peer: &PeerId) -> Vec<AttemptId> {
        let key = (app.clone(), peer.clone());
        self.open.get(&key).map(|open| open.iter().cloned().collect()).unwrap_or_default()
    }

    /// Changes the side of a peer in all of its open attempts; says whether there was one.
    fn each_open(
        &mut self,
        app: &AppId,
        peer: &PeerId,
        mut change: impl FnMut(&mut SideState),
    ) -> bool {
        let open = self.open_of(app, peer);
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
mod tests {
    use super::*;
    use p2p_wire::Method;

    #[test]
    fn i11_two_reports_make_one_verdict() {
        let (mut table, now) = table();
        begin(&mut table, "a1", "alice", "bob", now);
        let effects = report(&mut table, "alice", "a1", Outcome::Direct, now);
        assert_eq!(decided(&effects), None);
        let effects = report(&mut table, "bob", "a1", Outcome::Direct, now);
        assert_eq!(decided(&effects), Some((Outcome::Direct, None)));
        assert_eq!((table.open(), table.entries.len()), (0, 0), "nothing can change any more");
        assert!(table.open.is_empty());
    }

    #[test]
    fn i11_an_attempt_without_reports_fails_by_timeout_and_both_are_told() {
        let (mut table, now) = table();
        begin(&mut table, "a1", "alice", "bob", now);
        assert!(table.expire(now + Duration::from_secs(29)).is_empty());
        let effects = table.expire(now + Duration::from_secs(30));
        assert_eq!(told(&effects), [("alice", EndReason::Timeout), ("bob", EndReason::Timeout)]);
        assert_eq!(decided(&effects), Some((Outcome::Failed, Some("timeout"))));
        assert!(table.expire(now + Duration::from_secs(31)).is_empty(), "one verdict");
    }

    #[test]
    fn one_side_s_path_is_the_verdict_if_the_other_never_reports() {
        let (mut table, now) = table();
        begin(&mut table, "a1", "alice", "bob", now);
        report(&mut table, "bob", "a1", Outcome::Relay, now);
        let effects = table.expire(now + Duration::from_secs(30));
        assert!(told(&effects).is_empty());
        assert_eq!(decided(&effects), Some((Outcome::Relay, None)));
    }

    #[test]
    fn a_relayed_attempt_may_be_reported_as_direct_later() {
        let (mut table, now) = table();
        begin(&mut table, "a1", "alice", "bob", now);
        report(&mut table, "alice", "a1", Outcome::Relay, now);
        report(&mut table, "bob", "a1", Outcome::Relay, now);
        let later = now + Duration::from_secs(60);
        let effects = report(&mut table, "alice", "a1", Outcome::Direct, later);
        assert_eq!(decided(&effects), None, "the verdict is counted once");
        assert_eq!(recorded(&effects), [Outcome::Direct]);
        table.expire(now + Duration::from_secs(700));
        assert!(table.entries.is_empty() && table.decided_due.is_empty());
    }

    #[test]
    fn when_one_side_fails_the_other_is_told_and_has_a_grace() {
        let (mut table, now) = table();
        begin(&mut table, "a1", "alice", "bob", now);
        let effects = report(&mut table, "alice", "a1", Outcome::Failed, now);
        assert_eq!(told(&effects), [("bob", EndReason::PeerFailed)]);
        let effects = table.expire(now + Duration::from_secs(5));
        assert!(told(&effects).is_empty(), "bob has been told");
        assert_eq!(decided(&effects), Some((Outcome::Failed, Some("reported_failed"))));
    }

    #[test]
    fn when_a_side_says_goodbye_the_other_is_told_at_once() {
        let (mut table, now) = table();
        begin(&mut table, "a1", "alice", "bob", now);
        let effects = table.peer_gone(&app(), &peer("bob"), now);
        assert_eq!(told(&effects), [("alice", EndReason::PeerGone)]);
        assert_eq!(decided(&effects), Some((Outcome::Failed, Some("peer_gone"))));
    }

    #[test]
    fn a_side_that_loses_its_connection_has_a_grace_to_come_back() {
        let (mut table, now) = table();
        begin(&mut table, "a1", "alice", "bob", now);
        assert!(table.peer_lost(&app(), &peer("bob"), now));
        table.peer_back(&app(), &peer("bob"));
        assert!(table.expire(now + Duration::from_secs(10)).is_empty());
        table.peer_lost(&app(), &peer("bob"), now + Duration::from_secs(10));
        let effects = table.expire(now + Duration::from_secs(15));
        assert_eq!(told(&effects), [("alice", EndReason::PeerGone)]);
    }

    #[test]
    fn i8_a_reported_path_outlives_its_peer_s_session() {
        let (mut table, now) = table();
        begin(&mut table, "a1", "alice", "bob", now);
        report(&mut table, "alice", "a1", Outcome::Direct, now);
        let effects = table.peer_gone(&app(), &peer("bob"), now);
        assert!(told(&effects).is_empty());
        assert_eq!(decided(&effects), Some((Outcome::Direct, None)));
    }

    #[test]
    fn i9_a_side_has_a_budget_of_candidates() {
        let (mut table, now) = table();
        begin(&mut table, "a1", "alice", "bob", now);
        let id = "a1".parse().unwrap();
        for _ in 0..MAX_CANDIDATES {
            let (to, _) = table.candidate(&app(), &peer("alice"), &id).unwrap();
            assert_eq!(to, peer("bob"));
        }
        let refused = table.candidate(&app(), &peer("alice"), &id).unwrap_err();
        assert_eq!(refused.code, Code::LimitReached);
        assert!(table.candidate(&app(), &peer("bob"), &id).is_ok(), "the other has its own");
    }

    #[test]
    fn strangers_have_no_part_in_an_attempt() {
        let (mut table, now) = table();
        begin(&mut table, "a1", "alice", "bob", now);
        let id = "a1".parse().unwrap();
        for (app, who) in [(app(), "mallory"), ("other".parse().unwrap(), "alice")] {
            let refused = table.candidate(&app, &peer(who), &id).unwrap_err();
            assert_eq!(refused.code, Code::AttemptNotFound);
        }
    }

    #[test]
    fn i5_a_peer_has_a_bound_of_open_attempts_and_so_has_the_table() {
        let (mut table, now) = table();
        for n in 0..MAX_OPEN_ATTEMPTS {
            begin(&mut table, &format!("a{n}"), "alice", &format!("p{n}"), now);
        }
        let refused = table.admit(&app(), &peer("bob"), &peer("alice")).unwrap_err();
        assert_eq!(refused.code, Code::LimitReached);
        for n in MAX_OPEN_ATTEMPTS..CAPACITY {
            begin(&mut table, &format!("a{n}"), &format!("c{n}"), &format!("p{n}"), now);
        }
        let refused = table.admit(&app(), &peer("x"), &peer("y")).unwrap_err();
        assert_eq!(refused.code, Code::Overloaded);
        report(&mut table, "alice", "a0", Outcome::Relay, now);
        report(&mut table, "p0", "a0", Outcome::Relay, now);
        assert!(table.admit(&app(), &peer("x"), &peer("y")).is_ok(), "a decided one makes room");
        assert_eq!(table.entries.len(), CAPACITY - 1);
    }

    const CAPACITY: usize = MAX_OPEN_ATTEMPTS + 4;

    fn table() -> (Table, Instant) {
        (Table::new(CAPACITY, &Timing::default()), Instant::now())
    }

    fn begin(table: &mut Table, id: &str, caller: &str, callee: &str, now: Instant) {
        let id = id.parse().unwrap();
        let record = AttemptRecord::begun(id, app(), peer(caller), peer(callee), 0);
        table.insert(record, [0, 0], now);
    }

    fn report(
        table: &mut Table,
        who: &str,
        id: &str,
        outcome: Outcome,
        now: Instant,
    ) -> Vec<Effect> {
        let method = match outcome {
            Outcome::Direct => Some(Method::UdpHolePunch),
            Outcome::Relay => Some(Method::Relay),
            Outcome::Failed => None,
        };
        let report = Report {
            attempt: id.parse().unwrap(),
            outcome,
            method,
            ms: 10,
            direct_ms: None,
            steps: Vec::new(),
            verdict: String::new(),
        };
        table.report(&app(), &peer(who), &report, now).unwrap()
    }

    fn told(effects: &[Effect]) -> Vec<(&str, EndReason)> {
        let mut told: Vec<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Tell { peer, ended, .. } => Some((peer.as_str(), ended.reason)),
                Effect::Record(_) | Effect::Decided(_) => None,
            })
            .collect();
        told.sort_by_key(|(peer, _)| *peer);
        told
    }

    fn recorded(effects: &[Effect]) -> Vec<Outcome> {
        let of = |effect: &Effect| match effect {
            Effect::Record(record) => Some(record.outcome),
            Effect::Tell { .. } | Effect::Decided(_) => None,
        };
        effects.iter().filter_map(of).collect()
    }

    fn decided(effects: &[Effect]) -> Option<(Outcome, Option<&str>)> {
        effects.iter().find_map(|effect| match effect {
            Effect::Decided(record) => Some((record.outcome, record.reason.as_deref())),
            Effect::Tell { .. } | Effect::Record(_) => None,
        })
    }

    fn app() -> AppId {
        AppId::default()
    }

    fn peer(name: &str) -> PeerId {
        name.parse().unwrap()
    }
}
