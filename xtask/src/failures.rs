//! What a tier's output says of its failures, to be said once more at the end.
//!
//! Whoever reads a long log, or only its end, should not have to look for the one line that matters.

use std::fmt;

/// Lines that are kept of one failure.
const LINES: usize = 16;
/// Failures that are kept; more are counted.
const FAILURES: usize = 12;

/// The failures in what was heard.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    lines: Vec<String>,
    count: usize,
    /// How many of the lines that come belong to the last failure.
    more: usize,
}

impl Failures {
    /// Takes the next line of output.
    pub(crate) fn hear(&mut self, line: &str) {
        if begins(line) {
            self.count += 1;
            self.more = if self.count > FAILURES { 0 } else { LINES };
        } else if ends(line) {
            self.more = 0;
        }
        if self.more > 0 {
            self.more -= 1;
            self.lines.push(line.to_owned());
        }
    }

    /// Whether none was heard.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "    {line}")?;
        }
        match self.count.saturating_sub(FAILURES) {
            0 => Ok(()),
            left_out => writeln!(f, "    and {left_out} more"),
        }
    }
}

/// The first line of a failure, as each kind of tier writes it.
fn begins(line: &str) -> bool {
    let of_libtest = line.starts_with("---- ") && line.ends_with(" stdout ----");
    let of_the_lab = line.starts_with('[') && line.contains(" ... FAILED (");
    let of_a_list = line.starts_with("FAILED  ");
    let of_node = line.trim_start().starts_with("✖ ");
    let of_chaos = line.starts_with("failed: ")
        || line.starts_with("again: ")
        || (line.starts_with("lost ") && line.split(", ").any(|count| !count.ends_with(" 0")));
    of_libtest || of_the_lab || of_a_list || of_node || of_chaos
}

/// A line after which nothing belongs to the failure before.
fn ends(line: &str) -> bool {
    line == "failures:"
        || line.starts_with("test result: ")
        || line.starts_with("ok  ")
        || (line.starts_with('[') && line.contains(" ... ok ("))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(output: &str) -> String {
        let mut failures = Failures::default();
        output.lines().for_each(|line| failures.hear(line));
        failures.to_string()
    }

    #[test]
    fn a_test_that_fails_is_said_with_its_panic_and_without_its_neighbours() {
        let output = "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\n\
                      thread 'b' panicked at x.rs:1:2:\nleft is not right\n\nfailures:\n    b\n\n\
                      test result: FAILED. 1 passed; 1 failed";
        let said = heard(output);
        assert!(said.contains("---- b stdout") && said.contains("left is not right"), "{said}");
        assert!(!said.contains("test result") && !said.contains("a ... ok"), "{said}");
    }

    #[test]
    fn each_kind_of_tier_is_understood() {
        for line in [
            "[7/130] a pair connects ... FAILED (3.1 s)",
            "FAILED  README.md:12: p2p listen: it ended",
            "  ✖ a peer connects (12.1ms)",
            "lost 0, duplicated 12, reordered 0, two owners 0, left over 0",
            "failed: it is not over after 300 s",
            "again: cargo xtask chaos --seed 1",
        ] {
            assert!(heard(line).contains(line), "{line}");
        }
        for line in [
            "[7/130] a pair connects ... ok (3.1 s)",
            "ok      README.md:12: p2p listen (runs on)",
            "✔ a peer connects (12.1ms)",
            "lost 0, duplicated 0, reordered 0, two owners 0, left over 0",
        ] {
            assert_eq!(heard(line), "", "{line}");
        }
    }

    #[test]
    fn however_much_fails_what_is_said_stays_short() {
        let said = heard(&"FAILED  again and again\nwith a detail\n".repeat(100));
        assert!(said.ends_with("and 88 more\n"), "{said}");
        assert_eq!(said.lines().count(), 2 * FAILURES + 1);
    }
}
