//! A password that comes apart from the URL it belongs to.
//!
//! Operators of databases hand out a password alone, in a file of its own, and rotate it there. It is
//! put into the URL here, so that nobody has to write both into one file.

use clap::ArgMatches;
use secrecy::{ExposeSecret as _, SecretString};

use super::secret;
use crate::failure::Failure;

/// The URL of a flag, with the password of `--FLAG-password` or its `-file` twin where one is given.
///
/// # Errors
/// As [`secret::read`], and when there is a password and no URL to put it into, or one that has a
/// password already or names no user where `needs_user`.
pub fn url(
    matches: &ArgMatches,
    flag: &str,
    needs_user: bool,
) -> Result<Option<SecretString>, Failure> {
    let url = secret::read(matches, flag)?.into_iter().next();
    let password_flag = format!("{flag}-password");
    let Some(password) = secret::read(matches, &password_flag)?.into_iter().next() else {
        return Ok(url);
    };
    let Some(url) = url else {
        return Err(Failure::usage(
            format!("--{password_flag} is given, and no --{flag} that it belongs to"),
            format!("pass --{flag} with the URL without its password"),
        ));
    };
    insert(url.expose_secret(), password.expose_secret(), needs_user).map(Some).map_err(|cause| {
        Failure::usage(
            format!("--{password_flag} does not fit --{flag}: {cause}"),
            "write the URL as SCHEME://USER@HOST:PORT/…, without a password",
        )
    })
}

/// RFC 3986 §3.2.1: `user:password@` before the host.
fn insert(url: &str, password: &str, needs_user: bool) -> Result<SecretString, &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or("it is not a URL")?;
    let end_of_authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end_of_authority);
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user.contains(':') {
        return Err("the URL has a password already");
    }
    if user.is_empty() && needs_user {
        return Err("the URL names no user");
    }
    Ok(format!("{scheme}://{user}:{}@{host}{path}", encoded(password)).into())
}

/// RFC 3986 §2.1, §2.3: everything but unreserved characters.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inserted(url: &str, needs_user: bool) -> Result<String, &'static str> {
        insert(url, "p@ss/w:rd%", needs_user).map(|url| url.expose_secret().to_owned())
    }

    #[test]
    fn a_password_goes_between_user_and_host_and_is_encoded() {
        assert_eq!(
            inserted("postgres://p2p@db:5432/p2p?sslmode=require", true).unwrap(),
            "postgres://p2p:p%40ss%2Fw%3Ard%25@db:5432/p2p?sslmode=require"
        );
        assert_eq!(inserted("redis://cache", false).unwrap(), "redis://:p%40ss%2Fw%3Ard%25@cache");
    }

    #[test]
    fn a_password_that_has_no_place_is_refused() {
        assert!(inserted("postgres://p2p:old@db/p2p", true).is_err());
        assert!(inserted("postgres://db/p2p", true).is_err());
        assert!(inserted("db", false).is_err());
    }
}
