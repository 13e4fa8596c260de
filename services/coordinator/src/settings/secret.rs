//! Secrets: a flag with the text, a twin flag with a file, and never both from the same layer.
//!
//! A file is the better place: a flag shows in the process list and a variable in `/proc`.

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use secrecy::{ExposeSecret as _, SecretString};

use crate::failure::Failure;
use crate::output::say;

/// Bytes that a secret file may have: a few lines of a few hundred characters.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Flags whose values are masked wherever they are shown.
const SECRETS: [&str; 9] = [
    "token",
    "jwt-secret",
    "turn-secret",
    "user",
    "database",
    "database-password",
    "redis",
    "redis-password",
    "redis-sentinel-password",
];

/// Whether a flag's value must not be shown.
pub fn is_secret(flag: &str) -> bool {
    SECRETS.contains(&flag)
}

/// The secrets of a flag and its `…-file` twin: the one from the higher layer counts. A file holds
/// one secret a line, the newest first, so that secrets can rotate.
///
/// # Errors
/// When both are given in the same layer, or the file is unreadable, empty or writable by anybody.
pub fn read(matches: &ArgMatches, flag: &str) -> Result<Vec<SecretString>, Failure> {
    let twin = format!("{flag}-file");
    let (text_rank, file_rank) = (rank(matches, flag), rank(matches, &twin));
    if text_rank == file_rank && text_rank != NOT_SET {
        return Err(Failure::usage(
            format!("--{flag} and --{twin} are both given"),
            format!("keep one of them: --{twin} does not show in the process list"),
        ));
    }
    if text_rank > file_rank {
        let given = matches.get_many::<SecretString>(&id(flag)).into_iter().flatten();
        let secrets: Vec<SecretString> = given.cloned().collect();
        if secrets.iter().any(|secret| secret.expose_secret().trim().is_empty()) {
            let fix = format!("give it a text, or use --{twin} FILE");
            return Err(Failure::usage(format!("--{flag} is empty"), fix));
        }
        return Ok(secrets);
    }
    match matches.get_one::<PathBuf>(&id(&twin)) {
        Some(path) => read_file(path, &twin),
        None => Ok(Vec::new()),
    }
}

/// Like [`read`], where going without is not possible.
///
/// # Errors
/// As [`read`], and when there is none.
pub fn require(matches: &ArgMatches, flag: &str) -> Result<Vec<SecretString>, Failure> {
    let secrets = read(matches, flag)?;
    if secrets.is_empty() {
        let variable = format!("P2P_{}", flag.replace('-', "_").to_uppercase());
        return Err(Failure::usage(
            format!("no {flag}: neither --{flag}-file, {variable}_FILE nor {variable} is set"),
            format!(
                "make one with `coordinator secret {flag}.txt` and pass --{flag}-file {flag}.txt"
            ),
        ));
    }
    Ok(secrets)
}

const NOT_SET: u8 = 0;

/// How strong the layer is that a flag's value comes from.
fn rank(matches: &ArgMatches, flag: &str) -> u8 {
    match matches.value_source(&id(flag)) {
        None => NOT_SET,
        Some(ValueSource::DefaultValue) => 1,
        Some(ValueSource::EnvVariable) => 2,
        Some(_) => 3,
    }
}

/// Clap knows a flag by the field that it fills.
fn id(flag: &str) -> String {
    flag.replace('-', "_")
}

fn read_file(path: &Path, flag: &str) -> Result<Vec<SecretString>, Failure> {
    let place = path.display();
    let failed = |error: std::io::Error| {
        Failure::usage(
            format!("--{flag}: cannot read {place}: {error}"),
            "check the path and that this user may read it",
        )
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(Failure::usage(
            format!(
                "--{flag}: {place} has {} bytes, a secret file has at most {MAX_FILE_BYTES}",
                metadata.len()
            ),
            "name the file that holds the secret, one a line",
        ));
    }
    check_permissions(&metadata, path, flag)?;
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let secrets: Vec<SecretString> = lines.map(SecretString::from).collect();
    if secrets.is_empty() {
        return Err(Failure::usage(
            format!("--{flag}: {place} is empty"),
            format!("remove it, and make a new one with `coordinator secret {place}`"),
        ));
    }
    Ok(secrets)
}

/// A secret that anybody can replace is no secret. One that anybody can read is worth a warning
/// only: Docker mounts its secrets with mode 0444 and Kubernetes with 0644.
#[cfg(unix)]
fn check_permissions(metadata: &std::fs::Metadata, path: &Path, flag: &str) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o777;
    let place = path.display();
    if mode & 0o002 != 0 {
        return Err(Failure::usage(
            format!("--{flag}: {place} can be changed by every user (mode {mode:04o})"),
            format!("remove it, and make a new one with `coordinator secret {place}`"),
        ));
    }
    if mode & 0o004 != 0 {
        say(format_args!(
            "warning: {place} can be read by every user of this machine (mode {mode:04o})\n  \
             fix: chmod 600 {place}"
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_permissions(_: &std::fs::Metadata, _: &Path, _: &str) -> Result<(), Failure> {
    Ok(())
}
