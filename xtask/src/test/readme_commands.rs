//! The commands of README.md: found in its `sh` blocks, and what each of them means for a test.

use anyhow::{Result, bail};

/// One fenced `sh` block, with the line it starts on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) line: usize,
    pub(super) commands: Vec<String>,
}

/// What a test does with a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Another tier runs it, or it is how the reader came here: which, and why.
    Elsewhere(&'static str),
    /// Runs to its end and must succeed.
    Run(String),
    /// Changes the environment of the commands after it.
    Export(String),
    /// Keeps running; the next command waits until it is ready.
    Serve(String),
}

/// Commands that are not run by this tier, by how they start.
const ELSEWHERE: [(&str, &str); 8] = [
    ("git clone", "how the reader got here"),
    ("cd ", "how the reader got here"),
    ("cargo xtask test", "this run"),
    ("cargo xtask lab", "the natlab tier"),
    ("cargo xtask tidy", "the tidy tier"),
    ("docker compose ", "the containers tier"),
    ("helm ", "the chart tier"),
    ("kubectl ", "needs a cluster"),
];

/// How README.md starts our programs, longest first, and what they are called once built.
const OUR_PROGRAMS: [(&str, &str); 5] = [
    ("cargo run --release -p p2p-cli -- ", "p2p "),
    ("cargo run --release -- ", "coordinator "),
    ("cargo run --release --bin p2p -- ", "p2p "),
    ("target/release/", ""),
    ("./target/release/", ""),
];

/// Verbs of our programs that keep running.
const SERVING: [&str; 6] = [
    "coordinator dev",
    "coordinator signaling",
    "coordinator relay",
    "p2p listen",
    "p2p forward",
    "p2p recv",
];

/// Programs whose commands run as they stand, at the start of a command or after a pipe.
const KNOWN: [&str; 8] =
    ["coordinator", "p2p", "curl", "echo", "printf", "cat", "head", "sha256sum"];

/// The `sh` blocks of a page. A line that ends in a backslash goes on in the next.
pub(super) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut continued = String::new();
    for (index, line) in page.lines().enumerate() {
        let line = line.trim();
        if let Some(mut block) = open.take() {
            if line.starts_with("```") {
                blocks.push(block);
                continue;
            }
            if let Some(part) = line.strip_suffix('\\') {
                continued.push_str(part);
            } else {
                let command = format!("{continued}{line}");
                continued.clear();
                let command = without_comment(&command);
                if !command.is_empty() {
                    block.commands.push(command.to_owned());
                }
            }
            open = Some(block);
        } else if matches!(line, "```sh" | "```bash" | "```shell" | "```console") {
            open = Some(Block { line: index + 1, commands: Vec::new() });
        }
    }
    blocks
}

/// What to do with a command.
///
/// # Errors
/// A command that nothing says how to run fails the tier: README.md shows only what is tested.
pub(super) fn classify(command: &str) -> Result<Action> {
    if let Some((_, why)) = ELSEWHERE.iter().find(|(start, _)| command.starts_with(start)) {
        return Ok(Action::Elsewhere(why));
    }
    if command.starts_with("export ") {
        return Ok(Action::Export(ours(command)));
    }
    let command = ours(command);
    let bare = without_assignments(&command);
    let in_background = bare.ends_with('&');
    if SERVING.iter().any(|verb| starts_with_words(bare, verb)) || bare.contains("demo --keep") {
        let command = if in_background { command.trim_end_matches('&').trim() } else { &command };
        return Ok(Action::Serve(command.to_owned()));
    }
    for part in bare.split('|') {
        let program = without_assignments(part.trim()).split_whitespace().next();
        let known = program.is_some_and(|program| KNOWN.contains(&program));
        if !known || in_background {
            bail!("no rule says how to run `{command}`: see xtask/src/test/readme_commands.rs");
        }
    }
    Ok(Action::Run(command))
}

/// The command with our programs called by their names.
fn ours(command: &str) -> String {
    OUR_PROGRAMS.iter().fold(command.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn without_comment(line: &str) -> &str {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    if line.starts_with('#') {
        return "";
    }
    line.split(" #").next().unwrap_or_default().trim()
}

/// `A=1 B=2 command` without its assignments.
fn without_assignments(command: &str) -> &str {
    let mut rest = command;
    while let Some((first, after)) = rest.split_once(' ') {
        let Some((name, _)) = first.split_once('=') else { break };
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            break;
        }
        rest = after.trim_start();
    }
    rest
}

fn starts_with_words(command: &str, words: &str) -> bool {
    command.strip_prefix(words).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_from_sh_blocks_without_comments_and_with_continued_lines() {
        let page = "# Title\n```sh\n# first\ncargo run --release -- demo   # watch\n\np2p ping \\\n  bob\n```\n```json\n{}\n```\n";
        let found = blocks(page);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
        assert_eq!(found[0].commands, ["cargo run --release -- demo", "p2p ping bob"]);
    }

    #[test]
    fn our_programs_are_called_by_name_however_they_are_started() {
        let run = |command: &str| classify(command).expect("known");
        assert_eq!(run("cargo run --release -- demo"), Action::Run("coordinator demo".into()));
        assert_eq!(
            run("cargo run --release -p p2p-cli -- netcheck"),
            Action::Run("p2p netcheck".into())
        );
        assert_eq!(run("cargo run --release -- dev"), Action::Serve("coordinator dev".into()));
        assert_eq!(
            run("P2P_TOKEN=$BOB p2p listen --to 127.0.0.1:80 &"),
            Action::Serve("P2P_TOKEN=$BOB p2p listen --to 127.0.0.1:80".into())
        );
    }

    #[test]
    fn the_tests_themselves_are_not_run_again() {
        assert_eq!(classify("cargo xtask test").expect("known"), Action::Elsewhere("this run"));
    }

    #[test]
    fn a_command_without_a_rule_is_an_error_also_behind_a_pipe() {
        assert!(classify("podman run postgres").is_err());
        assert!(classify("echo hi | nc localhost 80").is_err());
        assert!(classify("echo hi | p2p connect bob").is_ok());
    }
}
