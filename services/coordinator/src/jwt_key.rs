//! The keys of tokens, from files and from their issuer.

use std::path::Path;

use p2p_auth::{KeyError, PublicKey, SigningKey};
use p2p_signaling::Jwks;

use crate::failure::Failure;

/// Bytes that a key file may have: a dozen RSA keys.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The public keys of `--jwt-key-file`.
pub fn verifying(path: &Path) -> Result<Vec<PublicKey>, Failure> {
    PublicKey::from_pem(&text(path, "--jwt-key-file")?)
        .map_err(|error| bad_key(path, "--jwt-key-file", error))
}

/// The private key of `--jwt-key`.
pub fn signing(path: &Path) -> Result<SigningKey, Failure> {
    SigningKey::from_pem(&text(path, "--jwt-key")?)
        .map_err(|error| bad_key(path, "--jwt-key", error))
}

/// Where `--jwt-jwks-url` leads.
pub fn issuer(url: &str) -> Result<Jwks, Failure> {
    let url = url.parse().map_err(|error| {
        Failure::usage(
            format!("--jwt-jwks-url {url:?}: {error}"),
            "name the issuer's `jwks_uri`, such as https://id.example.org/.well-known/jwks.json",
        )
    })?;
    Ok(Jwks::new(url))
}

fn text(path: &Path, flag: &str) -> Result<String, Failure> {
    let place = path.display();
    let failed = |error: std::io::Error| {
        Failure::usage(
            format!("{flag}: cannot read {place}: {error}"),
            "check the path and that this user may read it",
        )
    };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(Failure::usage(
            format!("{flag}: {place} has {bytes} bytes, a key file has at most {MAX_FILE_BYTES}"),
            "name the file that holds the key in PEM",
        ));
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn bad_key(path: &Path, flag: &str, error: KeyError) -> Failure {
    Failure::usage(format!("{flag}: {}: {error}", path.display()), error.fix())
}
