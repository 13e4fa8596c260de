//! `coordinator migrate`: brings the schema of a database up to date, before the first instance of a
//! version. Several at once wait for each other.

use clap::ArgMatches;
use p2p_stats::postgres;
use secrecy::ExposeSecret as _;

use crate::database::{self, DatabaseArgs};
use crate::failure::Failure;

/// Bring the schema of the statistics database up to date
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Migrates and says what that took.
pub async fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Some(url) = database::url(matches)? else {
        return Err(Failure::usage(
            "no database: neither --database-file, --database nor P2P_DATABASE_URL is set",
            "pass --database postgres://USER:PASSWORD@HOST:5432/DATABASE",
        ));
    };
    let applied =
        postgres::migrate(url.expose_secret()).await.map_err(|error| database::failure(&error))?;
    for migration in &applied {
        println!("applied {}: {}", migration.version, migration.description);
    }
    let version = postgres::MIGRATIONS.iter().map(|migration| migration.version).max();
    println!("the schema is at version {}", version.unwrap_or_default());
    Ok(())
}
