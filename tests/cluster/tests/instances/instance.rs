//! One `coordinator signaling --redis …` process.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_auth::{Claims, Scope, SigningSecret, mint};
use p2p_cluster::Redis;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::client::Client;

/// Longer than anything here takes; only a hang reaches it.
pub(crate) const HANG: Duration = Duration::from_secs(30);

const SECRET: &str = "a secret of this test that is long enough";

pub(crate) struct Instance {
    process: Child,
    address: String,
    _data: TempDir,
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
        let data = tempfile::tempdir().unwrap();
        let mut process = Command::new(binary())
            .args(["signaling", "--listen", "127.0.0.1:0", "--jwt-secret", SECRET, "--redis"])
            .arg(redis.url())
            .args(flags)
            .arg("--data")
            .arg(data.path())
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (found, address) = oneshot::channel();
        // Its log is of no interest, but a full pipe would stop it.
        std::thread::spawn(move || {
            let mut found = Some(found);
            for line in lines.map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("ready on http://")
                    && let Some(found) = found.take()
                {
                    let _ = found.send(address.to_owned());
                }
            }
        });
        let address = timeout(HANG, address).await.expect("it starts").expect("it serves");
        Self { process, address, _data: data }
    }

    /// SIGKILL: it can say nothing to anybody.
    pub(crate) fn crash(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM, and whether it ended well.
    pub(crate) async fn drain(mut self) -> bool {
        p2p_cluster::signal("-TERM", self.process.id()).unwrap();
        let ended = spawn_blocking(move || self.process.wait().unwrap().success());
        timeout(HANG, ended).await.expect("it ends").unwrap()
    }

    pub(crate) async fn client(&self, name: &str) -> Client {
        self.hello(name, json!({ "type": "hello", "peer": name })).await
    }

    /// A client that has said this hello and been welcomed.
    pub(crate) async fn hello(&self, name: &str, hello: Value) -> Client {
        let mut request = format!("ws://{}/v1/ws", self.address).into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", "p2p.v1".parse().unwrap());
        headers.insert("authorization", format!("Bearer {}", token(name)).parse().unwrap());
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        let mut client = Client::new(socket);
        client.send(hello).await;
        client.welcome = client.expect("welcome").await;
        client
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, None).await
    }

    /// The same with a token.
    pub(crate) async fn get_with(&self, path: &str, token: Option<&str>) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let bearer = bearer.unwrap_or_default();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\n{bearer}Connection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(HANG, stream.read_to_string(&mut answer)).await.expect("an answer").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The sum of the series of a metric that have all these labels (`name="value"`).
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (_, metrics) = self.get("/metrics").await;
        let value = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let of = series.split_once('{').map_or(series, |(of, _)| of);
            let is_it = of == name && labels.iter().all(|label| series.contains(label));
            is_it.then(|| value.parse::<f64>().expect("a number"))
        };
        metrics.lines().filter_map(value).sum()
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

impl Drop for Instance {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn token(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = Claims::new(name.parse().unwrap(), now + 3600)
        .with_rooms(["*".parse().unwrap()])
        .with_scopes(Scope::ALL);
    mint(&claims, &SigningSecret::new(SECRET).unwrap()).unwrap().expose().to_owned()
}

/// Beside the folder of the test's own binary.
pub(crate) fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(|deps| deps.parent()).unwrap();
    let binary = folder.join("coordinator");
    assert!(binary.exists(), "{} is missing: `cargo build` makes it", binary.display());
    binary
}
