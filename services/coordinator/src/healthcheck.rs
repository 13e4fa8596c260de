//! `coordinator healthcheck`: is the service there, and does it take work?

use std::time::Duration;

use crate::failure::{Failure, exit};
use crate::output::data;
use crate::probe::{self, Target};
use crate::settings::duration;

/// Ask a running service whether it is ready
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whom to ask; without a path, /readyz
    #[arg(default_value = "http://127.0.0.1:8080/readyz", env = "P2P_HEALTHCHECK_URL")]
    url: String,
    /// How long to wait for the answer
    #[arg(long, default_value = "3s", value_parser = duration::parse, env = "P2P_HEALTHCHECK_TIMEOUT")]
    timeout: Duration,
}

/// Asks, and prints `ready` if the answer is a 200.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let target = Target::parse(&args.url)?;
    let answer = target.get(args.timeout).await.map_err(|cause| {
        let fix =
            "start the service, or name its address: coordinator healthcheck http://HOST:PORT";
        probe::unreachable(&args.url, &cause, fix)
    })?;
    match answer.status {
        200 => {
            data(format_args!("ready"));
            Ok(())
        }
        status => Err(Failure::new(
            "not_ready",
            exit::UNREACHABLE,
            format!("{} answers {status}: {}", args.url, answer.summary()),
            "wait until the service has started; one that drains ends soon",
        )),
    }
}
