//! Attempts whose two peers are at different instances.
//!
//! An attempt is coordinated where its caller was. Its id names that instance behind a dot, so that
//! whatever a peer says about it at another instance finds its way there.

use p2p_registry::Frame;
use p2p_wire::client::Trickle;
use p2p_wire::{AppId, AttemptId, Code, PeerId, Problem, Report};
use serde::{Deserialize, Serialize};
use tracing::debug;
use uuid::Uuid;

use super::Attempts;

/// What a peer said about an attempt, on its way to the attempt's instance.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    app: AppId,
    from: PeerId,
    what: What,
}

#[derive(Debug, Serialize, Deserialize)]
enum What {
    Candidate(Trickle),
    Report(Report),
}

impl What {
    fn attempt(&self) -> &AttemptId {
        match self {
            Self::Candidate(trickle) => &trickle.attempt,
            Self::Report(report) => &report.attempt,
        }
    }
}

impl Attempts {
    /// A new id. Where there are several instances it names this one.
    pub(super) fn new_id(&self) -> AttemptId {
        let id = Uuid::now_v7().simple();
        let id = match self.registry.instance() {
            Some(instance) => format!("{id}.{instance}"),
            None => id.to_string(),
        };
        AttemptId::new(id).expect("hexadecimal digits and a dot are an id")
    }

    /// Forwards a candidate to the other side.
    pub(crate) async fn candidate(
        &self,
        app: &AppId,
        from: &PeerId,
        trickle: Trickle,
    ) -> Result<(), Problem> {
        match self.elsewhere(&trickle.attempt) {
            Some(instance) => {
                // Checked here, where the one who sent it hears what is wrong with it.
                self.addresses.check(&trickle.candidate)?;
                let attempt = trickle.attempt.clone();
                let what = What::Candidate(trickle.clone());
                let passed = self.pass_on(&attempt, &instance, app, from, what).await;
                passed.or_else(|problem| self.late.candidate(app, from, trickle, problem))
            }
            None => self.candidate_here(app, from, trickle).await,
        }
    }

    /// Takes in what a side tells.
    pub(crate) async fn report(
        &self,
        app: &AppId,
        from: &PeerId,
        report: &Report,
    ) -> Result<(), Problem> {
        match self.elsewhere(&report.attempt) {
            Some(instance) => {
                let what = What::Report(report.clone());
                let passed = self.pass_on(&report.attempt, &instance, app, from, what).await;
                // With its instance gone, what it tells finds the record all the same.
                passed.or_else(|problem| self.late.report(app, from, report, problem))
            }
            None => self.report_here(app, from, report).await,
        }
    }

    /// Takes in what another instance passed on.
    pub(super) async fn hear(&self, frame: &Frame) {
        let said = match serde_json::from_str::<Said>(frame) {
            Ok(said) => said,
            Err(error) => {
                debug!(%error, "an instance of another version passed something on");
                return;
            }
        };
        let Said { app, from, what } = said;
        // One that took this instance for dead goes on with it.
        let moved = self.lock().moved_to(what.attempt()).map(str::to_owned);
        if let Some(heir) = moved {
            if let Err(error) = self.registry.pass_on(&heir, frame.clone()).await {
                debug!(%error, "what was passed on goes no further");
            }
            return;
        }
        let done = match what {
            What::Candidate(trickle) => self.candidate_here(&app, &from, trickle).await,
            What::Report(report) => self.report_here(&app, &from, &report).await,
        };
        if let Err(problem) = done {
            debug!(%app, %from, code = ?problem.code, "what was passed on is refused");
        }
    }

    /// The instance where an attempt began, if it is coordinated there and not here. Its heir hears
    /// what is for it when it is gone.
    fn elsewhere(&self, id: &AttemptId) -> Option<String> {
        let (_, instance) = id.as_str().split_once('.')?;
        {
            let table = self.lock();
            // It may have come here when its instance died, or left when this one was taken for dead.
            if table.has(id) {
                return None;
            }
            if let Some(heir) = table.moved_to(id) {
                return Some(heir.to_owned());
            }
        }
        (self.registry.instance()? != instance).then(|| instance.to_owned())
    }

    async fn pass_on(
        &self,
        attempt: &AttemptId,
        instance: &str,
        app: &AppId,
        from: &PeerId,
        what: What,
    ) -> Result<(), Problem> {
        let said = Said { app: app.clone(), from: from.clone(), what };
        let text = serde_json::to_string(&said).expect("protocol types have string keys");
        let passed = self.registry.pass_on(instance, text.into()).await;
        if passed.map_err(|error| error.problem())? {
            return Ok(());
        }
        Err(Problem::new(
            Code::AttemptNotFound,
            "Not accepted",
            format!("the instance that coordinated attempt {attempt} is gone"),
            "connect again for a new attempt",
        ))
    }
}
