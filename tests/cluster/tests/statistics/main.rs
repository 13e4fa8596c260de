//! Statistics on their way from many processes through Redis into PostgreSQL, with both of them real
//! and everything that can die dying: every event is accounted for.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests panic")]

mod events;
mod kinds;
mod relayed;
#[path = "../../../../crates/stats/tests/behaviour/server.rs"]
#[allow(dead_code, reason = "the store's tests use all of it")]
mod server;
mod writing;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use p2p_cluster::Redis;
use p2p_stats::postgres::migrate;
use p2p_stats::{Filter, PostgresStore, Recorder, Store as _, Stream, StreamSettings};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::server::Server;

/// Longer than anything here takes; only a hang reaches it.
const HANG: Duration = Duration::from_secs(120);

/// What the tests share: a Redis, a database with the schema, and a store to look into it.
struct World {
    redis: Redis,
    server: Server,
    url: String,
    store: Arc<PostgresStore>,
}

impl World {
    /// `None` where PostgreSQL is not installed, which fails in CI.
    async fn start() -> Option<Self> {
        let server = Server::start()?;
        let url = server.database();
        migrate(&url).await.unwrap();
        let store = Arc::new(PostgresStore::open(&url, None).await.unwrap());
        Some(Self { redis: Redis::start().await.unwrap(), server, url, store })
    }

    fn stream(&self, cap: usize) -> Arc<Stream> {
        let settings = StreamSettings { cap, ..StreamSettings::default() };
        Stream::new(&self.redis.url(), settings).unwrap()
    }

    fn recorder(&self, stream: &Arc<Stream>) -> Recorder {
        Recorder::to_stream(stream.clone(), 50_000)
    }

    /// A signaling instance, which writes from the stream.
    fn instance(&self) -> Instance {
        Instance::start(&self.redis.url(), &self.url)
    }

    /// Attempts, sessions and allocations that the database has.
    async fn stored(&self) -> [u64; 3] {
        let all = Filter::default();
        let usage = self.store.usage(&all).await.unwrap();
        let allocations = usage.relays.iter().map(|relay| relay.allocations).sum();
        [self.store.summary(&all).await.unwrap().attempts, usage.sessions.opened, allocations]
    }
}

/// Waits until nothing waits in the stream.
async fn drained(stream: &Stream) {
    let emptying = async {
        while stream.state().await.unwrap().waiting > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(HANG, emptying).await.expect("the stream empties");
}

/// A `coordinator signaling` process.
struct Instance {
    process: Child,
    _data: TempDir,
}

impl Instance {
    fn start(redis: &str, database: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let test = std::env::current_exe().unwrap();
        let binary = test.parent().and_then(|deps| deps.parent()).unwrap().join("coordinator");
        assert!(binary.exists(), "{} is missing: `cargo build` makes it", binary.display());
        let process = Command::new(binary)
            .args(["signaling", "--listen", "127.0.0.1:0", "--redis", redis])
            .args(["--database", database, "--jwt-secret", "a secret that is long enough for it"])
            .arg("--data")
            .arg(data.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, _data: data }
    }
}

impl Drop for Instance {
    /// SIGKILL: it can say nothing to anybody.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
