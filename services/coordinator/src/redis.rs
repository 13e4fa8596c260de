//! The flags that name the Redis through which instances share who is where. Its URL may hold a
//! password, so it is a secret.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use p2p_redis::{FORMS, Redis, with_parameter};
use p2p_registry::{
    MemoryRegistry, RedisRegistry, RedisSettings, RedisTickets, Registry, RegistryError,
    RelayDirectory, RelayLease, Settings, TicketBox,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;
use tracing::warn;

use crate::failure::Failure;
use crate::settings::{secret, url_password};

/// How long a start waits for Redis. The instance serves without it, too, only alone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which Redis.
#[derive(Debug, clap::Args)]
pub struct RedisArgs {
    /// Redis 7 or Valkey that all share: redis://USER:PASSWORD@HOST:6379, rediss:// for TLS,
    /// redis+sentinel://HOST:26379,HOST:26379/SERVICE or redis+cluster://HOST:6379,HOST:6379;
    /// without it an instance of signaling is the only one, and a relay is known to whom it is
    /// named
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
    /// The password of the Sentinels, where they have one: the nodes' is not theirs
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "P2P_REDIS_SENTINEL_PASSWORD",
        hide_env_values = true
    )]
    redis_sentinel_password: Option<SecretString>,
    /// File with that password
    #[arg(long, value_name = "FILE", env = "P2P_REDIS_SENTINEL_PASSWORD_FILE")]
    redis_sentinel_password_file: Option<PathBuf>,
    /// Certificates (PEM) of the authority that Redis' own are of; without it, the usual public ones
    /// are trusted
    #[arg(long, value_name = "FILE", env = "P2P_REDIS_CA_FILE")]
    redis_ca_file: Option<PathBuf>,
    /// Certificate (PEM) to show to Redis, where it asks for one
    #[arg(long, value_name = "FILE", env = "P2P_REDIS_CERT_FILE", requires = "redis_key_file")]
    redis_cert_file: Option<PathBuf>,
    /// The key of that certificate (PEM)
    #[arg(long, value_name = "FILE", env = "P2P_REDIS_KEY_FILE", requires = "redis_cert_file")]
    redis_key_file: Option<PathBuf>,
}

/// The Redis that the settings name, if they name one.
pub fn settings(matches: &ArgMatches) -> Result<Option<RedisSettings>, Failure> {
    let url = url(matches)?;
    Ok(url.map(|url| RedisSettings::new(url.expose_secret())))
}

/// The relays that register themselves there.
pub fn relay_directory(matches: &ArgMatches) -> Result<Option<Arc<RelayDirectory>>, Failure> {
    let settings = settings(matches)?;
    settings
        .map(|settings| RelayDirectory::start(settings).map_err(|error| unusable(&error)))
        .transpose()
}

/// The tickets that all instances there take.
pub fn tickets(matches: &ArgMatches) -> Result<Option<Arc<dyn TicketBox>>, Failure> {
    let Some(settings) = settings(matches)? else { return Ok(None) };
    let tickets = RedisTickets::new(settings).map_err(|error| unusable(&error))?;
    Ok(Some(Arc::new(tickets)))
}

/// The entry that a relay keeps there.
pub fn relay_lease(matches: &ArgMatches) -> Result<Option<RelayLease>, Failure> {
    let settings = settings(matches)?;
    settings.map(|settings| RelayLease::new(settings).map_err(|error| unusable(&error))).transpose()
}

/// What `url` has not found: a file that is gone since.
fn unusable(error: &RegistryError) -> Failure {
    Failure::usage(error.to_string(), format!("write the URL as {FORMS}"))
}

/// The URL, where one is given, with everything in it that came apart from it. It can be used.
pub fn url(matches: &ArgMatches) -> Result<Option<SecretString>, Failure> {
    let url = url_password::url(matches, "redis", false)?;
    let mut parts = Vec::new();
    if let Some(password) = secret::read(matches, "redis-sentinel-password")?.into_iter().next() {
        parts.push(("sentinel_password", password));
    }
    for file in ["ca", "cert", "key"] {
        if let Some(path) = matches.get_one::<PathBuf>(&format!("redis_{file}_file")) {
            let path = path.to_str().ok_or_else(|| {
                let cause = format!("--redis-{file}-file is no text");
                Failure::usage(cause, "give a path in UTF-8")
            })?;
            parts.push((
                match file {
                    "ca" => "ca_file",
                    "cert" => "cert_file",
                    _ => "key_file",
                },
                path.into(),
            ));
        }
    }
    let Some(url) = url else {
        return match parts.first() {
            Some((part, _)) => Err(Failure::usage(
                format!("`{part}` is given for Redis, and no --redis that it belongs to"),
                "pass --redis with a URL",
            )),
            None => Ok(None),
        };
    };
    let whole = parts.iter().fold(url.expose_secret().to_owned(), |url, (name, value)| {
        with_parameter(&url, name, value.expose_secret())
    });
    match Redis::open(&whole) {
        Ok(_) => Ok(Some(whole.into())),
        Err(error) => Err(Failure::usage(error.to_string(), error.fix())),
    }
}

/// The registry that the settings ask for.
pub async fn registry(
    matches: &ArgMatches,
    behaviour: Settings,
) -> Result<Arc<dyn Registry>, Failure> {
    let Some(settings) = settings(matches)? else {
        return Ok(MemoryRegistry::start(behaviour));
    };
    let registry = RedisRegistry::start(behaviour, settings).map_err(|error| unusable(&error))?;
    if timeout(PATIENCE, registry.connected()).await.is_err() {
        warn!(trouble = registry.trouble(), "Redis does not answer yet");
    }
    Ok(registry)
}
