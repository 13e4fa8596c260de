//! From a token's text to a grant: algorithm, signature, times, issuer, audience, in this order.
//!
//! Time is passed in. The JWT library's own checks of `exp` and `nbf` read the clock and are off.
//!
//! Keys are looked up by the header's algorithm and `kid`. A token never picks its algorithm freely:
//! only those for which there is a key are accepted (RFC 8725 §3.1), and each key has one, which its
//! type decides: a public key cannot be used as an HMAC secret.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::claims::Claims;
use crate::error::{SecretError, TokenError};
use crate::grant::Grant;
use crate::key::PublicKey;
use crate::token::{MAX_TOKEN_BYTES, Token};

/// Seconds that the clocks of issuer and service may differ.
pub const LEEWAY_SECS: u64 = 30;

/// Bytes in a shared secret: HS256 wants a key as long as its hash (RFC 7518 §3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// A shared secret that is long enough to sign tokens with.
#[derive(Clone)]
pub struct SigningSecret(SecretString);

impl SigningSecret {
    /// Checks the length. The text is used as it is; white space around it is not part of it, so
    /// that a file may end with a line break.
    ///
    /// # Errors
    /// [`SecretError`] under [`MIN_SECRET_BYTES`], and for a key in PEM.
    pub fn new(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        // A key file in the place of a secret: everybody who knows the public key could sign.
        if text.starts_with("-----BEGIN") {
            return Err(SecretError::IsAKey);
        }
        if text.len() < MIN_SECRET_BYTES {
            return Err(SecretError::TooShort { bytes: text.len() });
        }
        Ok(Self(text.into()))
    }

    fn bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Signs claims with HS256.
///
/// # Errors
/// [`TokenError::Malformed`] if the claims cannot be written as JSON.
pub fn mint(claims: &Claims, secret: &SigningSecret) -> Result<Token, TokenError> {
    let key = EncodingKey::from_secret(secret.bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)
        .map(Token::new)
        .map_err(|error| TokenError::Malformed(error.to_string()))
}

/// Verifies tokens. Without any key it refuses all of them.
#[derive(Clone, Default)]
pub struct Verifier {
    keys: Vec<Key>,
    issuer: Option<String>,
    audience: Option<String>,
}

impl Verifier {
    /// Accepts tokens signed with HS256 and any of these secrets. To rotate: add the new one
    /// everywhere, mint with it, and remove the old one after the longest token lifetime.
    pub fn hs256(secrets: impl IntoIterator<Item = SigningSecret>) -> Self {
        Self::default().with_secrets(secrets)
    }

    /// Accepts tokens of these secrets, too.
    pub fn with_secrets(mut self, secrets: impl IntoIterator<Item = SigningSecret>) -> Self {
        let keys = secrets.into_iter().map(|secret| DecodingKey::from_secret(secret.bytes()));
        self.keys.extend(keys.map(Key::Secret));
        self
    }

    /// Accepts tokens of these keys, too.
    pub fn with_keys(mut self, keys: impl IntoIterator<Item = PublicKey>) -> Self {
        self.keys.extend(keys.into_iter().map(Key::Public));
        self
    }

    /// Accepts only tokens of this issuer.
    pub fn with_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Accepts only tokens for this audience.
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Says what the bearer may do at `now_unix`, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// The first reason that speaks against the token.
    pub fn verify(&self, token: &Token, now_unix: u64) -> Result<Grant, TokenError> {
        let text = token.expose();
        if text.is_empty() {
            return Err(TokenError::Missing);
        }
        if text.len() > MAX_TOKEN_BYTES {
            let why = format!("it has {} bytes, and {MAX_TOKEN_BYTES} are allowed", text.len());
            return Err(TokenError::Malformed(why));
        }
        let claims = self.signed_claims(text, &JoseHeader::read(text)?)?;
        check_times(&claims, now_unix)?;
        check_app(&claims)?;
        self.check_parties(&claims)?;
        Ok(Grant::new(claims))
    }

