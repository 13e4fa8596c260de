//! From the command line, the environment and a file to one parsed command.
//!
//! Flags beat environment, environment beats file, file beats built-in default. The values of the
//! file become the defaults of the flags they are named after, so one parser checks all of them.

pub mod address;
pub mod conflict;
pub mod duration;
pub mod environment;
mod file;
pub mod origin;
pub mod secret;
mod source;
pub mod url_password;

use std::ffi::OsString;
use std::net::AddrParseError;
use std::num::ParseIntError;
use std::path::PathBuf;

use clap::builder::{BoolishValueParser, Resettable};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

pub use file::SettingsFile;
pub use source::{Row, rows};

use crate::cli::Cli;
use crate::failure::Failure;

/// Subcommands whose flags are settings: each may have a section in the file.
pub const ROLES: [&str; 3] = ["signaling", "relay", "dev"];

/// The flag and variable that name the file.
const FILE_FLAG: &str = "--config";
const FILE_VARIABLE: &str = "P2P_CONFIG";

/// A command line together with where its values come from.
#[derive(Debug)]
pub struct Parsed {
    /// The command.
    pub cli: Cli,
    /// The values and sources of the subcommand.
    pub matches: ArgMatches,
    /// The file, if one was named.
    pub file: Option<SettingsFile>,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub enum NotParsed {
    /// Clap has something to print: help, a version, or a usage error.
    Clap(Box<clap::Error>),
    /// The file is not usable.
    File(Failure),
}

/// Reads the file that the arguments name, then the arguments with the file beneath them.
pub fn parse(args: Vec<OsString>) -> Result<Parsed, NotParsed> {
    let file = match file_path(&args) {
        Some(path) => Some(SettingsFile::read(&path).map_err(NotParsed::File)?),
        None => None,
    };
    let command = command(file.as_ref());
    let matches =
        command.try_get_matches_from(args).map_err(|error| blame_file(error, file.as_ref()))?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| NotParsed::Clap(Box::new(error)))?;
    let matches = matches.subcommand().map(|(_, inner)| inner.clone()).unwrap_or_default();
    Ok(Parsed { cli, matches, file })
}

/// The command line's grammar, its flags defaulting to what the file says. Values of variables are
/// never shown in help: some are secrets.
pub fn command(file: Option<&SettingsFile>) -> Command {
    Cli::command().mut_args(|arg| beneath(arg, None, file)).mut_subcommands(|command| {
        let role = command.get_name().to_owned();
        command
            .mut_args(|arg| beneath(arg, Some(&role), file))
            .mut_subcommands(|below| below.mut_args(|arg| beneath(arg, None, None)))
    })
}

/// The flag with the file's value as its default.
fn beneath(arg: Arg, role: Option<&str>, file: Option<&SettingsFile>) -> Arg {
    let values = arg.get_long().and_then(|flag| Some(file?.value(role, flag)?.to_vec()));
    // Deployments write `P2P_X: ""` for "not set".
    let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let arg = if is_empty { arg.env(Resettable::Reset) } else { arg.hide_env_values(true) };
    // And `P2P_X: 1` for a flag that takes no value.
    let arg = match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
        _ => arg,
    };
    match values {
        Some(values) => arg.default_values(values),
        None => arg,
    }
}

/// Looks for the file's name before the real parsing, which needs the file.
fn file_path(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter().skip(1);
    while let Some(arg) = args.next() {
        if arg == FILE_FLAG {
            return args.next().map(PathBuf::from);
        }
        if let Some(path) = arg.to_str().and_then(|a| a.strip_prefix(FILE_FLAG)?.strip_prefix('='))
        {
            return Some(path.into());
        }
    }
    std::env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// An invalid value that stands in the file is an error about the file.
fn blame_file(error: clap::Error, file: Option<&SettingsFile>) -> NotParsed {
    let (value, flag) = value_and_flag(&error);
    let is_value = matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue);
    let key = flag.trim_start_matches('-').split(' ').next().unwrap_or_default();
    match file {
        Some(file) if is_value && file.holds(key, &value) => {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            let why = why.unwrap_or_else(|| "it is not one of the possible values".to_owned());
            let why = in_words(&error).map_or(why, str::to_owned);
            NotParsed::File(Failure::usage(
                format!("{}: `{key} = \"{value}\"`: {why}", file.path().display()),
                format!("correct the value in the file, or override it with --{key}"),
            ))
        }
        Some(_) | None => NotParsed::Clap(Box::new(for_people(error))),
    }
}

/// The same error, where its cause is told in the words of the standard library, in others.
pub fn for_people(error: clap::Error) -> clap::Error {
    let Some(why) = in_words(&error) else { return error };
    let (value, flag) = value_and_flag(&error);
    let text = format!(
        "invalid value '{value}' for '{flag}': {why}\n\nFor more information, try '--help'.\n"
    );
    clap::Error::raw(ErrorKind::ValueValidation, text)
}

fn in_words(error: &clap::Error) -> Option<&'static str> {
    let source = std::error::Error::source(error)?;
    if source.is::<ParseIntError>() {
        Some("it is no whole number, or one that is too large")
    } else if source.is::<AddrParseError>() {
        Some("it is not an IP address with a port: write for example 127.0.0.1:8080 or [::]:8080")
    } else {
        None
    }
}

fn value_and_flag(error: &clap::Error) -> (String, String) {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    (text(ContextKind::InvalidValue), text(ContextKind::InvalidArg))
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;
    use std::collections::BTreeMap;

    use secrecy::SecretString;

    use super::*;

    /// Every flag, with the command it is of.
    fn flags(command: &Command) -> Vec<(&Command, &Arg)> {
        let own = command.get_arguments().filter(|arg| {
            // What only one run is about.
            arg.get_long().is_some_and(|flag| !["help", "version"].contains(&flag))
        });
        let below = command.get_subcommands().flat_map(flags);
        own.map(|arg| (command, arg)).chain(below).collect()
    }

    fn is_of_type<T: 'static>(arg: &Arg) -> bool {
        arg.get_value_parser().type_id() == TypeId::of::<T>()
    }

    #[test]
    fn every_flag_has_a_variable_and_every_secret_a_file_as_its_twin() {
        let mut all = command(None);
        all.build();
        let flags = flags(&all);
        assert!(flags.len() > 100, "all commands were looked at");
        for (command, arg) in flags {
            let (verb, flag) = (command.get_name(), arg.get_long().unwrap_or_default());
            let variable = arg.get_env().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
            assert!(variable.starts_with("P2P_"), "{verb} --{flag} has {variable:?}");
            let is_secret = is_of_type::<SecretString>(arg);
            assert!(!is_secret || secret::is_secret(flag), "{flag} is not masked");
            if is_secret {
                let twin = format!("{flag}-file");
                let mut others = command.get_arguments();
                let twin = others.find(|other| other.get_long() == Some(twin.as_str()));
                let twin = twin.and_then(Arg::get_env).and_then(std::ffi::OsStr::to_str);
                assert_eq!(twin, Some(format!("{variable}_FILE").as_str()), "{verb} --{flag}");
            }
        }
    }

    #[test]
    fn no_variable_means_two_things() {
        let mut all = command(None);
        all.build();
        let mut meant = BTreeMap::new();
        for (command, arg) in flags(&all) {
            let (verb, variable) = (command.get_name(), arg.get_env());
            let kind = arg.get_value_parser().type_id();
            let (first, before) = meant.entry(variable).or_insert((verb, kind));
            assert_eq!(*before, kind, "{variable:?} of {verb} and of {first}");
        }
    }
}
