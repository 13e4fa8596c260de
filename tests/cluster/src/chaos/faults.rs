//! What goes wrong, and in which order: both follow from the seed.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tokio::time::sleep;

use super::Run;
use super::world::World;
use crate::proxy::Way;

/// One fault. Durations are in milliseconds, instances counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL of an instance; another one takes its place later.
    InstanceDies { instance: usize, back_after: u64 },
    /// SIGSTOP and SIGCONT of an instance.
    InstanceFreezes { instance: usize, lasts: u64 },
    /// SIGKILL of Redis, which starts again with its data.
    RedisRestarts { back_after: u64 },
    /// SIGSTOP and SIGCONT of Redis.
    RedisFreezes { lasts: u64 },
    /// `CLIENT KILL` of all subscriptions, or of all other connections.
    ConnectionsKilled { subscriptions: bool },
    /// `CLIENT PAUSE`.
    RedisPauses { lasts: u64, writes_only: bool },
    /// What an instance and Redis say to each other waits; then it arrives, or is lost.
    Silence { instance: usize, lasts: u64, lost: bool },
    /// What an instance and Redis say to each other takes longer.
    Delay { instance: usize, lasts: u64, by: u64 },
    /// The connections between an instance and Redis break.
    Cut { instance: usize },
    /// A third of the clients lose their connection.
    ClientsDrop,
    /// A third of the clients connect elsewhere and leave the old connection open, which then acts.
    ClientsMove,
    /// SIGTERM of every instance in turn, each behind a new one.
    RollingRestart,
}

/// So many faults for this seed. Each kind comes once before any comes again.
pub(super) fn schedule(count: usize, instances: usize, random: &mut StdRng) -> Vec<Fault> {
    let mut faults = Vec::with_capacity(count);
    while faults.len() < count {
        let mut all = every_kind(instances, random);
        all.shuffle(random);
        faults.extend(all);
    }
    faults.truncate(count);
    faults
}

fn every_kind(instances: usize, random: &mut StdRng) -> Vec<Fault> {
    let instance = random.random_range(0..instances);
    let mut lasts = |least: u64, most: u64| random.random_range(least..=most);
    vec![
        Fault::InstanceDies { instance, back_after: lasts(100, 2000) },
        Fault::InstanceFreezes { instance: (instance + 1) % instances, lasts: lasts(500, 10_000) },
        Fault::RedisRestarts { back_after: lasts(50, 1500) },
        Fault::RedisFreezes { lasts: lasts(300, 3500) },
        Fault::ConnectionsKilled { subscriptions: true },
        Fault::ConnectionsKilled { subscriptions: false },
        Fault::RedisPauses { lasts: lasts(200, 3000), writes_only: lasts(0, 1) == 1 },
        Fault::Silence { instance, lasts: lasts(500, 5000), lost: lasts(0, 1) == 1 },
        Fault::Delay {
            instance: (instance + 2) % instances,
            lasts: lasts(1000, 3000),
            by: lasts(5, 60),
        },
        Fault::Cut { instance: (instance + 1) % instances },
        Fault::ClientsDrop,
        Fault::ClientsMove,
        Fault::RollingRestart,
    ]
}

