//! The first command of README.md: `coordinator demo`, and whether its JSON says what happened.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::Outcome;
use crate::run::output_of;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// What a demo transfers over each path.
const TRANSFER_BYTES: u64 = 8 * 1024 * 1024;

/// The part of `demo --json` that claims the main job was done.
#[derive(Debug, Deserialize)]
struct Demo {
    runs: Vec<Run>,
}

/// Two peers connected once and moved data.
#[derive(Debug, Deserialize)]
struct Run {
    path: String,
    bytes: u64,
    checksum_ok: bool,
}

pub(super) fn tier(workspace: &Workspace) -> Result<Outcome> {
    let mut command = Command::new(workspace.binary("coordinator"));
    command.args(["demo", "--json"]).current_dir(&workspace.root);
    let document = output_of(&mut command)?;
    println!("{}", document.trim());
    check(&document)?;
    Ok(Outcome::Counted(Tally::one(true)))
}

/// One run was direct, one went by the relay, and both moved the data whole.
fn check(document: &str) -> Result<()> {
    let demo: Demo = serde_json::from_str(document).context("the JSON of `demo --json`")?;
    for path in ["direct", "relay"] {
        let run = demo.runs.iter().find(|run| run.path == path);
        let run = run.with_context(|| format!("the demo has no {path} run"))?;
        ensure!(run.bytes >= TRANSFER_BYTES, "the {path} run moved {} bytes", run.bytes);
        ensure!(run.checksum_ok, "the data of the {path} run arrived changed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(relay_path: &str, relay_ok: bool) -> String {
        format!(
            r#"{{"runs": [
                {{"path": "direct", "bytes": 8388608, "checksum_ok": true}},
                {{"path": "{relay_path}", "bytes": 8388608, "checksum_ok": {relay_ok}}}
            ]}}"#
        )
    }

    #[test]
    fn both_paths_with_all_their_data_are_accepted() {
        assert!(check(&document("relay", true)).is_ok());
    }

    #[test]
    fn a_missing_path_or_changed_data_is_an_error() {
        assert!(check(&document("direct", true)).is_err());
        assert!(check(&document("relay", false)).is_err());
        assert!(check("{}").is_err());
    }
}
