//! Time-limited TURN credentials: the scheme of draft-uberti-behave-turn-rest.
//!
//! The signaling service mints, the relay verifies, and the two share nothing but a secret:
//!
//! ```text
//! username = "<unix time of expiry>:<user>"
//! password = base64(HMAC-SHA1(secret, username))
//! ```
//!
//! The relay recomputes the password from the username, so it keeps no table of users and asks
//! nobody. HMAC-SHA1 is what the scheme prescribes and what every TURN server understands; its use
//! as a keyed MAC is unaffected by SHA-1 collisions.
//!
//! A credential cannot be revoked before it expires, except by retiring the secret: keep lifetimes
//! short. Secrets rotate by listing several ([`TurnSecrets`]): the first one mints, all verify.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};

/// The username and password a client hands to the relay.
///
/// `Debug` hides the password.
#[derive(Clone)]
pub struct TurnCredentials {
    /// `<expires_unix>:<user>`.
    pub username: String,
    /// Base64 text, 28 characters.
    pub password: SecretString,
    /// Seconds since the Unix epoch; from this second on the relay refuses new allocations.
    pub expires_unix: u64,
}

impl fmt::Debug for TurnCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnCredentials")
            .field("username", &self.username)
            .field("password", &"[redacted]")
            .field("expires_unix", &self.expires_unix)
            .finish()
    }
}

/// Why a REST username yields no password, or no credential can be minted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TurnRestError {
    #[error("the TURN username is not of the form <expiry>:<user>")]
    Malformed,
    #[error("the TURN credential expired {seconds_ago} s ago")]
    Expired { seconds_ago: u64 },
    #[error("no TURN secret is configured")]
    NoSecret,
}

/// A REST username taken apart. The user may itself contain `:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestUsername<'a> {
    pub expires_unix: u64,
    pub user: &'a str,
}

impl<'a> RestUsername<'a> {
    /// # Errors
    /// [`TurnRestError::Malformed`] unless digits, a colon and a non-empty user follow each other.
    pub fn parse(username: &'a str) -> Result<Self, TurnRestError> {
        let (expiry, user) = username.split_once(':').ok_or(TurnRestError::Malformed)?;
        // `u64::from_str` would also take a leading plus sign.
        if user.is_empty() || !expiry.bytes().all(|b| b.is_ascii_digit()) {
            return Err(TurnRestError::Malformed);
        }
        let expires_unix = expiry.parse().map_err(|_| TurnRestError::Malformed)?;
        Ok(Self { expires_unix, user })
    }

    /// # Errors
    /// [`TurnRestError::Expired`] from the second of expiry on.
    pub fn check_expiry(&self, now_unix: u64) -> Result<(), TurnRestError> {
        if now_unix >= self.expires_unix {
            return Err(TurnRestError::Expired { seconds_ago: now_unix - self.expires_unix });
        }
        Ok(())
    }
}

/// Makes a credential for `user` that is valid for `ttl` (whole seconds) from `now_unix`.
#[must_use]
pub fn mint(secret: &SecretString, user: &str, now_unix: u64, ttl: Duration) -> TurnCredentials {
    let expires_unix = now_unix.saturating_add(ttl.as_secs());
    let username = format!("{expires_unix}:{user}");
    let password = password_of(secret, &username);
    TurnCredentials { username, password, expires_unix }
}

/// The password that belongs to `username`, if it is well formed and has not expired.
///
/// # Errors
/// [`TurnRestError::Malformed`] or [`TurnRestError::Expired`].
pub fn password_for(
    secret: &SecretString,
    username: &str,
    now_unix: u64,
) -> Result<SecretString, TurnRestError> {
    RestUsername::parse(username)?.check_expiry(now_unix)?;
    Ok(password_of(secret, username))
}

/// The shared secrets of a deployment, newest first. May be empty: then REST credentials are off.
///
/// To rotate: put the new secret in front everywhere, and remove the old one after the longest
/// credential lifetime.
#[derive(Clone, Default)]
pub struct TurnSecrets(Vec<SecretString>);

