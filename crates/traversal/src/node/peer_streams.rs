//! TCP connections with peers: whose each is, and what the caller is to do with them.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_wire::{AttemptId, TcpProfile, Transport};

use super::{Event, Input, Node};
use crate::attempt::StreamWork;
use crate::demux::{Kind, kind};
use crate::frames::Deframer;
use crate::peer_streams::PeerStreamId;
use crate::stun;

/// Connections that came in and have not said whose they are.
const MAX_STRANGERS: usize = 64;
/// The same of one address.
const MAX_STRANGERS_OF_ONE: usize = 8;
/// How long they have for that: the attempt they are for may be told of a little later.
const STRANGER_LIFETIME: Duration = Duration::from_secs(5);
/// What a stranger may say: one check.
const STRANGER_BYTES: usize = 1024;
/// Dials that may be under way at once, of all attempts.
const MAX_DIALS: usize = 64;

/// What the caller is to do with TCP connections to peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerStreamCommand {
    /// Connect from the port that was measured ([`Node::set_tcp`]); then [`Node::peer_stream_opened`] or
    /// [`Node::peer_stream_closed`].
    Dial {
        /// Its name from here on.
        id: PeerStreamId,
        /// The peer.
        to: SocketAddr,
    },
    /// Send a datagram in a frame ([`crate::frames`]).
    Send {
        /// Over this connection.
        id: PeerStreamId,
        /// What the frame holds.
        datagram: Bytes,
    },
    /// Send what waits and close, also where it is still being dialled.
    Close(PeerStreamId),
}

/// What the node knows of TCP.
#[derive(Debug, Default)]
pub(super) struct Tcp {
    /// The port where connections are taken and what was measured of it; `None` until something was
    /// said of it.
    told: Option<Option<(u16, TcpProfile)>>,
    last_id: u64,
    entries: HashMap<PeerStreamId, Entry>,
    commands: VecDeque<PeerStreamCommand>,
}

#[derive(Debug)]
struct Entry {
    remote: SocketAddr,
    owner: Owner,
    frames: Deframer,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    /// It came in, and has said this.
    Nobody {
        since: Instant,
        said: Option<Bytes>,
    },
    /// It is being dialled.
    Dialling(AttemptId),
    Attempt(AttemptId),
}

impl Owner {
    fn attempt(&self) -> Option<&AttemptId> {
        match self {
            Self::Nobody { .. } => None,
            Self::Dialling(attempt) | Self::Attempt(attempt) => Some(attempt),
        }
    }
}

impl Tcp {
    pub(super) fn profile(&self) -> Option<TcpProfile> {
        self.port().map(|(_, profile)| profile)
    }

    /// The port where connections are taken, and what was measured of it.
    pub(super) fn port(&self) -> Option<(u16, TcpProfile)> {
        self.told.flatten()
    }

    /// When a stranger's time is over.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let ends = self.entries.values().filter_map(|entry| match entry.owner {
            Owner::Nobody { since, .. } => Some(since + STRANGER_LIFETIME),
            Owner::Dialling(_) | Owner::Attempt(_) => None,
        });
        ends.min()
    }

    fn next_id(&mut self) -> PeerStreamId {
        self.last_id += 1;
        PeerStreamId(self.last_id)
    }

    fn insert(&mut self, remote: SocketAddr, owner: Owner) -> PeerStreamId {
        let id = self.next_id();
        self.entries.insert(id, Entry { remote, owner, frames: Deframer::default() });
        id
    }

    fn close(&mut self, id: PeerStreamId) {
        if self.entries.remove(&id).is_some() {
            self.commands.push_back(PeerStreamCommand::Close(id));
        }
    }
}

impl Node {
    /// Says where TCP connections of peers' are taken and how the NAT maps that port; `None` where they
    /// are not, or nobody could tell how.
    pub fn set_tcp(&mut self, tcp: Option<(u16, TcpProfile)>, now: Instant) {
        if self.tcp.told.replace(tcp) != Some(tcp) {
            self.set_profile(self.profile.clone(), now);
            self.events.push_back(Event::Candidates(self.candidates()));
            let (profile, candidates) = (self.tcp.profile(), self.candidates());
            for attempt in self.attempts.values_mut() {
                for own in candidates.iter().filter(|own| own.transport == Transport::Tcp) {
                    attempt.add_local(own);
                }
                attempt.set_tcp(profile, now);
            }
        }
    }

