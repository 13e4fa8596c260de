//! An attempt as a trace: what each instance saw of it, and what its peers told.
//!
//! The trace's id is the attempt's (see [`p2p_telemetry::traces`]), so an instance that only
//! delivers the `attempt` message, or takes over when another has died, adds to the same trace with
//! nothing handed to it. Peers have no exporter in most programs: what they report becomes their
//! spans.

use std::time::{Duration, SystemTime};

use p2p_registry::Frame;
use p2p_stats::AttemptRecord;
use p2p_telemetry::traces::{Span, Trace};
use p2p_wire::{AttemptId, Outcome, PeerId, Policy, Report, StepResult, TraceParent};
use serde::Deserialize;

/// How every frame that begins an attempt begins.
const ATTEMPT_FRAME: &[u8] = br#"{"type":"attempt","#;

/// The trace of an attempt, if it is recorded.
fn trace(id: &AttemptId) -> Option<Trace> {
    // Behind the dot stands the instance.
    let id = id.as_str();
    let number = id.split_once('.').map_or(id, |(number, _)| number);
    Trace::of(u128::from_str_radix(number, 16).ok().filter(|_| number.len() == 32)?)
}

/// What both sides get, for spans of their own.
pub(super) fn traceparent(id: &AttemptId) -> Option<TraceParent> {
    TraceParent::new(trace(id)?.traceparent()).ok()
}

/// The caller's request has been answered. `cause` is what the caller was doing.
pub(super) fn connected(
    record: &AttemptRecord,
    cause: Option<&TraceParent>,
    began: SystemTime,
    signalled: SystemTime,
) {
    let Some(trace) = trace(&record.attempt) else { return };
    let now = SystemTime::now();
    let methods: Vec<_> = record.plan.iter().map(|step| step.method.as_str()).collect();
    let mut span =
        about(trace.span("connect", began), record).server().with("p2p.plan", methods.join(","));
    if let Some(cause) = cause {
        span = span.caused_by(cause.as_str());
    }
    span.child("signal callee", signalled)
        .producer()
        .with("p2p.peer", record.callee.to_string())
        .end(now);
    span.end(now);
}

/// A frame is on its way to a peer that is connected here.
pub(crate) fn delivered(frame: &Frame, to: &PeerId) {
    #[derive(Deserialize)]
    struct Head {
        attempt: AttemptId,
    }
    if !frame.as_bytes().starts_with(ATTEMPT_FRAME) {
        return;
    }
    let Ok(Head { attempt }) = serde_json::from_str(frame) else { return };
    let Some(trace) = trace(&attempt) else { return };
    let now = SystemTime::now();
    trace
        .span("deliver attempt", now)
        .consumer()
        .with("p2p.attempt", attempt.to_string())
        .with("p2p.peer", to.to_string())
        .end(now);
}

/// A side has told how it went: its span, and one for each method that it tried.
pub(super) fn reported(from: &PeerId, report: &Report) {
    let Some(trace) = trace(&report.attempt) else { return };
    let now = SystemTime::now();
    // Its clock is its own; how long it took is not. A later report has what an earlier one had.
    let longest = report.steps.iter().map(|step| step.ms).chain([report.ms]).max().unwrap_or(0);
    let began = now.checked_sub(Duration::from_millis(longest)).unwrap_or(now);
    let at = |ms| began + Duration::from_millis(ms);
    let mut span = trace
        .span("peer", began)
        .with("p2p.attempt", report.attempt.to_string())
        .with("p2p.peer", from.to_string())
        .with("p2p.outcome", report.outcome.as_str());
    if let Some(method) = report.method {
        span = span.with("p2p.method", method.as_str()).event("connected", at(report.ms));
    }
    if let Some(ms) = report.direct_ms {
        span = span.event("direct", at(ms));
    }
    for step in &report.steps {
        let child = span.child(step.method.as_str(), began);
        match step.result {
            StepResult::Ok => child.end(at(step.ms)),
            StepResult::Failed => child.failed("did not carry packets both ways").end(at(step.ms)),
            StepResult::Skipped => {}
        }
    }
    if report.outcome == Outcome::Failed {
        span = span.failed("no path");
    }
    span.end(now);
}

/// The attempt has its verdict: the root span.
pub(super) fn decided(record: &AttemptRecord) {
    let Some(trace) = trace(&record.attempt) else { return };
    let millis = Duration::from_millis(u64::try_from(record.started_unix_ms).unwrap_or(0));
    let began = SystemTime::UNIX_EPOCH + millis;
    let mut span =
        about(trace.root("attempt", began), record).with("p2p.outcome", record.outcome.as_str());
    if let Some(method) = record.method {
        span = span.with("p2p.method", method.as_str());
    }
    for (key, nat) in
        [("p2p.caller_nat", &record.caller_nat), ("p2p.callee_nat", &record.callee_nat)]
    {
        if let Some(nat) = nat {
            span = span.with(key, nat.nat_type.to_string());
        }
    }
    if record.outcome == Outcome::Failed {
        // In the words of a peer, which may name addresses (invariant I10).
        let reason = record.clone().with_addresses_truncated().reason;
        span = span.failed(reason.unwrap_or_else(|| "no path".to_owned()));
    }
    span.end(SystemTime::now());
}

fn about(span: Span, record: &AttemptRecord) -> Span {
    span.with("p2p.attempt", record.attempt.to_string())
        .with("p2p.app", record.app.to_string())
        .with("p2p.caller", record.caller.to_string())
        .with("p2p.callee", record.callee.to_string())
        .with("p2p.policy", policy(record.policy))
}

fn policy(policy: Policy) -> &'static str {
    match policy {
        Policy::Auto => "auto",
        Policy::Direct => "direct",
        Policy::Relay => "relay",
    }
}
