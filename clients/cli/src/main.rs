//! The `p2p` command: every verb has a file, and this one is their table of contents.
#![allow(
    unreachable_pub,
    reason = "a binary has no outside: `pub` means visible to the other files"
)]

mod bench;
mod connect;
mod failure;
mod forward;
mod listen;
mod netcheck;
mod paths;
mod ping;
mod pipe;
mod progress;
mod reach;
mod recv;
mod send;
mod session;
mod talk;
mod token;
mod transfer;
mod units;

use std::error::Error as _;
use std::io::IsTerminal as _;
use std::num::ParseIntError;
use std::process::ExitCode;

use clap::builder::{BoolishValueParser, Resettable};
use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Connects to peers behind NATs: directly where the networks allow it, through a relay elsewhere
#[derive(Debug, Parser)]
#[command(
    name = "p2p",
    version,
    disable_help_subcommand = true,
    after_help = "Data goes to stdout, everything else to stderr.\n\
                  Exit status: 0 ok, 2 usage, 3 auth, 4 unreachable, 5 relay though direct was \
                  required, 6 peer absent, 70 bug, 130 interrupted."
)]
struct Cli {
    /// What to log on stderr: error, warn, info, debug, trace, or parts like p2p_client=debug
    #[arg(long, global = true, env = "P2P_LOG", value_name = "FILTER")]
    log: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what this network is, what works, and what would help
    Netcheck(netcheck::Args),
    /// Wait for peers: pipe stdin and stdout, or forward each stream to HOST:PORT
    Listen(listen::Args),
    /// Pipe stdin and stdout to a peer
    Connect(connect::Args),
    /// Listen on a TCP port that leads to what a peer's `listen --to` names
    Forward(forward::Args),
    /// Send a file to a peer that runs `recv`
    Send(send::Args),
    /// Receive files into a folder
    Recv(recv::Args),
    /// Show path and round trip to a peer
    Ping(ping::Args),
    /// Measure throughput and latency to a peer that runs `listen`
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let matches = with_variables(Cli::command()).try_get_matches();
    let matches = matches.unwrap_or_else(|error| for_people(error).exit());
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let Err(failure) = start_log(cli.log.as_deref()) {
        return failure.report(false);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::bug(format!("no runtime: {error}")).report(false),
    };
    let (ended, json) = runtime.block_on(async {
        match &cli.verb {
            Verb::Netcheck(args) => (netcheck::run(args).await, args.json),
            Verb::Listen(args) => (listen::run(args).await, args.session.json),
            Verb::Connect(args) => (connect::run(args).await, args.session.json),
            Verb::Forward(args) => (forward::run(args).await, args.session.json),
            Verb::Send(args) => (send::run(args).await, args.session.json),
            Verb::Recv(args) => (recv::run(args).await, args.session.json),
            Verb::Ping(args) => (ping::run(args).await, args.session.json),
            Verb::Bench(args) => (bench::run(args).await, args.session.json),
        }
    });
    // A read of stdin that nobody will answer must not keep the program.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

/// Values of variables are never shown in help: some are secrets. Deployments write `P2P_X: ""` for
/// "not set", and `P2P_X: 1` for a flag that takes no value.
fn with_variables(command: Command) -> Command {
    let set = |arg: Arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        let arg = match arg.get_action() {
            ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
            _ => arg,
        };
        if value.is_some_and(|value| value.is_empty()) {
            arg.env(Resettable::Reset)
        } else {
            arg.hide_env_values(true)
        }
    };
    command.mut_args(set).mut_subcommands(|verb| verb.mut_args(set))
}

/// The same error, where its cause is told in the words of the standard library, in others.
fn for_people(error: clap::Error) -> clap::Error {
    if !error.source().is_some_and(|source| source.is::<ParseIntError>()) {
        return error;
    }
    let part = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let (value, flag) = (part(ContextKind::InvalidValue), part(ContextKind::InvalidArg));
    let text = format!(
        "invalid value '{value}' for '{flag}': it is no whole number, or one that is too large\n\n\
         For more information, try '--help'.\n"
    );
    clap::Error::raw(ErrorKind::ValueValidation, text)
}

/// The program says what a person should know by itself; the log is for looking inside.
fn start_log(filter: Option<&str>) -> Result<(), Failure> {
    let filter = filter.map(str::trim).filter(|filter| !filter.is_empty()).unwrap_or("error");
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::usage(
            format!("the log filter {filter:?} is not understood: {error}"),
            "use a level (error, warn, info, debug, trace) or `crate=level` parts",
        )
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        with_variables(Cli::command()).debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable_and_the_secret_one_a_file_as_its_twin() {
        let mut command = Cli::command();
        command.build();
        let mut flags = 0;
        for verb in std::iter::once(&command).chain(command.get_subcommands()) {
            for arg in verb.get_arguments() {
                let Some(flag) = arg.get_long() else { continue };
                // What only one run is about.
                if ["help", "version"].contains(&flag) {
                    continue;
                }
                flags += 1;
                let name = arg.get_env().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
                assert!(name.starts_with("P2P_"), "{} --{flag}: {name:?}", verb.get_name());
                let has = |flag: &str| verb.get_arguments().any(|arg| arg.get_long() == Some(flag));
                assert!(flag != "token" || has("token-file"), "{}", verb.get_name());
            }
        }
        assert!(flags > 50, "all verbs were looked at");
    }
}
