//! The relays and STUN servers of a node, which may be others as it runs.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use super::Node;
use crate::detect::Detector;
use crate::relay::RelayConfig;

impl Node {
    /// Names the ways to a relay, or gives fresh credentials for them. The way in use stays in use,
    /// if it is not among them only until one of them is there. Without any, it is given back.
    pub fn set_relays(&mut self, configs: Vec<RelayConfig>, now: Instant) {
        self.relays.set(configs, now);
        self.flush_relay(now);
    }

    /// Takes fresh credentials for those of the ways that are the same but for these.
    pub fn renew_relays(&mut self, configs: Vec<RelayConfig>, now: Instant) {
        self.relays.renew(configs, now);
        self.flush_relay(now);
    }

    /// Where the ways to a relay lead.
    pub fn relay_servers(&self) -> Vec<SocketAddr> {
        self.relays.servers().collect()
    }

    /// Names the STUN servers, and measures anew unless they are the same in another order.
    pub fn set_stun_servers(&mut self, servers: &[SocketAddr], now: Instant) {
        let sorted = |servers: &[SocketAddr]| BTreeSet::from_iter(servers.iter().copied());
        if sorted(&self.config.stun_servers) != sorted(servers) {
            self.measure_with(servers, now);
        }
    }

    pub(super) fn measure_with(&mut self, servers: &[SocketAddr], now: Instant) {
        self.config.stun_servers = servers.to_vec();
        self.detector = Detector::new(
            servers,
            self.config.local_port,
            self.config.local_ips.clone(),
            self.config.keep_alive,
            now,
            &mut *self.rng,
        );
        self.detect(now);
    }
}
