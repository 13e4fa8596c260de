//! A relay that says in Redis where it is and how it is, for as long as it runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use p2p_registry::{RelayLease, RelayRecord};
use p2p_relay::{ExternalIp, RelayHandle};
use p2p_telemetry::Shutdown;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::secret;

/// Addresses of one relay that are told; a client uses the first that answers.
const MAX_ADDRESSES: usize = 8;

/// The addresses at which clients reach these listeners.
pub fn reachable_at(listeners: &[SocketAddr], external: &[ExternalIp]) -> Vec<String> {
    let mut addresses: Vec<String> = Vec::new();
    for listener in listeners {
        let ip = listener.ip();
        let same_family = |external: &&ExternalIp| external.public.is_ipv4() == ip.is_ipv4();
        let of_this = |external: &&ExternalIp| external.local.is_none_or(|local| local == ip);
        let mut public: Vec<IpAddr> = external
            .iter()
            .filter(same_family)
            .filter(|external| ip.is_unspecified() || of_this(external))
            .map(|external| external.public)
            .collect();
        if public.is_empty() {
            public.push(if ip.is_unspecified() { facing(ip) } else { ip });
        }
        addresses.extend(public.iter().map(|ip| SocketAddr::new(*ip, listener.port()).to_string()));
    }
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    addresses
}

/// What a relay that has just begun says of itself.
pub fn record(region: &str, addresses: Vec<String>, tcp: Vec<String>) -> RelayRecord {
    RelayRecord {
        // Without randomness the address still tells relays apart.
        id: secret::random().unwrap_or_else(|_| addresses.join(",")),
        region: region.to_owned(),
        addresses,
        tcp,
        load: 0,
        draining: false,
    }
}

/// Renews the lease until the relay has stopped, says at once that it drains, and withdraws.
pub async fn keep(
    mut lease: RelayLease,
    mut record: RelayRecord,
    relay: Arc<RelayHandle>,
    capacity: usize,
    shutdown: Shutdown,
) {
    let mut tick = interval(RelayLease::EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shutdown.draining(), if !record.draining => record.draining = true,
            _ = relay.stopped() => break,
        }
        let Ok(now) = relay.snapshot() else { break };
        record.load = load(now.allocations, capacity);
        match lease.renew(&record).await {
            Ok(()) => {
                if trouble.take().is_some() {
                    info!("signaling knows of this relay again");
                }
            }
            Err(error) => {
                let why = error.to_string();
                if trouble.as_ref() != Some(&why) {
                    warn!(%why, "signaling does not hear of this relay");
                }
                trouble = Some(why);
            }
        }
    }
    if let Err(error) = lease.withdraw(&record.id).await {
        warn!(%error, "the relay's entry ends by itself");
    }
}

/// In thousandths, rounded up: a relay that holds anything is not empty.
fn load(allocations: usize, capacity: usize) -> u16 {
    let thousandths = (allocations * 1000).div_ceil(capacity.max(1));
    u16::try_from(thousandths.min(1000)).unwrap_or(1000)
}

/// The address that this host uses towards the internet. Connecting a UDP socket sends nothing: it
/// asks the routing table.
fn facing(unspecified: IpAddr) -> IpAddr {
    let (towards, loopback): (SocketAddr, IpAddr) = if unspecified.is_ipv4() {
        ((Ipv4Addr::new(192, 0, 2, 1), 9).into(), Ipv4Addr::LOCALHOST.into())
    } else {
        ((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into(), Ipv6Addr::LOCALHOST.into())
    };
    let routed = UdpSocket::bind((unspecified, 0)).and_then(|socket| {
        socket.connect(towards)?;
        socket.local_addr()
    });
    routed.map_or_else(
        |_| {
            warn!(
                "this host has no address but loopback; set --external-ip for others to reach it"
            );
            loopback
        },
        |local| local.ip(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_the_external_address_with_the_listener_s_port() {
        let listeners = ["10.0.0.5:3478".parse().unwrap(), "[2001:db8::5]:3478".parse().unwrap()];
        assert_eq!(reachable_at(&listeners, &[]), ["10.0.0.5:3478", "[2001:db8::5]:3478"]);
        let external =
            ["203.0.113.9/10.0.0.5".parse().unwrap(), "203.0.113.8/10.0.0.6".parse().unwrap()];
        let told = reachable_at(&listeners, &external);
        assert_eq!(told, ["203.0.113.9:3478", "[2001:db8::5]:3478"]);
        let everywhere = ["0.0.0.0:3478".parse().unwrap()];
        assert_eq!(
            reachable_at(&everywhere, &["203.0.113.9".parse().unwrap()]),
            ["203.0.113.9:3478"]
        );
    }

    #[test]
    fn load_is_a_share_of_what_fits() {
        assert_eq!(
            [load(0, 100), load(1, 16_384), load(50, 100), load(500, 100)],
            [0, 1, 500, 1000]
        );
        assert_eq!(load(3, 0), 1000);
    }
}
