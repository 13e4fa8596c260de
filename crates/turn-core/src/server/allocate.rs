//! Allocate: a client gets a relayed address (RFC 8656 §7.2).

use std::net::SocketAddr;
use std::time::Duration;

use super::authenticate::Authenticated;
use super::{Command, OpenError, Refusal, Server, TimerKey};
use crate::addr::{AllocationId, FiveTuple, Now, RelayedAddr};
use crate::allocation::{Allocation, AllocationUsage, Owner, RelayedPair, State};
use crate::counters::{AllocationEnd, Reason};
use crate::credentials::UserId;
use crate::message::{AddressFamily, FamilyWish, Inbound, IntegrityKey, Reply};
use crate::ports::PortWish;
use crate::reservation::Reservation;

/// IP protocol number of UDP, the only transport relayed.
const UDP: u8 = 17;

/// What an Allocate request asks for, checked.
struct Wish {
    port: Port,
    lifetime: Duration,
}

enum Port {
    New { family: AddressFamily, wish: PortWish },
    Reserved { token: u64 },
}

/// A port taken from its pool, and the token of the port above if that is reserved with it.
struct Found {
    pool: usize,
    port: u16,
    reservation: Option<u64>,
}

impl Server {
    pub(super) fn allocate(
        &mut self,
        tuple: FiveTuple,
        request: &Inbound<'_>,
        reply: Reply,
        now: Now,
    ) {
        let Some(author) = self.authenticate(tuple, request, reply, now) else { return };
        if let Some(id) = self.allocations.id_of(tuple) {
            self.allocate_again(id, tuple, reply, &author);
            return;
        }
        let key = author.key.clone();
        if let Err(refusal) = self.open_allocation(tuple, request, reply, author, now) {
            self.refuse(tuple, reply, &key, refusal);
        }
    }

    /// The shell's answer to [`Command::CreateAllocation`].
    ///
    /// A taken port is replaced by another, a bounded number of times.
    pub fn allocation_opened(
        &mut self,
        id: AllocationId,
        outcome: Result<(), OpenError>,
        now: Now,
    ) {
        // The allocation may have ended while its socket was being opened.
        let Some(allocation) = self.allocations.get_mut(id) else { return };
        let State::Opening { retry, attempts_left } = allocation.state else { return };
        let (reply, tuple) = (allocation.made_by, allocation.tuple);
        match outcome {
            Ok(()) => {
                allocation.state = State::Open;
                self.counters.allocations_created += 1;
                self.listeners.count_made(tuple.listener);
                self.confirm_allocation(id);
            }
            Err(error) => {
                self.counters.count(Reason::SocketRefused);
                if let Some(wish) = retry
                    && error == OpenError::PortTaken
                    && attempts_left > 0
                    && self.try_another_port(id, wish, attempts_left - 1, now)
                {
                    return;
                }
                let key = self.allocation_key(id);
                self.forget(id, AllocationEnd::NoSocket, now);
                if let Some(key) = key {
                    self.refuse(tuple, reply, &key, Refusal::NO_PORT);
                }
            }
        }
    }

    /// A 5-tuple holds one allocation. The request that made it, sent again because the answer
    /// was lost, gets the same answer (RFC 8656 §7.2 step 2).
    fn allocate_again(
        &mut self,
        id: AllocationId,
        tuple: FiveTuple,
        reply: Reply,
        author: &Authenticated,
    ) {
        let Some(allocation) = self.allocations.get(id) else { return };
        let repeated = allocation.made_by == reply && allocation.owner.user == author.user;
        match allocation.state {
            State::Open if repeated => self.confirm_allocation(id),
            // The answer comes when the socket is open.
            State::Opening { .. } if repeated => {}
            State::Open | State::Opening { .. } => {
                self.refuse(tuple, reply, &author.key, Refusal::ALLOCATION_MISMATCH);
            }
        }
    }