    /// Whether [`Node::set_tcp`] has been called.
    pub fn is_tcp_known(&self) -> bool {
        self.tcp.told.is_some()
    }

    /// The next thing to do with TCP connections to peers.
    pub fn poll_peer_stream_command(&mut self) -> Option<PeerStreamCommand> {
        self.tcp.commands.pop_front()
    }

    /// A dial has become a connection.
    pub fn peer_stream_opened(&mut self, id: PeerStreamId, now: Instant) {
        let Some(entry) = self.tcp.entries.get(&id) else { return };
        if let Owner::Dialling(attempt) = entry.owner.clone() {
            self.own_stream(id, &attempt, now);
        }
    }

    /// A connection has come in. Its name from here on; `None` where it is to be closed.
    pub fn peer_stream_accepted(
        &mut self,
        remote: SocketAddr,
        now: Instant,
    ) -> Option<PeerStreamId> {
        let strangers = || {
            let nobody = |entry: &&Entry| matches!(entry.owner, Owner::Nobody { .. });
            self.tcp.entries.values().filter(nobody)
        };
        let of_one = strangers().filter(|entry| entry.remote.ip() == remote.ip()).count();
        if strangers().count() >= MAX_STRANGERS || of_one >= MAX_STRANGERS_OF_ONE {
            self.refused += 1;
            return None;
        }
        Some(self.tcp.insert(remote, Owner::Nobody { since: now, said: None }))
    }

    /// A connection is gone, or its dial has come to nothing.
    pub fn peer_stream_closed(&mut self, id: PeerStreamId, now: Instant) {
        let Some(entry) = self.tcp.entries.remove(&id) else { return };
        let Some(id_of_attempt) = entry.owner.attempt() else { return };
        if let Some(attempt) = self.attempts.get_mut(id_of_attempt) {
            match entry.owner {
                Owner::Dialling(_) => attempt.dial_failed(entry.remote, now, &mut *self.rng),
                Owner::Attempt(_) | Owner::Nobody { .. } => {
                    attempt.stream_closed(id, now, &mut *self.rng);
                }
            }
            self.after(id_of_attempt, now);
            self.flush_relay(now);
        }
    }

    /// Reads what came over a connection, cut as it may be. Returns the data in it.
    pub fn peer_stream_received(
        &mut self,
        id: PeerStreamId,
        bytes: &[u8],
        now: Instant,
    ) -> Vec<Input> {
        let mut data = Vec::new();
        let Some(entry) = self.tcp.entries.get_mut(&id) else { return data };
        entry.frames.extend(bytes);
        while let Some(frame) =
            self.tcp.entries.get_mut(&id).and_then(|entry| entry.frames.next_frame())
        {
            data.extend(self.handle_frame(id, frame, now));
        }
        let too_much = |entry: &Entry| {
            matches!(entry.owner, Owner::Nobody { .. }) && entry.frames.waiting() > STRANGER_BYTES
        };
        if self.tcp.entries.get(&id).is_some_and(too_much) {
            self.refused += 1;
            self.tcp.close(id);
        }
        self.flush_relay(now);
        data
    }

    fn handle_frame(&mut self, id: PeerStreamId, frame: Bytes, now: Instant) -> Option<Input> {
        let entry = self.tcp.entries.get_mut(&id)?;
        match &mut entry.owner {
            // One check has to do. Who says more without an attempt is none of ours.
            Owner::Nobody { said, .. } if said.is_none() && frame.len() <= STRANGER_BYTES => {
                *said = Some(frame);
                self.claim(id, now);
                None
            }
            Owner::Nobody { .. } | Owner::Dialling(_) => {
                self.refused += 1;
                self.tcp.close(id);
                None
            }
            Owner::Attempt(attempt) => {
                let attempt = attempt.clone();
                let open = self.attempts.get_mut(&attempt)?;
                match kind(&frame, false) {
                    Kind::Quic if open.trusts(id) => {
                        return Some(Input::Streamed { attempt, payload: frame });
                    }
                    Kind::Stun => open.handle_stream(id, &frame, now),
                    Kind::Quic | Kind::ChannelData | Kind::Other => {}
                }
                self.after(&attempt, now);
                None
            }
        }
    }

