//! One row of the table: where one peer's packets go, and what is kept for when that changes.

use std::net::SocketAddr;
use std::slice::Chunks;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use p2p_traversal::quality::Counters;
use p2p_traversal::traffic::Leg;
use p2p_traversal::{Path, Via};
use tokio::sync::Notify;

use super::leg_of;
use crate::kept::Kept;

/// Datagrams that may go out at once without a path: a flight and what is said again of it.
pub(super) const MAX_EARLY: u32 = 8;

/// When the last packet came, the same way as [`Route::sent`].
#[derive(Debug, Default)]
pub(super) struct ByLeg {
    pub(super) socket: AtomicU64,
    pub(super) relay: AtomicU64,
}

impl ByLeg {
    pub(super) fn of(&self, leg: Leg) -> &AtomicU64 {
        match leg {
            Leg::Socket => &self.socket,
            Leg::Relay => &self.relay,
        }
    }
}

/// Where one peer's packets go.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) virtual_addr: SocketAddr,
    path: Mutex<Option<Path>>,
    /// Milliseconds since the table's epoch, plus one; zero is never.
    pub(super) sent: AtomicU64,
    pub(super) received: ByLeg,
    pub(super) latest: Mutex<Option<(Leg, SocketAddr)>>,
    /// Packets that the connection has sent and found lost.
    pub(super) counted: Mutex<Counters>,
    /// What is to be said when there is another way: the datagram that left last, which the way it
    /// took may have lost, or the first ones, which wait for a way.
    kept: Mutex<Kept>,
    /// Ways that may become paths, until there is one.
    early: Mutex<Vec<(Via, SocketAddr)>>,
    /// Datagrams that have gone these ways when they were made.
    early_sent: AtomicU32,
    /// Rung when a datagram is kept for a way.
    waits: Notify,
}

impl Route {
    pub(super) fn new(virtual_addr: SocketAddr) -> Self {
        Self {
            virtual_addr,
            path: Mutex::new(None),
            sent: AtomicU64::new(0),
            received: ByLeg::default(),
            latest: Mutex::default(),
            counted: Mutex::default(),
            kept: Mutex::default(),
            early: Mutex::default(),
            early_sent: AtomicU32::new(0),
            waits: Notify::new(),
        }
    }

    /// The way to the peer at the moment.
    pub(crate) fn path(&self) -> Option<Path> {
        *self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How packets leave at the moment.
    pub(crate) fn hop(&self) -> Option<(Via, SocketAddr)> {
        self.path().map(|path| (path.via, path.remote))
    }

    /// Whether this address is where packets go at the moment.
    pub(super) fn leaves_for(&self, leg: Leg, remote: SocketAddr) -> bool {
        self.path().is_some_and(|path| path.remote == remote && leg_of(&path) == leg)
    }

    /// Keeps copies of what leaves now, as far as it is to be said again over another way.
    pub(crate) fn keep_last(&self, datagrams: Chunks<'_, u8>, now: Instant) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).leave(datagrams, now);
    }

    /// Keeps a datagram that has no way to go, beside those before it.
    pub(crate) fn keep_for_path(&self, datagram: &[u8], now: Instant) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).add(datagram, now);
        self.waits.notify_one();
    }

    /// Waits until a datagram is kept for a way.
    pub(crate) async fn waits(&self) {
        self.waits.notified().await;
    }

    /// What is to be said when there is another way, in order.
    pub(crate) fn kept(&self) -> Vec<Vec<u8>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).all()
    }

    pub(super) fn set_early(&self, ways: &[(Via, SocketAddr)]) {
        *self.early.lock().unwrap_or_else(PoisonError::into_inner) = ways.to_vec();
    }

    /// The ways for a datagram that has no path: none once there were enough of those (I9).
    pub(crate) fn early(&self) -> Vec<(Via, SocketAddr)> {
        let ways = self.early.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !ways.is_empty() && self.early_sent.fetch_add(1, Ordering::Relaxed) >= MAX_EARLY {
            return Vec::new();
        }
        ways
    }

    pub(super) fn set_path(&self, path: Option<Path>) {
        *self.path.lock().unwrap_or_else(PoisonError::into_inner) = path;
        if path.is_some() {
            self.early.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.early_sent.store(0, Ordering::Relaxed);
        }
    }
}
