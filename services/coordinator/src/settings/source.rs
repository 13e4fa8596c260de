//! Which value a setting has and which layer it comes from, for `config show`.

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use serde::Serialize;

use super::SettingsFile;
use super::secret::is_secret;

/// What a secret prints as.
const MASK: &str = "********";

/// One setting of one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The subcommand.
    pub role: String,
    /// The flag without its dashes.
    pub key: String,
    /// The value; secrets are masked; nothing if it is not set.
    pub value: Option<String>,
    /// `environment NAME`, `file`, `default` or `not set`.
    pub source: String,
}

/// Every setting of a role, in the order of its `--help`.
pub fn rows(
    role: &str,
    command: &Command,
    matches: &ArgMatches,
    file: Option<&SettingsFile>,
) -> Vec<Row> {
    let settings = command.get_arguments().filter_map(|arg| Some((arg, arg.get_long()?)));
    settings
        .filter(|(_, flag)| !["config", "help", "version", "json"].contains(flag))
        .map(|(arg, flag)| {
            let id = arg.get_id().as_str();
            let source = match matches.value_source(id) {
                None => "not set".to_owned(),
                Some(ValueSource::EnvVariable) => {
                    let name = arg.get_env().map(|n| n.to_string_lossy().into_owned());
                    format!("environment {}", name.unwrap_or_default())
                }
                Some(ValueSource::DefaultValue) if file_has(file, role, flag) => "file".to_owned(),
                Some(ValueSource::DefaultValue) => "default".to_owned(),
                Some(_) => "flag".to_owned(),
            };
            let values: Vec<String> = matches
                .get_raw(id)
                .into_iter()
                .flatten()
                .map(|raw| raw.to_string_lossy().into_owned())
                .collect();
            let value = match values.join(", ") {
                none if none.is_empty() => None,
                _ if is_secret(flag) => Some(MASK.to_owned()),
                text => Some(text),
            };
            Row { role: role.to_owned(), key: flag.to_owned(), value, source }
        })
        .collect()
}

fn file_has(file: Option<&SettingsFile>, role: &str, flag: &str) -> bool {
    file.is_some_and(|file| file.value(Some(role), flag).is_some())
}
