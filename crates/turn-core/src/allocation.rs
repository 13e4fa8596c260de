//! One allocation, and the table of all of them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::addr::{AllocationId, FiveTuple, RelayedAddr};
use crate::channel::Channels;
use crate::counters::Relayed;
use crate::credentials::UserId;
use crate::message::{AddressFamily, IntegrityKey, Reply};
use crate::permission::Permissions;
use crate::ports::PortWish;

/// What a client holds: a relayed address, and the peers it may be used with (RFC 8656 §2.2).
pub(crate) struct Allocation {
    pub(crate) tuple: FiveTuple,
    pub(crate) owner: Owner,
    pub(crate) state: State,
    /// The Allocate request that made it: a repetition of it gets the same answer.
    pub(crate) made_by: Reply,
    pub(crate) relayed: RelayedPair,
    pub(crate) made: Instant,
    pub(crate) granted: Duration,
    /// RESERVATION-TOKEN of the port above, if EVEN-PORT asked for it.
    pub(crate) reservation: Option<u64>,
    pub(crate) expires: Instant,
    pub(crate) permissions: Permissions,
    pub(crate) channels: Channels,
    pub(crate) usage: AllocationUsage,
}

/// Who made an allocation, and the key of the credential it was made with.
///
/// The key stays good for this allocation after a REST credential has expired: expiry ends the
/// right to allocate, not a call in progress.
pub(crate) struct Owner {
    pub(crate) user: UserId,
    pub(crate) username: Box<str>,
    pub(crate) key: IntegrityKey,
}

pub(crate) enum State {
    /// Waiting for the shell to open the relay socket.
    Opening {
        /// What another port has to be like; `None` if only this one will do.
        retry: Option<PortWish>,
        attempts_left: u32,
    },
    Open,
}

/// Where an allocation's relay socket is, inside and outside.
#[derive(Clone, Copy)]
pub(crate) struct RelayedPair {
    /// Index of the relay address in the configuration.
    pub(crate) pool: usize,
    pub(crate) port: u16,
    pub(crate) local: RelayedAddr,
    pub(crate) advertised: RelayedAddr,
}

/// What went through an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AllocationUsage {
    pub client_to_peer: Relayed,
    pub peer_to_client: Relayed,
}

impl Allocation {
    pub(crate) fn family(&self) -> AddressFamily {
        AddressFamily::of(self.relayed.local.0)
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// When something about it changes by itself.
    pub(crate) fn next_deadline(&self) -> Instant {
        [self.permissions.next_deadline(), self.channels.next_deadline()]
            .into_iter()
            .flatten()
            .fold(self.expires, Instant::min)
    }
}

/// All allocations, found by id in one step and by 5-tuple in one hash.
#[derive(Default)]
pub(crate) struct Allocations {
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    by_tuple: HashMap<FiveTuple, AllocationId>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    allocation: Option<Box<Allocation>>,
}

impl Allocations {
    pub(crate) fn len(&self) -> usize {
        self.by_tuple.len()
    }

    pub(crate) fn insert(&mut self, allocation: Allocation) -> AllocationId {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        let id = AllocationId { slot, generation: entry.generation };
        let earlier = self.by_tuple.insert(allocation.tuple, id);
        debug_assert!(earlier.is_none(), "one allocation per 5-tuple");
        entry.allocation = Some(Box::new(allocation));
        id
    }

    pub(crate) fn remove(&mut self, id: AllocationId) -> Option<Box<Allocation>> {
        self.get(id)?;
        let entry = &mut self.slots[id.slot as usize];
        let allocation = entry.allocation.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.vacant.push(id.slot);
        self.by_tuple.remove(&allocation.tuple);
        Some(allocation)
    }

    pub(crate) fn id_of(&self, tuple: FiveTuple) -> Option<AllocationId> {
        self.by_tuple.get(&tuple).copied()
    }

    pub(crate) fn get(&self, id: AllocationId) -> Option<&Allocation> {
        let entry = self.slots.get(id.slot as usize)?;
        if entry.generation != id.generation {
            return None;
        }
        entry.allocation.as_deref()
    }

    pub(crate) fn get_mut(&mut self, id: AllocationId) -> Option<&mut Allocation> {
        let entry = self.slots.get_mut(id.slot as usize)?;
        if entry.generation != id.generation {
            return None;
        }
        entry.allocation.as_deref_mut()
    }

    /// Every allocation in slot order, which does not depend on hashing.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (AllocationId, &Allocation)> {
        self.slots.iter().enumerate().filter_map(|(slot, entry)| {
            let id = AllocationId { slot: slot as u32, generation: entry.generation };
            Some((id, entry.allocation.as_deref()?))
        })
    }
}
