//! Tokens signed by an issuer that publishes its keys, and tokens that follow one another within a
//! session.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p2p_auth::{Claims, Token, Verifier};
use p2p_signaling::{Jwks, SignalingConfig};
use serde_json::json;

use crate::support::{HANG, World, all_for, now, token};

/// An issuer of tokens: signs with keys that it publishes under names.
struct Issuer {
    served: Arc<Mutex<Option<String>>>,
    fetches: Arc<AtomicU64>,
    url: String,
}

struct IssuerKey {
    kid: &'static str,
    pair: aws_lc_rs::signature::Ed25519KeyPair,
}

impl IssuerKey {
    fn new(kid: &'static str) -> Self {
        let pair = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
        Self { kid, pair }
    }

    fn jwk(&self) -> serde_json::Value {
        use aws_lc_rs::signature::KeyPair as _;
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": self.kid, "x": x })
    }

    fn sign(&self, claims: &Claims) -> Token {
        let header = format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, self.kid);
        let claims = serde_json::to_string(claims).unwrap();
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        Token::new(format!("{signed}.{signature}"))
    }
}

impl Issuer {
    /// Serves nothing until keys are published.
    async fn start() -> Self {
        let served = Arc::new(Mutex::new(None::<String>));
        let fetches = Arc::new(AtomicU64::new(0));
        let (shown, counted) = (served.clone(), fetches.clone());
        let keys = move || async move {
            counted.fetch_add(1, Ordering::Relaxed);
            shown.lock().unwrap().clone().ok_or(StatusCode::SERVICE_UNAVAILABLE)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        tokio::spawn(async move {
            axum::serve(listener, Router::new().route("/jwks.json", get(keys))).await.unwrap();
        });
        Self { served, fetches, url }
    }

    fn publish(&self, keys: &[&IssuerKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        *self.served.lock().unwrap() = Some(json!({ "keys": keys }).to_string());
    }

    fn fall_silent(&self) {
        *self.served.lock().unwrap() = None;
    }

    fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }

    /// An instance that accepts this issuer's tokens and no others.
    async fn instance(&self, floor: Duration) -> World {
        World::with(|config: &mut SignalingConfig| {
            config.verifier = Arc::new(Verifier::default());
            config.jwks = Some(Jwks { floor, ..Jwks::new(self.url.parse().unwrap()) });
        })
        .await
    }
}

async fn knock(world: &World, token: &Token) -> Result<(), (u16, String)> {
    let headers = [("authorization", format!("Bearer {}", token.expose()))];
    match world.open("/v1/ws", &headers).await {
        Ok(_) => Ok(()),
        Err(answer) => Err((answer.status, answer.body)),
    }
}

#[tokio::test]
async fn a_key_that_the_issuer_adds_is_fetched_when_its_first_token_comes() {
    let issuer = Issuer::start().await;
    let (old, new) = (IssuerKey::new("old"), IssuerKey::new("new"));
    issuer.publish(&[&old]);
    let world = issuer.instance(Duration::from_millis(10)).await;
    knock(&world, &old.sign(&all_for("alice"))).await.unwrap();
    issuer.publish(&[&old, &new]);
    // The floor may still hold the first one up.
    let known = async { while knock(&world, &new.sign(&all_for("alice"))).await.is_err() {} };
    tokio::time::timeout(HANG, known).await.expect("the new key is fetched");
    knock(&world, &old.sign(&all_for("alice"))).await.unwrap();
}

#[tokio::test]
async fn made_up_key_names_cost_the_issuer_one_fetch_at_most() {
    let issuer = Issuer::start().await;
    let (known, made_up) = (IssuerKey::new("known"), IssuerKey::new("made-up"));
    issuer.publish(&[&known]);
    let world = issuer.instance(Duration::from_secs(3600)).await;
    knock(&world, &known.sign(&all_for("alice"))).await.unwrap();
    let before = issuer.fetches();
    for _ in 0..20 {
        let (status, body) = knock(&world, &made_up.sign(&all_for("alice"))).await.unwrap_err();
        assert_eq!(status, 401);
        assert!(body.contains("made-up") && body.contains("P2P_JWT_JWKS_URL"), "{body}");
    }
    assert_eq!(issuer.fetches(), before);
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_again_go_on_being_used() {
    let issuer = Issuer::start().await;
    let (known, next) = (IssuerKey::new("known"), IssuerKey::new("next"));
    issuer.publish(&[&known]);
    let world = issuer.instance(Duration::from_millis(10)).await;
    knock(&world, &known.sign(&all_for("alice"))).await.unwrap();
    issuer.fall_silent();
    let fetches = issuer.fetches();
    let asked_in_vain = async {
        while issuer.fetches() == fetches {
            assert_eq!(knock(&world, &next.sign(&all_for("alice"))).await.unwrap_err().0, 401);
        }
    };
    tokio::time::timeout(HANG, asked_in_vain).await.expect("the issuer is asked again");
    knock(&world, &known.sign(&all_for("alice"))).await.unwrap();
}

#[tokio::test]
async fn without_any_keys_clients_are_told_to_come_again() {
    let issuer = Issuer::start().await;
    let world = issuer.instance(Duration::from_secs(3600)).await;
    let key = IssuerKey::new("k");
    let (status, body) = knock(&world, &key.sign(&all_for("alice"))).await.unwrap_err();
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("cannot be fetched"), "{body}");
    // A browser cannot read that: it is let in, and told to try later.
    let token = key.sign(&all_for("alice"));
    let protocols = [("sec-websocket-protocol", format!("p2p.v1, bearer.{}", token.expose()))];
    let mut browser = world.open("/v1/ws", &protocols).await.expect("the upgrade succeeds");
    assert_eq!(browser.closed().await.0, 1013);
}

#[tokio::test]
async fn a_session_outlives_its_first_token_if_a_newer_one_comes() {
    let world = World::start().await;
    let first = Claims { exp: now() + 600, ..all_for("alice") };
    let mut alice = world.client_with(&first, json!({ "type": "hello", "peer": "alice" })).await;
    let left = alice.welcome["token_expires_ms"].as_u64().unwrap();
    assert!(left > 500_000 && left <= 600_000, "{left}");
    let newer = token(&Claims { exp: now() + 7200, rooms: Vec::new(), ..all_for("alice") });
    alice.send(json!({ "type": "refresh", "id": "t1", "token": newer.expose() })).await;
    let refreshed = alice.expect("refreshed").await;
    assert_eq!(refreshed["id"], "t1");
    assert!(refreshed["token_expires_ms"].as_u64().unwrap() > 7_000_000);
    // What the newer token does not allow is not allowed any more.
    alice.send(json!({ "type": "join", "id": "j1", "room": "demo" })).await;
    assert_eq!(alice.expect("error").await["code"], "not_allowed");
}

#[tokio::test]
async fn a_token_for_another_peer_or_app_does_not_refresh_and_the_session_goes_on() {
    let world = World::start().await;
    let mut alice = world.client("alice").await;
    let other_app = all_for("alice").with_app("shop".parse().unwrap());
    let expired = Claims { exp: now() - 600, ..all_for("alice") };
    for (claims, code) in
        [(all_for("bob"), "not_allowed"), (other_app, "not_allowed"), (expired, "token_expired")]
    {
        let token = token(&claims);
        alice.send(json!({ "type": "refresh", "id": "t1", "token": token.expose() })).await;
        let refused = alice.expect("error").await;
        assert_eq!((refused["id"].as_str(), refused["code"].as_str()), (Some("t1"), Some(code)));
        assert!(!refused["fix"].as_str().unwrap().is_empty());
    }
    alice.send(json!({ "type": "join", "id": "j1", "room": "demo" })).await;
    alice.expect("joined").await;
}
