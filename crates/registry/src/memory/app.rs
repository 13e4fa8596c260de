//! One tenant: its peers, its rooms, and what they tell each other.
//!
//! Everything here happens under the registry's lock and never waits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use p2p_telemetry::metrics::REGISTRY_INBOX_DROPPED;
use p2p_wire::limits::{MAX_ROOM_MEMBERS, MAX_ROOMS_PER_PEER};
use p2p_wire::server::{Member, PeerState, RoomChange, RoomEvent};
use p2p_wire::{Meta, PeerId, RoomName, ServerMessage};
use tokio::time::Instant;

use super::inbox::Parcel;
use super::peer::Peer;
use super::receipts::ReceiptCounters;
use crate::claim::Ownership;
use crate::error::RegistryError;
use crate::link::{Frame, NotPushed};
use crate::send::{Outgoing, Sent, Target};
use crate::view::{Counts, Listing, Page, RoomSummary, RoomView};

#[derive(Default)]
pub(super) struct App {
    /// Boxed: the map keeps free places, and a peer is large.
    peers: HashMap<PeerId, Box<Peer>>,
    /// The peers in the order in which they are listed.
    names: BTreeSet<PeerId>,
    rooms: BTreeMap<RoomName, Room>,
    /// Only the counters that never go down are kept here.
    pub(super) counts: Counts,
    receipts: ReceiptCounters,
}

#[derive(Default)]
struct Room {
    version: u64,
    members: BTreeMap<PeerId, Option<String>>,
}

impl App {
    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    pub(super) fn get(&self, peer: &PeerId) -> Option<&Peer> {
        self.peers.get(peer).map(|peer| &**peer)
    }

