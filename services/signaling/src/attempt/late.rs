//! What peers tell of a connection when its attempt is long forgotten here: a connection may live for
//! days. Its record is in the store, and says whose it is.
//!
//! A report is added to the record. A candidate goes to the other side: two peers whose relay has
//! started again have no other way to tell each other where they are now.
//!
//! Nobody waits for that (invariant I7): one task asks the store, what waits for it has a bound, and
//! what is lost is counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use p2p_registry::Registry;
use p2p_stats::{AttemptRecord, Recorder, Side, Store};
use p2p_telemetry::metrics::RECORDER_DROPPED;
use p2p_wire::client::Trickle;
use p2p_wire::server::{self, ErrorMessage};
use p2p_wire::{AppId, AttemptId, Code, PeerId, Problem, Report, ServerMessage};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::candidates;
use crate::meters;

/// What waits: some 2 MB at most.
const WAITING: usize = 1_024;
/// A record may be on its way to the store: how often it is asked, and how long between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// The way of what is told late to whom it is for.
pub(super) struct Late(mpsc::Sender<Told>);

struct Told {
    app: AppId,
    from: PeerId,
    what: What,
}

enum What {
    /// For the record.
    Report(Report),
    /// For the other side. Its address has been looked at. The problem is what whoever sent it hears
    /// where there is no such attempt of theirs.
    Candidate(Trickle, Problem),
}

impl What {
    fn attempt(&self) -> &AttemptId {
        match self {
            Self::Report(report) => &report.attempt,
            Self::Candidate(trickle, _) => &trickle.attempt,
        }
    }
}

impl Late {
    /// Begins; ends with this value. Must be called within a Tokio runtime.
    pub(super) fn start(
        store: Arc<dyn Store>,
        recorder: Recorder,
        registry: Arc<dyn Registry>,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        tokio::spawn(Desk { store, recorder, registry }.run(waiting));
        Self(queue)
    }

    /// Takes a report that the table refuses with `problem`, if it tells of a connection.
    pub(super) fn report(
        &self,
        app: &AppId,
        from: &PeerId,
        report: &Report,
        problem: Problem,
    ) -> Result<(), Problem> {
        if report.paths.is_empty() || problem.code != Code::AttemptNotFound {
            return Err(problem);
        }
        self.take(app, from, What::Report(report.clone()));
        Ok(())
    }

    /// Takes a candidate that the table refuses with `problem`. Its address must have been looked at.
    pub(super) fn candidate(
        &self,
        app: &AppId,
        from: &PeerId,
        trickle: Trickle,
        problem: Problem,
    ) -> Result<(), Problem> {
        if problem.code != Code::AttemptNotFound {
            return Err(problem);
        }
        self.take(app, from, What::Candidate(trickle, problem));
        Ok(())
    }

    fn take(&self, app: &AppId, from: &PeerId, what: What) {
        let told = Told { app: app.clone(), from: from.clone(), what };
        if self.0.try_send(told).is_err() {
            drop_all(1);
        }
    }
}

/// Where what is told late is dealt with.
struct Desk {
    store: Arc<dyn Store>,
    recorder: Recorder,
    registry: Arc<dyn Registry>,
}

impl Desk {
    async fn run(self, mut waiting: mpsc::Receiver<Told>) {
        // In the order of their time, as each waits for the same pause.
        let mut again: VecDeque<(Instant, u32, Told)> = VecDeque::new();
        loop {
            let due = again.front().map_or_else(Instant::now, |(due, ..)| *due);
            let (tries, told) = tokio::select! {
                told = waiting.recv() => match told {
                    Some(told) => (1, told),
                    None => return drop_all(again.len() as u64),
                },
                () = sleep_until(due), if !again.is_empty() => match again.pop_front() {
                    Some((_, tries, told)) => (tries + 1, told),
                    None => continue,
                },
            };
            let Some(told) = self.find(told).await else { continue };
            if tries < TRIES && again.len() < WAITING {
                again.push_back((Instant::now() + PAUSE, tries, told));
            } else {
                drop_all(1);
                self.refuse(told).await;
            }
        }
    }

    /// Does with its record what is told; what has no record yet comes back.
    async fn find(&self, told: Told) -> Option<Told> {
        match self.store.attempt(told.what.attempt()).await {
            Ok(Some(record)) => {
                match side(&record, &told) {
                    Some(side) => self.act(record, side, told).await,
                    None => self.refuse(told).await,
                }
                None
            }
            Ok(None) => Some(told),
            Err(error) => {
                debug!(%error, "the record of what is told late is not to be had");
                drop_all(1);
                None
            }
        }
    }

    async fn act(&self, mut record: AttemptRecord, side: Side, told: Told) {
        match told.what {
            // The verdict was given long ago, and stays.
            What::Report(report) => {
                record.used(side, report.paths);
                self.recorder.record(record);
            }
            What::Candidate(Trickle { attempt, mut candidate }, _) => {
                if !candidates::is_visible(&candidate, record.policy) {
                    return;
                }
                candidates::strip(&mut candidate, record.policy);
                let to = match side {
                    Side::Caller => &record.callee,
                    Side::Callee => &record.caller,
                };
                let candidate = server::Trickle { attempt, candidate };
                self.signal(&told.app, to, &ServerMessage::Candidate(candidate)).await;
            }
        }
    }

    /// There is no such attempt of this peer's.
    async fn refuse(&self, told: Told) {
        debug!(from = %told.from, attempt = %told.what.attempt(), "told of no attempt of its own");
        if let What::Candidate(_, problem) = told.what {
            meters::rejected(problem.code);
            let error = ErrorMessage::new(None, problem);
            self.signal(&told.app, &told.from, &ServerMessage::Error(error)).await;
        }
    }

    async fn signal(&self, app: &AppId, to: &PeerId, message: &ServerMessage) {
        if let Err(error) = self.registry.signal(app, to, message.to_text().into()).await {
            debug!(%error, "what came of something told late goes no further");
        }
    }
}

fn side(record: &AttemptRecord, told: &Told) -> Option<Side> {
    match record {
        record if record.app != told.app => None,
        record if record.caller == told.from => Some(Side::Caller),
        record if record.callee == told.from => Some(Side::Callee),
        _ => None,
    }
}

fn drop_all(told: u64) {
    RECORDER_DROPPED.with(["late"]).increment(told);
    debug!(told, "what was told late is dropped");
}
