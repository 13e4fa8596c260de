//! Key sets as issuers publish them (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use crate::error::KeyError;
use crate::key::{MAX_KEYS, PublicKey};

/// The keys of a set that this service can verify with, in their order.
///
/// Keys of other kinds, for other uses and for other algorithms are skipped (RFC 7517 §5), shared
/// secrets among them: what anybody can fetch is no secret.
///
/// # Errors
/// [`KeyError`] for a text that is no key set, one with more than [`MAX_KEYS`] keys, or one
/// without a key that can be used.
pub fn parse(text: &str) -> Result<Vec<PublicKey>, KeyError> {
    let set: Set = serde_json::from_str(text).map_err(|_| KeyError::NotASet)?;
    if set.keys.len() > MAX_KEYS {
        return Err(KeyError::TooMany);
    }
    let keys: Vec<PublicKey> = set.keys.into_iter().filter_map(usable).collect();
    if keys.is_empty() { Err(KeyError::NoKey) } else { Ok(keys) }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// RFC 7517 §4 and RFC 7518 §6.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

fn usable(key: Value) -> Option<PublicKey> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    let verifies = jwk.used_for.as_deref().is_none_or(|used_for| used_for == "sig")
        && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    if !verifies {
        return None;
    }
    let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
    let kid = jwk.kid.clone();
    let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => PublicKey::rsa(kid, &bytes(&jwk.n)?, &bytes(&jwk.e)?),
        ("EC", Some("P-256")) => PublicKey::p256(kid, &bytes(&jwk.x)?, &bytes(&jwk.y)?),
        ("OKP", Some("Ed25519")) => PublicKey::ed25519(kid, &bytes(&jwk.x)?),
        _ => return None,
    };
    let key = key.ok()?;
    let named = jwk.alg.as_deref();
    named.is_none_or(|alg| alg == key.algorithm().as_str()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn what_cannot_be_used_is_skipped() {
        let others = [
            r#"{"kty":"oct","k":"c2VjcmV0"}"#,
            r#"{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","use":"enc","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","alg":"HS256","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","key_ops":["sign"],"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#,
            r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
            r#"7"#,
        ];
        let set = format!(r#"{{"keys":[{},{ED}]}}"#, others.join(","));
        let keys = parse(&set).unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!((keys[0].kid(), keys[0].algorithm().as_str()), (Some("a"), "EdDSA"));
        let without = format!(r#"{{"keys":[{}]}}"#, others.join(","));
        assert_eq!(parse(&without).unwrap_err(), KeyError::NoKey);
    }

    #[test]
    fn i5_a_key_set_has_a_bound_and_a_form() {
        let many = vec![ED; MAX_KEYS + 1].join(",");
        assert_eq!(parse(&format!(r#"{{"keys":[{many}]}}"#)).unwrap_err(), KeyError::TooMany);
        for text in ["", "[]", "{}", r#"{"keys":7}"#, "<html>"] {
            assert_eq!(parse(text).unwrap_err(), KeyError::NotASet, "{text}");
        }
    }
}