    pub(super) fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(peer).map(|peer| &mut **peer)
    }

    pub(super) fn insert(&mut self, id: PeerId, peer: Peer) {
        self.names.insert(id.clone());
        self.peers.insert(id, Box::new(peer));
    }

    /// The peer, if this ownership is the current one (I1).
    pub(super) fn owned(&mut self, owner: &Ownership) -> Result<&mut Peer, RegistryError> {
        self.peers
            .get_mut(&owner.peer)
            .map(|peer| &mut **peer)
            .filter(|peer| peer.epoch == owner.epoch)
            .ok_or(RegistryError::NotOwner)
    }

    /// The owner acts: it has its newest secret, and the one before is void.
    pub(super) fn acting(&mut self, owner: &Ownership) -> Result<&mut Peer, RegistryError> {
        let peer = self.owned(owner)?;
        peer.earlier = None;
        Ok(peer)
    }

    /// Hands a frame to a peer that is connected.
    pub(super) fn push(&mut self, peer: &PeerId, frame: Frame) -> bool {
        let Some(peer) = self.peers.get_mut(peer) else { return false };
        let pushed = peer.push(frame);
        if pushed == Err(NotPushed::Overflow) {
            self.counts.lagging += 1;
        }
        pushed.is_ok()
    }

    /// Takes a peer out: its rooms hear `leave`, and those who wrote to it that it is gone.
    pub(super) fn remove(&mut self, id: &PeerId) {
        let Some(peer) = self.peers.remove(id) else { return };
        self.names.remove(id);
        for room in &peer.rooms {
            self.take_from_room(room, id);
        }
        for parcel in peer.inbox.into_parcels() {
            self.settle(&parcel, false);
        }
    }

    /// Tells all rooms of a peer about it. Says how many members that were.
    pub(super) fn announce(
        &mut self,
        peer: &PeerId,
        event: RoomChange,
        meta: Option<&Meta>,
    ) -> usize {
        let rooms = self.peers.get(peer).map(|peer| peer.rooms.clone()).unwrap_or_default();
        rooms.iter().map(|room| self.announce_in(room, peer, event, meta)).sum()
    }

    pub(super) fn join(
        &mut self,
        owner: &Ownership,
        name: &RoomName,
        role: Option<String>,
    ) -> Result<RoomView, RegistryError> {
        let peer = self.acting(owner)?;
        if peer.rooms.contains(name) {
            return self.room(name).ok_or(RegistryError::RoomNotFound);
        }
        if peer.rooms.len() >= MAX_ROOMS_PER_PEER {
            return Err(RegistryError::TooManyRooms);
        }
        if self.rooms.get(name).is_some_and(|room| room.members.len() >= MAX_ROOM_MEMBERS) {
            return Err(RegistryError::RoomFull);
        }
        let peer = self.acting(owner)?;
        peer.rooms.insert(name.clone());
        let meta = peer.meta.clone();
        // The newcomer learns of itself from the snapshot: it becomes a member after the event.
        self.rooms.entry(name.clone()).or_default();
        self.announce_in(name, &owner.peer, RoomChange::Join, Some(&meta));
        if let Some(room) = self.rooms.get_mut(name) {
            room.members.insert(owner.peer.clone(), role);
        }
        self.room(name).ok_or(RegistryError::RoomNotFound)
    }

    pub(super) fn leave(
        &mut self,
        owner: &Ownership,
        room: &RoomName,
    ) -> Result<(), RegistryError> {
        if !self.acting(owner)?.rooms.remove(room) {
            return Err(RegistryError::RoomNotFound);
        }
        self.take_from_room(room, &owner.peer);
        Ok(())
    }

    /// Puts a message into the inboxes of its receivers. The second value names the peers that
    /// must get a deadline for their `queued` receipts.
    pub(super) fn send(
        &mut self,
        owner: &Ownership,
        message: &Outgoing,
        now: Instant,
    ) -> Result<(Sent, Vec<PeerId>), RegistryError> {
        let sender = self.acting(owner)?;
        let hash = sender.sent.hash(&message.id);
        if let Some(parcel) = sender.sent.get(hash, &message.id) {
            return Ok((parcel.status(0), Vec::new()));
        }
        let parcel = Arc::new(Parcel::new(sender.author.clone(), message));
        sender.sent.insert(hash, parcel.clone());
        let delivered = self.deliver(owner, message, &parcel, now);
        if !parcel.is_somewhere()
            && let Some(sender) = self.peers.get_mut(&owner.peer)
        {
            sender.sent.forget_last();
        }
        delivered
    }

    /// Puts a message into the inboxes of its receivers, as [`Self::send`] does.
    fn deliver(
        &mut self,
        owner: &Ownership,
        message: &Outgoing,
        parcel: &Arc<Parcel>,
        now: Instant,
    ) -> Result<(Sent, Vec<PeerId>), RegistryError> {
        let Self { peers, rooms, counts, .. } = self;
        let (mut there, mut open, mut someone_away) = (0, 0, false);
        let mut to_arm = Vec::new();
        for id in receivers(rooms, owner, &message.target)? {
            let Some(peer) = peers.get_mut(id) else { continue };
            there += 1;
            if peer.inbox.is_full() {
                continue;
            }
            open += 1;
            let frame = peer.inbox.append(message, parcel.clone(), now);
            someone_away |= peer.state() == PeerState::Away;
            if !std::mem::replace(&mut peer.inbox.armed, true) {
                to_arm.push(id.clone());
            }
            if peer.push(frame) == Err(NotPushed::Overflow) {
                counts.lagging += 1;
            }
        }
        let full = there - open;
        if full > 0 {
            counts.inbox_full += full as u64;
            REGISTRY_INBOX_DROPPED.with(["full"]).increment(full as u64);
        }
        if open == 0 {
            return Ok((Sent::nobody(&message.target, there), Vec::new()));
        }
        parcel.await_from(open, there);
        let sent = if someone_away && parcel.tell_queued().is_some() {
            parcel.status(open)
        } else {
            Sent::OnItsWay { receivers: open }
        };
        Ok((sent, to_arm))
    }

    pub(super) fn ack(&mut self, owner: &Ownership, seq: u64) -> Result<(), RegistryError> {
        for parcel in self.acting(owner)?.inbox.acknowledge(seq) {
            self.settle(&parcel, true);
        }
        Ok(())
    }

    /// Tells the senders of what has waited in an inbox since `before` or longer that it is queued.
    /// The time of the oldest message that has waited less, if there is one.
    pub(super) fn tell_queued(&mut self, peer: &PeerId, before: Instant) -> Option<Instant> {
        let inbox = &mut self.peers.get_mut(peer)?.inbox;
        let waiting: Vec<_> = inbox
            .entries()
            .take_while(|entry| entry.since <= before)
            .map(|entry| entry.parcel.clone())
            .collect();
        let next = inbox.entries().find(|entry| entry.since > before).map(|entry| entry.since);
        inbox.armed = next.is_some();
        for parcel in waiting {
            if let Some(receipt) = parcel.tell_queued() {
                self.push_receipt(&parcel, receipt);
            }
        }
        next
    }

    pub(super) fn room(&self, name: &RoomName) -> Option<RoomView> {
        let room = self.rooms.get(name)?;
        let members = room
            .members
            .iter()
            .filter_map(|(id, role)| Some(self.peers.get(id)?.member(id, role.clone())));
        Some(RoomView::in_one_frame(members.collect(), room.version))
    }

    pub(super) fn peers(&self, page: &Page<PeerId>) -> Listing<PeerId, Member> {
        let range = self.names.range((start(page), Bound::Unbounded));
        let mut found = range.filter_map(|id| Some((id, self.peers.get(id)?)));
        let items: Vec<_> =
            found.by_ref().take(page.limit).map(|(id, peer)| peer.member(id, None)).collect();
        let next = found.next().and(items.last()).map(|member| member.peer.clone());
        Listing { items, next }
    }

    pub(super) fn rooms(&self, page: &Page<RoomName>) -> Listing<RoomName, RoomSummary> {
        let mut found = self.rooms.range((start(page), Bound::Unbounded));
        let items: Vec<_> = found
            .by_ref()
            .take(page.limit)
            .map(|(name, room)| RoomSummary { room: name.clone(), members: room.members.len() })
            .collect();
        let next = found.next().and(items.last()).map(|summary| summary.room.clone());
        Listing { items, next }
    }

    /// The counters, with what there is added to them.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts { rooms: self.rooms.len(), ..self.counts };
        for peer in self.peers.values() {
            match peer.state() {
                PeerState::On => counts.peers_on += 1,
                PeerState::Away => counts.peers_away += 1,
            }
            counts.queued_messages += peer.inbox.len();
        }
        counts
    }

    fn settle(&mut self, parcel: &Parcel, reached: bool) {
        if let Some(receipt) = parcel.settle(reached) {
            self.push_receipt(parcel, receipt);
        }
    }

    /// A receipt goes to the session that sent the message, and to no later one of its peer.
    fn push_receipt(&mut self, parcel: &Parcel, receipt: Frame) {
        self.receipts.count(parcel.receipt_status());
        let Some(sender) = self.peers.get_mut(&parcel.author.peer) else { return };
        if Arc::ptr_eq(&sender.author, &parcel.author)
            && sender.push(receipt) == Err(NotPushed::Overflow)
        {
            self.counts.lagging += 1;
        }
    }

    fn take_from_room(&mut self, name: &RoomName, peer: &PeerId) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        room.members.remove(peer);
        if room.members.is_empty() {
            self.rooms.remove(name);
        } else {
            self.announce_in(name, peer, RoomChange::Leave, None);
        }
    }

    /// Counts a change of a room and tells its members. Says how many.
    fn announce_in(
        &mut self,
        name: &RoomName,
        peer: &PeerId,
        event: RoomChange,
        meta: Option<&Meta>,
    ) -> usize {
        let Some(room) = self.rooms.get_mut(name) else { return 0 };
        room.version += 1;
        let text = ServerMessage::Room(RoomEvent {
            room: name.clone(),
            event,
            peer: peer.clone(),
            meta: meta.cloned(),
            version: room.version,
        })
        .to_text();
        let frame = Frame::from(text);
        for member in room.members.keys() {
            if let Some(member) = self.peers.get_mut(member)
                && member.push(frame.clone()) == Err(NotPushed::Overflow)
            {
                self.counts.lagging += 1;
            }
        }
        room.members.len()
    }
}

/// Whom a message is for, whether they are there or not.
fn receivers<'a>(
    rooms: &'a BTreeMap<RoomName, Room>,
    owner: &'a Ownership,
    target: &'a Target,
) -> Result<impl Iterator<Item = &'a PeerId>, RegistryError> {
    let (peer, room) = match target {
        Target::Peer(peer) => (Some(peer), None),
        Target::Room(name) => {
            let room = rooms.get(name).filter(|room| room.members.contains_key(&owner.peer));
            (None, Some(room.ok_or(RegistryError::RoomNotFound)?))
        }
    };
    let members = room.into_iter().flat_map(|room| room.members.keys());
    Ok(peer.into_iter().chain(members.filter(|id| **id != owner.peer)))
}

fn start<Id: Clone>(page: &Page<Id>) -> Bound<Id> {
    page.after.clone().map_or(Bound::Unbounded, Bound::Excluded)
}
