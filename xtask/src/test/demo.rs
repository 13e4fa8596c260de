//! The first command of README.md: `coordinator demo`, and whether its JSON says what happened.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::Outcome;
use crate::failures::Failures;
use crate::run::output_of;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// What a demo transfers over each path.
const TRANSFER_BYTES: u64 = 8 * 1024 * 1024;

/// The part of `demo --json` that claims the main job was done.
#[derive(Debug, Deserialize)]
struct Demo {
    ok: bool,
    runs: Vec<Run>,
    stats: Stats,
}

/// Two peers connected once and moved data.
#[derive(Debug, Deserialize)]
struct Run {
    path: String,
    bytes: u64,
    sha256_ok: bool,
    /// What the relay counted while the data moved.
    relayed_bytes: u64,
}

/// What was read back from the store.
#[derive(Debug, Deserialize)]
struct Stats {
    direct: u64,
    relay: u64,
}

pub(super) fn tier(workspace: &Workspace, _: &mut Failures) -> Result<Outcome> {
    let mut command = Command::new(workspace.binary("coordinator"));
    command.args(["demo", "--json"]).current_dir(&workspace.root);
    let document = output_of(&mut command)?;
    println!("{}", document.trim());
    check(&document)?;
    Ok(Outcome::Counted(Tally::one(true)))
}

/// One run was direct and one went by the relay, both moved the data whole, the relay's own count
/// agrees, and the store knows of both.
fn check(document: &str) -> Result<()> {
    let demo: Demo = serde_json::from_str(document).context("the JSON of `demo --json`")?;
    ensure!(demo.ok, "the demo says that it failed");
    for path in ["direct", "relay"] {
        let run = demo.runs.iter().find(|run| run.path == path);
        let run = run.with_context(|| format!("the demo has no {path} run"))?;
        ensure!(run.bytes >= TRANSFER_BYTES, "the {path} run moved {} bytes", run.bytes);
        ensure!(run.sha256_ok, "the data of the {path} run arrived changed");
        let relayed = run.relayed_bytes >= TRANSFER_BYTES;
        let counted = run.relayed_bytes;
        ensure!(relayed == (path == "relay"), "the relay counted {counted} bytes: {path} run");
    }
    let Stats { direct, relay } = demo.stats;
    ensure!(direct >= 1 && relay >= 1, "the store has {direct} direct, {relay} relayed attempts");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(relay_path: &str, relay_ok: bool, relayed_bytes: u64) -> String {
        format!(
            r#"{{"ok": true, "stats": {{"direct": 1, "relay": 1}}, "runs": [
                {{"path": "direct", "bytes": 8388608, "sha256_ok": true, "relayed_bytes": 4424}},
                {{"path": "{relay_path}", "bytes": 8388608, "sha256_ok": {relay_ok},
                  "relayed_bytes": {relayed_bytes}}}
            ]}}"#
        )
    }

    #[test]
    fn both_paths_with_all_their_data_are_accepted() {
        assert!(check(&document("relay", true, 17_000_000)).is_ok());
    }

    #[test]
    fn a_missing_path_changed_data_or_an_idle_relay_is_an_error() {
        assert!(check(&document("direct", true, 17_000_000)).is_err());
        assert!(check(&document("relay", false, 17_000_000)).is_err());
        assert!(check(&document("relay", true, 4424)).is_err());
        assert!(check("{}").is_err());
    }
}
