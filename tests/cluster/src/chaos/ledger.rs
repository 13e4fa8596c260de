//! What was sent and what became of it: every message, every receipt, every arrival.

use std::fmt::Write as _;

/// Violations that are described; all are counted.
const DESCRIBED: usize = 20;

/// Where a message stands with its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// No receipt yet.
    Open,
    /// It waits for its receiver.
    Queued,
    /// The receiver has acknowledged it.
    Delivered,
    /// The receiver's session is over.
    Gone,
    /// It was not taken.
    Rejected,
    /// The sender's session is over: nobody can tell it any more.
    Orphaned,
}

#[derive(Debug, Clone)]
struct Record {
    to: usize,
    standing: Standing,
    arrived: bool,
    again: bool,
}

/// What must never happen, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Violations {
    /// Taken, and neither delivered nor was the sender told otherwise.
    pub lost: u64,
    /// Arrived more than once.
    pub duplicated: u64,
    /// Arrived before an earlier one of the same sender.
    pub reordered: u64,
    /// An act of a connection whose peer id had a newer owner took effect.
    pub two_owners: u64,
    /// At the end, the registry knew another set of peers or members than there was.
    pub left_over: u64,
}

/// What became of the messages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// All of them.
    pub sent: u64,
    /// Delivered, and the sender knows.
    pub delivered: u64,
    /// The sender was told that the receiver's session is over.
    pub gone: u64,
    /// The sender was told that it was not taken.
    pub rejected: u64,
    /// Of these, how many were taken all the same: the answer was what got lost.
    pub rejected_yet_arrived: u64,
    /// The sender's session was over before it was told.
    pub orphaned: u64,
    /// Arrivals of messages that their sender sent again after a broken connection, behind later
    /// ones that were taken first.
    pub late: u64,
}

/// The book of one run.
#[derive(Debug)]
pub(super) struct Ledger {
    sent: Vec<Vec<Record>>,
    /// The last message that arrived, by receiver and sender.
    last: Vec<Vec<Option<usize>>>,
    violations: Violations,
    tally: Tally,
    described: Vec<String>,
}

impl Ledger {
    /// An empty book for so many peers.
    pub(super) fn new(peers: usize) -> Self {
        Self {
            sent: vec![Vec::new(); peers],
            last: vec![vec![None; peers]; peers],
            violations: Violations::default(),
            tally: Tally::default(),
            described: Vec::new(),
        }
    }

    /// Enters a new message; returns its number among those of its sender.
    pub(super) fn sends(&mut self, from: usize, to: usize) -> usize {
        self.tally.sent += 1;
        self.sent[from].push(Record { to, standing: Standing::Open, arrived: false, again: false });
        self.sent[from].len() - 1
    }

    /// To whom a message goes. It is sent again.
    pub(super) fn sends_again(&mut self, from: usize, number: usize) -> usize {
        self.sent[from][number].again = true;
        self.sent[from][number].to
    }

    /// A message arrived.
    pub(super) fn arrives(&mut self, to: usize, from: usize, number: usize) {
        let Some(record) = self.sent[from].get_mut(number).filter(|record| record.to == to) else {
            self.violations.duplicated += 1;
            self.describe(format!("{to} got {from}/{number}, which nobody sent to it"));
            return;
        };
        if record.arrived {
            self.violations.duplicated += 1;
            self.describe(format!("{to} got {from}/{number} again"));
            return;
        }
        record.arrived = true;
        let again = record.again;
        let last = &mut self.last[to][from];
        match *last {
            Some(before) if before > number && again => self.tally.late += 1,
            Some(before) if before > number => {
                self.violations.reordered += 1;
                self.describe(format!("{to} got {from}/{number} after {from}/{before}"));
            }
            _ => *last = Some(number),
        }
    }

    /// The sender hears how a message stands. Returns whether that is final.
    pub(super) fn told(&mut self, from: usize, number: usize, standing: Standing) -> bool {
        let Some(record) = self.sent[from].get_mut(number) else { return false };
        if standing == Standing::Delivered && !record.arrived {
            self.violations.lost += 1;
            self.describe(format!("{from}/{number} is delivered, and did not arrive"));
        } else if !matches!(record.standing, Standing::Open | Standing::Queued) {
            // Told twice; the first word holds.
            return true;
        }
        self.sent[from][number].standing = standing;
        !matches!(standing, Standing::Open | Standing::Queued)
    }

