//! Messages between peers of several instances while everything around them fails, and a book of
//! every message (invariants I1, I2, I5, I6, I12).
//!
//! The seed decides the faults, their order and who writes to whom. When exactly a fault meets which
//! message is the machine's: a seed that failed is run again, more than once if need be.

mod backend;
mod faults;
mod ledger;
mod peer;
mod world;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, timeout};

pub use self::backend::Kind;
use self::ledger::Ledger;
pub use self::ledger::{Tally, Violations};
use self::world::{Addresses, World};

/// Instances that share the Redis.
const INSTANCES: usize = 3;
/// How long open messages may take to be settled once nothing fails any more.
const SETTLING: Duration = Duration::from_secs(90);
/// How long nothing may move before the run is given up.
const STALL: Duration = Duration::from_secs(120);

/// What to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How Redis is run.
    pub redis: Kind,
    /// Whether masters die with what their replicas do not have yet. Then some messages may be lost.
    pub abruptly: bool,
    /// Decides faults and addressees.
    pub seed: u64,
    /// How many messages are sent.
    pub messages: u64,
    /// How many faults happen meanwhile.
    pub faults: usize,
    /// How many peers there are.
    pub peers: usize,
    /// Where the instances' logs go.
    pub logs: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// How Redis was run.
    pub redis: Kind,
    /// What became of the messages.
    pub tally: Tally,
    /// What must not have happened.
    pub violations: Violations,
    /// The first violations in words.
    pub described: Vec<String>,
    /// Faults that happened.
    pub faults: usize,
    /// Connections that took their session up again.
    pub resumed: u64,
    /// Sessions that could not be taken up again.
    pub sessions_lost: u64,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Of the sessions that lost their connection, how many went on.
    pub fn resumed_share(&self) -> f64 {
        let all = self.resumed + self.sessions_lost;
        if all == 0 { 1.0 } else { self.resumed as f64 / all as f64 }
    }

    /// Whether the faults left enough to speak of: most messages were delivered, and nearly every
    /// session went on. While a node takes over, messages are refused for longer than while one
    /// restarts.
    pub fn is_worth_its_name(&self) -> bool {
        let least = if self.redis == Kind::Single { 9 } else { 8 };
        self.tally.delivered * 10 >= self.tally.sent * least && self.resumed_share() >= 0.999
    }
}

/// What all clients share.
struct Run {
    addresses: Addresses,
    ledger: Mutex<Ledger>,
    /// Messages that are still to be sent.
    left: AtomicU64,
    orders: broadcast::Sender<Order>,
    connected: AtomicUsize,
    resumed: AtomicU64,
    sessions_lost: AtomicU64,
    /// Nothing fails any more, and clients only wait.
    ending: AtomicBool,
    peers: usize,
    abruptly: bool,
}

/// What a fault wants of a third of the clients.
#[derive(Debug, Clone, Copy)]
enum Order {
    Drop,
    Move,
}

impl Run {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("the book is kept without panic")
    }

    fn order(&self, order: Order) {
        // Nobody hears it when all are reconnecting.
        let _ = self.orders.send(order);
    }
}

/// Runs the whole thing.
///
/// # Errors
/// Something could not be started, or did not heal or end.
pub async fn run(settings: &Settings) -> Result<Report> {
    let began = Instant::now();
    let mut random = StdRng::seed_from_u64(settings.seed);
    let schedule = faults::schedule(settings.faults, settings.redis, INSTANCES, &mut random);
    let mut world = World::start(settings.redis, INSTANCES, settings.logs.clone()).await?;
    world.healed().await?;
    let run = Arc::new(Run {
        addresses: Addresses::default(),
        ledger: Mutex::new(Ledger::new(settings.peers)),
        left: AtomicU64::new(settings.messages),
        orders: broadcast::channel(16).0,
        connected: AtomicUsize::new(0),
        resumed: AtomicU64::new(0),
        sessions_lost: AtomicU64::new(0),
        ending: AtomicBool::new(false),
        peers: settings.peers,
        abruptly: settings.abruptly,
    });
    world.publish(&run.addresses);
    let clients: Vec<_> = (0..settings.peers)
        .map(|index| tokio::spawn(peer::live(run.clone(), index, random.random())))
        .collect();

    for (number, fault) in schedule.iter().enumerate() {
        let at = settings.messages * (2 * number as u64 + 1) / (2 * schedule.len() as u64);
        sent(&run, at).await?;
        println!(
            "{:>4} s  {:>9} messages  {fault}",
            began.elapsed().as_secs(),
            run.ledger().sent()
        );
        fault.happen(&mut world, &run).await.with_context(|| format!("{fault}"))?;
    }
    sent(&run, settings.messages).await?;
    world.healed().await?;
    settle(&run).await;
    run.ending.store(true, Relaxed);
    let snapshots = timeout(SETTLING, async {
        let mut snapshots = Vec::new();
        for client in clients {
            snapshots.push(client.await.context("a client panicked")??);
        }
        anyhow::Ok(snapshots)
    });
    let rooms = snapshots.await.context("a client does not end")??;
    check_what_is_left(&world, &run, rooms).await?;

    let mut ledger = run.ledger();
    let (tally, violations) = ledger.close();
    Ok(Report {
        redis: settings.redis,
        tally,
        violations,
        described: ledger.described().to_vec(),
        faults: schedule.len(),
        resumed: run.resumed.load(Relaxed),
        sessions_lost: run.sessions_lost.load(Relaxed),
        took: began.elapsed(),
    })
}

/// Resolves when so many messages were sent.
async fn sent(run: &Run, count: u64) -> Result<()> {
    let (mut before, mut moved) = (0, Instant::now());
    loop {
        let now = run.ledger().sent();
        if now >= count {
            return Ok(());
        }
        if now > before {
            (before, moved) = (now, Instant::now());
        }
        anyhow::ensure!(moved.elapsed() < STALL, "nobody sends any more, at {now} messages");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Resolves when nobody waits for a receipt, or when they have waited long enough.
async fn settle(run: &Run) {
    let settled = async {
        loop {
            let open: usize = (0..run.peers).map(|peer| run.ledger().open(peer)).sum();
            if open == 0 && run.connected.load(Relaxed) == run.peers {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    // The book says what is missing.
    let _ = timeout(SETTLING, settled).await;
}

/// Nobody is in the registry who is not connected, and everybody is who is: while the clients'
/// last connections are open, which end with `rooms`.
async fn check_what_is_left(world: &World, run: &Run, rooms: Vec<peer::Last>) -> Result<()> {
    for peer::Last { room, members, .. } in &rooms {
        let expected = peer::members_of(room, run.peers);
        if *members != expected {
            run.ledger().left_over(format!("room {room} has {members:?}, not {expected:?}"));
        }
    }
    for (what, name) in
        [("peers", "p2p_registry_peers"), ("connections", "p2p_signaling_connections")]
    {
        let (expected, mut found) = (run.peers as f64, f64::NAN);
        let waiting = async {
            loop {
                found = world.sum(name).await?;
                if found == expected {
                    return anyhow::Ok(());
                }
                sleep(Duration::from_millis(200)).await;
            }
        };
        match timeout(Duration::from_secs(45), waiting).await {
            Ok(asked) => asked?,
            Err(_) => run.ledger().left_over(format!("{found} {what}, not {expected}")),
        }
    }
    drop(rooms);
    Ok(())
}
