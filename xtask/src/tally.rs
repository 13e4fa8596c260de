//! Counting what passed, failed and was skipped.

use std::fmt;
use std::ops::AddAssign;

/// Counts of checks, printed as the last line of every test command.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Tally {
    /// One check.
    pub(crate) fn one(passed: bool) -> Self {
        Self { passed: usize::from(passed), failed: usize::from(!passed), skipped: 0 }
    }

    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };

    /// The counts in libtest's `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
    pub(crate) fn of_test_result(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |word: &str| {
            let part = counts.split(';').find(|part| part.trim().ends_with(word))?;
            part.split_whitespace().next()?.parse().ok()
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            skipped: count("ignored")?,
        })
    }

    /// The counts in `5 passed, 0 failed, 1 skipped`.
    pub(crate) fn of_last_line(line: &str) -> Option<Self> {
        let counts: Vec<(usize, &str)> = line
            .split(", ")
            .map(|part| part.split_once(' ').and_then(|(n, word)| Some((n.parse().ok()?, word))))
            .collect::<Option<_>>()?;
        match counts[..] {
            [(passed, "passed"), (failed, "failed"), (skipped, "skipped")] => {
                Some(Self { passed, failed, skipped })
            }
            _ => None,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_line_of_a_test_binary_is_counted() {
        let line = "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out";
        let tally = Tally::of_test_result(line).expect("a result line");
        assert_eq!(tally, Tally { passed: 5, failed: 2, skipped: 1 });
        assert_eq!(Tally::of_test_result("test a_result ... ok"), None);
    }

    #[test]
    fn a_last_line_is_read_back_as_it_is_written() {
        let tally = Tally { passed: 36, failed: 1, skipped: 2 };
        assert_eq!(Tally::of_last_line(&tally.to_string()), Some(tally));
        assert_eq!(Tally::of_last_line("36 passed, 1 failed"), None);
    }
}
