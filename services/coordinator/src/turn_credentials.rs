//! `coordinator turn-credentials`: a username and password for the relay, for clients that do not
//! come through signaling.

use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use p2p_auth::turn_rest::TurnSecrets;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::failure::Failure;
use crate::output::{data, say};
use crate::settings::{duration, secret};
use crate::token::unix_now;

/// Mint a TURN username and password
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose usage it is
    #[arg(long, value_name = "USER", env = "P2P_TURN_CREDENTIALS_USER")]
    user: String,
    /// How long the credential is valid: 90s, 15m, 1h30m, 7d
    #[arg(long, default_value = "1h", value_parser = duration::parse, env = "P2P_TURN_TTL")]
    ttl: Duration,
    /// Where the relay is reached: turn:HOST:PORT, with ?transport=tcp, or turns:HOST:PORT; may be
    /// repeated
    #[arg(
        long = "relay",
        value_name = "turn:HOST:PORT",
        env = "P2P_RELAYS",
        value_delimiter = ',',
        value_parser = crate::settings::address::turn_uri,
        default_value = "turn:127.0.0.1:3478"
    )]
    relays: Vec<String>,
    /// Secret shared with the relay
    #[arg(long, value_name = "SECRET", env = "P2P_TURN_SECRET")]
    turn_secret: Option<SecretString>,
    /// File with that secret
    #[arg(long, value_name = "FILE", env = "P2P_TURN_SECRET_FILE")]
    turn_secret_file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long, env = "P2P_JSON")]
    json: bool,
}

/// Mints and prints.
pub fn run(args: &Args, matches: &ArgMatches) -> Result<(), Failure> {
    let user = args.user.trim();
    if user.is_empty() || user.len() > 128 || user.chars().any(char::is_control) {
        return Err(Failure::usage(
            "--user is empty, longer than 128 bytes or not printable",
            "name the user whose usage it is, for example --user alice",
        ));
    }
    let secrets = TurnSecrets::new(secret::require(matches, "turn-secret")?);
    let minted = secrets
        .mint(user, unix_now(), args.ttl)
        .map_err(|error| Failure::usage(error.to_string(), "pass --turn-secret-file FILE"))?;
    let password = minted.password.expose_secret();
    if args.json {
        let ttl = args.ttl.as_secs();
        let uris = &args.relays;
        data(
            json!({ "username": minted.username, "password": password, "ttl": ttl, "uris": uris }),
        );
    } else {
        data(format_args!("username  {}", minted.username));
        data(format_args!("password  {password}"));
        data(format_args!("uris      {}", args.relays.join(" ")));
        say(format_args!("valid for {}", duration::show(args.ttl)));
    }
    Ok(())
}