    /// The sender waited on one connection, and nobody told it anything final.
    pub(super) fn untold(&mut self, from: usize, number: usize) {
        let Record { to, standing, arrived, again } = self.sent[from][number].clone();
        self.violations.lost += 1;
        self.describe(format!(
            "{from}/{number} to {to} stays {standing:?} (arrived: {arrived}, sent again: {again})"
        ));
        self.sent[from][number].standing = Standing::Orphaned;
    }

    /// A connection acted for a peer that had a newer one.
    pub(super) fn two_owners(&mut self, what: String) {
        self.violations.two_owners += 1;
        self.describe(what);
    }

    /// The registry holds what is not there, or not what is.
    pub(super) fn left_over(&mut self, what: String) {
        self.violations.left_over += 1;
        self.describe(what);
    }

    /// Messages that their sender waits for.
    pub(super) fn open(&self, from: usize) -> usize {
        let waits = |record: &&Record| matches!(record.standing, Standing::Open | Standing::Queued);
        self.sent[from].iter().filter(waits).count()
    }

    /// The number of the last message of a sender.
    pub(super) fn last_of(&self, from: usize) -> Option<usize> {
        self.sent[from].len().checked_sub(1)
    }

    /// How many there are.
    pub(super) fn sent(&self) -> u64 {
        self.tally.sent
    }

    /// Balances the book: what is still open is lost.
    pub(super) fn close(&mut self) -> (Tally, Violations) {
        let mut lost = Vec::new();
        for (from, records) in self.sent.iter().enumerate() {
            for (number, record) in records.iter().enumerate() {
                match record.standing {
                    Standing::Open | Standing::Queued => lost.push((from, number, record.clone())),
                    Standing::Delivered => self.tally.delivered += 1,
                    Standing::Gone => self.tally.gone += 1,
                    Standing::Orphaned => self.tally.orphaned += 1,
                    Standing::Rejected => {
                        self.tally.rejected += 1;
                        self.tally.rejected_yet_arrived += u64::from(record.arrived);
                    }
                }
            }
        }
        for (from, number, record) in lost {
            self.violations.lost += 1;
            let Record { to, standing, arrived, again } = record;
            let mut what = format!("{from}/{number} to {to} is {standing:?} at the end");
            let _ = write!(what, " (arrived: {arrived}, sent again: {again})");
            self.describe(what);
        }
        (self.tally, self.violations)
    }

    /// The first violations in words.
    pub(super) fn described(&self) -> &[String] {
        &self.described
    }

    fn describe(&mut self, what: String) {
        if self.described.len() < DESCRIBED {
            eprintln!("!!! {what}");
            self.described.push(what);
        }
    }
}

impl Violations {
    /// Whether nothing happened that must not.
    pub fn none(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_arrives_once_and_is_receipted_balances() {
        let mut ledger = Ledger::new(2);
        let n = ledger.sends(0, 1);
        assert!(!ledger.told(0, n, Standing::Queued));
        ledger.arrives(1, 0, n);
        assert!(ledger.told(0, n, Standing::Delivered));
        let (tally, violations) = ledger.close();
        assert_eq!((tally.delivered, violations), (1, Violations::default()));
    }

    #[test]
    fn a_message_that_nobody_hears_of_again_is_lost() {
        let mut ledger = Ledger::new(2);
        ledger.sends(0, 1);
        let n = ledger.sends(0, 1);
        ledger.told(0, n, Standing::Queued);
        assert_eq!(ledger.close().1.lost, 2);
    }

    #[test]
    fn a_receipt_for_what_did_not_arrive_is_a_loss() {
        let mut ledger = Ledger::new(2);
        let n = ledger.sends(0, 1);
        ledger.told(0, n, Standing::Delivered);
        assert_eq!(ledger.close().1.lost, 1);
    }

    #[test]
    fn a_second_arrival_is_a_duplicate_and_an_early_one_out_of_order() {
        let mut ledger = Ledger::new(2);
        let (one, two) = (ledger.sends(0, 1), ledger.sends(0, 1));
        ledger.arrives(1, 0, two);
        ledger.arrives(1, 0, one);
        ledger.arrives(1, 0, one);
        let (_, violations) = ledger.close();
        assert_eq!((violations.duplicated, violations.reordered), (1, 1));
    }

    #[test]
    fn one_that_is_sent_again_may_arrive_behind_what_was_taken_first() {
        let mut ledger = Ledger::new(2);
        let (one, two) = (ledger.sends(0, 1), ledger.sends(0, 1));
        ledger.arrives(1, 0, two);
        ledger.sends_again(0, one);
        ledger.arrives(1, 0, one);
        let (tally, violations) = ledger.close();
        assert_eq!((tally.late, violations.reordered), (1, 0));
    }
}
