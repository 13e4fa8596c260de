//! Errors that a person reads: a code, a cause, a fix. The same over HTTP and over the WebSocket.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What went wrong, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Not JSON, not UTF-8, or a field is missing or out of bounds.
    BadMessage,
    /// The `type` is not one that the coordinator knows.
    UnknownType,
    /// No token.
    TokenMissing,
    /// The token is not a JWT, or its signature does not verify.
    TokenInvalid,
    /// The token's time has passed.
    TokenExpired,
    /// The token's time has not come.
    TokenNotYetValid,
    /// The token does not grant this.
    NotAllowed,
    /// No such peer is connected.
    PeerNotFound,
    /// The room does not exist or the peer is not in it.
    RoomNotFound,
    /// The room has all the members it may have.
    RoomFull,
    /// The attempt does not exist, has ended, or belongs to others.
    AttemptNotFound,
    /// A bound of the protocol is reached.
    LimitReached,
    /// The message is over the size limit.
    TooLarge,
    /// Too many messages.
    TooFast,
    /// Another connection holds this peer id.
    PeerTaken,
    /// The instance is shutting down.
    Draining,
    /// No such path.
    NotFound,
    /// The request took too long.
    Timeout,
    /// The instance has as much to do as it can.
    Overloaded,
    /// A fault of the coordinator's own.
    Internal,
}

impl Code {
    /// The code as it is on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadMessage => "bad_message",
            Self::UnknownType => "unknown_type",
            Self::TokenMissing => "token_missing",
            Self::TokenInvalid => "token_invalid",
            Self::TokenExpired => "token_expired",
            Self::TokenNotYetValid => "token_not_yet_valid",
            Self::NotAllowed => "not_allowed",
            Self::PeerNotFound => "peer_not_found",
            Self::RoomNotFound => "room_not_found",
            Self::RoomFull => "room_full",
            Self::AttemptNotFound => "attempt_not_found",
            Self::LimitReached => "limit_reached",
            Self::TooLarge => "too_large",
            Self::TooFast => "too_fast",
            Self::PeerTaken => "peer_taken",
            Self::Draining => "draining",
            Self::NotFound => "not_found",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
        }
    }
}

/// A problem as HTTP answers carry it (`application/problem+json`, RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{title}: {detail} ({fix})")]
pub struct Problem {
    /// What went wrong, for programs.
    pub code: Code,
    /// What went wrong, in a few words.
    pub title: String,
    /// What exactly.
    pub detail: String,
    /// What to do about it.
    pub fix: String,
}

impl Problem {
    /// Puts the four parts together.
    pub fn new(
        code: Code,
        title: impl Into<String>,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { code, title: title.into(), detail: detail.into(), fix: fix.into() }
    }
}
