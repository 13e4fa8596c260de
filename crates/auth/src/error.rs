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
    /// No key of the name in the token's header (`kid`) is known.
    #[error("the token is signed with the key {kid:?}, which this service does not know")]
    UnknownKey {
        /// What the header names.
        kid: String,
    },
    /// The issuer's keys could not be fetched, and the token may be signed with one of them.
    #[error("the keys of the token's issuer cannot be fetched: {0}")]
    KeysUnavailable(String),
    /// Tickets could not be looked for, and this may be one.
    #[error("the ticket cannot be looked for: {0}")]
    TicketsUnavailable(String),
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
            | Self::UnknownKey { .. }
            | Self::AlgorithmNotAllowed { .. }
            | Self::WrongIssuer { .. }
            | Self::WrongAudience { .. } => Code::TokenInvalid,
            Self::Expired { .. } => Code::TokenExpired,
            Self::KeysUnavailable(_) | Self::TicketsUnavailable(_) => Code::Overloaded,
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
                "sign with the secret or the private key that this service has the other part of \
                 (P2P_JWT_SECRET, P2P_JWT_KEY_FILE), and check that the token was not cut"
            }
            Self::UnknownKey { .. } => {
                "sign with a key that the issuer publishes at P2P_JWT_JWKS_URL; a key that was \
                 published a moment ago is known within 10 s"
            }
            Self::TicketsUnavailable(_) => "ask for another ticket in a few seconds",
            Self::KeysUnavailable(_) => {
                "try again in a few seconds; if it stays, let the server reach P2P_JWT_JWKS_URL"
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

    /// Whether a key that the issuer has published meanwhile could make the token valid.
    pub fn may_have_a_newer_key(&self) -> bool {
        match self {
            Self::UnknownKey { .. } => true,
            Self::AlgorithmNotAllowed { alg, .. } => {
                ["RS256", "ES256", "EdDSA"].contains(&alg.as_str())
            }
            _ => false,
        }
    }

    /// The problem as HTTP and WebSocket answers carry it.
    pub fn problem(&self) -> Problem {
        Problem::new(self.code(), "Not authenticated", self.to_string(), self.fix())
    }
}

/// Why a text gives no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither a PEM block nor an entry of a key set that could be one.
    #[error("there is no key in it that can be used")]
    NoKey,
    /// The container's bytes are not what they should be.
    #[error("the key is damaged, or not in the form that it says")]
    Malformed,
    /// Another algorithm, or another container.
    #[error("the key is of a kind that is not supported")]
    Unsupported,
    /// A private key where a public one is wanted.
    #[error("it is a private key, and only the public one is needed here")]
    Private,
    /// A public key where a private one is wanted.
    #[error("it is a public key, and signing needs the private one")]
    Public,
    /// An RSA key that is too short to be safe, or too long to be quick.
    #[error("the RSA key has {0} bits, and 2048 to 8192 are allowed")]
    RsaSize(usize),
    /// More keys than an issuer has.
    #[error("there are more than {max} keys", max = crate::MAX_KEYS)]
    TooMany,
    /// Not a JSON object with `keys`.
    #[error("it is not a JSON Web Key Set: an object with `keys`")]
    NotASet,
}

impl KeyError {
    /// What a person does about it.
    pub fn fix(self) -> &'static str {
        match self {
            Self::Private => "give the public key alone: openssl pkey -in FILE -pubout",
            Self::Public => "give the private key that belongs to it",
            Self::NoKey | Self::Malformed | Self::Unsupported | Self::RsaSize(_) => {
                "RSA of 2048 bits or more, P-256 and Ed25519 keys in PEM are supported; make a pair \
                 with `openssl genpkey -algorithm ed25519 -out key.pem` and \
                 `openssl pkey -in key.pem -pubout -out public.pem`, and turn an EC PRIVATE KEY \
                 into a PRIVATE KEY with `openssl pkcs8 -topk8 -nocrypt`"
            }
            Self::TooMany => "leave out the keys that no valid token is signed with",
            Self::NotASet => "name the URL of the issuer's key set, its `jwks_uri`",
        }
    }
}

/// A text that is no shared secret to sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Fewer bytes than HS256 wants.
    #[error(
        "the JWT secret has {bytes} bytes, HS256 wants at least {min}: \
         make one with `head -c 32 /dev/urandom | base64`",
        min = crate::MIN_SECRET_BYTES
    )]
    TooShort {
        /// Bytes of the secret.
        bytes: usize,
    },
    /// A key in PEM. Whoever has a public key could sign with it if it were taken for a secret.
    #[error("the JWT secret is a key in PEM: give a public key with --jwt-key-file")]
    IsAKey,
}
