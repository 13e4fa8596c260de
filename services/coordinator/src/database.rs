//! The flags that name a PostgreSQL database. Its URL holds a password, so it is a secret.

use std::path::PathBuf;

use clap::ArgMatches;
use p2p_stats::StatsError;
use secrecy::SecretString;

use crate::failure::{Failure, exit};
use crate::settings::url_password;

/// Which database.
#[derive(Debug, clap::Args)]
pub struct DatabaseArgs {
    /// PostgreSQL database for statistics, 15 or newer: postgres://USER:PASSWORD@HOST:5432/DATABASE
    #[arg(long, value_name = "URL", env = "P2P_DATABASE_URL", hide_env_values = true)]
    database: Option<SecretString>,
    /// File with that URL
    #[arg(long, value_name = "FILE", env = "P2P_DATABASE_URL_FILE")]
    database_file: Option<PathBuf>,
    /// The password that belongs into that URL, where the URL has none
    #[arg(long, value_name = "PASSWORD", env = "P2P_DATABASE_PASSWORD", hide_env_values = true)]
    database_password: Option<SecretString>,
    /// File with that password
    #[arg(long, value_name = "FILE", env = "P2P_DATABASE_PASSWORD_FILE")]
    database_password_file: Option<PathBuf>,
}

/// The URL, where one is given.
pub fn url(matches: &ArgMatches) -> Result<Option<SecretString>, Failure> {
    url_password::url(matches, "database", true)
}

/// The store's errors in the words of this program.
pub fn failure(error: &StatsError) -> Failure {
    let status = if error.is_away() { exit::UNREACHABLE } else { exit::USAGE };
    Failure::new(error.code(), status, error.to_string(), error.fix())
}
