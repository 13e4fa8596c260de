//! One `coordinator signaling --redis …` process, and clients of it.

use std::path::PathBuf;
use std::time::Duration;

use p2p_cluster::Redis;
use p2p_cluster::coordinator::{self, Coordinator, metric};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::client::Client;

/// Longer than anything here takes; only a hang reaches it.
pub(crate) const HANG: Duration = Duration::from_secs(30);

pub(crate) struct Instance {
    process: Coordinator,
}

impl Instance {
    pub(crate) async fn start(redis: &Redis) -> Self {
        Self::start_with(redis, &[]).await
    }

    /// One with further flags.
    pub(crate) async fn start_with(redis: &Redis, flags: &[&str]) -> Self {
        Self::start_in(redis, flags, &[]).await
    }

    /// One with more in its environment.
    pub(crate) async fn start_in(
        redis: &Redis,
        flags: &[&str],
        environment: &[(&str, String)],
    ) -> Self {
        let (binary, redis) = (binary(), redis.url());
        let starting = Coordinator::start_in(&binary, &redis, flags, environment, None);
        Self { process: starting.await.unwrap() }
    }

    /// One whose Redis is at this address.
    pub(crate) async fn start_at(redis: &str) -> Self {
        Self { process: Coordinator::start(&binary(), redis, &[], None).await.unwrap() }
    }

    /// SIGKILL: it can say nothing to anybody.
    pub(crate) fn crash(mut self) {
        self.process.kill().unwrap();
    }

    /// SIGTERM, and whether it ended well.
    pub(crate) async fn drain(self) -> bool {
        self.process.drain().await.unwrap()
    }

    pub(crate) async fn client(&self, name: &str) -> Client {
        self.hello(name, json!({ "type": "hello", "peer": name })).await
    }

    /// A client that has said this hello and been welcomed.
    pub(crate) async fn hello(&self, name: &str, hello: Value) -> Client {
        Client::hello(self.address(), name, hello).await.expect("an instance that serves")
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        self.process.address()
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.process.address())
    }

    /// Status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, None).await
    }

    /// The same with a token.
    pub(crate) async fn get_with(&self, path: &str, token: Option<&str>) -> (u16, String) {
        coordinator::get(self.process.address(), path, token).await.unwrap()
    }

    /// The same with any method.
    pub(crate) async fn ask(&self, method: &str, path: &str, token: Option<&str>) -> (u16, String) {
        coordinator::ask(self.process.address(), method, path, token).await.unwrap()
    }

    /// The sum of the series of a metric that have all these labels (`name="value"`).
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        metric(&self.get("/metrics").await.1, name, labels)
    }

    /// Waits until that sum is as it should be.
    pub(crate) async fn until_metric(
        &self,
        name: &str,
        labels: &[&str],
        is: impl Fn(f64) -> bool,
    ) -> f64 {
        let asking = async {
            loop {
                let value = self.metric(name, labels).await;
                if is(value) {
                    return value;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(HANG, asking).await.unwrap_or_else(|_| panic!("{name} {labels:?} stays wrong"))
    }

    /// Waits until `/readyz` says this of the registry.
    pub(crate) async fn registry_is(&self, state: &str) {
        let wanted = format!("registry: {state}\n");
        let asking = async {
            loop {
                let (status, body) = self.get("/readyz").await;
                assert_eq!(status, 200, "{body}");
                if body.contains(&wanted) {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(HANG, asking).await.unwrap_or_else(|_| panic!("the registry is not {state}"));
    }
}

pub(crate) fn token(name: &str) -> String {
    coordinator::token(name).unwrap()
}

pub(crate) fn binary() -> PathBuf {
    coordinator::binary().unwrap()
}
