//! What became of earlier attempts between networks of the same two classes: it replaces the priors
//! as it comes.

use p2p_wire::Method;

/// How many attempts a prior is worth: after as many recorded ones, both count the same.
const PRIOR_WEIGHT: f64 = 10.0;

/// How often one method was tried, and how often it carried packets both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Attempts in which it was tried.
    pub tried: u64,
    /// Attempts in which it worked; never more than were tried.
    pub worked: u64,
}

/// The tallies of one pair of classes, in whichever direction they called each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recorded {
    /// One side was dialled.
    pub direct: Tally,
    /// Both sides punched over UDP.
    pub udp_hole_punch: Tally,
    /// Both sides punched over TCP.
    pub tcp_hole_punch: Tally,
    /// A relay carried the packets.
    pub relay: Tally,
}

impl Recorded {
    /// Adds attempts in which a method was tried.
    pub fn add(&mut self, method: Method, tally: Tally) {
        let sum = match method {
            Method::Direct => &mut self.direct,
            Method::UdpHolePunch => &mut self.udp_hole_punch,
            Method::TcpHolePunch => &mut self.tcp_hole_punch,
            Method::Relay => &mut self.relay,
        };
        sum.tried = sum.tried.saturating_add(tally.tried);
        sum.worked = sum.worked.saturating_add(tally.worked).min(sum.tried);
    }

    /// The tally of one method.
    pub fn of(&self, method: Method) -> Tally {
        match method {
            Method::Direct => self.direct,
            Method::UdpHolePunch => self.udp_hole_punch,
            Method::TcpHolePunch => self.tcp_hole_punch,
            Method::Relay => self.relay,
        }
    }

    /// The chance of a method, given what it was before anything was recorded.
    pub(super) fn chance(&self, method: Method, prior: f64) -> f64 {
        let Tally { tried, worked } = self.of(method);
        if tried == 0 {
            return prior;
        }
        let (tried, worked) = (tried as f64, worked.min(tried) as f64);
        (prior * PRIOR_WEIGHT + worked) / (PRIOR_WEIGHT + tried)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_replace_the_prior_as_they_come() {
        let mut recorded = Recorded::default();
        let chance = |r: &Recorded| r.chance(Method::TcpHolePunch, 0.7);
        assert_eq!(chance(&recorded), 0.7);
        recorded.add(Method::TcpHolePunch, Tally { tried: 1, worked: 0 });
        assert!((0.6..0.7).contains(&chance(&recorded)), "one failure says little");
        recorded.add(Method::TcpHolePunch, Tally { tried: 999, worked: 0 });
        assert!(chance(&recorded) < 0.01, "a thousand say it all");
        recorded.add(Method::TcpHolePunch, Tally { tried: 100_000, worked: 100_000 });
        assert!(chance(&recorded) > 0.98);
        assert_eq!(recorded.chance(Method::Direct, 0.95), 0.95, "nobody tried that");
    }

    #[test]
    fn a_chance_is_one_whatever_is_recorded() {
        for (tried, worked) in [(0, 9), (1, u64::MAX), (u64::MAX, u64::MAX), (u64::MAX, 0)] {
            let mut recorded = Recorded { relay: Tally { tried, worked }, ..Recorded::default() };
            recorded.add(Method::Relay, Tally { tried: u64::MAX, worked: u64::MAX });
            let chance = recorded.chance(Method::Relay, 0.99);
            assert!((0.0..=1.0).contains(&chance), "{tried} {worked}: {chance}");
        }
    }
}
