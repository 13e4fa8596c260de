//! `coordinator token`: a JWT for a peer, on stdout.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::ArgMatches;
use p2p_auth::{Claims, Pattern, Scope, SecretError, SigningSecret, Token, mint};
use p2p_wire::AppId;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::failure::Failure;
use crate::jwt_key;
use crate::output::{data, say};
use crate::settings::{duration, secret};

/// Longest life of a token: what cannot be revoked should end.
const MAX_TTL: Duration = Duration::from_secs(366 * 86_400);

/// Mint a token for a peer
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Peer id that the bearer may use, or a prefix followed by *
    #[arg(long, value_name = "ID", env = "P2P_TOKEN_PEER")]
    peer: Pattern,
    /// Room that the bearer may use, or a prefix followed by *; may be repeated
    #[arg(long = "room", value_name = "ROOM", env = "P2P_TOKEN_ROOMS", value_delimiter = ',')]
    rooms: Vec<Pattern>,
    /// How long the token is valid: 90s, 15m, 1h30m, 7d
    #[arg(long, default_value = "1h", value_parser = duration::parse, env = "P2P_TOKEN_TTL")]
    ttl: Duration,
    /// Tenant
    #[arg(long, default_value = "default", env = "P2P_TOKEN_APP")]
    app: AppId,
    /// Name no tenant: the bearer is of `default`, and with --scope admin reads the statistics of all
    #[arg(long, conflicts_with = "app", env = "P2P_TOKEN_ALL_APPS")]
    all_apps: bool,
    /// What the bearer may do: connect, relay, discover, admin; may be repeated [default: connect,
    /// relay]
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        env = "P2P_TOKEN_SCOPES",
        value_delimiter = ',',
        value_parser = scope
    )]
    scopes: Vec<Scope>,
    /// Secret shared with the signaling service, 32 bytes or more
    #[arg(long, value_name = "SECRET", env = "P2P_JWT_SECRET")]
    jwt_secret: Option<SecretString>,
    /// File with that secret
    #[arg(long, value_name = "FILE", env = "P2P_JWT_SECRET_FILE")]
    jwt_secret_file: Option<PathBuf>,
    /// File with a private key in PEM to sign with, in the place of a secret: Ed25519, P-256 or RSA
    #[arg(long, value_name = "FILE", env = "P2P_JWT_KEY")]
    jwt_key: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long, env = "P2P_JSON")]
    json: bool,
}

/// Mints and prints.
pub fn run(args: &Args, matches: &ArgMatches) -> Result<(), Failure> {
    if args.ttl > MAX_TTL {
        return Err(Failure::usage(
            format!("--ttl {} is longer than a year", duration::show(args.ttl)),
            "a token cannot be revoked: give it hours or days, and mint a new one then",
        ));
    }
    if args.app.as_str().contains(':') {
        return Err(Failure::usage(
            format!("--app {} has a colon", args.app),
            "name the app without one: relays know a peer as APP:PEER",
        ));
    }
    let exp = unix_now() + args.ttl.as_secs();
    let mut claims = Claims::new(args.peer.clone(), exp).with_rooms(args.rooms.iter().cloned());
    if !args.all_apps {
        claims = claims.with_app(args.app.clone());
    }
    if !args.scopes.is_empty() {
        claims = claims.with_scopes(args.scopes.iter().copied());
    }
    claims.iat = Some(unix_now());
    let token = match &args.jwt_key {
        Some(path) => {
            if args.jwt_secret.is_some() || args.jwt_secret_file.is_some() {
                return Err(Failure::usage(
                    "--jwt-key and a JWT secret are both given",
                    "keep the one whose other part the signaling service has",
                ));
            }
            jwt_key::signing(path)?.mint(&claims)
        }
        None => mint(&claims, &newest_signing_secret(matches)?),
    };
    let token: Token = token.map_err(|error| Failure::bug(error.to_string()))?;
    if args.json {
        let ttl = args.ttl.as_secs();
        data(json!({ "token": token.expose(), "claims": claims, "ttl": ttl }));
    } else {
        data(token.expose());
        let rooms: Vec<String> = args.rooms.iter().map(ToString::to_string).collect();
        let rooms = if rooms.is_empty() {
            "no rooms".into()
        } else {
            format!("rooms {}", rooms.join(", "))
        };
        say(format_args!(
            "token for {}, {rooms}, valid for {}",
            args.peer,
            duration::show(args.ttl)
        ));
    }
    Ok(())
}

/// Every JWT secret of the settings, newest first, checked for length.
pub fn signing_secrets(matches: &ArgMatches) -> Result<Vec<SigningSecret>, Failure> {
    checked(&secret::require(matches, "jwt-secret")?)
}

/// Like [`signing_secrets`], where there may be none.
pub fn any_signing_secrets(matches: &ArgMatches) -> Result<Vec<SigningSecret>, Failure> {
    checked(&secret::read(matches, "jwt-secret")?)
}

fn checked(secrets: &[SecretString]) -> Result<Vec<SigningSecret>, Failure> {
    let checked = secrets.iter().map(|secret| SigningSecret::new(secret.expose_secret()));
    checked.collect::<Result<_, _>>().map_err(|error| {
        let text = error.to_string();
        // The library's text names its own way to make one; this program has a verb for it.
        let cause = text.split_once(": ").map_or(text.as_str(), |(cause, _)| cause);
        let fix = match error {
            SecretError::TooShort { .. } => "make one with `coordinator secret FILE`",
            SecretError::IsAKey => {
                "give a public key with --jwt-key-file, a private one to \
                                    `coordinator token --jwt-key`"
            }
        };
        Failure::usage(cause, fix)
    })
}

fn newest_signing_secret(matches: &ArgMatches) -> Result<SigningSecret, Failure> {
    let newest = signing_secrets(matches)?.into_iter().next();
    newest.ok_or_else(|| Failure::bug("a required secret is absent"))
}

/// Seconds since the Unix epoch.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| {
        let names = Scope::ALL.map(Scope::as_str).join(", ");
        format!("there is no scope {text:?}; there are {names}")
    })
}
