//! `coordinator config show` and `coordinator config check`.

use clap::{ArgMatches, Subcommand};
use serde_json::json;

use crate::failure::Failure;
use crate::output::data;
use crate::settings::{Row, SettingsFile, command, for_people, rows};
use crate::{relay, signaling};

/// Roles whose settings are shown and checked.
const SHOWN: [&str; 2] = ["signaling", "relay"];

/// Show or check the settings
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
enum ConfigVerb {
    /// Show every setting, its value (secrets masked) and where it comes from
    Show {
        /// Print one JSON array
        #[arg(long, env = "P2P_JSON")]
        json: bool,
    },
    /// Check file and environment as the roles would, without starting anything
    Check {
        /// Check only this role: signaling or relay [default: both]
        #[arg(long, value_name = "ROLE", env = "P2P_CONFIG_ROLE", value_parser = SHOWN)]
        role: Option<String>,
    },
}

/// Shows or checks.
pub fn run(args: &Args, file: Option<&SettingsFile>) -> Result<(), Failure> {
    match &args.verb {
        ConfigVerb::Show { json } => show(*json, file),
        ConfigVerb::Check { role } => check(role.as_deref(), file),
    }
}

fn show(json: bool, file: Option<&SettingsFile>) -> Result<(), Failure> {
    let mut all: Vec<Row> = Vec::new();
    for role in SHOWN {
        let matches = matches_of(role, file)?;
        let mut command = command(file);
        command.build();
        let command = command.find_subcommand(role).cloned().unwrap_or_default();
        all.extend(rows(role, &command, &matches, file));
    }
    if json {
        data(json!(all));
        return Ok(());
    }
    for role in SHOWN {
        data(format_args!("[{role}]"));
        for row in all.iter().filter(|row| row.role == role) {
            let value = row.value.as_deref().unwrap_or("-");
            data(format_args!("{:<18} {value:<28} {}", row.key, row.source));
        }
        data("");
    }
    Ok(())
}

fn check(role: Option<&str>, file: Option<&SettingsFile>) -> Result<(), Failure> {
    for name in SHOWN.into_iter().filter(|name| role.is_none_or(|role| role == *name)) {
        let matches = matches_of(name, file)?;
        let checked = match name {
            "signaling" => signaling::check(&matches),
            _ => relay::check(&matches),
        };
        checked.map_err(|failure| Failure {
            cause: format!("{name}: {}", failure.cause),
            ..failure
        })?;
        data(format_args!("{name}: ok"));
    }
    Ok(())
}

/// What the role would run with if it were started here without flags.
fn matches_of(role: &str, file: Option<&SettingsFile>) -> Result<ArgMatches, Failure> {
    let matches = command(file).try_get_matches_from(["coordinator", role]).map_err(|error| {
        let text = for_people(error).to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Failure::usage(
            format!("{role}: {first}"),
            format!("correct the file or the environment; `coordinator {role} --help` explains"),
        )
    })?;
    Ok(matches.subcommand().map(|(_, inner)| inner.clone()).unwrap_or_default())
}