    /// A connection that came in is of the attempt that its check names and knows the password of.
    fn claim(&mut self, id: PeerStreamId, now: Instant) {
        let Some(Entry { remote, owner: Owner::Nobody { said: Some(check), .. }, .. }) =
            self.tcp.entries.get(&id)
        else {
            return;
        };
        let (remote, check) = (*remote, check.clone());
        let ufrag = stun::target_ufrag(&check);
        let named = self.attempts.values().find(|a| Some(a.ufrag()) == ufrag.as_deref());
        // The attempt may be told of a moment later.
        let Some(attempt) = named else { return };
        if !attempt.knows(&check, remote) {
            self.refused += 1;
            self.tcp.close(id);
            return;
        }
        let attempt = attempt.id().clone();
        self.own_stream(id, &attempt, now);
        if let Some(open) = self.attempts.get_mut(&attempt) {
            open.handle_stream(id, &check, now);
        }
        self.after(&attempt, now);
    }

    /// An attempt has begun: who has come for it already is let in.
    pub(super) fn claim_strangers(&mut self, now: Instant) {
        let waiting = self
            .tcp
            .entries
            .iter()
            .filter(|(_, entry)| matches!(&entry.owner, Owner::Nobody { said: Some(_), .. }));
        let waiting: Vec<_> = waiting.map(|(id, _)| *id).collect();
        waiting.into_iter().for_each(|id| self.claim(id, now));
    }

    /// Closes the connections that have not said whose they are.
    pub(super) fn expire_strangers(&mut self, now: Instant) {
        let over = |entry: &Entry| match entry.owner {
            Owner::Nobody { since, .. } => {
                now.saturating_duration_since(since) >= STRANGER_LIFETIME
            }
            Owner::Dialling(_) | Owner::Attempt(_) => false,
        };
        let over = self.tcp.entries.iter().filter(|(_, entry)| over(entry));
        let over: Vec<_> = over.map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.tcp.close(id));
    }

    /// Closes everything of an attempt's, or everything.
    pub(super) fn close_streams(&mut self, of: Option<&AttemptId>) {
        let wanted = |entry: &Entry| of.is_none() || entry.owner.attempt() == of;
        let ids = self.tcp.entries.iter().filter(|(_, entry)| wanted(entry));
        let ids: Vec<_> = ids.map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.tcp.close(id));
    }

    /// Does what an attempt wants done.
    pub(super) fn do_stream_work(
        &mut self,
        attempt: &AttemptId,
        work: Vec<StreamWork>,
        now: Instant,
    ) {
        for work in work {
            match work {
                StreamWork::Dial(to) => {
                    let dials = self.tcp.entries.values();
                    let dials = dials.filter(|e| matches!(e.owner, Owner::Dialling(_))).count();
                    if dials >= MAX_DIALS || self.tcp.profile().is_none() {
                        self.refused += 1;
                        if let Some(open) = self.attempts.get_mut(attempt) {
                            open.dial_failed(to, now, &mut *self.rng);
                        }
                        continue;
                    }
                    let id = self.tcp.insert(to, Owner::Dialling(attempt.clone()));
                    self.tcp.commands.push_back(PeerStreamCommand::Dial { id, to });
                }
                StreamWork::Send(id, datagram) => {
                    self.tcp.commands.push_back(PeerStreamCommand::Send { id, datagram });
                }
                StreamWork::Close(id) => self.tcp.close(id),
            }
        }
    }

    fn own_stream(&mut self, id: PeerStreamId, attempt: &AttemptId, now: Instant) {
        let Some(entry) = self.tcp.entries.get_mut(&id) else { return };
        let Some(open) = self.attempts.get_mut(attempt) else {
            self.tcp.close(id);
            return;
        };
        entry.owner = Owner::Attempt(attempt.clone());
        open.stream_opened(id, entry.remote, now);
        open.handle_timeout(now, &mut *self.rng);
        self.after(attempt, now);
    }
}
