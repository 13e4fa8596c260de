//! Every invariant of ARCHITECTURE.md names a test that exists, or the issue that brings one.

use std::collections::BTreeSet;

use super::Violation;
use crate::workspace::SourceFile;

const RULE: &str = "invariant";
const PAGE: &str = "ARCHITECTURE.md";
const COUNT: usize = 12;

/// How a row says that its test comes with a later issue.
const NOT_YET: &str = "not yet: ";

pub(super) fn check(files: &[SourceFile]) -> Vec<Violation> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        return vec![Violation::new(PAGE, 1, RULE, "the page is missing")];
    };
    let functions = function_names(files);
    (1..=COUNT).flat_map(|number| check_row(page, number, &functions)).collect()
}

fn check_row(page: &SourceFile, number: usize, functions: &BTreeSet<&str>) -> Vec<Violation> {
    let start = format!("| I{number} |");
    let row = page.text.lines().enumerate().find(|(_, line)| line.starts_with(&start));
    let Some((index, row)) = row else {
        return vec![Violation::new(PAGE, 1, RULE, format!("I{number} has no row"))];
    };
    let violation = |message: String| Violation::new(PAGE, index + 1, RULE, message);

    let tests: Vec<&str> = quoted(row).filter_map(test_name).collect();
    let mut violations: Vec<Violation> = tests
        .iter()
        .filter(|test| !functions.contains(*test))
        .map(|test| violation(format!("I{number} names `{test}`, which is no function here")))
        .collect();
    if tests.is_empty() && !row.contains(NOT_YET) {
        let message = format!("I{number} names no test; or say `{NOT_YET}` and the issue");
        violations.push(violation(message));
    }
    violations
}

/// The parts of a line between backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The function in `path::to::a_test_named_as_a_sentence`, or `None` for other code.
fn test_name(code: &str) -> Option<&str> {
    let name = code.rsplit("::").next()?;
    let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    // A sentence has at least three words; a field or a crate in the row has fewer.
    (is_name && name.matches('_').count() >= 2).then_some(name)
}

fn function_names(files: &[SourceFile]) -> BTreeSet<&str> {
    let sources = files.iter().filter(|file| file.path.ends_with(".rs"));
    let after_fn = sources.flat_map(|file| file.text.split("fn ").skip(1));
    after_fn
        .filter_map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '_').next())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    /// A page where every row is in order, except the first.
    fn messages(first_row: &str) -> Vec<String> {
        let mut text = format!("| id | invariant | tests |\n|---|---|---|\n{first_row}\n");
        for number in 2..=COUNT {
            text.push_str(&format!("| I{number} | Holds. | not yet: issue 3 |\n"));
        }
        let test = file("crates/nat/src/lib.rs", "    fn a_late_close_changes_nothing() {}\n");
        check(&[file(PAGE, &text), test]).into_iter().map(|found| found.message).collect()
    }

    #[test]
    fn a_row_that_names_an_existing_test_is_accepted() {
        assert!(messages("| I1 | One owner. | `nat::a_late_close_changes_nothing` |").is_empty());
    }

    #[test]
    fn a_row_that_names_no_test_is_found_unless_it_says_what_brings_one() {
        assert_eq!(messages("| I1 | One owner. | |").len(), 1);
        assert!(messages("| I1 | One owner. | not yet: the scale-out issue |").is_empty());
    }

    #[test]
    fn a_test_that_no_longer_exists_is_found() {
        let found = messages("| I1 | One. | `a_late_close_changes_nothing`, `a_test_that_left` |");
        assert_eq!(found, ["I1 names `a_test_that_left`, which is no function here"]);
    }

    #[test]
    fn a_missing_row_and_a_missing_page_are_found() {
        assert_eq!(messages("| I99 | Odd. | |"), ["I1 has no row"]);
        assert_eq!(check(&[]).len(), 1);
    }
}
