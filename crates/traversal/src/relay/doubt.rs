//! Whether the relay still holds the allocation.
//!
//! A relay that is gone says nothing, over UDP for ever. So requests that go unanswered count: one is
//! followed by a refresh at once, and after another the allocation is in doubt. It is not counted on
//! any more, which lets another way take its place, and it is asked for all the same: the relay may
//! be back, with the allocation or without.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Allocation, RETRY, RelayLeg};

/// Requests in a row, each with all its retransmissions, that a relay leaves unanswered before it is
/// not counted on: one alone may be lost to a pause of the network's.
const MAX_UNANSWERED: u8 = 2;

impl RelayLeg {
    /// The allocation that the relay does not answer for, or refuses to speak of, and may still hold.
    pub(crate) fn doubted(&self) -> Option<SocketAddr> {
        self.doubted
    }

    /// Asks the relay whether the allocation is still there: nothing comes through it.
    pub fn verify(&mut self, now: Instant) {
        if self.relayed().is_some() && self.refresh.is_none() {
            self.ask_refresh(now);
        }
    }

    /// Sends a refresh, whose answer is awaited from here on.
    pub(super) fn ask_refresh(&mut self, now: Instant) {
        // What cannot be sent is sent again with the next refresh.
        let _ = self.client.refresh_allocations(now);
        self.flush();
    }

    /// A request has gone unanswered, with all its retransmissions.
    pub(super) fn not_answered(&mut self, now: Instant) {
        // One that is still open will tell.
        if self.refresh.is_some() {
            return;
        }
        match &mut self.allocation {
            Allocation::Failed { retry, .. } if self.doubted.is_some() => *retry = now + RETRY,
            Allocation::Pending | Allocation::Failed { .. } => {}
            Allocation::Ready(_) => {
                self.unanswered += 1;
                if self.unanswered >= MAX_UNANSWERED {
                    self.doubt("the relay does not answer any more", now);
                    self.keep_asking(now);
                } else {
                    self.verify(now);
                }
            }
        }
    }

    /// The relay holds the allocation.
    pub(super) fn confirmed(&mut self, now: Instant) {
        self.refresh = None;
        self.unanswered = 0;
        let Some(relayed) = self.relayed().or(self.doubted) else { return };
        if self.client.relay(relayed).is_err() {
            // It was confirmed with a lifetime of zero.
            self.forgotten(now);
        } else if self.doubted.take().is_some() {
            self.allocation = Allocation::Ready(relayed);
            self.renewals.resume(now);
        }
    }

    /// The relay has refused a refresh, and not because of its nonce.
    pub(super) fn refused(&mut self, code: u16, reason: &str, now: Instant) {
        // 437: the relay knows no such allocation, so there is none (RFC 8656 §7.3).
        if code == 437 {
            self.forgotten(now);
        } else if self.next_credentials.is_some() {
            self.adopt_credentials();
            let (username, password) = (&self.config.username, self.config.password.expose());
            match self.client.update_credentials(username.clone(), password.to_owned()) {
                Ok(()) => self.ask_refresh(now),
                Err(error) => self.fail(&error.to_string(), now),
            }
        } else if self.doubted.is_some() {
            self.fail(reason, now);
        } else {
            self.doubt(reason, now);
        }
    }

    /// The allocation is not counted on, and the relay is asked for it all the same.
    fn doubt(&mut self, reason: &str, now: Instant) {
        self.doubted = self.relayed();
        self.renewals.pause();
        self.allocation = Allocation::Failed { reason: reason.to_owned(), retry: now + RETRY };
    }

    /// Asks for an allocation in doubt, unless it has been asked for.
    pub(super) fn keep_asking(&mut self, now: Instant) {
        if self.refresh.is_none() {
            self.ask_refresh(now);
        }
        if self.refresh.is_none() {
            self.fail("the allocation cannot be asked for", now);
        }
    }
}
