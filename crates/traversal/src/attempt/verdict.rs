//! How an attempt ended (invariant I11): the verdict, told once it is known and again when it has
//! become better, with what became of each method.

use std::time::{Duration, Instant};

use p2p_nat::verdict::{Ending, sentence};
use p2p_wire::{Method, Outcome, Policy, Report, Step, StepResult, Tactic};

use super::Attempt;
use crate::ice::DIRECT_WINDOW;
use crate::relay::RelayTransport;

impl Attempt {
    /// A verdict is told when it is first known and when it becomes better.
    pub(super) fn verdict(&mut self, now: Instant) -> Option<Report> {
        let age = now.saturating_duration_since(self.started);
        let outcome = match self.active.filter(|_| self.verified) {
            Some(_) if self.direct.is_some() => Outcome::Direct,
            Some(_) => Outcome::Relay,
            None if age >= self.config.timeout => Outcome::Failed,
            None => return None,
        };
        let better = match (self.reported, outcome) {
            (None, _) | (Some(Outcome::Relay), Outcome::Direct) => true,
            (Some(_), _) => false,
        };
        if !better {
            return None;
        }
        self.given_up = outcome == Outcome::Failed;
        self.reported = Some(outcome);
        Some(self.report(outcome, now))
    }

    pub(super) fn report(&self, outcome: Outcome, now: Instant) -> Report {
        let age = millis(now.saturating_duration_since(self.started));
        let method = match outcome {
            Outcome::Direct => self.direct.map(|(_, method)| method),
            Outcome::Relay => Some(Method::Relay),
            Outcome::Failed => None,
        };
        let verdict = sentence(&Ending {
            outcome,
            method,
            policy: self.config.policy,
            near: Some(&self.near),
            far: self.config.remote_nat.as_ref(),
            peer: self.config.peer.as_str(),
        });
        Report {
            attempt: self.config.id.clone(),
            outcome,
            method,
            ms: self.connected.map_or(age, |(at, _)| millis(at)),
            direct_ms: self.direct.map(|(at, _)| millis(at)),
            steps: self.steps(age),
            verdict,
            paths: Vec::new(),
        }
    }

    /// One step for each of the plan's, as far as it came.
    fn steps(&self, age: u64) -> Vec<Step> {
        let unplanned = || {
            let step = |method, tactic| (method, Some(tactic));
            vec![step(Method::UdpHolePunch, Tactic::Simultaneous), step(Method::Relay, Tactic::Udp)]
        };
        let mut planned: Vec<_> =
            self.config.plan.iter().map(|step| (step.method, step.tactic)).collect();
        if planned.is_empty() {
            planned = unplanned();
        }
        // What worked without having been planned is told too: classes are only likely to be right.
        for worked in [self.direct.map(|(_, method)| method), self.relayed_first()] {
            if let Some(method) = worked
                && planned.iter().all(|(of, _)| *of != method)
            {
                planned.insert(0, (method, None));
            }
        }
        let steps = planned.into_iter().map(|(method, tactic)| {
            let (result, ms, detail) = match method {
                Method::Relay => self.relay_step(tactic, age),
                Method::TcpHolePunch => self.tcp_step(age),
                Method::Direct | Method::UdpHolePunch => self.udp_step(method, age),
            };
            Step { method, tactic, result, ms, detail }
        });
        let mut steps: Vec<_> = steps.collect();
        if self.config.policy == Policy::Direct {
            steps.push(skipped(Method::Relay, "forbidden by the policy"));
        }
        if self.config.policy == Policy::Relay {
            steps.insert(0, skipped(Method::UdpHolePunch, "forbidden by the policy"));
        }
        steps
    }

    /// Whether this method's is the direct path, or which other was there first.
    fn direct_step(&self, method: Method) -> Option<(StepResult, u64, String)> {
        let (at, first) = self.direct?;
        let ms = millis(at);
        Some(if first == method {
            (StepResult::Ok, ms, String::new())
        } else {
            (StepResult::Skipped, ms, format!("{first} was there first"))
        })
    }

    fn udp_step(&self, method: Method, age: u64) -> (StepResult, u64, String) {
        self.direct_step(method).unwrap_or_else(|| {
            let spending = self.budget.of(method);
            let spent = match spending.exhausted {
                Some(at) => format!(
                    "no answer; its budget of {} packets was spent after {} ms",
                    spending.allowed,
                    millis(at)
                ),
                None if self.reported.is_some() && !self.given_up => format!(
                    "no answer to {} checks yet; it is tried for {} s",
                    spending.spent,
                    DIRECT_WINDOW.as_secs()
                ),
                None => format!("no answer to {} checks", spending.spent),
            };
            (StepResult::Failed, age, spent)
        })
    }

    fn tcp_step(&self, age: u64) -> (StepResult, u64, String) {
        let spare = self.streams.usable().next().is_some();
        match (self.direct_step(Method::TcpHolePunch), &self.punch) {
            (Some((StepResult::Skipped, ms, _)), _) if spare => {
                (StepResult::Ok, ms, "kept as a spare".to_owned())
            }
            (Some(step), _) => step,
            (None, None) => (StepResult::Skipped, 0, "not planned".to_owned()),
            (None, Some(punch)) => {
                let dials = punch.dials();
                let detail = match punch.exhausted() {
                    _ if !punch.has_targets() => "the peer takes no TCP connections".to_owned(),
                    Some(at) => format!(
                        "no connection; its budget of packets was spent after {dials} dials and {} ms",
                        millis(at.saturating_duration_since(self.started))
                    ),
                    None => format!("no connection yet after {dials} dials"),
                };
                (StepResult::Failed, age, detail)
            }
        }
    }

    fn relay_step(&self, tactic: Option<Tactic>, age: u64) -> (StepResult, u64, String) {
        let leg = self.relay_transport.map(|transport| match transport {
            RelayTransport::Udp => Tactic::Udp,
            RelayTransport::Tcp => Tactic::Tcp,
            RelayTransport::Tls => Tactic::Tls,
        });
        let other_leg = leg.filter(|leg| tactic.is_some_and(|tactic| tactic != *leg));
        match (self.connected, self.direct, other_leg) {
            (_, _, Some(_)) => {
                let over = self.relay_transport.map_or("", RelayTransport::name);
                (StepResult::Skipped, 0, format!("the relay is reached over {over}"))
            }
            (Some((at, Method::Relay)), ..) => (StepResult::Ok, millis(at), String::new()),
            (_, Some((at, method)), None) => {
                (StepResult::Skipped, millis(at), format!("{method} was there first"))
            }
            (Some((at, _)), None, None) => (StepResult::Ok, millis(at), String::new()),
            (None, None, None) if self.local_relay.is_none() => {
                (StepResult::Failed, age, "no allocation at a relay".to_owned())
            }
            (None, None, None) => (StepResult::Failed, age, "no check answered".to_owned()),
        }
    }

    fn relayed_first(&self) -> Option<Method> {
        self.connected.map(|(_, method)| method).filter(|method| *method == Method::Relay)
    }
}

fn skipped(method: Method, detail: &str) -> Step {
    let (tactic, result, ms) = (None, StepResult::Skipped, 0);
    Step { method, tactic, result, ms, detail: detail.to_owned() }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
