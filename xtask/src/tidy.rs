//! `cargo xtask tidy`: the rules of the tree, as a test instead of a review.

mod direction;
mod invariants;
mod purity;
mod sources;

use std::fmt;

use anyhow::Result;

use crate::workspace::{SourceFile, Workspace};

/// One broken rule, at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    path: String,
    line: usize,
    rule: &'static str,
    message: String,
}

impl Violation {
    fn new(
        path: impl Into<String>,
        line: usize,
        rule: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { path: path.into(), line, rule, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.message)
    }
}

/// Prints every violation; whether there was none.
pub(crate) fn tidy(workspace: &Workspace) -> Result<bool> {
    let violations = check(workspace)?;
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => println!("tidy: every rule holds"),
        count => println!("tidy: {count} violation(s)"),
    }
    Ok(violations.is_empty())
}

fn check(workspace: &Workspace) -> Result<Vec<Violation>> {
    let (packages, files) = (workspace.packages()?, workspace.files()?);
    let mut violations = direction::check(&packages, &workspace.root);
    violations.extend(purity::check(&packages, &files));
    violations.extend(sources::check(&packages, &files));
    violations.extend(invariants::check(&files));
    violations.sort();
    Ok(violations)
}

/// The lines of a file with their numbers, without the ones under `#[cfg(test)]`.
///
/// An item under `#[cfg(test)]` ends where its braces close, or at its semicolon.
fn lines_outside_tests(file: &SourceFile) -> Vec<(usize, &str)> {
    let mut outside = Vec::new();
    let mut lines = file.text.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            outside.push((number, line));
            continue;
        }
        let mut depth = 0_usize;
        for (_, line) in lines.by_ref() {
            depth += line.matches('{').count();
            depth = depth.saturating_sub(line.matches('}').count());
            let line = line.trim();
            if depth == 0 && (line.ends_with('}') || line.ends_with(';')) {
                break;
            }
        }
    }
    outside
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.into(), text: text.into() }
    }

    #[test]
    fn test_modules_are_left_out_and_what_follows_them_is_not() {
        let text =
            "one\n#[cfg(test)]\nmod tests {\n  fn t() {}\n}\ntwo\n#[cfg(test)]\nmod t;\nthree";
        let file = file("a.rs", text);
        let kept: Vec<(usize, &str)> = lines_outside_tests(&file);
        assert_eq!(kept, [(1, "one"), (6, "two"), (9, "three")]);
    }

    #[test]
    fn a_violation_is_one_line_with_its_place_and_rule() {
        let violation = Violation::new("crates/nat/src/lib.rs", 3, "pure core", "reads a clock");
        assert_eq!(violation.to_string(), "crates/nat/src/lib.rs:3: pure core: reads a clock");
    }
}
