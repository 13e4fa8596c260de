//! Ports held for a second allocation: EVEN-PORT with the R bit, and RESERVATION-TOKEN
//! (RFC 8656 §7.2, §18.8).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rand::RngCore;

use crate::credentials::UserId;

/// A relay port that waits for whoever brings the token.
pub(crate) struct Reservation {
    pub(crate) pool: usize,
    pub(crate) port: u16,
    /// Tokens travel in the clear; only the user who got one may use it.
    pub(crate) user: UserId,
}

/// Reserved ports by token, bounded.
pub(crate) struct Reservations {
    most: usize,
    by_token: BTreeMap<u64, Reservation>,
}

impl Reservations {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, by_token: BTreeMap::new() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.by_token.len() >= self.most
    }

    /// Stores a reservation under a token nobody can guess.
    pub(crate) fn insert(&mut self, reservation: Reservation, rng: &mut dyn RngCore) -> u64 {
        loop {
            let token = rng.next_u64();
            if let Entry::Vacant(vacant) = self.by_token.entry(token) {
                vacant.insert(reservation);
                return token;
            }
        }
    }

    /// Takes the reservation out, if it is this user's.
    pub(crate) fn claim(&mut self, token: u64, user: &UserId) -> Option<Reservation> {
        if self.by_token.get(&token)?.user != *user {
            return None;
        }
        self.by_token.remove(&token)
    }

    pub(crate) fn remove(&mut self, token: u64) -> Option<Reservation> {
        self.by_token.remove(&token)
    }
}
