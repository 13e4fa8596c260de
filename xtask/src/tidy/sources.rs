//! Names, sizes, module docs, lints, and what may not be written down in the tree.

use super::Violation;
use crate::workspace::{Package, SourceFile};

/// A file of code longer than this has more than one idea in it.
const LINES_MAX: usize = 600;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["utils", "util", "helpers", "helper", "common", "misc", "manager"];

/// Marks of unfinished work. Spelled in halves, or this file would carry them.
const UNFINISHED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Paths and settings of the machine a file was written on, in halves for the same reason.
const OF_ONE_MACHINE: [&str; 6] = [
    concat!("/wo", "rk/"),
    concat!("/fa", "rm/"),
    concat!("/root", "/."),
    concat!("replace", "-with ="),
    concat!("sparse", "+http"),
    concat!("_auth", "Token"),
];

/// The registry every cargo knows.
const PUBLIC_REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

const CODE: [&str; 8] = ["rs", "ts", "js", "mjs", "py", "sh", "sql", "html"];
const TEXT: [&str; 5] = ["md", "toml", "yml", "yaml", "json"];

pub(super) fn check(packages: &[Package], files: &[SourceFile]) -> Vec<Violation> {
    let mut violations: Vec<Violation> = files.iter().flat_map(check_file).collect();
    violations.extend(packages.iter().filter_map(|package| check_lints(package, files)));
    violations
}

fn check_file(file: &SourceFile) -> Vec<Violation> {
    if file.path.ends_with("Cargo.lock") {
        return check_cargo_lock(file);
    }
    let extension = file.path.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_code = CODE.contains(&extension);
    let mut violations = Vec::new();
    let mut report = |line: usize, rule: &'static str, message: String| {
        violations.push(Violation::new(file.path.clone(), line, rule, message));
    };

    let lines = file.text.lines().count();
    if is_code && lines > LINES_MAX {
        report(LINES_MAX, "file size", format!("{lines} lines, at most {LINES_MAX}: split it"));
    }
    for part in file.path.split('/') {
        let stem = part.split('.').next().unwrap_or_default();
        if EMPTY_NAMES.contains(&stem) {
            report(1, "name", format!("`{part}` does not say what is inside"));
        }
    }
    if extension == "rs" && !starts_with_module_doc(&file.text) {
        report(1, "module doc", "the file does not start with a `//!` line on its purpose".into());
    }
    for (index, line) in file.text.lines().enumerate() {
        for place in OF_ONE_MACHINE.iter().filter(|place| line.contains(*place)) {
            report(index + 1, "machine", format!("`{place}` belongs to one machine"));
        }
        if is_code || TEXT.contains(&extension) {
            for mark in UNFINISHED.iter().filter(|mark| has_word(line, mark)) {
                report(index + 1, "unfinished", format!("`{mark}`: finish it or open an issue"));
            }
        }
    }
    violations
}

/// A lock file is written by a program, with the names others have chosen; but a build anywhere else
/// must find the packages where it says they are.
fn check_cargo_lock(file: &SourceFile) -> Vec<Violation> {
    let sources = file.text.lines().enumerate().filter(|(_, line)| line.starts_with("source = "));
    sources
        .filter(|(_, line)| !line.contains(PUBLIC_REGISTRY))
        .map(|(index, line)| {
            Violation::new(file.path.clone(), index + 1, "machine", format!("not public: {line}"))
        })
        .collect()
}

/// Inner attributes may come first, as `#![no_main]` has to.
fn starts_with_module_doc(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("#!["));
    lines.next().is_some_and(|line| line.starts_with("//! "))
}

fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_letter) && !after.is_some_and(is_letter)
    })
}

/// A member inherits the workspace lints. One that needs unsafe code cannot, because `forbid` has no
/// exceptions: it repeats all of them, with `deny` for that one.
fn check_lints(package: &Package, files: &[SourceFile]) -> Option<Violation> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| &*file.text);
    let path = format!("{}/Cargo.toml", package.folder);
    let manifest = text(&path)?;
    if section(manifest, "lints").eq(["workspace = true"]) {
        return None;
    }
    let workspace = text("Cargo.toml").unwrap_or_default();
    let wanted = |tool: &str| -> Vec<String> {
        let lines = section(workspace, &format!("workspace.lints.{tool}"));
        lines.map(|line| line.replace(FORBID_UNSAFE, DENY_UNSAFE)).collect()
    };
    let repeats = |tool: &str| section(manifest, &format!("lints.{tool}")).eq(wanted(tool));
    let message = "does not inherit the workspace lints: add `[lints]` with `workspace = true`";
    let is_well = !wanted("rust").is_empty() && repeats("rust") && repeats("clippy");
    (!is_well).then(|| Violation::new(path, 1, "lints", message))
}

