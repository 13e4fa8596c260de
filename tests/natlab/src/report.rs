//! The lab's result: a table for people and a JSON document.

use std::fmt::Write as _;

use serde::Serialize;

use crate::cases::Verdict;
use crate::cell::Seen;
use crate::matrix::Table;
use crate::nat::{NatKind, Path, expected_path};

/// Everything a run found, as `--json` writes it.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    pub schema_version: u32,
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    pub verdicts: &'a [Verdict],
    pub matrix: Vec<&'a Seen>,
}

impl<'a> Report<'a> {
    pub fn new(verdicts: &'a [Verdict], table: &'a Table) -> Self {
        let passed = verdicts.iter().filter(|verdict| verdict.passed).count();
        let failed = verdicts.len() - passed;
        Self {
            schema_version: 1,
            passed,
            failed,
            skipped: 0,
            verdicts,
            matrix: table.values().collect(),
        }
    }

    /// The line every test command of the project ends with.
    pub fn last_line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// The matrix for a terminal: a row for each caller, a column for each listener.
pub fn terminal_table(table: &Table) -> String {
    let mut text = format!("{:<24}", "caller \\ listener");
    for listener in NatKind::MATRIX {
        let _ = write!(text, "{listener:<24}");
    }
    text.push('\n');
    for caller in NatKind::MATRIX {
        let _ = write!(text, "{caller:<24}");
        for listener in NatKind::MATRIX {
            let cell = cell(table.get(&(caller, listener)), expected_path(caller, listener));
            let _ = write!(text, "{cell:<24}");
        }
        text.push('\n');
    }
    text
}

/// One cell: the path, the time to it, and a mark where it is not the expected one.
fn cell(seen: Option<&Seen>, expected: Path) -> String {
    let Some(seen) = seen else { return String::new() };
    let (word, after) = match seen.path {
        Path::Direct => ("direct", seen.direct_ms),
        Path::Relay => ("relay", seen.connected_ms),
    };
    let times: Vec<String> =
        [after, seen.first_pong_ms].into_iter().flatten().map(|ms| ms.to_string()).collect();
    let text = format!("{word} {} ms", times.join(" / "));
    if seen.path == expected { text } else { format!("{text} (!)") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(path: Path) -> Seen {
        Seen {
            caller: NatKind::Open,
            listener: NatKind::Open,
            expected: Path::Direct,
            path,
            method: "direct".into(),
            connected_ms: Some(41),
            direct_ms: (path == Path::Direct).then_some(93),
            first_pong_ms: Some(120),
            transfer_ms: None,
            direct_bytes: 0,
        }
    }

    #[test]
    fn a_cell_shows_the_path_its_time_and_whether_it_is_the_wrong_one() {
        assert_eq!(cell(Some(&seen(Path::Direct)), Path::Direct), "direct 93 / 120 ms");
        assert_eq!(cell(Some(&seen(Path::Relay)), Path::Direct), "relay 41 / 120 ms (!)");
        assert_eq!(cell(None, Path::Direct), "");
    }

    #[test]
    fn the_last_line_counts_what_failed() {
        let verdict = |passed| Verdict {
            name: "open connects directly to open".into(),
            passed,
            detail: String::new(),
            secs: 0.0,
            folder: Default::default(),
        };
        let (verdicts, table) = ([verdict(true), verdict(false)], Table::new());
        let report = Report::new(&verdicts, &table);
        assert_eq!(report.last_line(), "1 passed, 1 failed, 0 skipped");
    }
}