    /// Tries the keys that fit the header.
    fn signed_claims(&self, text: &str, header: &JoseHeader) -> Result<Claims, TokenError> {
        let mut fitting = self.keys.iter().filter(|key| key.fits_algorithm(header)).peekable();
        if fitting.peek().is_none() {
            return Err(TokenError::AlgorithmNotAllowed {
                alg: header.alg.chars().take(16).collect(),
                allowed: self.algorithms(),
            });
        }
        let mut fitting = fitting.filter(|key| key.fits_id(header)).peekable();
        if let (None, Some(kid)) = (fitting.peek(), &header.kid) {
            return Err(TokenError::UnknownKey { kid: kid.chars().take(64).collect() });
        }
        for key in fitting {
            let checks = signature_only(key.algorithm());
            match jsonwebtoken::decode::<Claims>(text, key.decoding(), &checks) {
                Ok(data) => return Ok(data.claims),
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
                Err(error) => return Err(TokenError::Malformed(error.to_string())),
            }
        }
        Err(TokenError::BadSignature)
    }

    fn check_parties(&self, claims: &Claims) -> Result<(), TokenError> {
        if let Some(expected) = &self.issuer
            && claims.iss.as_ref() != Some(expected)
        {
            return Err(TokenError::WrongIssuer { expected: expected.clone() });
        }
        if let Some(expected) = &self.audience
            && !claims.aud.contains(expected)
        {
            return Err(TokenError::WrongAudience { expected: expected.clone() });
        }
        Ok(())
    }

    fn algorithms(&self) -> String {
        let mut names: Vec<_> = self.keys.iter().map(|k| format!("{:?}", k.algorithm())).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    }
}

/// Relays know a user as `APP:PEER`, and take what is before the first colon for the app. Ids of peers
/// may hold colons, so an app's must not: app `a` with peer `b:c` and app `a:b` with peer `c` would
/// be one user, and share a quota.
fn check_app(claims: &Claims) -> Result<(), TokenError> {
    match &claims.app {
        Some(app) if app.as_str().contains(':') => {
            let why = format!("its `app` is {app:?}, and the id of an app has no `:`");
            Err(TokenError::Malformed(why))
        }
        _ => Ok(()),
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} × {})", self.keys.len(), self.algorithms())
    }
}

/// A key, whose kind decides which algorithm it may be used with.
#[derive(Clone)]
enum Key {
    /// HS256, and nothing else.
    Secret(DecodingKey),
    /// Its own algorithm, which is never HMAC.
    Public(PublicKey),
}

impl Key {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Secret(_) => Algorithm::HS256,
            Self::Public(key) => key.algorithm.of_library(),
        }
    }

    fn decoding(&self) -> &DecodingKey {
        match self {
            Self::Secret(key) => key,
            Self::Public(key) => &key.key,
        }
    }

    fn fits_algorithm(&self, header: &JoseHeader) -> bool {
        format!("{:?}", self.algorithm()) == header.alg
    }

    /// A key without a name fits every token; a token without one is tried with every key.
    fn fits_id(&self, header: &JoseHeader) -> bool {
        match (self, &header.kid) {
            (Self::Public(PublicKey { kid: Some(key), .. }), Some(token)) => key == token,
            _ => true,
        }
    }
}

/// The part of a token's header that decides which key to try.
#[derive(Deserialize)]
struct JoseHeader {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

impl JoseHeader {
    fn read(token: &str) -> Result<Self, TokenError> {
        let malformed = |why: &str| TokenError::Malformed(why.to_owned());
        let mut parts = token.split('.');
        let (Some(header), Some(_), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed("it does not have three parts with dots between them"));
        };
        let bytes =
            URL_SAFE_NO_PAD.decode(header).map_err(|_| malformed("its header is not base64url"))?;
        let header: Self = serde_json::from_slice(&bytes)
            .map_err(|_| malformed("its header is not a JSON object with `alg`"))?;
        // RFC 7515 §4.1.11: an extension that must be understood and is not.
        if header.crit.is_some() {
            return Err(malformed("its header demands extensions (`crit`)"));
        }
        Ok(header)
    }
}