const FORBID_UNSAFE: &str = r#"unsafe_code = "forbid""#;
const DENY_UNSAFE: &str = r#"unsafe_code = "deny""#;

/// The settings of one section of a manifest.
fn section<'a>(manifest: &'a str, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let heading = format!("[{name}]");
    let lines = manifest.lines().map(str::trim).skip_while(move |line| *line != heading).skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        check(&[], &[file(path, text)]).into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn an_ordinary_file_breaks_no_rule() {
        assert!(rules("crates/nat/src/plan.rs", "//! Plans.\n\npub fn plan() {}\n").is_empty());
    }

    #[test]
    fn a_file_of_code_that_is_too_long_is_found_and_a_long_page_is_not() {
        let long = format!("//! Long.\n{}", "line\n".repeat(LINES_MAX));
        assert_eq!(rules("crates/nat/src/plan.rs", &long), ["file size"]);
        assert!(rules("docs/protocol.md", &long).is_empty());
    }

    #[test]
    fn a_name_that_says_nothing_is_found_in_files_and_folders() {
        assert_eq!(rules("crates/nat/src/utils.rs", "//! Odds.\n"), ["name"]);
        assert_eq!(rules("crates/nat/src/common/plan.rs", "//! Plans.\n"), ["name"]);
    }

    #[test]
    fn a_file_without_a_module_doc_is_found() {
        assert_eq!(rules("crates/nat/src/lib.rs", "pub fn plan() {}\n"), ["module doc"]);
        assert!(rules("a.rs", "#![no_main]\n//! A fuzz target.\n").is_empty());
    }

    #[test]
    fn marks_of_unfinished_work_are_found_as_words_only() {
        let mark = UNFINISHED[0];
        assert_eq!(rules("a.rs", &format!("//! A.\n// {mark}: later\n")), ["unfinished"]);
        assert!(rules("a.rs", &format!("//! A.\nlet {mark}S = 1;\n")).is_empty());
    }

    #[test]
    fn a_path_of_one_machine_is_found_in_any_file() {
        let place = OF_ONE_MACHINE[0];
        assert_eq!(rules("docs/a.md", &format!("see {place}main\n")), ["machine"]);
    }

    #[test]
    fn a_package_locked_to_another_registry_is_found() {
        let public = format!("source = \"{PUBLIC_REGISTRY}\"\n");
        assert!(rules("Cargo.lock", &public).is_empty());
        assert_eq!(
            rules("Cargo.lock", "source = \"registry+https://example.org/\"\n"),
            ["machine"]
        );
    }

    fn lints_are_well(text: &str) -> bool {
        let workspace = "[workspace.lints.rust]\nunsafe_code = \"forbid\"\nunreachable_pub = \"warn\"\n\
                         [workspace.lints.clippy]\n# Why.\ntodo = \"warn\"\n";
        let package = Package {
            name: "p2p-nat".into(),
            folder: "crates/nat".into(),
            dependencies: Vec::new(),
        };
        let files = [file("Cargo.toml", workspace), file("crates/nat/Cargo.toml", text)];
        check(&[package], &files).is_empty()
    }

    #[test]
    fn a_member_inherits_the_lints_or_is_found() {
        assert!(lints_are_well("[lints]\nworkspace = true\n"));
        assert!(!lints_are_well("[package]\nname = \"p2p-nat\"\n"));
    }

    #[test]
    fn a_member_with_unsafe_code_repeats_every_other_lint() {
        let rust = "[lints.rust]\nunsafe_code = \"deny\"\nunreachable_pub = \"warn\"\n";
        let clippy = "[lints.clippy]\ntodo = \"warn\"\n";
        assert!(lints_are_well(&format!("{rust}\n{clippy}")));
        assert!(!lints_are_well(rust));
        assert!(!lints_are_well(&format!("{rust}{clippy}").replace("deny", "allow")));
    }
}
