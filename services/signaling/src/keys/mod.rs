//! The keys that tokens are verified with: those of the settings, and those that the token issuer
//! publishes and rotates.
//!
//! One task fetches, so there is one fetch at a time. A token signed with an unknown key asks for a
//! fetch and waits for it, unless the last one is a moment ago: whoever makes up key names costs the
//! issuer one request in [`Jwks::floor`] and nobody else anything. Keys that cannot be fetched again
//! are used for [`Jwks::stale`].

mod fetch;
mod url;

use std::sync::{Arc, Once};
use std::time::Duration;

use p2p_auth::{Grant, Token, TokenError, Verifier, jwks};
use p2p_telemetry::metrics::SIGNALING_KEY_FETCHES;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

pub use self::url::{BadJwksUrl, JwksUrl};
use crate::config::Jwks;

/// How long to wait before the first fetch is tried again; it doubles up to [`Jwks::floor`].
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// What verifies tokens at this instance.
pub(crate) struct Keys {
    verifier: Arc<Verifier>,
    issuer: Option<Issuer>,
}

/// An issuer that publishes its keys.
struct Issuer {
    jwks: Jwks,
    current: watch::Sender<Current>,
    /// A token came whose key is unknown.
    wanted: Notify,
}

/// What the last fetch has left.
#[derive(Clone)]
struct Current {
    verifier: Arc<Verifier>,
    /// When the keys were fetched; `None` where there are none.
    fetched: Option<Instant>,
    /// How many fetches have ended.
    fetches: u64,
    /// When the next one may begin because of a token.
    again: Instant,
    /// Why the last one failed.
    trouble: Option<String>,
}

impl Keys {
    pub(crate) fn new(verifier: Arc<Verifier>, jwks: Option<Jwks>) -> Self {
        let issuer = jwks.map(|jwks| Issuer {
            jwks,
            current: watch::Sender::new(Current {
                verifier: verifier.clone(),
                fetched: None,
                fetches: 0,
                again: Instant::now(),
                trouble: None,
            }),
            wanted: Notify::new(),
        });
        Self { verifier, issuer }
    }

    /// Says what the bearer may do. Waits for a fetch where a newer key could make a difference.
    pub(crate) async fn verify(&self, token: &Token, now_unix: u64) -> Result<Grant, TokenError> {
        let grant = self.grant_of(token, now_unix).await?;
        if grant.relay_quota().is_some() {
            static SAID: Once = Once::new();
            SAID.call_once(|| {
                warn!(app = %grant.app(), "tokens have `relay_quota`, which no relay heeds");
            });
        }
        Ok(grant)
    }

    async fn grant_of(&self, token: &Token, now_unix: u64) -> Result<Grant, TokenError> {
        let Some(issuer) = &self.issuer else { return self.verifier.verify(token, now_unix) };
        let known = issuer.current.borrow().clone();
        match known.verifier.verify(token, now_unix) {
            Err(error) if error.may_have_a_newer_key() => {
                issuer.fetch_again(&known).await;
                let newer = issuer.current.borrow().clone();
                newer.verifier.verify(token, now_unix).map_err(|error| newer.explain(error))
            }
            answer => answer,
        }
    }

    /// Keeps the issuer's keys fresh. Never returns.
    pub(crate) async fn keep_fresh(&self) {
        match &self.issuer {
            Some(issuer) => issuer.keep_fresh(&self.verifier).await,
            None => std::future::pending().await,
        }
    }
}

impl Current {
    /// Without the issuer's keys nothing can be said about its tokens.
    fn explain(&self, error: TokenError) -> TokenError {
        match (&self.fetched, &self.trouble) {
            (None, trouble) if error.may_have_a_newer_key() => {
                let why = trouble.as_deref().unwrap_or("the first fetch goes on");
                TokenError::KeysUnavailable(why.to_owned())
            }
            _ => error,
        }
    }
}

impl Issuer {
    /// Waits for a fetch that ends after `known`, if one may begin.
    async fn fetch_again(&self, known: &Current) {
        if Instant::now() < known.again {
            return;
        }
        let mut current = self.current.subscribe();
        self.wanted.notify_one();
        let ended = current.wait_for(|current| current.fetches > known.fetches);
        // A fetch that hangs has a deadline of its own; this one is for a task that is gone.
        let _ = timeout(self.jwks.deadline + FIRST_RETRY, ended).await;
    }

    async fn keep_fresh(&self, own: &Verifier) {
        let mut retry = FIRST_RETRY;
        loop {
            let fetched = fetch::get(&self.jwks.url, self.jwks.deadline).await;
            let keys = fetched.and_then(|text| jwks::parse(&text).map_err(|e| e.to_string()));
            let failed = keys.is_err();
            SIGNALING_KEY_FETCHES.with([if failed { "failed" } else { "ok" }]).increment(1);
            self.current.send_modify(|current| {
                current.fetches += 1;
                current.again = Instant::now() + self.jwks.floor;
                match keys {
                    Ok(keys) => {
                        let count = keys.len();
                        if current.fetched.is_none() || current.trouble.is_some() {
                            info!(keys = count, "the token issuer's keys are fetched");
                        }
                        current.verifier = Arc::new(own.clone().with_keys(keys));
                        current.fetched = Some(Instant::now());
                        current.trouble = None;
                    }
                    Err(why) => {
                        if current.trouble.as_ref() != Some(&why) {
                            warn!(%why, "the token issuer's keys cannot be fetched");
                        }
                        current.trouble = Some(why);
                        // Before there are keys every token may ask for a fetch.
                        if current.fetched.is_none() {
                            current.again = Instant::now() + retry;
                        }
                        if current.fetched.is_some_and(|at| at.elapsed() > self.jwks.stale) {
                            warn!("the token issuer's keys are too old to be used any longer");
                            current.verifier = Arc::new(own.clone());
                            current.fetched = None;
                        }
                    }
                }
            });
            let pause = if failed { retry } else { self.jwks.floor };
            retry = if failed { (retry * 2).min(self.jwks.floor) } else { FIRST_RETRY };
            sleep(pause).await;
            if !failed {
                let rest = self.jwks.refresh.saturating_sub(pause);
                let _ = timeout(rest, self.wanted.notified()).await;
            }
        }
    }
}
