//! The peers an allocation exchanges data with (RFC 8656 §9).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

/// Permissions of one allocation: peer address without port, and until when.
///
/// A permission counts until its time even if nobody has swept it away yet, and not an instant
/// longer.
#[derive(Default)]
pub(crate) struct Permissions {
    until: BTreeMap<IpAddr, Instant>,
}

impl Permissions {
    pub(crate) fn permits(&self, peer: IpAddr, now: Instant) -> bool {
        self.until.get(&peer).is_some_and(|&until| now < until)
    }

    /// How many permissions there would be after installing these too.
    pub(crate) fn count_with(&self, peers: &[IpAddr]) -> usize {
        let fresh = peers
            .iter()
            .enumerate()
            .filter(|(n, peer)| !self.until.contains_key(peer) && !peers[..*n].contains(peer))
            .count();
        self.until.len() + fresh
    }

    /// Installs or refreshes.
    pub(crate) fn install(&mut self, peer: IpAddr, until: Instant) {
        self.until.insert(peer, until);
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.until.retain(|_, until| now < *until);
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(IpAddr) -> bool) {
        self.until.retain(|peer, _| keep(*peer));
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.until.values().min().copied()
    }
}
