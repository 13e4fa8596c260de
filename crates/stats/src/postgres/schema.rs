//! The schema: bringing it up to date, and telling whether it is.

use std::collections::BTreeSet;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};

use super::{at_connect, options};
use crate::error::StatsError;

/// The migrations of this version, in order.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/postgres");

const HAS_MIGRATIONS: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS there";

const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success";

const SERVES: &str = "SELECT oldest FROM schema_serves";

/// Every statement here.
pub(super) fn statements() -> Vec<&'static str> {
    vec![HAS_MIGRATIONS, APPLIED, SERVES]
}

/// A migration that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub version: i64,
    /// What it brings.
    pub description: String,
}

/// Brings the schema of a database up to date and says what that took: nothing, where it was.
/// Several may do so at once: an advisory lock of the server lets one after the other in. A schema of a
/// newer version that serves this one stays as it is.
///
/// # Errors
/// A URL that is none, a server that does not answer, a schema of a newer version, and a database
/// whose user may not make tables.
pub async fn migrate(url: &str) -> Result<Vec<Applied>, StatsError> {
    let mut connection = options(url)?.connect().await.map_err(at_connect)?;
    let before = applied(&mut connection).await?;
    if is_newer(&before) && check(&mut connection).await.is_ok() {
        return Ok(Vec::new());
    }
    // `run` does the same; its future is not `Send` with a connection borrowed from here.
    MIGRATIONS.run_direct(None, &mut connection, false).await?;
    // The lock is the session's: where the run failed, it ends when the connection is dropped.
    connection.close().await?;
    let new = MIGRATIONS.iter().filter(|migration| !before.contains(&migration.version));
    Ok(new
        .map(|new| Applied { version: new.version, description: new.description.to_string() })
        .collect())
}

/// Succeeds where the schema is the one of this version, or a newer one that serves it: instances of
/// this version live through the time in which others are newer, and through the way back.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), StatsError> {
    let applied = applied(connection).await?;
    let known = MIGRATIONS.iter().count();
    let missing = MIGRATIONS.iter().filter(|one| !applied.contains(&one.version)).count();
    if missing > 0 && !is_newer(&applied) {
        return Err(StatsError::Unmigrated { missing, known });
    }
    let (Some(newest), Some(own)) = (applied.last(), MIGRATIONS.iter().map(|m| m.version).max())
    else {
        return Ok(());
    };
    if *newest > own {
        let oldest: i64 = sqlx::query(SERVES).fetch_one(connection).await?.try_get("oldest")?;
        if missing > 0 || oldest > own {
            return Err(MigrateError::VersionMissing(*newest).into());
        }
        tracing::info!(newest, own, "the schema is newer, and serves this version");
    }
    Ok(())
}

/// Whether there are migrations that this version does not know.
fn is_newer(applied: &BTreeSet<i64>) -> bool {
    applied.iter().any(|version| !MIGRATIONS.version_exists(*version))
}

/// The migrations that the database has.
async fn applied(connection: &mut PgConnection) -> Result<BTreeSet<i64>, StatsError> {
    if !sqlx::query(HAS_MIGRATIONS)
        .fetch_one(&mut *connection)
        .await?
        .try_get::<bool, _>("there")?
    {
        return Ok(BTreeSet::new());
    }
    let rows = sqlx::query(APPLIED).fetch_all(connection).await?;
    Ok(rows.iter().map(|row| row.try_get("version")).collect::<Result<_, _>>()?)
}