impl Fault {
    /// Lets it happen, and ends it.
    pub(super) async fn happen(self, world: &mut World, run: &Run) -> Result<()> {
        let for_ms = |ms: u64| sleep(Duration::from_millis(ms));
        match self {
            Self::InstanceDies { instance, back_after } => {
                // What passed Redis by is gone with an instance that could not say it yet.
                world.healed().await?;
                world.slots[instance].instance.kill()?;
                for_ms(back_after).await;
                let url = world.slots[instance].proxy.url();
                world.slots[instance].instance = world.instance(&url).await?;
                world.publish(&run.addresses);
            }
            Self::InstanceFreezes { instance, lasts } => {
                world.slots[instance].instance.signal("-STOP")?;
                for_ms(lasts).await;
                world.slots[instance].instance.signal("-CONT")?;
            }
            Self::RedisRestarts { back_after } => {
                world.redis.kill()?;
                for_ms(back_after).await;
                world.redis.start_again().await?;
            }
            Self::RedisFreezes { lasts } => {
                world.redis.pause()?;
                for_ms(lasts).await;
                world.redis.go_on()?;
            }
            Self::ConnectionsKilled { subscriptions } => {
                let kind = if subscriptions { "pubsub" } else { "normal" };
                world.redis.ask(&format!("CLIENT KILL TYPE {kind} SKIPME yes")).await?;
            }
            Self::RedisPauses { lasts, writes_only } => {
                let what = if writes_only { "WRITE" } else { "ALL" };
                world.redis.ask(&format!("CLIENT PAUSE {lasts} {what}")).await?;
                for_ms(lasts).await;
            }
            Self::Silence { instance, lasts, lost } => {
                let proxy = &world.slots[instance].proxy;
                proxy.set(Way::Blackhole);
                for_ms(lasts).await;
                if lost {
                    proxy.cut();
                }
                proxy.set(Way::Open);
            }
            Self::Delay { instance, lasts, by } => {
                let proxy = &world.slots[instance].proxy;
                proxy.set(Way::Delayed(Duration::from_millis(by)));
                for_ms(lasts).await;
                proxy.set(Way::Open);
            }
            Self::Cut { instance } => world.slots[instance].proxy.cut(),
            Self::ClientsDrop => {
                // So is it with both ends that leave an instance that could not say it yet.
                world.healed().await?;
                run.order(super::Order::Drop);
            }
            Self::ClientsMove => {
                // An instance that has no Redis lets its peers go on among themselves, whoever owns
                // them elsewhere: the act that must fail needs one that has.
                world.healed().await?;
                run.order(super::Order::Move);
                for_ms(1000).await;
            }
            Self::RollingRestart => restart_in_turn(world, run).await?,
        }
        Ok(())
    }
}

async fn restart_in_turn(world: &mut World, run: &Run) -> Result<()> {
    world.healed().await?;
    for at in 0..world.slots.len() {
        let url = world.slots[at].proxy.url();
        let newer = world.instance(&url).await?;
        let older = std::mem::replace(&mut world.slots[at].instance, newer);
        world.publish(&run.addresses);
        anyhow::ensure!(older.drain().await?, "an instance did not end well after SIGTERM");
    }
    Ok(())
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InstanceDies { instance, back_after } => {
                write!(f, "SIGKILL of instance {instance}, another after {back_after} ms")
            }
            Self::InstanceFreezes { instance, lasts } => {
                write!(f, "SIGSTOP of instance {instance} for {lasts} ms")
            }
            Self::RedisRestarts { back_after } => {
                write!(f, "SIGKILL of Redis, back after {back_after} ms")
            }
            Self::RedisFreezes { lasts } => write!(f, "SIGSTOP of Redis for {lasts} ms"),
            Self::ConnectionsKilled { subscriptions: true } => write!(f, "CLIENT KILL TYPE pubsub"),
            Self::ConnectionsKilled { subscriptions: false } => {
                write!(f, "CLIENT KILL TYPE normal")
            }
            Self::RedisPauses { lasts, writes_only } => {
                let what = if *writes_only { "WRITE" } else { "ALL" };
                write!(f, "CLIENT PAUSE {lasts} {what}")
            }
            Self::Silence { instance, lasts, lost } => {
                let end = if *lost { "lost" } else { "late" };
                write!(f, "silence between instance {instance} and Redis for {lasts} ms, {end}")
            }
            Self::Delay { instance, lasts, by } => {
                write!(f, "{by} ms more between instance {instance} and Redis for {lasts} ms")
            }
            Self::Cut { instance } => write!(f, "instance {instance} and Redis are cut"),
            Self::ClientsDrop => write!(f, "a third of the clients lose their connection"),
            Self::ClientsMove => write!(f, "a third of the clients move, and their old ones act"),
            Self::RollingRestart => write!(f, "rolling restart by SIGTERM"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_seed_is_a_schedule_and_every_kind_is_in_it() {
        let of = |seed| schedule(26, 3, &mut StdRng::seed_from_u64(seed));
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        let kinds: std::collections::HashSet<_> =
            of(7)[..13].iter().map(std::mem::discriminant).collect();
        assert_eq!(kinds.len(), 12, "one of them has two forms");
    }
}
