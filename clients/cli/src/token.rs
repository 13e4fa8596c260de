//! The token: in a flag or a file, which the command line or the environment names.
//!
//! The command line beats the environment, whichever of the two it names.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::failure::Failure;

/// Bytes that a token file may have.
const MAX_FILE: u64 = 64 * 1024;

/// Where the token is, as far as it is given.
#[derive(Debug, Clone)]
pub struct TokenArgs(Option<Place>);

#[derive(Debug, Clone)]
enum Place {
    Text(String),
    File(PathBuf),
}

/// As clap knows them.
#[derive(Debug, Args)]
struct Flags {
    /// The token that says who this is
    #[arg(long, env = "P2P_TOKEN", value_name = "TOKEN")]
    token: Option<String>,
    /// File with the token: does not show in the process list
    #[arg(long, env = "P2P_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl TokenArgs {
    /// The token, if one is given.
    pub fn read(&self) -> Result<Option<String>, Failure> {
        let path = match &self.0 {
            None => return Ok(None),
            Some(Place::Text(text)) => return Ok(Some(text.trim().to_owned())),
            Some(Place::File(path)) => path,
        };
        let failed = |cause: String| {
            let fix = "name a file that holds the token and nothing else";
            Failure::usage(format!("{}: {cause}", path.display()), fix)
        };
        let metadata = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
        if metadata.len() > MAX_FILE {
            return Err(failed(format!("{} bytes are too many for a token", metadata.len())));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        match text.trim() {
            "" => Err(failed("the file is empty".to_owned())),
            token => Ok(Some(token.to_owned())),
        }
    }
}

impl Args for TokenArgs {
    fn augment_args(command: Command) -> Command {
        Flags::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args_for_update(command)
    }
}

impl FromArgMatches for TokenArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = Flags::from_arg_matches(matches)?;
        let text = flags.token.filter(|text| !text.trim().is_empty()).map(Place::Text);
        let on_command_line =
            |id| matches.value_source(id).is_some_and(|from| from == ValueSource::CommandLine);
        let place = match (text, flags.token_file.map(Place::File)) {
            (Some(text), Some(file)) => {
                match (on_command_line("token"), on_command_line("token_file")) {
                    (true, false) => Some(text),
                    (false, true) => Some(file),
                    _ => return Err(both()),
                }
            }
            (text, file) => text.or(file),
        };
        Ok(Self(place))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn both() -> clap::Error {
    clap::Error::raw(
        ErrorKind::ArgumentConflict,
        "a token and a file with one are both given\n\n  fix: keep one of them: --token-file does not \
         show in the process list\n",
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::failure::exit;

    #[derive(Debug, clap::Parser)]
    struct Program {
        #[command(flatten)]
        token: TokenArgs,
    }

    fn read(args: &[&str]) -> Result<Option<String>, Failure> {
        Program::try_parse_from([&["p2p"], args].concat()).unwrap().token.read()
    }

    #[test]
    fn a_token_is_in_a_flag_or_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let path = file.to_str().unwrap();
        std::fs::write(&file, "from-file\n").unwrap();
        assert_eq!(read(&["--token", " flag "]).unwrap().as_deref(), Some("flag"));
        assert_eq!(read(&["--token-file", path]).unwrap().as_deref(), Some("from-file"));
        assert_eq!(read(&["--token", ""]).unwrap(), None);
        assert_eq!(read(&[]).unwrap(), None);
        std::fs::write(&file, " \n").unwrap();
        assert_eq!(read(&["--token-file", path]).unwrap_err().exit, exit::USAGE);
        let both = ["p2p", "--token", "x", "--token-file", path];
        let refused = Program::try_parse_from(both).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ArgumentConflict);
    }
}