/// Has the library check the signature and nothing that needs a clock.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn check_times(claims: &Claims, now: u64) -> Result<(), TokenError> {
    let Claims { exp, nbf, .. } = *claims;
    if now > exp.saturating_add(LEEWAY_SECS) {
        return Err(TokenError::Expired { exp, now, ago: now - exp });
    }
    if let Some(nbf) = nbf
        && nbf > now.saturating_add(LEEWAY_SECS)
    {
        return Err(TokenError::NotYetValid { nbf, now, ahead: nbf - now });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::{Audience, Scope};
    use p2p_wire::{Code, PeerId, RoomName};

    const NOON: u64 = 1_700_000_000;

    #[test]
    fn a_minted_token_verifies_and_grants_what_it_says() {
        let claims = Claims::new("alice-*".parse().unwrap(), NOON + 60)
            .with_rooms(["demo".parse().unwrap()]);
        let grant = verifier("a").verify(&mint(&claims, &secret("a")).unwrap(), NOON).unwrap();
        assert!(grant.may_be(&peer("alice-phone")) && !grant.may_be(&peer("bob")));
        assert!(grant.may_join(&room("demo")) && grant.may_send_to(&room("demo")));
        assert!(!grant.may_join(&room("other")));
        assert!(grant.may(Scope::Connect) && !grant.may(Scope::Admin));
        assert_eq!((grant.app().as_str(), grant.expires_unix()), ("default", NOON + 60));
    }

    #[test]
    fn an_app_with_a_colon_is_refused_so_that_no_two_peers_are_one_user_of_a_relay() {
        let token = |app: &str, sub: &str| {
            let claims = Claims::new(sub.parse().unwrap(), NOON + 60);
            mint(&claims.with_app(app.parse().unwrap()), &secret("a")).unwrap()
        };
        assert!(verifier("a").verify(&token("a", "b:c"), NOON).is_ok(), "a peer may have one");
        let refused = verifier("a").verify(&token("a:b", "c"), NOON).unwrap_err().problem();
        assert_eq!(refused.code, Code::TokenInvalid);
        assert!(refused.detail.contains("`app`") && refused.detail.contains("`:`"), "{refused:?}");
    }

    #[test]
    fn a_grant_is_the_same_at_another_instance() {
        let claims = Claims::new("alice-*".parse().unwrap(), NOON + 60)
            .with_rooms(["demo".parse().unwrap()])
            .with_scopes([Scope::Connect, Scope::Admin])
            .with_app("shop".parse().unwrap());
        let grant = verifier("a").verify(&mint(&claims, &secret("a")).unwrap(), NOON).unwrap();
        assert_eq!(Grant::verified_elsewhere(&grant.to_text()), Some(grant));
        assert_eq!(Grant::verified_elsewhere("{}"), None);
    }

    #[test]
    fn after_a_rotation_tokens_of_both_secrets_verify_and_others_do_not() {
        let rotated = Verifier::hs256([secret("new"), secret("old")]);
        for name in ["new", "old"] {
            assert!(rotated.verify(&alice(NOON + 60, name), NOON).is_ok(), "{name}");
        }
        let refused = rotated.verify(&alice(NOON + 60, "other"), NOON).unwrap_err();
        assert_eq!(refused, TokenError::BadSignature);
    }

    #[test]
    fn an_expired_token_is_refused_with_the_skew_named() {
        let token = alice(NOON, "a");
        assert!(verifier("a").verify(&token, NOON + LEEWAY_SECS).is_ok(), "within the leeway");
        let refused = verifier("a").verify(&token, NOON + 42).unwrap_err();
        assert_eq!(refused, TokenError::Expired { exp: NOON, now: NOON + 42, ago: 42 });
        let problem = refused.problem();
        assert_eq!(problem.code, Code::TokenExpired);
        assert!(problem.detail.contains("expired 42 s ago"), "{}", problem.detail);
        assert!(problem.detail.contains("1700000042"), "{}", problem.detail);
        assert!(problem.fix.contains("fix the clock"), "{}", problem.fix);
    }

    #[test]
    fn a_token_from_the_future_is_refused_with_the_skew_named() {
        let mut claims = Claims::new("alice".parse().unwrap(), NOON + 600);
        claims.nbf = Some(NOON + 100);
        let token = mint(&claims, &secret("a")).unwrap();
        let refused = verifier("a").verify(&token, NOON).unwrap_err();
        assert_eq!(refused, TokenError::NotYetValid { nbf: NOON + 100, now: NOON, ahead: 100 });
        assert!(verifier("a").verify(&token, NOON + 70).is_ok(), "within the leeway");
    }

    #[test]
    fn an_algorithm_without_a_key_is_refused_by_name() {
        for alg in ["none", "HS384", "RS256"] {
            let refused = verifier("a").verify(&with_header(alg), NOON).unwrap_err();
            let TokenError::AlgorithmNotAllowed { alg: named, allowed } = refused else {
                panic!("{alg}: {refused:?}");
            };
            assert_eq!((named.as_str(), allowed.as_str()), (alg, "HS256"));
        }
    }

    #[test]
    fn garbage_is_malformed_and_says_why() {
        let valid = alice(NOON + 60, "a");
        let mut texts = vec!["x".to_owned(), "a.b.c".to_owned(), "a.b.c.d".to_owned()];
        texts.push("..".to_owned());
        texts.push("x".repeat(MAX_TOKEN_BYTES + 1));
        texts.push(format!("{}!", valid.expose()));
        for text in texts {
            let refused = verifier("a").verify(&Token::new(text.clone()), NOON).unwrap_err();
            assert!(matches!(refused, TokenError::Malformed(_)), "{text:.20}: {refused:?}");
        }
        assert_eq!(verifier("a").verify(&"".into(), NOON).unwrap_err(), TokenError::Missing);
    }

    #[test]
    fn a_changed_payload_does_not_verify() {
        let (alice, other) = (alice(NOON + 60, "a"), alice(NOON + 61, "a"));
        let parts: Vec<_> = alice.expose().split('.').collect();
        let payload = other.expose().split('.').nth(1).unwrap();
        let forged = Token::new(format!("{}.{payload}.{}", parts[0], parts[2]));
        assert_eq!(verifier("a").verify(&forged, NOON).unwrap_err(), TokenError::BadSignature);
    }

    #[test]
    fn issuer_and_audience_count_where_they_are_asked_for() {
        let strict = verifier("a").with_issuer("me").with_audience("p2p");
        let mut claims = Claims::new("alice".parse().unwrap(), NOON + 60);
        let verify = |claims: &Claims| strict.verify(&mint(claims, &secret("a")).unwrap(), NOON);
        assert!(matches!(verify(&claims), Err(TokenError::WrongIssuer { .. })));
        claims.iss = Some("me".to_owned());
        assert!(matches!(verify(&claims), Err(TokenError::WrongAudience { .. })));
        claims.aud = Audience(vec!["p2p".to_owned()]);
        assert!(verify(&claims).is_ok());
    }

    #[test]
    fn a_short_secret_is_refused_with_a_way_to_make_one() {
        let refused = SigningSecret::new("hunter2\n").unwrap_err();
        assert_eq!(refused, SecretError::TooShort { bytes: 7 });
        assert!(refused.to_string().contains("32"), "{refused}");
        assert_eq!(format!("{:?}", secret("a")), "[redacted]");
        let key =
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIa";
        assert_eq!(SigningSecret::new(key).unwrap_err(), SecretError::IsAKey);
    }

    fn secret(name: &str) -> SigningSecret {
        SigningSecret::new(&format!("{name}-0123456789-0123456789-0123456789")).unwrap()
    }

    fn verifier(name: &str) -> Verifier {
        Verifier::hs256([secret(name)])
    }

    fn alice(exp: u64, signer: &str) -> Token {
        mint(&Claims::new("alice".parse().unwrap(), exp), &secret(signer)).unwrap()
    }

    fn with_header(alg: &str) -> Token {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#));
        let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"alice","exp":{}}}"#, NOON + 60));
        Token::new(format!("{header}.{claims}.AAAA"))
    }

    fn peer(text: &str) -> PeerId {
        text.parse().unwrap()
    }

    fn room(text: &str) -> RoomName {
        text.parse().unwrap()
    }
}