    fn open_allocation(
        &mut self,
        tuple: FiveTuple,
        request: &Inbound<'_>,
        reply: Reply,
        author: Authenticated,
        now: Now,
    ) -> Result<(), Refusal> {
        let wish = self.understand(request)?;
        if self.draining {
            return Err(Refusal::DRAINING);
        }
        if self.allocations.len() >= self.config.limits.allocations {
            return Err(Refusal::ALLOCATION_LIMIT);
        }
        if !self.quotas.take(&author.user) {
            return Err(Refusal::USER_QUOTA);
        }
        // From here on the place in the quota belongs to the allocation, or is given back.
        let Found { pool, port, reservation } =
            self.find_port(&wish.port, &author.user, now).inspect_err(|_| {
                self.quotas.give_back(&author.user);
            })?;
        let retry = match wish.port {
            Port::New { wish, .. } => Some(wish),
            Port::Reserved { .. } => None,
        };
        self.listeners.count_held(tuple.listener);
        let id = self.allocations.insert(Allocation {
            tuple,
            owner: Owner { user: author.user, username: author.username, key: author.key },
            state: State::Opening {
                retry,
                attempts_left: self.config.limits.port_attempts.saturating_sub(1),
            },
            made_by: reply,
            relayed: self.relayed_pair(pool, port),
            made: now.instant,
            granted: wish.lifetime,
            reservation,
            expires: now.instant + wish.lifetime,
            permissions: Default::default(),
            channels: Default::default(),
            usage: AllocationUsage::default(),
        });
        self.reschedule(id);
        self.ask_for_socket(id);
        Ok(())
    }

    fn understand(&self, request: &Inbound<'_>) -> Result<Wish, Refusal> {
        match request.requested_transport()? {
            None => return Err(Refusal::BAD_REQUEST),
            Some(UDP) => {}
            Some(_) => return Err(Refusal::TRANSPORT_NOT_SUPPORTED),
        }
        let family = request.requested_family()?;
        let even_port = request.even_port()?;
        let token = request.reservation_token()?;
        let contradicts_token =
            even_port.is_some() || family.is_some() || request.has_additional_family();
        // A second address family on one allocation is not offered; the attribute is
        // comprehension-optional, so alone it is ignored.
        if token.is_some() && contradicts_token
            || family.is_some() && request.has_additional_family()
        {
            return Err(Refusal::BAD_REQUEST);
        }
        let family = match family {
            None => AddressFamily::V4,
            Some(FamilyWish::Known(family)) => family,
            Some(FamilyWish::Unknown) => return Err(Refusal::FAMILY_NOT_SUPPORTED),
        };
        let port = match (token, even_port) {
            (Some(token), _) => Port::Reserved { token },
            (None, None) => Port::New { family, wish: PortWish::Any },
            (None, Some(false)) => Port::New { family, wish: PortWish::Even },
            (None, Some(true)) => Port::New { family, wish: PortWish::EvenAndNext },
        };
        Ok(Wish { port, lifetime: self.granted_lifetime(request.lifetime()?) })
    }

    /// What the server gives for a LIFETIME asked for (RFC 8656 §7.2): not less than the default,
    /// not more than the maximum.
    pub(super) fn granted_lifetime(&self, asked_seconds: Option<u32>) -> Duration {
        let lifetimes = &self.config.lifetimes;
        let asked = asked_seconds.map_or(Duration::ZERO, |s| Duration::from_secs(s.into()));
        asked.max(lifetimes.allocation_default).min(lifetimes.allocation_max)
    }

