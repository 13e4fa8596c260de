//! How a command ends when it does not succeed: a code for programs, a cause and a fix for people,
//! and the exit status that scripts branch on.

use std::fmt;
use std::process::ExitCode;

use crate::output::say;

/// Exit statuses, the same for both binaries.
pub mod exit {
    /// Usage or configuration.
    pub const USAGE: u8 = 2;
    /// The token is refused.
    pub const AUTH: u8 = 3;
    /// Nobody answers, or the one who does is not ready.
    pub const UNREACHABLE: u8 = 4;
    /// Connected by relay although direct was required.
    pub const NOT_DIRECT: u8 = 5;
    /// A fault of this program.
    pub const BUG: u8 = 70;
    /// Ended by Ctrl-C: 128 and the number of SIGINT, as shells have it.
    pub const INTERRUPTED: u8 = 130;
}

/// Why a command failed and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For programs: lower case with underscores.
    pub code: String,
    /// The exit status.
    pub exit: u8,
    /// What went wrong.
    pub cause: String,
    /// What a person does about it.
    pub fix: String,
}

impl Failure {
    /// The command line or the settings are wrong.
    pub fn usage(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new("usage", exit::USAGE, cause, fix)
    }

    /// Something that should not be possible.
    pub fn bug(cause: impl Into<String>) -> Self {
        let fix = "this is a fault of the program: run again with P2P_LOG=debug and report it";
        Self::new("internal", exit::BUG, cause, fix)
    }

    /// Any other failure.
    pub fn new(
        code: impl Into<String>,
        exit: u8,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { code: code.into(), exit, cause: cause.into(), fix: fix.into() }
    }

    /// Tells the person on stderr and gives the exit status.
    pub fn report(&self) -> ExitCode {
        say(self);
        ExitCode::from(self.exit)
    }
}

impl From<p2p_client::Error> for Failure {
    fn from(error: p2p_client::Error) -> Self {
        let p2p_client::Error { code, cause, fix } = error;
        Self::new(code.as_str(), code.exit_code(), cause, fix)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error ({}): {}\n  fix: {}", self.code, self.cause, self.fix)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_code_cause_and_fix() {
        let text = Failure::usage("--ttl is empty", "write for example --ttl 1h").to_string();
        assert_eq!(text, "error (usage): --ttl is empty\n  fix: write for example --ttl 1h");
    }
}
