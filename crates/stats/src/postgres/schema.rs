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

/// Every statement here.
pub(super) fn statements() -> Vec<&'static str> {
    vec![HAS_MIGRATIONS, APPLIED]
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
/// Several may do so at once: an advisory lock of the server lets one after the other in.
///
/// # Errors
/// A URL that is none, a server that does not answer, a schema of a newer version, and a database
/// whose user may not make tables.
pub async fn migrate(url: &str) -> Result<Vec<Applied>, StatsError> {
    let mut connection = options(url)?.connect().await.map_err(at_connect)?;
    let before = applied(&mut connection).await?;
    // `run` does the same; its future is not `Send` with a connection borrowed from here.
    MIGRATIONS.run_direct(None, &mut connection, false).await?;
    // The lock is the session's: where the run failed, it ends when the connection is dropped.
    connection.close().await?;
    let new = MIGRATIONS.iter().filter(|migration| !before.contains(&migration.version));
    Ok(new
        .map(|new| Applied { version: new.version, description: new.description.to_string() })
        .collect())
}

/// Succeeds where the schema is the one of this version.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), StatsError> {
    let applied = applied(connection).await?;
    if let Some(newer) = applied.iter().find(|version| !MIGRATIONS.version_exists(**version)) {
        return Err(MigrateError::VersionMissing(*newer).into());
    }
    let known = MIGRATIONS.iter().count();
    match known - applied.len() {
        0 => Ok(()),
        missing => Err(StatsError::Unmigrated { missing, known }),
    }
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
