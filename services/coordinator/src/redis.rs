//! The flags that name the Redis through which instances share who is where. Its URL may hold a
//! password, so it is a secret.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use p2p_registry::{
    MemoryRegistry, RedisRegistry, RedisSettings, Registry, RelayDirectory, RelayLease, Settings,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;
use tracing::warn;

use crate::failure::Failure;
use crate::settings::url_password;

/// How long a start waits for Redis. The instance serves without it, too, only alone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which Redis.
#[derive(Debug, clap::Args)]
pub struct RedisArgs {
    /// Redis 7 or Valkey that all share: redis://USER:PASSWORD@HOST:6379; without it an instance
    /// of signaling is the only one, and a relay is known to whom it is named
    #[arg(long, value_name = "URL", env = "P2P_REDIS_URL", hide_env_values = true)]
    redis: Option<SecretString>,
    /// File with that URL
    #[arg(long, value_name = "FILE", env = "P2P_REDIS_URL_FILE")]
    redis_file: Option<PathBuf>,
    /// The password that belongs into that URL, where the URL has none
    #[arg(long, value_name = "PASSWORD", env = "P2P_REDIS_PASSWORD", hide_env_values = true)]
    redis_password: Option<SecretString>,
    /// File with that password
    #[arg(long, value_name = "FILE", env = "P2P_REDIS_PASSWORD_FILE")]
    redis_password_file: Option<PathBuf>,
}

/// The Redis that the settings name, if they name one.
pub fn settings(matches: &ArgMatches) -> Result<Option<RedisSettings>, Failure> {
    let url = url_password::url(matches, "redis", false)?;
    Ok(url.map(|url| RedisSettings::new(url.expose_secret())))
}

/// The relays that register themselves there.
pub fn relay_directory(matches: &ArgMatches) -> Result<Option<Arc<RelayDirectory>>, Failure> {
    let settings = settings(matches)?;
    settings.map(|settings| RelayDirectory::start(settings).map_err(|_| not_a_url())).transpose()
}

/// The entry that a relay keeps there.
pub fn relay_lease(matches: &ArgMatches) -> Result<Option<RelayLease>, Failure> {
    let settings = settings(matches)?;
    settings.map(|settings| RelayLease::new(settings).map_err(|_| not_a_url())).transpose()
}

fn not_a_url() -> Failure {
    Failure::usage(
        "the URL of Redis is not one",
        "write it as redis://HOST:6379, redis://USER:PASSWORD@HOST:6379/0 or redis+unix:///PATH",
    )
}

/// The URL, where one is given.
pub fn url(matches: &ArgMatches) -> Result<Option<SecretString>, Failure> {
    url_password::url(matches, "redis", false)
}

/// The registry that the settings ask for.
pub async fn registry(matches: &ArgMatches) -> Result<Arc<dyn Registry>, Failure> {
    let Some(settings) = settings(matches)? else {
        return Ok(MemoryRegistry::start(Settings::default()));
    };
    let registry = RedisRegistry::start(Settings::default(), settings).map_err(|_| not_a_url())?;
    if timeout(PATIENCE, registry.connected()).await.is_err() {
        warn!(trouble = registry.trouble(), "Redis does not answer yet");
    }
    Ok(registry)
}
