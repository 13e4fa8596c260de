//! Errors that a person can act on: a code, a cause, a fix.

use std::fmt;

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The call or the configuration is wrong.
    Usage,
    /// The token is missing, malformed, expired, or does not allow this.
    Auth,
    /// The coordinator cannot be reached.
    Unreachable,
    /// No UDP leaves this network.
    UdpBlocked,
    /// The coordinator, or one of the peers, has as many attempts open as it may.
    Busy,
    /// No such peer is connected.
    PeerNotFound,
    /// No path was found in time.
    Timeout,
    /// No direct path was found, and the policy forbids the relay.
    DirectRequired,
    /// The local port is in use.
    PortTaken,
    /// The connection or client is closed.
    Closed,
    /// A fault of this program's own.
    Internal,
}

impl ErrorCode {
    /// The code as programs read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Auth => "auth",
            Self::Unreachable => "unreachable",
            Self::UdpBlocked => "udp_blocked",
            Self::Busy => "busy",
            Self::PeerNotFound => "peer_not_found",
            Self::Timeout => "timeout",
            Self::DirectRequired => "direct_required",
            Self::PortTaken => "port_taken",
            Self::Closed => "closed",
            Self::Internal => "internal",
        }
    }

    /// The exit code of a program that ends with this error.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage | Self::PortTaken => 2,
            Self::Auth => 3,
            Self::Unreachable | Self::UdpBlocked | Self::Busy | Self::Timeout | Self::Closed => 4,
            Self::DirectRequired => 5,
            Self::PeerNotFound => 6,
            Self::Internal => 70,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error with its cause and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause} ({fix})")]
pub struct Error {
    /// What went wrong, for programs.
    pub code: ErrorCode,
    /// What went wrong, for people.
    pub cause: String,
    /// What to do about it.
    pub fix: String,
}

impl Error {
    /// Puts the three parts together.
    pub fn new(code: ErrorCode, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, cause: cause.into(), fix: fix.into() }
    }

    pub(crate) fn closed(cause: impl Into<String>) -> Self {
        Self::new(ErrorCode::Closed, cause, "connect again")
    }

    pub(crate) fn internal(cause: impl fmt::Display) -> Self {
        Self::new(ErrorCode::Internal, cause.to_string(), "this is a bug: please report it")
    }
}
