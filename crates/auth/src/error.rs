//! Why a token is refused, in words that say whose clock, key or claim is at fault.

use p2p_wire::{Code, Problem};

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The request carries no token.
    #[error("the request carries no token")]
    Missing,
    /// The text is not a JWT, or its claims are not ours.
    #[error("the token is malformed: {0}")]
    Malformed(String),
    /// No key of this service verifies the signature.
    #[error("the token's signature does not verify")]
    BadSignature,
    /// The header names an algorithm for which this service has no key.
    #[error("the token is signed with {alg:?}, and only {allowed} is accepted")]
    AlgorithmNotAllowed {
        /// What the header names.
        alg: String,
        /// What has a key here.
        allowed: String,
    },
    /// The token's time has passed.
    #[error("the token expired {ago} s ago (exp {exp}, the server's clock says {now})")]
    Expired {
        /// The token's end, seconds since the Unix epoch.
        exp: u64,
        /// The server's time.
        now: u64,
        /// Seconds between the two.
        ago: u64,
    },
    /// The token's time has not come.
    #[error("the token is valid only in {ahead} s (nbf {nbf}, the server's clock says {now})")]
    NotYetValid {
        /// The token's begin, seconds since the Unix epoch.
        nbf: u64,
        /// The server's time.
        now: u64,
        /// Seconds between the two.
        ahead: u64,
    },
    /// `iss` is absent or another one.
    #[error("the token's issuer is not {expected:?}")]
    WrongIssuer {
        /// The issuer that this service trusts.
        expected: String,
    },
    /// `aud` is absent or names others.
    #[error("the token's audience does not name {expected:?}")]
    WrongAudience {
        /// This service's name.
        expected: String,
    },
}

impl TokenError {
    /// The code for programs.
    pub fn code(&self) -> Code {
        match self {
            Self::Missing => Code::TokenMissing,
            Self::Malformed(_)
            | Self::BadSignature
            | Self::AlgorithmNotAllowed { .. }
            | Self::WrongIssuer { .. }
            | Self::WrongAudience { .. } => Code::TokenInvalid,
            Self::Expired { .. } => Code::TokenExpired,
            Self::NotYetValid { .. } => Code::TokenNotYetValid,
        }
    }

    /// What a person does about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Missing => {
                "send `Authorization: Bearer <JWT>`, or from a browser the subprotocols \
                 `p2p.v1, bearer.<JWT>` or a ticket from POST /v1/tickets"
            }
            Self::Malformed(_) => {
                "mint a token with `coordinator token --peer ID` and pass all of it, \
                 three parts with dots between them"
            }
            Self::BadSignature => {
                "sign with the secret that this service has (P2P_JWT_SECRET), \
                 and check that the token was not cut"
            }
            Self::AlgorithmNotAllowed { .. } => {
                "sign with an accepted algorithm, or give the service the key of this one"
            }
            Self::Expired { .. } => {
                "mint a new token; if the clocks of the issuer and this server differ, fix the clock"
            }
            Self::NotYetValid { .. } => {
                "wait, or if the clocks of the issuer and this server differ, fix the clock"
            }
            Self::WrongIssuer { .. } => "mint the token with the issuer that this service trusts",
            Self::WrongAudience { .. } => "mint the token with this service in `aud`",
        }
    }

    /// The problem as HTTP and WebSocket answers carry it.
    pub fn problem(&self) -> Problem {
        Problem::new(self.code(), "Not authenticated", self.to_string(), self.fix())
    }
}

/// A shared secret that is too short to sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the JWT secret has {bytes} bytes, HS256 wants at least {min}: \
     make one with `head -c 32 /dev/urandom | base64`",
    min = crate::MIN_SECRET_BYTES
)]
pub struct SecretTooShort {
    /// Bytes of the secret.
    pub bytes: usize,
}
