//! `p2p ping`: one line a pong, with path and round trip.

use std::time::Duration;

use p2p_client::{Client, Connection, Path, PathKind, PeerId, Policy};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::failure::{Failure, exit};
use crate::session::{self, with_client};
use crate::talk::{self, Talk};
use crate::{paths, units};

/// Between two pings, where the flag does not say.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same while a direct path is waited for: a pong is the first to see it.
const INTERVAL_UNTIL_DIRECT: Duration = Duration::from_millis(200);
/// Pings before `--until-direct` gives up, where the flag does not say: 10 s.
const COUNT_UNTIL_DIRECT: u64 = 50;

/// Show path and round trip to a peer
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The peer
    pub peer: PeerId,
    /// End with 0 at the first pong over a direct path, and with 5 if there is none
    #[arg(long, env = "P2P_PING_UNTIL_DIRECT")]
    pub until_direct: bool,
    /// How many pings [default: until Ctrl-C, or 50 with --until-direct]
    #[arg(
        short = 'c',
        long,
        value_name = "N",
        env = "P2P_PING_COUNT",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub count: Option<u64>,
    /// Seconds between two pings [default: 1, or 0.2 with --until-direct]
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        env = "P2P_PING_INTERVAL",
        value_parser = interval
    )]
    pub interval: Option<Duration>,
    /// Which paths may be used: auto, direct (fail rather than relay) or relay
    #[arg(long, env = "P2P_POLICY", default_value = "auto", value_parser = session::policy)]
    pub policy: Policy,
    #[command(flatten)]
    pub session: session::SessionArgs,
}

/// Pings.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let talk = Talk::as_data(args.session.json);
    let mut tally = Tally::default();
    let work = async |client: &Client| {
        let connection = client.connect(&args.peer, args.policy).await?;
        let result = ping(args, &connection, &mut tally).await;
        tally.look(&connection);
        // So that the other side hears of the end and not of silence.
        connection.close("done");
        result
    };
    let ended = with_client(&args.session, &talk, work).await;
    if tally.sent > 0 {
        tally.tell(args);
    }
    // Ctrl-C is how an endless ping ends.
    ended?.when_serving()
}

async fn ping(args: &Args, connection: &Connection, tally: &mut Tally) -> Result<(), Failure> {
    let interval = args.interval.unwrap_or(match args.until_direct {
        true => INTERVAL_UNTIL_DIRECT,
        false => INTERVAL,
    });
    let count = args.count.or(args.until_direct.then_some(COUNT_UNTIL_DIRECT)).unwrap_or(u64::MAX);
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 1..=count {
        ticks.tick().await;
        tally.sent += 1;
        match connection.ping().await {
            Ok(rtt) => {
                tally.received += 1;
                tally.look(connection);
                tell_pong(args, connection, tally.path, number, rtt);
                if args.until_direct && tally.is_direct() {
                    return Ok(());
                }
            }
            Err(error) if error.code == p2p_client::ErrorCode::Closed => {
                tally.look(connection);
                return Err(connection.closed().await.into());
            }
            Err(error) => tell_silence(args, number, &error),
        }
    }
    if tally.received == 0 {
        return Err(Failure::new(
            "no_pong",
            exit::UNREACHABLE,
            format!("none of {} pings was answered", tally.sent),
            "the path may be changing: ping again",
        ));
    }
    if args.until_direct {
        let why = connection.verdict().map(|report| report.verdict).filter(|why| !why.is_empty());
        let why = why.unwrap_or_else(|| "no direct path was found so far".to_owned());
        return Err(Failure::new(
            "direct_required",
            exit::NOT_DIRECT,
            format!("still on the relay after {} pings: {why}", tally.sent),
            "`p2p netcheck` on both sides says which network is in the way",
        ));
    }
    Ok(())
}

fn tell_pong(args: &Args, connection: &Connection, path: Option<Path>, number: u64, rtt: Duration) {
    let since_start = connection.started().elapsed();
    if args.session.json {
        let mut line = json!({
            "pong": number,
            "rtt_ms": round(rtt),
            "since_start_ms": since_start.as_millis() as u64,
        });
        merge(&mut line, paths::fields(path));
        talk::data(&line.to_string());
    } else {
        let peer = connection.peer();
        let via = paths::words(path);
        talk::data(&format!("pong {number} from {peer} in {:>7} via {via}", units::time(rtt)));
    }
}

fn tell_silence(args: &Args, number: u64, error: &p2p_client::Error) {
    if args.session.json {
        talk::data(&json!({ "ping": number, "lost": error.cause }).to_string());
    } else {
        talk::data(&format!("ping {number}: {}", error.cause));
    }
}

/// What is said at the end.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    received: u64,
    path: Option<Path>,
    connected_ms: Option<u64>,
    direct_ms: Option<u64>,
}

impl Tally {
    /// Takes in what the connection knows now: it is not there any more when the end is told.
    fn look(&mut self, connection: &Connection) {
        self.path = connection.path().or(self.path);
        if let Some(report) = connection.verdict() {
            self.connected_ms = Some(report.ms);
            self.direct_ms = report.direct_ms.or(self.direct_ms);
        }
        if self.is_direct() && self.direct_ms.is_none() {
            self.direct_ms = Some(connection.started().elapsed().as_millis() as u64);
        }
    }

    fn is_direct(&self) -> bool {
        self.path.is_some_and(|path| path.kind == PathKind::Direct)
    }

    fn tell(&self, args: &Args) {
        let Self { sent, received, connected_ms, direct_ms, .. } = *self;
        if args.session.json {
            let mut summary = json!({
                "sent": sent,
                "received": received,
                "connected_ms": connected_ms,
                "direct_ms": direct_ms,
            });
            merge(&mut summary, paths::fields(self.path));
            talk::data(&json!({ "summary": summary }).to_string());
        } else {
            let connected =
                connected_ms.map_or(String::new(), |ms| format!(", connected in {ms} ms"));
            let direct = direct_ms.map_or(String::new(), |ms| format!(", direct after {ms} ms"));
            talk::data(&format!("{sent} sent, {received} received{connected}{direct}"));
        }
    }
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// Milliseconds with one digit behind the point.
fn round(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

fn interval(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Ok(_) | Err(_) => Err("write seconds from 0.01 to 3600, for example 0.2".to_owned()),
    }
}
