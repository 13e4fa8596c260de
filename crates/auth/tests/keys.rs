//! Tokens signed with private keys, verified with public ones from files and from key sets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use p2p_auth::{
    Claims, KeyError, PublicKey, SigningKey, SigningSecret, Token, TokenError, Verifier, jwks, mint,
};

const NOON: u64 = 1_700_000_000;

/// A pair as its owner has it: both halves in PEM, and the public half as a JWK.
struct Pair {
    alg: &'static str,
    private: String,
    public: String,
    jwk: serde_json::Value,
}

fn pairs() -> [Pair; 3] {
    let random = SystemRandom::new();
    let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);

    let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let ed_pair = Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap();
    let ed_public: PublicKeyX509Der<'_> = ed_pair.public_key().as_der().unwrap();
    let x = b64(ed_pair.public_key().as_ref());

    let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let ec_pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref()).unwrap();
    let ec_public: PublicKeyX509Der<'_> = ec_pair.public_key().as_der().unwrap();
    let point = ec_pair.public_key().as_ref();

    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let rsa_private: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
    let rsa_public: PublicKeyX509Der<'_> = rsa.public_key().as_der().unwrap();
    let n = b64(rsa.public_key().modulus().big_endian_without_leading_zero());
    let e = b64(rsa.public_key().exponent().big_endian_without_leading_zero());

    [
        Pair {
            alg: "EdDSA",
            private: pem("PRIVATE KEY", ed.as_ref()),
            public: pem("PUBLIC KEY", ed_public.as_ref()),
            jwk: serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "x": x }),
        },
        Pair {
            alg: "ES256",
            private: pem("PRIVATE KEY", ec.as_ref()),
            public: pem("PUBLIC KEY", ec_public.as_ref()),
            jwk: serde_json::json!({
                "kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..]),
            }),
        },
        Pair {
            alg: "RS256",
            private: pem("PRIVATE KEY", rsa_private.as_ref()),
            public: pem("PUBLIC KEY", rsa_public.as_ref()),
            jwk: serde_json::json!({ "kty": "RSA", "n": n, "e": e, "use": "sig" }),
        },
    ]
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn claims() -> Claims {
    Claims::new("alice".parse().unwrap(), NOON + 60)
}

#[test]
fn a_token_of_each_algorithm_verifies_with_its_own_key_and_no_other() {
    let pairs = pairs();
    for pair in &pairs {
        let key = SigningKey::from_pem(&pair.private).unwrap();
        assert_eq!(key.algorithm().as_str(), pair.alg);
        let token = key.mint(&claims()).unwrap();
        for other in &pairs {
            let from_file =
                Verifier::default().with_keys(PublicKey::from_pem(&other.public).unwrap());
            let set = serde_json::json!({ "keys": [other.jwk] }).to_string();
            let from_set = Verifier::default().with_keys(jwks::parse(&set).unwrap());
            for verifier in [from_file, from_set] {
                let answer = verifier.verify(&token, NOON);
                if other.alg == pair.alg {
                    assert!(answer.unwrap().may_be(&"alice".parse().unwrap()), "{}", pair.alg);
                } else {
                    assert!(
                        matches!(answer, Err(TokenError::AlgorithmNotAllowed { .. })),
                        "{} with a key for {}: {answer:?}",
                        pair.alg,
                        other.alg
                    );
                }
            }
        }
    }
}

#[test]
fn a_foreign_key_of_the_same_kind_does_not_verify() {
    for (own, foreign) in pairs().iter().zip(&pairs()) {
        let token = SigningKey::from_pem(&own.private).unwrap().mint(&claims()).unwrap();
        let verifier = Verifier::default().with_keys(PublicKey::from_pem(&foreign.public).unwrap());
        assert_eq!(verifier.verify(&token, NOON).unwrap_err(), TokenError::BadSignature);
    }
}

