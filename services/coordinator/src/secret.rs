//! `coordinator secret`: a new random secret, in a file that only this user reads.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, exit};
use crate::output::{data, say};

/// Make a secret for --jwt-secret-file or --turn-secret-file
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write it, one secret a file; a file that exists is left alone [default: stdout]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A file that exists is fine: make only those that are missing
    #[arg(long, requires = "files", env = "P2P_SECRET_KEEP")]
    keep: bool,
    /// Let the group of the file read it, too
    #[arg(long, requires = "files", env = "P2P_SECRET_FOR_GROUP")]
    for_group: bool,
}

/// Makes one, or one a file.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.files.is_empty() {
        data(random()?);
    }
    args.files.iter().try_for_each(|path| make(path, args))
}

fn make(path: &Path, args: &Args) -> Result<(), Failure> {
    let place = path.display();
    match write(path, &random()?, if args.for_group { 0o640 } else { 0o600 }) {
        Ok(()) => {
            let readers = if args.for_group { "this user and its group" } else { "this user" };
            say(format_args!("{place}: 256 random bits, readable by {readers} only"));
            Ok(())
        }
        Err(error) if args.keep && error.kind() == std::io::ErrorKind::AlreadyExists => {
            say(format_args!("{place}: there already, kept"));
            Ok(())
        }
        Err(error) => {
            let fix = match error.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    "name another file, or pass --keep; to rotate, add a new secret as the first \
                     line of the old one"
                }
                _ => "choose a folder that this user may write to",
            };
            Err(Failure::new("file", exit::USAGE, format!("cannot make {place}: {error}"), fix))
        }
    }
}

/// 256 bits of randomness as text.
pub fn random() -> Result<String, Failure> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Failure::bug("the system gives no randomness"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn write(path: &Path, secret: &str, mode: u32) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(path)?;
    writeln!(file, "{secret}")
}
