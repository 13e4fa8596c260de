//! Looking for better paths, and after the spare one, once the agent has settled: it checks nothing
//! but the pair it has chosen, while networks change and come back.
//!
//! A search begins densely, because a punch takes both sides' packets within a hole's lifetime, and
//! then ever more rarely. It never ends as long as there is something better to find: its longest gap
//! is as short as a NAT's hole is open, so that the two sides' searches meet.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use p2p_wire::{Candidate, IcePair};
use rand::RngCore;

use crate::check::Keys;
use crate::ice::{Check, Pair};
use crate::stun::{self, Class, TransactionId};

/// The gaps between the rounds of a search, in milliseconds; the last one repeats.
const GAPS_MS: [u64; 12] = [20, 30, 50, 100, 200, 400, 800, 2_000, 4_000, 8_000, 16_000, 30_000];
/// Ways that are searched at once.
pub(crate) const MAX_WAYS: usize = 48;
/// Checks of one way that may wait for an answer.
const MAX_OPEN: usize = 8;

/// See the module.
pub(crate) struct Search {
    keys: Keys,
    ways: Vec<Way>,
    step: usize,
    next: Option<Instant>,
}

struct Way {
    local: Candidate,
    remote: Candidate,
    requests: u64,
    answers: u64,
    rtt: Duration,
    heard: Option<Instant>,
    open: VecDeque<(TransactionId, Instant)>,
}

impl Search {
    pub(crate) fn new(ice: &IcePair, controlling: bool) -> Self {
        Self { keys: Keys::new(ice, controlling), ways: Vec::new(), step: 0, next: None }
    }

    /// Begins densely: something has changed.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.step = 0;
        self.next = Some(now);
    }

    /// When the next round is due, if any.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Plans the round after one at `now`: by the search's gaps, or where there is nothing better to
    /// find, `idle` later.
    pub(crate) fn plan(&mut self, seeking: bool, idle: Duration, now: Instant) {
        if seeking {
            let gap = GAPS_MS[self.step.min(GAPS_MS.len() - 1)];
            self.step += 1;
            self.next = Some(now + Duration::from_millis(gap));
        } else {
            self.step = 0;
            self.next = Some(now + idle);
        }
    }

    /// A check for each of these ways.
    pub(crate) fn check(
        &mut self,
        wanted: impl IntoIterator<Item = (Candidate, Candidate)>,
        now: Instant,
        rng: &mut dyn RngCore,
    ) -> Vec<Check> {
        let mut checks = Vec::new();
        for (local, remote) in wanted.into_iter().take(MAX_WAYS) {
            let mut id = [0; 12];
            rng.fill_bytes(&mut id);
            let Some(payload) = self.keys.request(id) else { return checks };
            let Some(way) = self.way(local, remote) else { continue };
            way.requests += 1;
            if way.open.len() >= MAX_OPEN {
                way.open.pop_front();
            }
            way.open.push_back((id, now));
            checks.push(Check { local: local.address, remote: remote.address, payload });
        }
        checks
    }

    /// Takes an answer to a check of this search's; `false` leaves it to others.
    pub(crate) fn answer(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> bool {
        let Some((Class::Response, id)) = stun::peek(datagram) else { return false };
        let asked = |way: &Way| way.open.iter().position(|(open, _)| *open == id);
        let Some((way, index)) =
            self.ways.iter_mut().find_map(|way| asked(way).map(|index| (way, index)))
        else {
            return false;
        };
        // RFC 8445 §7.2.5.2.1: the answer comes from where the check went.
        let same = way.local.address == local && way.remote.address == remote;
        if same && self.keys.proves(datagram) {
            let (_, sent) = way.open.remove(index).expect("the index is of an open check");
            way.answers += 1;
            way.rtt = now.saturating_duration_since(sent);
            way.heard = Some(now);
        }
        true
    }

    /// Adds what the search knows to what the agent knows.
    pub(crate) fn merge(&self, pairs: &mut Vec<Pair>) {
        for way in &self.ways {
            let same = |pair: &&mut Pair| {
                pair.local.address == way.local.address && pair.remote.address == way.remote.address
            };
            if let Some(pair) = pairs.iter_mut().find(same) {
                pair.answered |= way.answers > 0;
                pair.requests += way.requests;
                pair.answers += way.answers;
                if way.answers > 0 {
                    pair.rtt = way.rtt;
                }
            } else if way.answers > 0 {
                pairs.push(Pair {
                    local: way.local,
                    remote: way.remote,
                    answered: true,
                    asked: false,
                    rtt: way.rtt,
                    requests: way.requests,
                    answers: way.answers,
                });
            }
        }
    }

    /// When a way last answered a check of this search's.
    pub(crate) fn heard(&self, local: SocketAddr, remote: SocketAddr) -> Option<Instant> {
        let same = |way: &&Way| way.local.address == local && way.remote.address == remote;
        self.ways.iter().find(same).and_then(|way| way.heard)
    }

    fn way(&mut self, local: Candidate, remote: Candidate) -> Option<&mut Way> {
        let same =
            |way: &Way| way.local.address == local.address && way.remote.address == remote.address;
        if let Some(index) = self.ways.iter().position(same) {
            return self.ways.get_mut(index);
        }
        if self.ways.len() >= 2 * MAX_WAYS {
            let silent = self.ways.iter().position(|way| way.answers == 0)?;
            self.ways.remove(silent);
        }
        self.ways.push(Way {
            local,
            remote,
            requests: 0,
            answers: 0,
            rtt: Duration::ZERO,
            heard: None,
            open: VecDeque::new(),
        });
        self.ways.last_mut()
    }
}

