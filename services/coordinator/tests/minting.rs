//! `token` and `turn-credentials`: what they print is what the services accept.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use p2p_auth::turn_rest::TurnSecrets;
use p2p_auth::{PublicKey, Scope, SigningSecret, Token, Verifier};
use secrecy::ExposeSecret as _;
use support::{private_file, run, text};

const SECRET: &str = "0123456789-0123456789-0123456789-north";

#[test]
fn a_minted_token_verifies_and_says_what_was_asked() {
    let minted = run([
        "token",
        "--peer",
        "alice",
        "--room",
        "demo",
        "--room",
        "team-*",
        "--ttl",
        "90s",
        "--app",
        "shop",
        "--scope",
        "connect",
        "--scope",
        "admin",
        "--jwt-secret",
        SECRET,
    ]);
    let verifier = Verifier::hs256([SigningSecret::new(SECRET).unwrap()]);
    let grant = verifier.verify(&Token::new(minted.data()), now()).unwrap();
    assert!(grant.may_be(&"alice".parse().unwrap()) && !grant.may_be(&"bob".parse().unwrap()));
    assert!(grant.may_join(&"team-7".parse().unwrap()) && !grant.may_join(&"x".parse().unwrap()));
    assert!(grant.may(Scope::Admin) && !grant.may(Scope::Relay));
    assert_eq!(grant.app().as_str(), "shop");
    assert_eq!(grant.statistics_of(), Some(grant.app()));
    assert!(grant.expires_unix() <= now() + 90 && grant.expires_unix() > now() + 30);
}

#[test]
fn a_token_of_no_app_is_asked_for_by_name() {
    let verifier = Verifier::hs256([SigningSecret::new(SECRET).unwrap()]);
    let mint = |more: &[&str]| {
        let mut args = vec!["token", "--peer", "operator", "--scope", "admin"];
        args.extend(["--jwt-secret", SECRET]);
        args.extend(more);
        verifier.verify(&Token::new(run(args).data()), now()).unwrap()
    };
    let (one, all) = (mint(&[]), mint(&["--all-apps"]));
    assert_eq!(one.statistics_of().map(|app| app.as_str()), Some("default"));
    assert_eq!((all.statistics_of(), all.app().as_str()), (None, "default"));
}

#[test]
fn after_a_rotation_the_first_line_of_the_file_signs() {
    let dir = tempfile::tempdir().unwrap();
    let old = "old-0123456789-0123456789-0123456789";
    let file = private_file(dir.path(), "jwt", &format!("{SECRET}\n{old}\n"));
    let minted = run(["token", "--peer", "a", "--jwt-secret-file", text(&file)]);
    let verify = |secret| {
        let verifier = Verifier::hs256([SigningSecret::new(secret).unwrap()]);
        verifier.verify(&Token::new(minted.data()), now()).is_ok()
    };
    assert!(verify(SECRET) && !verify(old));
}

#[test]
fn a_short_secret_is_refused_with_a_way_to_make_one() {
    run(["token", "--peer", "a", "--jwt-secret", "hunter2"])
        .failed_with(2, &["7 bytes", "at least 32", "coordinator secret"]);
}

#[test]
fn a_duration_that_is_none_is_refused_with_examples() {
    for ttl in ["soon", "0", "-5s", "1y"] {
        run(["token", "--peer", "a", "--jwt-secret", SECRET, &format!("--ttl={ttl}")])
            .failed_with(2, &["for example"]);
    }
    run(["token", "--peer", "a", "--jwt-secret", SECRET, "--ttl", "1000d"])
        .failed_with(2, &["longer than a year", "fix:"]);
}

#[test]
fn a_peer_or_scope_that_cannot_be_is_refused() {
    run(["token", "--peer", "a/b", "--jwt-secret", SECRET]).failed_with(2, &["'/'"]);
    run(["token", "--peer", "a", "--scope", "root", "--jwt-secret", SECRET])
        .failed_with(2, &["connect, discover, relay, admin"]);
}

#[test]
fn turn_credentials_are_what_a_relay_with_the_secret_computes() {
    let minted = run([
        "turn-credentials",
        "--user",
        "alice",
        "--ttl",
        "10m",
        "--turn-secret",
        "north",
        "--relay",
        "relay.example.org",
        "--json",
    ])
    .json();
    let username = minted["username"].as_str().unwrap();
    assert!(username.ends_with(":alice"));
    let secrets = TurnSecrets::from(secrecy::SecretString::from("north"));
    let expected = secrets.passwords_for(username, now()).unwrap();
    assert_eq!(minted["password"], expected[0].expose_secret());
    assert_eq!(minted["uris"][0], "turn:relay.example.org:3478");
    assert_eq!(minted["ttl"], 600);
}

#[test]
fn a_made_secret_signs_is_private_and_never_replaces_another() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwt.txt");
    run(["secret", text(&file)]);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let minted = run(["token", "--peer", "a", "--jwt-secret-file", text(&file)]);
    assert!(minted.code == 0 && !minted.stderr.contains("warning"), "{minted:?}");
    let secret = std::fs::read(&file).unwrap();
    run(["secret", text(&file)]).failed_with(2, &["exists", "fix:"]);
    assert_eq!(std::fs::read(&file).unwrap(), secret);
    assert_ne!(run(["secret"]).data(), run(["secret"]).data());
}

#[test]
fn a_private_key_signs_and_its_public_part_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let public: PublicKeyX509Der<'_> =
        Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap().public_key().as_der().unwrap();
    let private = private_file(dir.path(), "key.pem", &pem("PRIVATE KEY", pair.as_ref()));
    let public = pem("PUBLIC KEY", public.as_ref());
    let minted = run(["token", "--peer", "alice", "--jwt-key", text(&private)]);
    let verifier = Verifier::default().with_keys(PublicKey::from_pem(&public).unwrap());
    let grant = verifier.verify(&Token::new(minted.data()), now()).unwrap();
    assert!(grant.may_be(&"alice".parse().unwrap()));

    let public = private_file(dir.path(), "public.pem", &public);
    run(["token", "--peer", "a", "--jwt-key", text(&public)])
        .failed_with(2, &["public.pem", "private one", "fix:"]);
    run(["token", "--peer", "a", "--jwt-key", text(&private), "--jwt-secret", SECRET])
        .failed_with(2, &["both given", "fix:"]);
    run(["token", "--peer", "a", "--jwt-secret-file", text(&private)])
        .failed_with(2, &["--jwt-key", "fix:"]);
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

#[test]
fn without_a_secret_nothing_is_minted() {
    run(["turn-credentials", "--user", "a"]).failed_with(2, &["no turn-secret", "fix:"]);
    run(["token", "--peer", "a"]).failed_with(2, &["no jwt-secret", "fix:"]);
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_secret_that_exists_is_kept_and_the_missing_ones_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("jwt"), dir.path().join("turn"));
    run(["secret", text(&first)]).data();
    let before = std::fs::read_to_string(&first).unwrap();
    run(["secret", text(&first)]).failed_with(2, &["File exists", "--keep"]);

    run(["secret", "--keep", "--for-group", text(&first), text(&second)]).data();
    assert_eq!(std::fs::read_to_string(&first).unwrap(), before);
    assert_ne!(std::fs::read_to_string(&second).unwrap(), before);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&second).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o640);
    }
}
