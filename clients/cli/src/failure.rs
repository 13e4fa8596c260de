//! How a verb ends when it does not succeed: a code for programs, a cause and a fix for people, and
//! the exit status that scripts branch on.

use std::process::ExitCode;

use p2p_client::ErrorCode;
use serde_json::json;

use crate::talk::say;
use crate::transfer::TransferError;

/// Exit statuses, the same for both binaries.
pub mod exit {
    /// Usage or configuration.
    pub const USAGE: u8 = 2;
    /// Nobody answers.
    pub const UNREACHABLE: u8 = 4;
    /// Connected by relay although direct was required.
    pub const NOT_DIRECT: u8 = 5;
    /// A fault of this program.
    pub const BUG: u8 = 70;
    /// Ended by Ctrl-C: 128 and the number of SIGINT, as shells have it.
    pub const INTERRUPTED: u8 = 130;
}

/// Why a verb failed and what to do about it.
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
    /// The command line is wrong.
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

    /// Tells of it on stderr and gives the exit status.
    pub fn report(&self, as_json: bool) -> ExitCode {
        let Self { code, exit, cause, fix } = self;
        if as_json {
            say(&format!("{}\n", json!({ "error": { "code": code, "cause": cause, "fix": fix } })));
        } else {
            say(&format!("error ({code}): {cause}\n  fix: {fix}\n"));
        }
        ExitCode::from(*exit)
    }
}

impl From<p2p_client::Error> for Failure {
    fn from(error: p2p_client::Error) -> Self {
        let p2p_client::Error { code, cause, fix } = error;
        Self::new(code.as_str(), code.exit_code(), cause, fix)
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        let exit = match &error {
            TransferError::File { .. } | TransferError::Refused { .. } => exit::USAGE,
            TransferError::Connection(_) | TransferError::Protocol(_) => exit::UNREACHABLE,
            TransferError::Checksum { .. } => exit::BUG,
        };
        Self::new(error.code(), exit, error.to_string(), error.fix())
    }
}

/// Whether a failed connection is worth another try with the same peer and token.
pub fn is_passing(error: &p2p_client::Error) -> bool {
    match error.code {
        ErrorCode::Unreachable
        | ErrorCode::Busy
        | ErrorCode::Timeout
        | ErrorCode::Closed
        | ErrorCode::PeerNotFound => true,
        ErrorCode::Usage
        | ErrorCode::Auth
        | ErrorCode::UdpBlocked
        | ErrorCode::DirectRequired
        | ErrorCode::PortTaken
        | ErrorCode::Internal => false,
    }
}
