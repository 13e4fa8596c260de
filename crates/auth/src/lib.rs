//! Who may do what: JWT claims and their verification, and time-limited TURN credentials.
//!
//! Nothing here reads a clock or a file: time and key texts are passed in.
#![warn(missing_docs)]

pub mod claims;
mod der;
pub mod error;
pub mod grant;
pub mod jwks;
pub mod key;
pub mod pattern;
pub mod token;
#[allow(missing_docs)] // its fields and errors say it in their names
pub mod turn_rest;
pub mod verifier;

pub use claims::{Audience, Claims, RoomGrant, RoomVerb, Scope, Scopes};
pub use error::{KeyError, SecretError, TokenError};
pub use grant::Grant;
pub use key::{KeyAlgorithm, MAX_KEYS, PublicKey, SigningKey};
pub use pattern::Pattern;
pub use token::{MAX_TOKEN_BYTES, Token};
pub use verifier::{LEEWAY_SECS, MIN_SECRET_BYTES, SigningSecret, Verifier, mint};