    fn find_port(&mut self, port: &Port, user: &UserId, now: Now) -> Result<Found, Refusal> {
        match *port {
            Port::Reserved { token } => {
                let reserved = self.reservations.claim(token, user);
                let reserved = reserved.ok_or(Refusal::NO_RESERVATION)?;
                self.timers.remove(TimerKey::Reservation(token));
                Ok(Found { pool: reserved.pool, port: reserved.port, reservation: None })
            }
            Port::New { family, wish } => {
                if wish == PortWish::EvenAndNext && self.reservations.is_full() {
                    return Err(Refusal::NO_RESERVATION);
                }
                let pool = self.pick_pool(family).ok_or(Refusal::FAMILY_NOT_SUPPORTED)?;
                let port = self.pools[pool].take(wish, now.instant, &mut *self.rng);
                let port = port.ok_or(Refusal::NO_PORT)?;
                let reservation = (wish == PortWish::EvenAndNext)
                    .then(|| self.reserve(pool, port + 1, user, now));
                Ok(Found { pool, port, reservation })
            }
        }
    }

    /// One of the relay addresses of this family, at random.
    fn pick_pool(&mut self, family: AddressFamily) -> Option<usize> {
        let fits = |ip: &crate::RelayIp| ip.local.is_ipv4() == (family == AddressFamily::V4);
        let ips = &self.config.relay_ips;
        let candidates: Vec<usize> = (0..ips.len()).filter(|&n| fits(&ips[n])).collect();
        match candidates.as_slice() {
            [] => None,
            [only] => Some(*only),
            several => Some(several[self.rng.next_u32() as usize % several.len()]),
        }
    }

    fn reserve(&mut self, pool: usize, port: u16, user: &UserId, now: Now) -> u64 {
        let reservation = Reservation { pool, port, user: user.clone() };
        let token = self.reservations.insert(reservation, &mut *self.rng);
        let until = now.instant + self.config.lifetimes.reservation;
        self.timers.set(TimerKey::Reservation(token), until);
        token
    }

    /// Takes another port like the refused one, which then goes back.
    fn try_another_port(
        &mut self,
        id: AllocationId,
        wish: PortWish,
        attempts_left: u32,
        now: Now,
    ) -> bool {
        let Some(allocation) = self.allocations.get(id) else { return false };
        let (refused, token) = (allocation.relayed, allocation.reservation);
        let (family, user) = (allocation.family(), allocation.owner.user.clone());
        let Ok(found) = self.find_port(&Port::New { family, wish }, &user, now) else {
            return false;
        };
        if let Some(token) = token {
            self.timers.remove(TimerKey::Reservation(token));
            self.release_reservation(token, now);
        }
        self.pools[refused.pool].give_back(refused.port, now.instant);
        let relayed = self.relayed_pair(found.pool, found.port);
        if let Some(allocation) = self.allocations.get_mut(id) {
            allocation.relayed = relayed;
            allocation.reservation = found.reservation;
            allocation.state = State::Opening { retry: Some(wish), attempts_left };
        }
        self.ask_for_socket(id);
        true
    }

    fn ask_for_socket(&mut self, id: AllocationId) {
        if let Some(allocation) = self.allocations.get(id) {
            let relayed = allocation.relayed.local;
            self.commands.push_back(Command::CreateAllocation { allocation: id, relayed });
        }
    }

    fn confirm_allocation(&mut self, id: AllocationId) {
        let Some(allocation) = self.allocations.get(id) else { return };
        let mut answer = allocation
            .made_by
            .success()
            .relayed_address(allocation.relayed.advertised.0)
            .mapped_address(allocation.tuple.client.0)
            .lifetime(allocation.granted.as_secs() as u32);
        if let Some(token) = allocation.reservation {
            answer = answer.reservation_token(token);
        }
        let (tuple, datagram) = (allocation.tuple, answer.sign(&allocation.owner.key));
        self.send(tuple, datagram);
    }

    fn relayed_pair(&self, pool: usize, port: u16) -> RelayedPair {
        let ip = self.config.relay_ips[pool];
        let at = |ip| RelayedAddr(SocketAddr::new(ip, port));
        RelayedPair { pool, port, local: at(ip.local), advertised: at(ip.advertised) }
    }

    fn allocation_key(&self, id: AllocationId) -> Option<IntegrityKey> {
        self.allocations.get(id).map(|allocation| allocation.owner.key.clone())
    }
}