impl TurnSecrets {
    #[must_use]
    pub fn new(newest_first: Vec<SecretString>) -> Self {
        Self(newest_first)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// [`mint`] with the newest secret.
    ///
    /// # Errors
    /// [`TurnRestError::NoSecret`] when none is configured.
    pub fn mint(
        &self,
        user: &str,
        now_unix: u64,
        ttl: Duration,
    ) -> Result<TurnCredentials, TurnRestError> {
        let newest = self.0.first().ok_or(TurnRestError::NoSecret)?;
        Ok(mint(newest, user, now_unix, ttl))
    }

    /// Every password that is right for `username`: one per secret, newest first.
    ///
    /// # Errors
    /// [`TurnRestError::NoSecret`], [`TurnRestError::Malformed`] or [`TurnRestError::Expired`].
    pub fn passwords_for(
        &self,
        username: &str,
        now_unix: u64,
    ) -> Result<Vec<SecretString>, TurnRestError> {
        if self.0.is_empty() {
            return Err(TurnRestError::NoSecret);
        }
        self.0.iter().map(|secret| password_for(secret, username, now_unix)).collect()
    }
}

impl From<SecretString> for TurnSecrets {
    fn from(secret: SecretString) -> Self {
        Self(vec![secret])
    }
}

impl fmt::Debug for TurnSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TurnSecrets({} × [redacted])", self.0.len())
    }
}

fn password_of(secret: &SecretString, username: &str) -> SecretString {
    let key =
        hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose_secret().as_bytes());
    STANDARD.encode(hmac::sign(&key, username.as_bytes())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_700_000_000;
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_minted_credential_verifies_until_the_second_it_expires() {
        let minted = mint(&secret("north"), "alice", NOON, HOUR);

        assert_eq!(minted.username, "1700003600:alice");
        let verified = password_for(&secret("north"), &minted.username, NOON + 3599).unwrap();
        assert_eq!(verified.expose_secret(), minted.password.expose_secret());
        assert_eq!(
            password_for(&secret("north"), &minted.username, NOON + 3600).unwrap_err(),
            TurnRestError::Expired { seconds_ago: 0 }
        );
    }

    /// Computed with `printf 1700003600:alice | openssl dgst -sha1 -hmac north -binary | base64`.
    #[test]
    fn the_password_is_what_openssl_computes() {
        let minted = mint(&secret("north"), "alice", NOON, HOUR);
        assert_eq!(minted.password.expose_secret(), "wjwSXO2ch1B6VaLTLMy2Avn5O9o=");
    }

    #[test]
    fn a_user_may_contain_colons() {
        let minted = mint(&secret("north"), "app:room:alice", NOON, HOUR);
        let parsed = RestUsername::parse(&minted.username).unwrap();
        assert_eq!((parsed.expires_unix, parsed.user), (NOON + 3600, "app:room:alice"));
    }

    #[test]
    fn a_malformed_username_has_no_password() {
        for username in ["", "alice", ":alice", "12x:alice", "+12:alice", "12:", "-1:a"] {
            let refused = password_for(&secret("north"), username, NOON).unwrap_err();
            assert_eq!(refused, TurnRestError::Malformed, "{username:?}");
        }
        let too_long = format!("{}0:alice", u64::MAX);
        assert_eq!(
            password_for(&secret("north"), &too_long, NOON).unwrap_err(),
            TurnRestError::Malformed
        );
    }

    #[test]
    fn after_a_rotation_the_new_secret_mints_and_the_old_still_verifies() {
        let old = mint(&secret("old"), "alice", NOON, HOUR);
        let secrets = TurnSecrets::new(vec![secret("new"), secret("old")]);

        let passwords = secrets.passwords_for(&old.username, NOON).unwrap();
        assert!(passwords.iter().any(|p| p.expose_secret() == old.password.expose_secret()));
        let minted = secrets.mint("alice", NOON, HOUR).unwrap();
        let by_new = mint(&secret("new"), "alice", NOON, HOUR);
        assert_eq!(minted.password.expose_secret(), by_new.password.expose_secret());
    }

    #[test]
    fn without_a_secret_nothing_is_minted_and_nothing_verifies() {
        let none = TurnSecrets::default();
        assert_eq!(none.mint("alice", NOON, HOUR).unwrap_err(), TurnRestError::NoSecret);
        assert_eq!(none.passwords_for("1:a", NOON).unwrap_err(), TurnRestError::NoSecret);
    }

    #[test]
    fn debug_output_holds_neither_secret_nor_password() {
        let minted = mint(&secret("north"), "alice", NOON, HOUR);
        let printed = format!("{minted:?} {:?}", TurnSecrets::from(secret("north")));
        assert!(!printed.contains("north"));
        assert!(!printed.contains(minted.password.expose_secret()));
    }

    fn secret(text: &str) -> SecretString {
        text.into()
    }
}
