//! Who may allocate: static users and REST credentials (RFC 8489 §9.2, draft-uberti).

use std::collections::HashMap;
use std::fmt;

use p2p_auth::turn_rest::{RestUsername, TurnRestError, TurnSecrets};
use secrecy::{ExposeSecret as _, SecretString};

use crate::message::IntegrityKey;

/// A user as quotas and ownership see one.
///
/// For REST credentials this is the part behind the expiry, so a client that comes back with a
/// fresh credential is the same user. A static user and a REST user of one name are two.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId {
    kind: UserKind,
    name: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum UserKind {
    Static,
    Rest,
}

impl UserId {
    /// The user of a REST credential `<expiry>:<name>`.
    #[must_use]
    pub fn rest(name: &str) -> Self {
        Self { kind: UserKind::Rest, name: name.into() }
    }

    /// A user of the static list.
    #[must_use]
    pub fn fixed(name: &str) -> Self {
        Self { kind: UserKind::Static, name: name.into() }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A user with a password that does not expire.
#[derive(Clone)]
pub struct StaticUser {
    pub name: String,
    pub password: SecretString,
}

impl fmt::Debug for StaticUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticUser({}, [redacted])", self.name)
    }
}

/// Every way to authenticate, for one realm. With neither users nor secrets nobody can allocate.
pub struct Credentials {
    realm: String,
    users: HashMap<String, IntegrityKey>,
    secrets: TurnSecrets,
}

/// Why a username leads to no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LookupError {
    Unknown,
    Expired,
}

impl Credentials {
    #[must_use]
    pub fn new(realm: &str, users: Vec<StaticUser>, secrets: TurnSecrets) -> Self {
        let users = users
            .into_iter()
            .map(|user| {
                let key = IntegrityKey::long_term(&user.name, realm, user.password.expose_secret());
                (user.name, key)
            })
            .collect();
        Self { realm: realm.to_owned(), users, secrets }
    }

    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The user a username names and the keys that would be right: one, or one per secret.
    pub(crate) fn lookup(
        &self,
        username: &str,
        now_unix: u64,
    ) -> Result<(UserId, Vec<IntegrityKey>), LookupError> {
        if let Some(key) = self.users.get(username) {
            return Ok((UserId::fixed(username), vec![key.clone()]));
        }
        let user = RestUsername::parse(username).map_err(|_| LookupError::Unknown)?.user;
        let passwords = self.secrets.passwords_for(username, now_unix).map_err(|e| match e {
            TurnRestError::Expired { .. } => LookupError::Expired,
            TurnRestError::Malformed | TurnRestError::NoSecret => LookupError::Unknown,
        })?;
        let keys = passwords
            .iter()
            .map(|password| {
                IntegrityKey::long_term(username, &self.realm, password.expose_secret())
            })
            .collect();
        Ok((UserId::rest(user), keys))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("realm", &self.realm)
            .field("users", &self.users.len())
            .field("secrets", &self.secrets)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOON: u64 = 1_700_000_000;

    #[test]
    fn a_fresh_credential_belongs_to_the_same_user() {
        let credentials = credentials();
        let user_at = |now| {
            let minted = secrets().mint("app:alice", now, Duration::from_secs(60)).unwrap();
            credentials.lookup(&minted.username, now).unwrap().0
        };
        assert_eq!(user_at(NOON), user_at(NOON + 1000));
        assert_eq!(user_at(NOON).name(), "app:alice");
    }

    #[test]
    fn a_static_user_and_a_rest_user_of_one_name_are_two() {
        let credentials = credentials();
        let (fixed, keys) = credentials.lookup("bob", NOON).unwrap();
        assert_eq!(keys.len(), 1);
        let (rest, keys) = credentials.lookup(&format!("{}:bob", NOON + 1), NOON).unwrap();
        assert_eq!(keys.len(), 2);
        assert_ne!(fixed, rest);
    }

    #[test]
    fn unknown_and_expired_names_have_no_key() {
        let credentials = credentials();
        let refused = |name: &str| credentials.lookup(name, NOON).unwrap_err();
        assert_eq!(refused("mallory"), LookupError::Unknown);
        assert_eq!(refused(&format!("{NOON}:bob")), LookupError::Expired);
    }

    #[test]
    fn debug_output_holds_no_password() {
        let printed = format!("{:?} {:?}", credentials(), bob());
        assert!(!printed.contains("hunter2") && !printed.contains("north"), "{printed}");
    }

    fn credentials() -> Credentials {
        Credentials::new("test", vec![bob()], secrets())
    }

    fn bob() -> StaticUser {
        StaticUser { name: "bob".into(), password: "hunter2".into() }
    }

    fn secrets() -> TurnSecrets {
        TurnSecrets::new(vec!["north".into(), "south".into()])
    }
}
