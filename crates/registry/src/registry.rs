//! The trait that sessions talk to.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use p2p_wire::server::Member;
use p2p_wire::{AppId, AttemptId, Meta, PeerId, RoomName};
use tokio::sync::mpsc;

use crate::claim::{Claim, Claimed, Ownership};
use crate::error::RegistryError;
use crate::link::Frame;
use crate::notice::{Notice, Presence};
use crate::send::{Outgoing, Sent};
use crate::view::{Counts, Listing, Page, PeerView, Published, RoomSummary, RoomView};

/// A registry's answer, in time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, RegistryError>> + Send + 'a>>;

/// The answer to what every message asks, which a registry in memory has at once: it takes no box.
pub enum Prompt<'a, T> {
    /// Here it is, until it is taken.
    Now(Option<Result<T, RegistryError>>),
    /// As any other.
    Later(Answer<'a, T>),
}

impl<T> Prompt<'_, T> {
    /// An answer that is there.
    pub fn now(answer: Result<T, RegistryError>) -> Self {
        Self::Now(Some(answer))
    }
}

impl<T: Unpin> Future for Prompt<'_, T> {
    type Output = Result<T, RegistryError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Now(answer) => Poll::Ready(answer.take().expect("an answer is taken once")),
            Self::Later(answer) => answer.as_mut().poll(context),
        }
    }
}

/// Who is where, for all instances.
///
/// A session's life:
///
/// 1. [`claim`](Self::claim) with a [`crate::Link`]; send `welcome`, then the replay, then what the
///    link's feed gives.
/// 2. Act with the ownership: publish, join, send, ack. [`RegistryError::NotOwner`] means that a
///    newer connection took over.
/// 3. [`detach`](Self::detach) when the WebSocket is lost: the peer is away, and its session can be
///    resumed while the window is open. [`release`](Self::release) when the peer says goodbye.
///
/// Both ends are safe at any time: with an outdated ownership they change nothing (I1).
pub trait Registry: Send + Sync {
    /// Takes a peer id.
    fn claim(&self, claim: Claim) -> Answer<'_, Claimed>;

    /// The WebSocket is lost. Says whether this ownership was still the current one.
    fn detach<'a>(&'a self, owner: &'a Ownership) -> Answer<'a, bool>;

    /// The peer leaves for good: its rooms hear `leave`, those who wrote to it hear `gone`. Says
    /// whether this ownership was still the current one.
    fn release<'a>(&'a self, owner: &'a Ownership) -> Answer<'a, bool>;

    /// Replaces what the peer publishes for its connection attempts.
    fn publish<'a>(&'a self, owner: &'a Ownership, published: Published) -> Answer<'a, ()>;

    /// Replaces the peer's metadata and tells its rooms. Says how many members that were.
    fn set_meta<'a>(&'a self, owner: &'a Ownership, meta: Meta) -> Answer<'a, usize>;

    /// Enters a room. The snapshot is exactly of its version: the next event the link gives for
    /// this room has the next number. Joining again gives a new snapshot and tells nobody.
    fn join<'a>(
        &'a self,
        owner: &'a Ownership,
        room: RoomName,
        role: Option<String>,
    ) -> Answer<'a, RoomView>;

    /// Leaves a room.
    fn leave<'a>(&'a self, owner: &'a Ownership, room: &'a RoomName) -> Answer<'a, ()>;

    /// Puts a message into the inboxes of its receivers.
    fn send<'a>(&'a self, owner: &'a Ownership, message: &'a Outgoing) -> Prompt<'a, Sent>;

    /// Everything up to `seq` has arrived; the senders hear `delivered`.
    fn ack<'a>(&'a self, owner: &'a Ownership, seq: u64) -> Prompt<'a, ()>;

    /// Hands a frame to a connected peer, past its inbox. Says whether there was one.
    fn signal<'a>(&'a self, app: &'a AppId, peer: &'a PeerId, frame: Frame) -> Answer<'a, bool>;

    /// One peer.
    fn peer<'a>(&'a self, app: &'a AppId, peer: &'a PeerId) -> Answer<'a, Option<PeerView>>;

    /// The peers of an app.
    fn peers<'a>(
        &'a self,
        app: &'a AppId,
        page: Page<PeerId>,
    ) -> Answer<'a, Listing<PeerId, Member>>;

    /// One room.
    fn room<'a>(&'a self, app: &'a AppId, room: &'a RoomName) -> Answer<'a, Option<RoomView>>;

    /// The rooms of an app.
    fn rooms<'a>(
        &'a self,
        app: &'a AppId,
        page: Page<RoomName>,
    ) -> Answer<'a, Listing<RoomName, RoomSummary>>;

    /// How much there is. Answered from memory: this is for metrics and landing pages.
    fn counts(&self) -> Counts;

    /// The name of this instance among those that share the registry; `None` where it is alone.
    fn instance(&self) -> Option<&str> {
        None
    }

    /// Hands a text to another instance, or to the one that goes on in its place. Says whether
    /// there was one to hear it.
    fn pass_on<'a>(&'a self, instance: &'a str, text: Frame) -> Answer<'a, bool> {
        let _ = (instance, text);
        Box::pin(async { Ok(false) })
    }

    /// Watches an attempt that this instance coordinates: until [`unwatch`](Self::unwatch), notices
    /// say when one of its sides goes away, comes back, or is gone, at whichever instance. `known`
    /// is kept for the instance that goes on with the attempt if this one dies; calling again
    /// replaces it. Says where the two are. Where there is one instance, its sessions tell it.
    fn watch<'a>(
        &'a self,
        app: &'a AppId,
        attempt: &'a AttemptId,
        sides: [&'a PeerId; 2],
        known: Frame,
    ) -> Answer<'a, [Presence; 2]> {
        let _ = (app, attempt, sides, known);
        Box::pin(async { Ok([Presence::On; 2]) })
    }

    /// Ends to watch an attempt.
    fn unwatch<'a>(
        &'a self,
        app: &'a AppId,
        attempt: &'a AttemptId,
        sides: [&'a PeerId; 2],
    ) -> Answer<'a, ()> {
        let _ = (app, attempt, sides);
        Box::pin(async { Ok(()) })
    }

    /// What concerns the instance as a whole; given out once. More than fits is dropped and
    /// counted.
    fn notices(&self) -> Option<mpsc::Receiver<Notice>> {
        None
    }

    /// This instance stops: others need not wait for its lease to take over what it was at.
    fn retire(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// What keeps the registry from its full work, if anything does. Sessions go on meanwhile, and
    /// reach what is on the same instance.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// What it keeps things in, for whoever operates it: which kind, and at which nodes while it can
    /// be used. A registry in memory has no such thing.
    fn backend(&self) -> Option<String> {
        None
    }
}
