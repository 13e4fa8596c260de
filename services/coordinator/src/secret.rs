//! `coordinator secret`: a new random secret, in a file that only this user reads.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, exit};
use crate::output::{data, say};

/// Make a secret for --jwt-secret-file or --turn-secret-file
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write it; a file that exists is left alone [default: stdout]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Makes one.
pub fn run(args: &Args) -> Result<(), Failure> {
    let secret = random()?;
    let Some(path) = &args.file else {
        data(secret);
        return Ok(());
    };
    let place = path.display();
    write(path, &secret).map_err(|error| {
        let fix = match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                "name another file; to rotate, add a new secret as the first line of the old one"
            }
            _ => "choose a folder that this user may write to",
        };
        Failure::new("file", exit::USAGE, format!("cannot make {place}: {error}"), fix)
    })?;
    say(format_args!("{place}: 256 random bits, readable by this user only"));
    Ok(())
}

/// 256 bits of randomness as text.
pub fn random() -> Result<String, Failure> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Failure::bug("the system gives no randomness"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn write(path: &Path, secret: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{secret}")
}
