//! How an attempt ended (invariant I11): the verdict, told once it is known and again when it has
//! become better, with what became of each method.

use std::time::{Duration, Instant};

use p2p_nat::verdict::{Ending, sentence};
use p2p_wire::{Method, Outcome, Policy, Report, Step, StepResult};

use super::Attempt;
use crate::ice::DIRECT_WINDOW;

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
            ms: self.connected.map_or(age, millis),
            direct_ms: self.direct.map(|(at, _)| millis(at)),
            steps: self.steps(outcome, method, age),
            verdict,
            paths: Vec::new(),
        }
    }

    fn steps(&self, outcome: Outcome, method: Option<Method>, age: u64) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.config.policy == Policy::Relay {
            steps.push(step(
                Method::UdpHolePunch,
                StepResult::Skipped,
                0,
                "forbidden by the policy",
            ));
        } else if let Some((at, method)) = self.direct {
            steps.push(step(method, StepResult::Ok, millis(at), ""));
        } else {
            let window = DIRECT_WINDOW.as_secs();
            let detail = format!("no check answered yet; direct pairs are tried for {window} s");
            steps.push(step(Method::UdpHolePunch, StepResult::Failed, age, &detail));
        }
        steps.push(match (self.config.policy, outcome, method) {
            (Policy::Direct, ..) => {
                step(Method::Relay, StepResult::Skipped, 0, "forbidden by the policy")
            }
            (_, Outcome::Relay, _) => {
                step(Method::Relay, StepResult::Ok, self.connected.map_or(age, millis), "")
            }
            (_, Outcome::Direct, _) => {
                step(Method::Relay, StepResult::Skipped, age, "a direct path is in use")
            }
            (_, Outcome::Failed, _) if self.local_relay.is_none() => {
                step(Method::Relay, StepResult::Failed, age, "no allocation at a relay")
            }
            (_, Outcome::Failed, _) => {
                step(Method::Relay, StepResult::Failed, age, "no check answered")
            }
        });
        steps
    }
}

fn step(method: Method, result: StepResult, ms: u64, detail: &str) -> Step {
    Step { method, result, ms, detail: detail.to_owned() }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