/// The classic confusion: an attacker signs with HMAC and the public key's text as the secret.
#[test]
fn a_public_key_is_never_a_shared_secret() {
    for pair in pairs() {
        assert!(SigningSecret::new(&pair.public).is_err(), "refused as a secret in the settings");
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_string(&claims()).unwrap());
        let signed = format!("{header}.{body}");
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, pair.public.as_bytes());
        let mac = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes()));
        let forged = Token::new(format!("{signed}.{mac}"));
        let keys = PublicKey::from_pem(&pair.public).unwrap();
        let secret = SigningSecret::new(&"s".repeat(32)).unwrap();
        let with_keys = Verifier::default().with_keys(keys);
        let refused = with_keys.verify(&forged, NOON).unwrap_err();
        assert!(matches!(refused, TokenError::AlgorithmNotAllowed { .. }), "{refused:?}");
        let with_both = with_keys.with_secrets([secret]);
        assert_eq!(with_both.verify(&forged, NOON).unwrap_err(), TokenError::BadSignature);
    }
}

#[test]
fn keys_rotate_by_their_name() {
    let [ed, _, _] = pairs();
    let named = |kid: &str, pair: &Pair| {
        let mut jwk = pair.jwk.clone();
        jwk["kid"] = kid.into();
        jwk
    };
    let set = serde_json::json!({ "keys": [named("old", &pairs()[0]), named("new", &ed)] });
    let verifier = Verifier::default().with_keys(jwks::parse(&set.to_string()).unwrap());
    let with_kid = |kid: &str| {
        // The token as another library makes it, with `kid` in its header.
        let key = Ed25519KeyPair::from_pkcs8(
            &STANDARD
                .decode(ed.private.lines().filter(|l| !l.starts_with('-')).collect::<String>())
                .unwrap(),
        )
        .unwrap();
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#));
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_string(&claims()).unwrap());
        let signed = format!("{header}.{body}");
        let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
        Token::new(format!("{signed}.{signature}"))
    };
    assert!(verifier.verify(&with_kid("new"), NOON).is_ok());
    assert_eq!(verifier.verify(&with_kid("old"), NOON).unwrap_err(), TokenError::BadSignature);
    let unknown = verifier.verify(&with_kid("next"), NOON).unwrap_err();
    assert_eq!(unknown, TokenError::UnknownKey { kid: "next".to_owned() });
    assert!(unknown.may_have_a_newer_key());
    // A token that names no key is tried with all of them.
    let nameless = SigningKey::from_pem(&ed.private).unwrap().mint(&claims()).unwrap();
    assert!(verifier.verify(&nameless, NOON).is_ok());
}

#[test]
fn several_public_keys_and_a_secret_go_together() {
    let [ed, ec, rsa] = pairs();
    let file = format!("# of this week\n{}{}{}", ed.public, ec.public, rsa.public);
    let secret = SigningSecret::new(&"s".repeat(32)).unwrap();
    let verifier = Verifier::hs256([secret.clone()]).with_keys(PublicKey::from_pem(&file).unwrap());
    for pair in [&ed, &ec, &rsa] {
        let token = SigningKey::from_pem(&pair.private).unwrap().mint(&claims()).unwrap();
        assert!(verifier.verify(&token, NOON).is_ok(), "{}", pair.alg);
    }
    assert!(verifier.verify(&mint(&claims(), &secret).unwrap(), NOON).is_ok());
}

#[test]
fn the_wrong_half_of_a_pair_is_named() {
    for pair in pairs() {
        assert_eq!(PublicKey::from_pem(&pair.private).unwrap_err(), KeyError::Private);
        assert_eq!(SigningKey::from_pem(&pair.public).unwrap_err(), KeyError::Public);
    }
    for text in ["", "garbage", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
        assert!(PublicKey::from_pem(text).is_err() && SigningKey::from_pem(text).is_err());
    }
    assert!(!format!("{:?}", SigningKey::from_pem(&pairs()[0].private).unwrap()).contains("MC4"));
}
