//! Resume secrets: 256 random bits that the client keeps, and the hash that the registry keeps.

use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p2p_wire::Secret;

/// The SHA-256 of a resume secret. Whoever reads the registry's memory cannot resume with it.
#[derive(Clone, Copy)]
pub(crate) struct SecretHash([u8; 32]);

impl SecretHash {
    /// Makes a secret, and the hash to keep.
    pub(crate) fn fresh() -> (Secret, Self) {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).expect("the operating system gives random bytes");
        let secret = Secret::new(URL_SAFE_NO_PAD.encode(bytes));
        let hash = Self::of(&secret);
        (secret, hash)
    }

    /// Whether this is the secret, in a time that does not depend on the answer.
    pub(crate) fn matches(&self, secret: &Secret) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &Self::of(secret).0).is_ok()
    }

    /// As text, for a registry that compares texts: guessing a hash bit by bit does not lead to
    /// its secret.
    pub(crate) fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(crate) fn of(secret: &Secret) -> Self {
        let digest = digest::digest(&digest::SHA256, secret.expose().as_bytes());
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_its_own_hash_and_no_other() {
        let (secret, hash) = SecretHash::fresh();
        let (other, _) = SecretHash::fresh();
        assert!(hash.matches(&secret));
        assert!(!hash.matches(&other));
        assert_eq!(secret.expose().len(), 43);
    }
}
