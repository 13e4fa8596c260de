//! Pairs of peers that send to and fro: one message on its way for each pair, as fast as it goes,
//! or at a pace.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use crate::peers::{Client, Redis, Sender, Server};

/// Bytes of a message's payload.
pub(crate) const PAYLOAD: usize = 1024;
/// Of the rounds before the measurement, for what is made once and compiled late.
pub(crate) const WARM: Duration = Duration::from_millis(1500);

/// What messages cost.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds {
    /// Round trips a second, of all pairs.
    pub(crate) per_second: f64,
    /// Half of a round trip, in seconds: median and 99th percentile.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// CPU time of all servers for each message, Redis among them, in seconds.
    pub(crate) cpu: f64,
    /// That of Redis alone.
    pub(crate) redis: f64,
    /// Commands to Redis for each message.
    pub(crate) commands: f64,
}

/// Where the two sides of each pair connect, and what runs beside them.
pub(crate) struct Place<'a> {
    /// Pairs go round: the first side is at one, the second at the next.
    pub(crate) servers: &'a [Server],
    pub(crate) redis: Option<&'a Redis>,
    pub(crate) token: &'a str,
}

impl Place<'_> {
    fn cpu(&self) -> Result<Duration> {
        let mut total = self.redis_cpu()?;
        for server in self.servers {
            total += server.cpu()?;
        }
        Ok(total)
    }

    fn redis_cpu(&self) -> Result<Duration> {
        self.redis.map_or(Ok(Duration::ZERO), Redis::cpu)
    }

    fn commands(&self) -> Result<u64> {
        self.redis.map_or(Ok(0), Redis::commands)
    }
}

/// `pace`: rounds a second of all pairs together; without it each begins when the last has ended.
pub(crate) async fn measure(
    place: &Place<'_>,
    pairs: usize,
    pace: Option<u32>,
    time: Duration,
) -> Result<Rounds> {
    let mut ready = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        let at = |side: usize| &place.servers[(pair + side) % place.servers.len()];
        let [here, there] = [format!("b{pair}a"), format!("b{pair}b")];
        let one = Client::connect(at(0), place.token, &here).await?;
        let other = Client::connect(at(1), place.token, &there).await?;
        ready.push((one, here, other, there));
    }
    let every = pace.map(|pace| Duration::from_secs_f64(pairs as f64 / f64::from(pace)));
    let began = Instant::now();
    let (from, until) = (began + WARM, began + WARM + time);
    let mut work = JoinSet::new();
    let mut echoes = JoinSet::new();
    for (number, (one, here, other, there)) in ready.into_iter().enumerate() {
        echoes.spawn(echo(other, here));
        // Pairs that keep a pace do not all begin at the same moment.
        let offset = every.map_or(Duration::ZERO, |every| every * number as u32 / pairs as u32);
        work.spawn(rounds(one, there, every.map(|every| (every, offset)), from, until));
    }
    sleep(from - Instant::now()).await;
    let (cpu, redis, commands) = (place.cpu()?, place.redis_cpu()?, place.commands()?);
    sleep(until - Instant::now()).await;
    let cpu = place.cpu()?.saturating_sub(cpu).as_secs_f64();
    let redis = place.redis_cpu()?.saturating_sub(redis).as_secs_f64();
    let commands = place.commands()?.saturating_sub(commands);
    let mut halves = Vec::new();
    while let Some(done) = work.join_next().await {
        halves.extend(done??);
    }
    echoes.shutdown().await;
    anyhow::ensure!(!halves.is_empty(), "no round trip ended in time");
    halves.sort_by(f64::total_cmp);
    let messages = (2 * halves.len()) as f64;
    let at = |part: f64| halves[((halves.len() - 1) as f64 * part) as usize];
    Ok(Rounds {
        per_second: halves.len() as f64 / time.as_secs_f64(),
        p50: at(0.5),
        p99: at(0.99),
        cpu: cpu / messages,
        redis: redis / messages,
        commands: commands as f64 / messages,
    })
}

/// Half of each round trip between `from` and `until`.
async fn rounds(
    mut client: Client,
    to: String,
    pace: Option<(Duration, Duration)>,
    from: Instant,
    until: Instant,
) -> Result<Vec<f64>> {
    let sender = Sender::of_size(PAYLOAD);
    let mut halves = Vec::new();
    let mut ticks = match pace {
        Some((every, offset)) => {
            sleep(offset).await;
            Some(interval(every))
        }
        None => None,
    };
    for number in 1.. {
        if let Some(ticks) = &mut ticks {
            // What the server says meanwhile is taken as it comes.
            loop {
                tokio::select! {
                    _ = ticks.tick() => break,
                    heard = client.hear() => {
                        heard?;
                    }
                }
            }
        }
        let began = Instant::now();
        if began >= until {
            break;
        }
        client.send(&sender, &to, number).await?;
        while client.message().await? != number {}
        if began >= from {
            halves.push(began.elapsed().as_secs_f64() / 2.0);
        }
    }
    Ok(halves)
}

/// Sends back whatever comes, until it is ended.
async fn echo(mut client: Client, to: String) -> Result<()> {
    let sender = Sender::of_size(PAYLOAD);
    loop {
        let number = client.message().await?;
        client.send(&sender, &to, number).await?;
    }
}
