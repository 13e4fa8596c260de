//! `coordinator drain`: sends a running service's work away and ends it, as SIGTERM does.
//!
//! The service takes that at its admin port alone, and from its own host alone: whoever may do it could
//! as well send the signal.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::failure::{Failure, exit};
use crate::output::data;
use crate::probe::{self, Target};
use crate::settings::duration;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks whether it is gone.
const LOOK: Duration = Duration::from_millis(200);

/// Send a running service's clients elsewhere and end it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its admin port on this host (--admin-listen)
    #[arg(default_value = "http://127.0.0.1:9090", env = "P2P_DRAIN_URL")]
    url: String,
    /// Wait until it is gone, at most so long
    #[arg(long, value_name = "TIME", value_parser = duration::parse, env = "P2P_DRAIN_WAIT")]
    wait: Option<Duration>,
}

/// Tells it, and waits until nobody answers there any more.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let target = Target::parse(&args.url)?;
    let answer = target.at("/drain").post(PATIENCE).await.map_err(|cause| {
        let fix = "name the admin port: coordinator drain http://127.0.0.1:PORT, which the service \
                   has with --admin-listen";
        probe::unreachable(&args.url, &cause, fix)
    })?;
    if answer.status != 202 {
        return Err(Failure::new(
            "not_accepted",
            exit::USAGE,
            format!("{} answers {}: {}", args.url, answer.status, answer.summary()),
            "ask at the admin port (--admin-listen), on the host where the service runs",
        ));
    }
    data(format_args!("draining"));
    let Some(wait) = args.wait else { return Ok(()) };
    let until = Instant::now() + wait;
    while target.at("/livez").get(PATIENCE).await.is_ok() {
        if Instant::now() >= until {
            return Err(Failure::new(
                "still_draining",
                exit::UNREACHABLE,
                format!("it has not ended within {}", duration::show(wait)),
                "wait longer, or send the signal again to end it at once",
            ));
        }
        sleep(LOOK).await;
    }
    data(format_args!("gone"));
    Ok(())
}
