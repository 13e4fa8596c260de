//! What peers tell of a connection when its attempt is long forgotten here: a connection may live for
//! days. Its record is in the store, and says whose it is.
//!
//! Nobody waits for that (invariant I7): one task asks the store, what waits for it has a bound, and
//! what is lost is counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use p2p_stats::{AttemptRecord, Recorder, Side, Store};
use p2p_telemetry::metrics::RECORDER_DROPPED;
use p2p_wire::{AppId, Code, PeerId, Problem, Report};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

/// Reports that wait: some 2 MB at most.
const WAITING: usize = 1_024;
/// A record may be on its way to the store: how often it is asked, and how long between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// The way of late reports to their records.
pub(super) struct Late(mpsc::Sender<Told>);

struct Told {
    app: AppId,
    from: PeerId,
    report: Report,
}

impl Late {
    /// Begins; ends with this value. Must be called within a Tokio runtime.
    pub(super) fn start(store: Arc<dyn Store>, recorder: Recorder) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        tokio::spawn(run(store, recorder, waiting));
        Self(queue)
    }

    /// Takes a report that the table refuses with `problem`, if it tells of a connection.
    pub(super) fn take(
        &self,
        app: &AppId,
        from: &PeerId,
        report: &Report,
        problem: Problem,
    ) -> Result<(), Problem> {
        if report.paths.is_empty() || problem.code != Code::AttemptNotFound {
            return Err(problem);
        }
        let told = Told { app: app.clone(), from: from.clone(), report: report.clone() };
        if self.0.try_send(told).is_err() {
            drop_all(1);
        }
        Ok(())
    }
}

async fn run(store: Arc<dyn Store>, recorder: Recorder, mut waiting: mpsc::Receiver<Told>) {
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
        let Some(told) = find(&*store, &recorder, told).await else { continue };
        if tries < TRIES && again.len() < WAITING {
            again.push_back((Instant::now() + PAUSE, tries, told));
        } else {
            drop_all(1);
        }
    }
}

/// Adds what is told to its record; what has no record yet comes back.
async fn find(store: &dyn Store, recorder: &Recorder, told: Told) -> Option<Told> {
    match store.attempt(&told.report.attempt).await {
        Ok(Some(mut record)) => {
            // The verdict was given long ago, and stays.
            match side(&record, &told) {
                Some(side) => {
                    record.used(side, told.report.paths);
                    recorder.record(record);
                }
                None => debug!(from = %told.from, "a report on an attempt of others"),
            }
            None
        }
        Ok(None) => Some(told),
        Err(error) => {
            debug!(%error, "the record of a late report is not to be had");
            drop_all(1);
            None
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

fn drop_all(reports: u64) {
    RECORDER_DROPPED.with(["late"]).increment(reports);
    debug!(reports, "late reports are dropped");
}
