//! Whether ways still carry: doubts about the one in use, and the ones that were left.
//!
//! Two things speak against a way. Traffic goes out and nothing comes back, or checks go unanswered
//! (RFC 7675 §5.1). The second also finds a way that has died in one direction only: the side that
//! goes on hearing the other one would else never leave it.

use std::time::{Duration, Instant};

use crate::path::Path;

/// A way with traffic out and none in, or with checks out and no answers in, is left after this. The
/// traffic is looked at every tenth of a second, so data moves within 1.5 s.
pub const SILENCE: Duration = Duration::from_millis(1_000);
/// Traffic out and none in for so long is worth a question.
pub(crate) const QUIET: Duration = Duration::from_millis(200);
/// The other side has left a direct path when its data has come by a relay alone for so long.
pub(crate) const GONE: Duration = Duration::from_millis(250);
/// How long past two round trips a check may take, where data comes from elsewhere meanwhile.
const LATE: Duration = Duration::from_millis(50);
/// How long checks have to go unanswered. The other side may have left the way for a reason that
/// only its direction has, and its data goes on coming, by another way.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a way that was left has to answer before it is trusted again.
const PROBATION: Duration = Duration::from_secs(2);
/// Checks in a row that have to go unanswered: one or two are lost on any network.
const UNANSWERED: u64 = 4;

/// What the checks of the way in use say.
#[derive(Debug, Default)]
pub(crate) struct Consent {
    way: Option<Path>,
    requests: u64,
    answers: u64,
    doubted: Option<Instant>,
}

/// What is to be thought of the way in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Nothing speaks against it.
    Good,
    /// An answer has ended the doubt.
    Reassured,
    /// A check is out.
    Doubtful,
    /// It does not answer.
    Dead,
}

impl Consent {
    /// Whether a check is out.
    pub(crate) fn doubts(&self) -> bool {
        self.doubted.is_some()
    }

    /// Whether a check of this way is overdue.
    pub(crate) fn is_overdue(&self, way: &Path, now: Instant) -> bool {
        let asked = self.doubted.filter(|_| self.way.is_some_and(|known| known.same_way(way)));
        asked.is_some_and(|at| now.saturating_duration_since(at) >= 2 * way.rtt + LATE)
    }

    /// Takes note of how many checks the way has seen and how many of them were answered.
    pub(crate) fn observe(
        &mut self,
        way: &Path,
        requests: u64,
        answers: u64,
        now: Instant,
    ) -> Finding {
        let same = self.way.is_some_and(|known| known.same_way(way));
        if !same || answers > self.answers {
            let reassured = same && self.doubted.is_some();
            *self = Self { way: Some(*way), requests, answers, doubted: None };
            return if reassured { Finding::Reassured } else { Finding::Good };
        }
        let unanswered = requests.saturating_sub(self.requests);
        if unanswered == 0 {
            return Finding::Good;
        }
        let since = *self.doubted.get_or_insert(now);
        let patience = PATIENCE.max(3 * way.rtt);
        if unanswered >= UNANSWERED && now.saturating_duration_since(since) >= patience {
            return Finding::Dead;
        }
        Finding::Doubtful
    }
}

/// The ways that were left, each until it answers again.
#[derive(Debug, Default)]
pub(crate) struct Abandoned(Vec<Left>);

#[derive(Debug)]
struct Left {
    way: Path,
    since: Instant,
    probation: Duration,
    /// Answers that came before the end of its probation and count for nothing: they may have been
    /// under way when it fell silent.
    answers: u64,
}

impl Abandoned {
    /// Leaves a way that has fallen silent.
    pub(crate) fn leave(&mut self, way: Path, now: Instant) {
        if !self.holds(&way) {
            self.0.push(Left { way, since: now, probation: PROBATION, answers: 0 });
        }
    }

    /// Leaves a way that is likely to have died with another one, until it answers again. `answers`
    /// it has given already.
    pub(crate) fn suspect(&mut self, way: Path, answers: u64, now: Instant) {
        if !self.holds(&way) {
            self.0.push(Left { way, since: now, probation: Duration::ZERO, answers });
        }
    }

    /// Forgets the ways that leave from an address the host no longer has.
    pub(crate) fn forget(&mut self, gone: impl Fn(&Path) -> bool) {
        self.0.retain(|left| !gone(&left.way));
    }

    pub(crate) fn holds(&self, way: &Path) -> bool {
        self.0.iter().any(|left| left.way.same_way(way))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes back what has answered a check after its probation. `answers` counts a way's answers.
    pub(crate) fn readmit(&mut self, answers: impl Fn(&Path) -> u64, now: Instant) {
        self.0.retain_mut(|left| {
            let answers = answers(&left.way);
            let answered = answers > left.answers;
            left.answers = answers;
            !answered || now.saturating_duration_since(left.since) < left.probation
        });
    }
}

#[cfg(test)]
mod tests {
    use p2p_wire::Method;

    use super::*;
    use crate::path::{PathKind, Via};

    fn way(port: u16) -> Path {
        Path {
            kind: PathKind::Direct,
            method: Method::UdpHolePunch,
            via: Via::Relay,
            remote: ([198, 51, 100, 7], port).into(),
            rtt: Duration::from_millis(50),
        }
    }

    #[test]
    fn a_way_is_dead_when_several_checks_go_unanswered_for_long_enough() {
        let (mut consent, start) = (Consent::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(consent.observe(&way(1), 7, 5, at(0)), Finding::Good);
        assert_eq!(consent.observe(&way(1), 8, 5, at(10)), Finding::Doubtful);
        assert_eq!(consent.observe(&way(1), 8, 6, at(20)), Finding::Reassured);
        for (requests, millis) in [(9, 1_000), (10, 1_500), (11, 2_000), (11, 9_000)] {
            assert_eq!(consent.observe(&way(1), requests, 6, at(millis)), Finding::Doubtful);
        }
        assert_eq!(consent.observe(&way(1), 12, 6, at(9_500)), Finding::Dead);
        assert_eq!(consent.observe(&way(2), 12, 6, at(9_500)), Finding::Good, "another way");
    }

    #[test]
    fn a_suspect_is_taken_back_by_its_next_answer() {
        let (mut left, start) = (Abandoned::default(), Instant::now());
        left.suspect(way(1), 3, start);
        left.readmit(|_| 3, start + Duration::from_secs(9));
        assert!(left.holds(&way(1)));
        left.readmit(|_| 4, start + Duration::from_secs(9));
        assert!(left.is_empty());
    }

    #[test]
    fn a_way_that_was_left_is_taken_back_by_an_answer_after_its_probation() {
        let (mut left, start) = (Abandoned::default(), Instant::now());
        left.leave(way(1), start);
        left.readmit(|_| 3, start + Duration::from_secs(1));
        assert!(left.holds(&way(1)), "an answer during probation does not count");
        left.readmit(|_| 3, start + Duration::from_secs(9));
        assert!(left.holds(&way(1)), "nor does the same answer later");
        left.readmit(|_| 4, start + Duration::from_secs(10));
        assert!(left.is_empty());
    }
}
