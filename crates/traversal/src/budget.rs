//! How many packets one attempt may aim at one address, and how many each method may spend on ways that
//! nobody has answered on (invariant I9).
//!
//! Candidates are a peer's word, and learnt addresses multiply checks: without a bound, two NATs
//! that give every destination another port make a stream of packets out of one attempt. A bucket
//! per address holds enough for every pair's checks, and fills slowly enough that an address which
//! nobody asked for would hardly notice. Beside that the plan says what each method may spend.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use p2p_wire::{Method, PlanStep};

/// Packets that may go to one address at once.
const BURST: f64 = 250.0;
/// Packets a second after that: what consent checks of a pair in doubt and the answers to the other
/// side's take.
const PER_SECOND: f64 = 5.0;
/// What a method may spend that the plan says nothing of.
const UNPLANNED: u32 = 200;
/// What a plan may let a method spend: a coordinator's word has a bound too.
const MOST: u32 = 1_000;

/// One attempt's buckets. There are as many as the attempt has remote candidates, which are bounded.
#[derive(Debug)]
pub(crate) struct Budget {
    buckets: HashMap<SocketAddr, Bucket>,
    methods: [Spending; Method::ALL.len()],
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// What became of one method's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spending {
    pub(crate) allowed: u32,
    pub(crate) spent: u32,
    /// Packets that were not sent because it was spent.
    pub(crate) refused: u64,
    /// When the first of these was refused, from the attempt's start.
    pub(crate) exhausted: Option<Duration>,
}

impl Budget {
    /// The budgets of a plan.
    pub(crate) fn new(plan: &[PlanStep]) -> Self {
        let methods = Method::ALL.map(|method| {
            let planned = plan.iter().filter(|step| step.method == method);
            let planned = planned.map(|step| step.packets).max();
            let allowed = planned.unwrap_or(UNPLANNED).min(MOST);
            Spending { allowed, spent: 0, refused: 0, exhausted: None }
        });
        Self { buckets: HashMap::new(), methods }
    }

    /// Takes one packet out of the address's bucket; `false` when it is empty.
    pub(crate) fn take(&mut self, to: SocketAddr, now: Instant) -> bool {
        let bucket = self.buckets.entry(to).or_insert(Bucket { tokens: BURST, filled: now });
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * PER_SECOND).min(BURST);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    /// Takes packets out of a method's budget, at this age of the attempt; `false` when it is spent.
    pub(crate) fn spend(&mut self, method: Method, packets: u32, age: Duration) -> bool {
        let spending = &mut self.methods[place(method)];
        if spending.spent + packets > spending.allowed {
            spending.refused += 1;
            spending.exhausted.get_or_insert(age);
            return false;
        }
        spending.spent += packets;
        true
    }

    pub(crate) fn of(&self, method: Method) -> Spending {
        self.methods[place(method)]
    }

    /// Packets that were not sent because a method's budget was spent.
    pub(crate) fn refused(&self) -> u64 {
        self.methods.iter().map(|spending| spending.refused).sum()
    }
}

fn place(method: Method) -> usize {
    Method::ALL.iter().position(|of| *of == method).expect("ALL has every method")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_an_address_gets_a_burst_and_then_a_trickle() {
        let (mut budget, start) = (Budget::new(&[]), Instant::now());
        let target = "203.0.113.9:1".parse().unwrap();
        let burst = (0..1_000).filter(|_| budget.take(target, start)).count();
        assert_eq!(burst, 250);
        let minute = start + Duration::from_secs(60);
        let later = (0..1_000).filter(|_| budget.take(target, minute)).count();
        assert_eq!(later, 250);
    }

    #[test]
    fn one_address_does_not_eat_another_s() {
        let (mut budget, now) = (Budget::new(&[]), Instant::now());
        let (one, two) = ("203.0.113.9:1".parse().unwrap(), "203.0.113.9:2".parse().unwrap());
        while budget.take(one, now) {}
        assert!(budget.take(two, now));
    }

    #[test]
    fn i9_a_method_spends_what_the_plan_gives_it_and_what_is_refused_is_counted() {
        let step =
            |method, packets| PlanStep { method, tactic: None, chance: 0.5, after_ms: 0, packets };
        let plan = [step(Method::UdpHolePunch, 3), step(Method::Relay, u32::MAX)];
        let mut budget = Budget::new(&plan);
        let mut spend =
            |method| (0..5_000).filter(|_| budget.spend(method, 1, Duration::from_secs(1))).count();
        assert_eq!(spend(Method::UdpHolePunch), 3);
        assert_eq!(spend(Method::Relay), MOST as usize);
        assert_eq!(spend(Method::Direct), UNPLANNED as usize);
        let punch = budget.of(Method::UdpHolePunch);
        assert_eq!((punch.refused, punch.exhausted), (4_997, Some(Duration::from_secs(1))));
        assert_eq!(budget.of(Method::TcpHolePunch).refused, 0);
        assert!(budget.refused() > 10_000);
    }
}
