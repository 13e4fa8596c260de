//! How allocations and what belongs to them come to an end: by time, by request, by policy.
//!
//! Every way out goes through [`Server::free`], so that ports, quota, timers and the shell's
//! sockets are released together or not at all.

use super::{Command, FreedAllocation, Server, TimerKey};
use crate::addr::{AllocationId, ClientAddr, FiveTuple, ListenerId, Now, PeerAddr};
use crate::channel::ChannelNumber;
use crate::counters::AllocationEnd;
use crate::credentials::UserId;
use crate::peer_policy::PeerPolicy;

impl Server {
    /// Ends everything whose time is over.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(key) = self.timers.pop_due(now.instant) {
            match key {
                TimerKey::Allocation(id) => self.allocation_due(id, now),
                TimerKey::Reservation(token) => self.release_reservation(token, now),
            }
        }
    }

    /// Gives a reserved port that nobody claimed back to its pool.
    pub(super) fn release_reservation(&mut self, token: u64, now: Now) {
        if let Some(unclaimed) = self.reservations.remove(token) {
            self.pools[unclaimed.pool].give_back(unclaimed.port, now.instant);
        }
    }

    /// Ends every allocation of a user: a revoked credential, an operator's decision. Returns how
    /// many there were.
    pub fn free_user(&mut self, user: &UserId, now: Now) -> usize {
        let theirs: Vec<_> = self
            .allocations
            .iter()
            .filter(|(_, allocation)| allocation.owner.user == *user)
            .map(|(id, _)| id)
            .collect();
        for &id in &theirs {
            self.free(id, AllocationEnd::Revoked, now);
        }
        theirs.len()
    }

    /// Ends every allocation: the relay stops. What each has carried is told as for any other end.
    pub fn free_all(&mut self, now: Now) {
        let all: Vec<_> = self.allocations.iter().map(|(id, _)| id).collect();
        for id in all {
            self.free(id, AllocationEnd::Stopped, now);
        }
    }

    /// The client's connection is closed, and its allocation with it: nothing can be sent to it any
    /// more, and no request of its 5-tuple's can come.
    pub fn client_gone(&mut self, listener: ListenerId, client: ClientAddr, now: Now) {
        if let Some(id) = self.allocations.id_of(FiveTuple { listener, client }) {
            self.free(id, AllocationEnd::Disconnected, now);
        }
    }

    /// Replaces the peer policy. Permissions and channels it forbids end at once (I4).
    pub fn set_policy(&mut self, policy: PeerPolicy, now: Now) {
        self.policy = policy;
        let all: Vec<_> = self.allocations.iter().map(|(id, _)| id).collect();
        for id in all {
            self.apply_policy(id, now);
        }
    }

    /// Ends an allocation that the shell has seen running.
    pub(super) fn free(&mut self, id: AllocationId, end: AllocationEnd, now: Now) {
        if let Some(allocation) = self.allocations.get_mut(id) {
            let unbound = allocation.channels.remove_unless(|_| false);
            self.announce_unbound(id, &unbound);
        }
        self.forget(id, end, now);
    }

    /// Releases what an allocation holds.
    pub(super) fn forget(&mut self, id: AllocationId, end: AllocationEnd, now: Now) {
        let Some(allocation) = self.allocations.remove(id) else { return };
        self.timers.remove(TimerKey::Allocation(id));
        self.counters.count_end(end);
        self.listeners.count_ended(allocation.tuple.listener);
        self.quotas.give_back(&allocation.owner.user);
        self.pools[allocation.relayed.pool].give_back(allocation.relayed.port, now.instant);
        self.commands.push_back(Command::FreeAllocation(FreedAllocation {
            allocation: id,
            user: allocation.owner.user,
            end,
            lived: now.instant.saturating_duration_since(allocation.made),
            usage: allocation.usage,
        }));
    }

    /// Moves an allocation's one timer to its next deadline. Called after every change to it.
    pub(super) fn reschedule(&mut self, id: AllocationId) {
        if let Some(allocation) = self.allocations.get(id) {
            self.timers.set(TimerKey::Allocation(id), allocation.next_deadline());
        }
    }

    /// Drops permissions and channels whose time is over.
    pub(super) fn expire_parts(&mut self, id: AllocationId, now: Now) {
        let Some(allocation) = self.allocations.get_mut(id) else { return };
        allocation.permissions.expire(now.instant);
        let rest = self.config.lifetimes.channel_rest;
        let unbound = allocation.channels.expire(now.instant, rest);
        self.announce_unbound(id, &unbound);
        self.reschedule(id);
    }

    fn allocation_due(&mut self, id: AllocationId, now: Now) {
        let Some(allocation) = self.allocations.get(id) else { return };
        if allocation.expires <= now.instant {
            self.free(id, AllocationEnd::Expired, now);
        } else {
            self.expire_parts(id, now);
        }
    }

    fn apply_policy(&mut self, id: AllocationId, now: Now) {
        let Some(allocation) = self.allocations.get_mut(id) else { return };
        let policy = &self.policy;
        let any_port = |ip| PeerAddr(std::net::SocketAddr::new(ip, 0));
        allocation.permissions.retain(|ip| policy.check_permission(any_port(ip)).is_ok());
        let unbound = allocation.channels.remove_unless(|peer| policy.check(peer).is_ok());
        self.announce_unbound(id, &unbound);
        self.expire_parts(id, now);
    }

    fn announce_unbound(&mut self, id: AllocationId, unbound: &[(ChannelNumber, PeerAddr)]) {
        for &(number, peer) in unbound {
            if let Some(route) = self.channel_route(id, number, peer) {
                self.commands.push_back(Command::UnbindChannel(route));
            }
        }
    }
}