#[cfg(test)]
mod tests {
    use p2p_wire::CandidateKind;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::check::tests::{pair, respond};

    fn candidate(address: &str) -> Candidate {
        Candidate::udp(CandidateKind::Host, address.parse().unwrap())
    }

    #[test]
    fn i9_a_search_of_an_hour_sends_few_checks_and_two_searches_meet() {
        let mut search = Search::new(&pair("a", "b"), true);
        let start = Instant::now();
        search.begin(start);
        let mut at = Vec::new();
        let mut now = start;
        while now < start + Duration::from_secs(3600) {
            at.push(now);
            search.plan(true, Duration::from_secs(25), now);
            now = search.poll_timeout().unwrap();
        }
        assert!(at.len() < 140, "{} rounds in an hour", at.len());
        let dense = at.iter().filter(|at| **at < start + Duration::from_secs(1)).count();
        assert!(dense >= 6, "{dense} rounds in the first second");
        let longest = at.windows(2).map(|two| two[1] - two[0]).max().unwrap();
        assert!(longest <= Duration::from_secs(30), "a hole is open for 30 s: {longest:?}");
    }

    #[test]
    fn only_an_answer_from_where_the_check_went_and_with_the_password_counts() {
        let ice = pair("a", "b");
        let (mut search, now) = (Search::new(&ice, true), Instant::now());
        let mut rng = StdRng::seed_from_u64(1);
        let (local, remote) = (candidate("192.0.2.1:5000"), candidate("198.51.100.7:9"));
        let check = search.check([(local, remote)], now, &mut rng).remove(0);
        let answer = respond(&check.payload, &ice.remote.pwd);
        let forged = respond(&check.payload, &ice.local.pwd);
        let pairs = |search: &Search| {
            let mut pairs = Vec::new();
            search.merge(&mut pairs);
            pairs.len()
        };
        let elsewhere = "198.51.100.7:10".parse().unwrap();
        assert!(search.answer(local.address, elsewhere, &answer, now));
        assert!(search.answer(local.address, remote.address, &forged, now));
        assert_eq!(pairs(&search), 0);
        let later = now + Duration::from_millis(40);
        assert!(search.answer(local.address, remote.address, &answer, later));
        assert_eq!(pairs(&search), 1);
        assert_eq!(search.heard(local.address, remote.address), Some(later));
        assert!(!search.answer(local.address, remote.address, &answer, later), "once");
    }

    #[test]
    fn ways_are_bounded_and_those_that_answered_stay() {
        let ice = pair("a", "b");
        let (mut search, now) = (Search::new(&ice, false), Instant::now());
        let mut rng = StdRng::seed_from_u64(1);
        let (local, good) = (candidate("192.0.2.1:5000"), candidate("198.51.100.7:9"));
        let check = search.check([(local, good)], now, &mut rng).remove(0);
        search.answer(local.address, good.address, &respond(&check.payload, &ice.remote.pwd), now);
        for port in 1_000..2_000 {
            let remote = candidate(&format!("198.51.100.8:{port}"));
            assert_eq!(search.check([(local, remote)], now, &mut rng).len(), 1);
        }
        assert!(search.ways.len() <= 2 * MAX_WAYS);
        assert!(search.heard(local.address, good.address).is_some());
    }
}
