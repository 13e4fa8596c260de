//! The settings file: TOML, flag names as keys, one optional section per role.
//!
//! A key outside any section counts for every role that has the flag; a key in a role's section
//! counts for that role and wins. `-` and `_` are the same in a key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use toml::{Table, Value};

use super::ROLES;
use crate::cli::Cli;
use crate::failure::Failure;

/// Flags that say what one run does and are no settings.
const NOT_SETTINGS: [&str; 5] = ["config", "json", "help", "version", "keep"];

/// Likeness from which a known key is named as the one that was meant.
const LIKE: f64 = 0.75;

/// What a file says, checked against the flags that exist.
#[derive(Debug, Clone)]
pub struct SettingsFile {
    path: PathBuf,
    shared: BTreeMap<String, Vec<String>>,
    sections: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

impl SettingsFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML, or names a key or section that does not exist.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(
                format!("cannot read the settings file {}: {error}", path.display()),
                "name an existing file with --config FILE.toml, or leave the flag out",
            )
        })?;
        Self::from_text(path, &text, &Cli::command())
    }

    /// Reads a text against the flags of a command.
    fn from_text(path: &Path, text: &str, command: &Command) -> Result<Self, Failure> {
        let known = Known::of(command);
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            Failure::usage(
                format!("{} is not TOML: {}", path.display(), error.to_string().trim_end()),
                "write `key = \"value\"` lines, and sections as `[relay]`",
            )
        })?;
        let mut file =
            Self { path: path.to_owned(), shared: BTreeMap::new(), sections: BTreeMap::new() };
        for (key, value) in table {
            if let Value::Table(section) = value {
                let keys = known.section(&key).ok_or_else(|| {
                    let sections = ROLES.map(str::to_owned);
                    unknown(path, &format!("section [{key}]"), &key, sections.iter())
                })?;
                let values = read_section(path, Some(&key), section, keys)?;
                file.sections.insert(key, values);
            } else {
                let one = Table::from_iter([(key, value)]);
                file.shared.extend(read_section(path, None, one, &known.shared)?);
            }
        }
        Ok(file)
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says about a flag of a subcommand, or of the program itself.
    pub fn value(&self, role: Option<&str>, flag: &str) -> Option<&[String]> {
        let key = normal(flag);
        role.and_then(|role| self.sections.get(role)?.get(&key))
            .or_else(|| self.shared.get(&key))
            .map(Vec::as_slice)
    }

    /// Whether the file gives this value to this key anywhere.
    pub fn holds(&self, flag: &str, value: &str) -> bool {
        let key = normal(flag);
        let tables = self.sections.values().chain([&self.shared]);
        tables.filter_map(|t| t.get(&key)).flatten().any(|held| held == value)
    }
}

/// The keys that exist.
struct Known {
    shared: BTreeSet<String>,
    sections: BTreeMap<String, BTreeSet<String>>,
}

impl Known {
    fn of(command: &Command) -> Self {
        let mut shared = flags(command);
        let mut sections = BTreeMap::new();
        for role in command.get_subcommands() {
            let keys = flags(role);
            shared.extend(keys.iter().cloned());
            if ROLES.contains(&role.get_name()) {
                sections.insert(role.get_name().to_owned(), keys);
            }
        }
        Self { shared, sections }
    }

    fn section(&self, name: &str) -> Option<&BTreeSet<String>> {
        self.sections.get(name)
    }
}

fn flags(command: &Command) -> BTreeSet<String> {
    let flags = command.get_arguments().filter_map(|arg| arg.get_long());
    flags.filter(|flag| !NOT_SETTINGS.contains(flag)).map(str::to_owned).collect()
}

fn read_section(
    path: &Path,
    section: Option<&str>,
    table: Table,
    known: &BTreeSet<String>,
) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let place = section.map(|name| format!(" in section [{name}]")).unwrap_or_default();
    let mut values = BTreeMap::new();
    for (key, value) in table {
        let name = normal(&key);
        if !known.contains(&name) {
            return Err(unknown(path, &format!("setting `{key}`{place}"), &name, known.iter()));
        }
        let texts = texts(&value).ok_or_else(|| {
            Failure::usage(
                format!("{}: `{key}`{place} is a {}", path.display(), value.type_str()),
                "a setting is a text, a number, true or false, or a list of these",
            )
        })?;
        values.insert(name, texts);
    }
    Ok(values)
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => {
            items.iter().map(|item| texts(item)?.pop()).collect::<Option<Vec<_>>>()
        }
        Value::String(text) => Some(vec![text.clone()]),
        Value::Integer(number) => Some(vec![number.to_string()]),
        Value::Float(number) => Some(vec![number.to_string()]),
        Value::Boolean(on) => Some(vec![on.to_string()]),
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// An error that names the nearest known name.
fn unknown<'a>(
    path: &Path,
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a String> + Clone,
) -> Failure {
    let likeness = |candidate: &str| strsim::jaro_winkler(candidate, name);
    let nearest = known
        .clone()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .filter(|nearest| likeness(nearest) >= LIKE);
    let fix = match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => {
            let all: Vec<&str> = known.map(String::as_str).collect();
            format!("known are: {}", all.join(", "))
        }
    };
    Failure::usage(format!("{}: unknown {what}", path.display()), fix)
}

fn normal(key: &str) -> String {
    key.replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_wins_over_a_shared_key() {
        let file = read("realm = \"a.example\"\n[relay]\nrealm = \"b.example\"\n").unwrap();
        assert_eq!(file.value(Some("relay"), "realm").unwrap(), ["b.example"]);
        assert_eq!(file.value(Some("signaling"), "realm").unwrap(), ["a.example"]);
    }

    #[test]
    fn a_key_may_be_written_with_underscores_and_hold_a_list() {
        let file = read("[relay]\nallow_peer = [\"10.0.0.0/8\", \"fd00::/8\"]\n").unwrap();
        assert_eq!(file.value(Some("relay"), "allow-peer").unwrap(), ["10.0.0.0/8", "fd00::/8"]);
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let refused = read("[relay]\nlisten-on = \"udp://0.0.0.0:3478\"\n").unwrap_err();
        assert!(refused.cause.contains("unknown setting `listen-on` in section [relay]"));
        assert_eq!(refused.fix, "did you mean `listen`?");
        let refused = read("[realy]\n").unwrap_err();
        assert_eq!(refused.fix, "did you mean `relay`?");
    }

    #[test]
    fn a_key_without_a_near_one_lists_what_there_is() {
        let refused = read("[relay]\nzzz = 1\n").unwrap_err();
        assert!(refused.fix.starts_with("known are: "), "{}", refused.fix);
        assert!(refused.fix.contains("turn-secret-file"), "{}", refused.fix);
    }

    #[test]
    fn a_flag_of_one_run_is_no_setting() {
        assert!(read("json = true\n").is_err());
    }

    #[test]
    fn broken_toml_is_an_error_with_the_line() {
        let refused = read("[relay\n").unwrap_err();
        assert!(refused.cause.contains("line 1"), "{}", refused.cause);
    }

    fn read(text: &str) -> Result<SettingsFile, Failure> {
        SettingsFile::from_text(Path::new("p2p.toml"), text, &Cli::command())
    }
}
