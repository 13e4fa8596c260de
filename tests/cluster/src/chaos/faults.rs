//! What goes wrong, and in which order: both follow from the seed.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tokio::time::sleep;

use super::Run;
use super::backend::Kind;
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
    /// SIGKILL of a master. Another node takes over, and then it comes back.
    MasterDies { back_after: u64 },
    /// SIGSTOP of a master until another node has taken over, and a little longer.
    MasterFreezes { longer: u64 },
    /// Another node takes over, and nothing has failed.
    FailOver,
    /// SIGKILL of a master that has no replica; it starts again with its data.
    NodeRestarts { back_after: u64 },
    /// The slot of the clients' app moves to another node.
    SlotMoves { within: u64 },
}

/// So many faults for this seed. Each kind comes once before any comes again.
pub(super) fn schedule(
    count: usize,
    redis: Kind,
    instances: usize,
    random: &mut StdRng,
) -> Vec<Fault> {
    let mut faults = Vec::with_capacity(count);
    while faults.len() < count {
        let mut all = every_kind(redis, instances, random);
        all.shuffle(random);
        faults.extend(all);
    }
    faults.truncate(count);
    faults
}

fn every_kind(redis: Kind, instances: usize, random: &mut StdRng) -> Vec<Fault> {
    let instance = random.random_range(0..instances);
    let mut lasts = |least: u64, most: u64| random.random_range(least..=most);
    let of_one_node = vec![
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
    ];
    let mut of_several = vec![
        Fault::MasterDies { back_after: lasts(0, 3000) },
        Fault::MasterFreezes { longer: lasts(0, 3000) },
        Fault::FailOver,
    ];
    match redis {
        Kind::Single => return of_one_node,
        Kind::Sentinel => {}
        Kind::Cluster => of_several.extend([
            Fault::NodeRestarts { back_after: lasts(50, 1500) },
            Fault::SlotMoves { within: lasts(50, 1500) },
        ]),
    }
    of_several.extend(of_one_node.into_iter().filter(|fault| !fault.is_of_one_node()));
    of_several
}

impl Fault {
    /// Whether it is about the one node that there is, or about the way to it.
    fn is_of_one_node(&self) -> bool {
        matches!(
            self,
            Self::RedisRestarts { .. }
                | Self::RedisFreezes { .. }
                | Self::Silence { .. }
                | Self::Delay { .. }
                | Self::Cut { .. }
        )
    }

    /// Lets it happen, and ends it.
    pub(super) async fn happen(self, world: &mut World, run: &Run) -> Result<()> {
        let for_ms = |ms: u64| sleep(Duration::from_millis(ms));
        match self {
            Self::InstanceDies { instance, back_after } => {
                // What passed Redis by is gone with an instance that could not say it yet.
                world.healed().await?;
                world.slots[instance].instance.kill()?;
                for_ms(back_after).await;
                let url = world.url(instance);
                world.slots[instance].instance = world.instance(&url).await?;
                world.publish(&run.addresses);
            }
            Self::InstanceFreezes { instance, lasts } => {
                world.slots[instance].instance.signal("-STOP")?;
                for_ms(lasts).await;
                world.slots[instance].instance.signal("-CONT")?;
            }
            Self::RedisRestarts { back_after } => {
                let redis = world.redis.single()?;
                redis.kill()?;
                for_ms(back_after).await;
                redis.start_again().await?;
            }
            Self::RedisFreezes { lasts } => {
                let redis = world.redis.single()?;
                redis.pause()?;
                for_ms(lasts).await;
                redis.go_on()?;
            }
            Self::ConnectionsKilled { subscriptions } => {
                let kind = if subscriptions { "pubsub" } else { "normal" };
                world.redis.ask_all(&format!("CLIENT KILL TYPE {kind} SKIPME yes")).await?;
            }
            Self::RedisPauses { lasts, writes_only } => {
                let what = if writes_only { "WRITE" } else { "ALL" };
                world.redis.ask_all(&format!("CLIENT PAUSE {lasts} {what}")).await?;
                for_ms(lasts).await;
            }
            Self::Silence { instance, lasts, lost } => {
                let proxy = world.proxy(instance)?;
                proxy.set(Way::Blackhole);
                for_ms(lasts).await;
                if lost {
                    proxy.cut();
                }
                proxy.set(Way::Open);
            }
            Self::Delay { instance, lasts, by } => {
                let proxy = world.proxy(instance)?;
                proxy.set(Way::Delayed(Duration::from_millis(by)));
                for_ms(lasts).await;
                proxy.set(Way::Open);
            }
            Self::Cut { instance } => world.proxy(instance)?.cut(),
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
            Self::MasterDies { back_after } => {
                world.redis.lose_master(Duration::from_millis(back_after), run.abruptly).await?;
            }
            Self::MasterFreezes { longer } => {
                world.redis.freeze_master(Duration::from_millis(longer), run.abruptly).await?;
            }
            Self::FailOver => world.redis.fail_over().await?,
            Self::NodeRestarts { back_after } => {
                world.redis.restart_node(Duration::from_millis(back_after)).await?;
            }
            Self::SlotMoves { within } => {
                world.redis.move_slot(Duration::from_millis(within)).await?;
            }
        }
        Ok(())
    }
}

async fn restart_in_turn(world: &mut World, run: &Run) -> Result<()> {
    world.healed().await?;
    for at in 0..world.slots.len() {
        let url = world.url(at);
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
            Self::MasterDies { back_after } => {
                write!(f, "SIGKILL of a master, back {back_after} ms after another took over")
            }
            Self::MasterFreezes { longer } => {
                write!(f, "SIGSTOP of a master until another took over and {longer} ms longer")
            }
            Self::FailOver => write!(f, "failover, as an operator asks for"),
            Self::NodeRestarts { back_after } => {
                write!(f, "SIGKILL of a master without a replica, back after {back_after} ms")
            }
            Self::SlotMoves { within } => {
                write!(f, "the app's slot moves to another node within {within} ms")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_seed_is_a_schedule_and_every_kind_is_in_it() {
        let of = |seed| schedule(26, Kind::Single, 3, &mut StdRng::seed_from_u64(seed));
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
        let kinds: std::collections::HashSet<_> =
            of(7)[..13].iter().map(std::mem::discriminant).collect();
        assert_eq!(kinds.len(), 12, "one of them has two forms");
        for (redis, count) in [(Kind::Sentinel, 10), (Kind::Cluster, 12)] {
            let faults = schedule(26, redis, 3, &mut StdRng::seed_from_u64(7));
            let kinds: std::collections::HashSet<_> =
                faults.iter().map(std::mem::discriminant).collect();
            assert_eq!(kinds.len(), count, "{redis}: {faults:?}");
        }
    }
}
