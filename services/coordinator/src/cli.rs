//! The command line: every subcommand, and the flags that all of them share.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{
    attempts, config, demo, dev, drain, healthcheck, migrate, ports, relay, secret, signaling,
    stats, status, token, turn_credentials, version,
};

/// Heads the flags that every command takes.
const GLOBAL: &str = "For every command";

/// Connects programs behind NATs: signaling, STUN and TURN in one binary.
///
/// `coordinator demo` shows all of it on this machine; `coordinator dev` serves it for development.
#[derive(Debug, Parser)]
#[command(
    name = "coordinator",
    version,
    disable_help_subcommand = true,
    after_help = "Exit status: 0 ok, 2 usage or configuration, 3 auth, 4 unreachable, \
                  5 relay though direct was required, 6 peer absent, 70 bug."
)]
pub struct Cli {
    /// Settings file (TOML); flags and environment win over it
    #[arg(long, global = true, help_heading = GLOBAL, env = "P2P_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What to log on stderr: error, warn, info, debug, trace, or parts like p2p_relay=debug
    #[arg(long, global = true, help_heading = GLOBAL, env = "P2P_LOG", value_name = "FILTER")]
    pub log: Option<String>,

    /// How to log: auto (text on a terminal, JSON elsewhere), text or json
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        env = "P2P_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "auto",
        hide_default_value = true
    )]
    pub log_format: p2p_telemetry::LogFormat,

    /// What to do
    #[command(subcommand)]
    pub command: Verb,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Connect two peers on this machine, directly and through the relay, and show how it went
    Demo(demo::Args),
    /// Serve every role in one process for development: loopback only, keys of this run
    Dev(dev::Args),
    /// Serve signaling: WebSocket, HTTP API, statistics
    Signaling(Box<signaling::Args>),
    /// Serve STUN and TURN over UDP, TCP and TLS
    Relay(Box<relay::Args>),
    /// Bring the schema of the statistics database up to date
    Migrate(migrate::Args),
    /// Show what became of connection attempts, and between which networks
    Stats(stats::Args),
    /// List connection attempts, or tell one's whole story
    Attempts(attempts::Args),
    /// Make a secret for --jwt-secret-file or --turn-secret-file
    Secret(secret::Args),
    /// Mint a token for a peer
    Token(token::Args),
    /// Mint a TURN username and password
    TurnCredentials(turn_credentials::Args),
    /// Ask a running service whether it is ready
    Healthcheck(healthcheck::Args),
    /// Show what running services are doing
    Status(status::Args),
    /// Send a running service's clients elsewhere and end it
    Drain(drain::Args),
    /// List the ports to open
    Ports(ports::Args),
    /// Show or check the settings
    Config(config::Args),
    /// Show the version
    Version(version::Args),
}
