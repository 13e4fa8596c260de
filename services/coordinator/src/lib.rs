//! The server: every role is a subcommand, and this file is their table of contents. The binary is
//! [`main`]; [`embedded`] is the same roles for programs that have them in their own process.
#![allow(
    unreachable_pub,
    reason = "beyond the two public modules, `pub` means visible to the other files"
)]

mod admin;
mod api;
mod attempts;
mod certificate;
mod cli;
mod config;
mod database;
mod demo;
mod dev;
mod drain;
pub mod embedded;
pub mod failure;
mod healthcheck;
mod jwt_key;
mod listening;
mod migrate;
mod open_files;
mod output;
mod ports;
mod probe;
mod redis;
mod registration;
mod relay;
mod secret;
mod settings;
mod signaling;
mod statistics;
mod stats;
mod status;
mod table;
mod token;
mod turn_credentials;
mod version;

use std::process::ExitCode;
use std::time::Duration;

use clap::ArgMatches;
use p2p_telemetry::{logs, traces};

use crate::cli::{Cli, Verb};
use crate::failure::{Failure, exit};
use crate::settings::{NotParsed, SettingsFile};

/// How long the last spans may take to the collector.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// Runs the command line of this process to its end.
pub fn main() -> ExitCode {
    let parsed = match settings::parse(std::env::args_os().collect()) {
        Ok(parsed) => parsed,
        Err(NotParsed::File(failure)) => return failure.report(),
        Err(NotParsed::Clap(error)) => {
            // Help and version go to stdout with 0, usage errors to stderr with 2.
            let shown = error.print();
            return if error.use_stderr() || shown.is_err() {
                ExitCode::from(exit::USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    settings::environment::warn_of_misspelt();
    match run(&parsed.cli, &parsed.matches, parsed.file.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: &Cli, matches: &ArgMatches, file: Option<&SettingsFile>) -> Result<(), Failure> {
    match &cli.command {
        Verb::Demo(args) => with_runtime(cli, "off", demo::run(args)),
        Verb::Dev(args) => with_runtime(cli, "warn", traced("p2p-dev", dev::run(args))),
        Verb::Signaling(args) => {
            with_runtime(cli, "info", traced("p2p-signaling", signaling::run(args, matches)))
        }
        Verb::Relay(args) => with_runtime(cli, "info", relay::run(args, matches)),
        Verb::Migrate(_) => with_runtime(cli, "warn", migrate::run(matches)),
        Verb::Stats(args) => with_runtime(cli, "warn", stats::run(args, matches)),
        Verb::Attempts(args) => with_runtime(cli, "warn", attempts::run(args, matches)),
        Verb::Secret(args) => secret::run(args),
        Verb::Token(args) => token::run(args, matches),
        Verb::TurnCredentials(args) => turn_credentials::run(args, matches),
        Verb::Healthcheck(args) => with_runtime(cli, "warn", healthcheck::run(args)),
        Verb::Status(args) => with_runtime(cli, "warn", status::run(args)),
        Verb::Drain(args) => with_runtime(cli, "warn", drain::run(args)),
        Verb::Ports(args) => ports::run(args),
        Verb::Config(args) => config::run(args, file),
        Verb::Version(args) => {
            version::run(args);
            Ok(())
        }
    }
}

/// Starts logging, at `filter` unless the settings say otherwise, and runs on a Tokio runtime.
fn with_runtime(
    cli: &Cli,
    filter: &str,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    logs::init_with(cli.log_format, cli.log.as_deref().unwrap_or(filter)).map_err(|error| {
        let text = error.to_string();
        let (cause, fix) = text.split_once("; ").unwrap_or((&text, "see --help"));
        Failure::usage(cause, fix)
    })?;
    open_files::allow_many();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::bug(format!("no runtime: {error}")))?;
    runtime.block_on(work)
}

/// Exports the spans of a role where the environment names a collector, the last ones before it
/// ends.
async fn traced(
    service: &str,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let exporting = traces::install(service, version::VERSION).map_err(|error| {
        let text = error.to_string();
        let (cause, fix) = text.split_once("; ").unwrap_or((&text, "see docs/operations"));
        Failure::usage(cause, fix)
    })?;
    let done = work.await;
    if let Some(exporting) = exporting {
        exporting.flush(LAST_SPANS).await;
    }
    done
}
