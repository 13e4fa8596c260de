//! Named cases: what is run, how many at a time, and what came of it.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// One named check of the lab.
pub struct Case {
    name: String,
    check: Box<Check>,
}

/// Returns one line on what was seen.
type Check = dyn Fn(&Context<'_>) -> Result<String> + Send;

/// What a case may use.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub programs: &'a Programs,
    /// The case's own folder, for logs and secrets.
    pub folder: &'a Path,
}

/// The programs under test, and the lab's own binary for the roles it plays inside namespaces.
#[derive(Debug, Clone)]
pub struct Programs {
    pub coordinator: PathBuf,
    pub p2p: PathBuf,
    pub natlab: PathBuf,
}

/// What came of a case.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    pub name: String,
    pub passed: bool,
    /// What was seen if it passed, why if it failed.
    pub detail: String,
    pub secs: f64,
    #[serde(skip)]
    pub folder: PathBuf,
}

impl Case {
    /// `check` returns one line on what was seen.
    pub fn new(
        name: impl Into<String>,
        check: impl Fn(&Context<'_>) -> Result<String> + Send + 'static,
    ) -> Self {
        Self { name: name.into(), check: Box::new(check) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn run(&self, programs: &Programs, logs: &Path) -> Verdict {
        let started = Instant::now();
        let folder = logs.join(self.name.replace(' ', "-"));
        let outcome = fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))
            .and_then(|()| (self.check)(&Context { programs, folder: &folder }));
        let (passed, detail) = match outcome {
            Ok(seen) => (true, seen),
            Err(error) => (false, format!("{error:#}")),
        };
        let secs = started.elapsed().as_secs_f64();
        Verdict { name: self.name.clone(), passed, detail, secs, folder }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Runs the cases, `at_once` at a time, and tells `on_verdict` of each as it ends. The verdicts are
/// returned in the order of the cases.
pub fn run_all(
    cases: Vec<Case>,
    programs: &Programs,
    logs: &Path,
    at_once: usize,
    mut on_verdict: impl FnMut(&Verdict),
) -> Vec<Verdict> {
    let count = cases.len();
    let queue: Mutex<VecDeque<(usize, Case)>> = Mutex::new(cases.into_iter().enumerate().collect());
    let (send, receive) = mpsc::channel();
    let mut verdicts: Vec<(usize, Verdict)> = Vec::with_capacity(count);
    thread::scope(|scope| {
        for _ in 0..at_once.clamp(1, count.max(1)) {
            let (queue, send) = (&queue, send.clone());
            scope.spawn(move || {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((index, case)) = next else { break };
                    // The receiver outlives the scope's threads.
                    drop(send.send((index, case.run(programs, logs))));
                }
            });
        }
        drop(send);
        for (index, verdict) in receive {
            on_verdict(&verdict);
            verdicts.push((index, verdict));
        }
    });
    verdicts.sort_by_key(|(index, _)| *index);
    verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

/// The last lines of every log in the folder of a failed case.
pub fn log_tails(folder: &Path, lines: usize) -> String {
    let mut text = String::new();
    let mut logs: Vec<PathBuf> = fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
        .unwrap_or_default();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    for path in logs {
        let content = fs::read_to_string(&path).unwrap_or_default();
        let all: Vec<&str> = content.lines().collect();
        let tail = &all[all.len().saturating_sub(lines)..];
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        text.push_str(&format!("  --- {name} ({} lines)\n", all.len()));
        for line in tail {
            text.push_str(&format!("  | {line}\n"));
        }
    }
    text
}

/// How long a case took, for people.
pub fn seconds(secs: f64) -> String {
    format!("{:.1} s", Duration::from_secs_f64(secs).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs() -> Programs {
        let none = PathBuf::new();
        Programs { coordinator: none.clone(), p2p: none.clone(), natlab: none }
    }

    #[test]
    fn every_case_is_run_once_and_reported_in_order() {
        let logs = tempfile::tempdir().expect("a temporary folder");
        let case = |number: usize| {
            Case::new(format!("case {number}"), move |_| {
                anyhow::ensure!(number != 2, "two fails");
                Ok(String::new())
            })
        };
        let mut told = 0;
        let verdicts =
            run_all((0..5).map(case).collect(), &programs(), logs.path(), 2, |_| told += 1);
        let names: Vec<&str> = verdicts.iter().map(|verdict| verdict.name.as_str()).collect();
        assert_eq!(names, ["case 0", "case 1", "case 2", "case 3", "case 4"]);
        assert_eq!(told, 5);
        let failed: Vec<&Verdict> = verdicts.iter().filter(|verdict| !verdict.passed).collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].detail, "two fails");
    }
}
