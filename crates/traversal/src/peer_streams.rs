//! The TCP connections of one attempt, as ways to the peer.
//!
//! Either side may have dialled, or both at once. What makes a connection a way is a check with the
//! attempt's credentials over it, in either direction: an address proves nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_wire::Method;
use rand::RngCore;

use crate::check::Keys;
use crate::path::{Path, PathKind, Through, Usable, Via};
use crate::stun::{self, Class, TransactionId};

/// Names a TCP connection to a peer, or the dial that is to become one, once and for all of a node's
/// life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerStreamId(pub(crate) u64);

/// Connections that one attempt may have at once.
const MAX_STREAMS: usize = 8;
/// A connection whose check is not answered within this is closed.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often a connection is checked that there is a doubt about.
const DOUBT: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct PeerStreams(Vec<Stream>);

#[derive(Debug)]
struct Stream {
    id: PeerStreamId,
    remote: SocketAddr,
    answers: u64,
    asked: bool,
    rtt: Duration,
    /// Checks that wait for an answer: of a doubt there may be several.
    open: Vec<(TransactionId, Instant)>,
    next_check: Instant,
    doubted: bool,
}

impl Stream {
    fn path(&self) -> Path {
        Path {
            kind: PathKind::Direct,
            method: Method::TcpHolePunch,
            via: Via::Stream(self.id),
            remote: self.remote,
            rtt: self.rtt,
        }
    }

    fn is_proven(&self) -> bool {
        self.answers > 0 || self.asked
    }
}

/// What is to be done with connections.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) frames: Vec<(PeerStreamId, Bytes)>,
    pub(crate) dead: Vec<(PeerStreamId, SocketAddr)>,
}

impl PeerStreams {
    /// A connection is there; `false` where it is one too many.
    pub(crate) fn add(&mut self, id: PeerStreamId, remote: SocketAddr, now: Instant) -> bool {
        if self.0.len() >= MAX_STREAMS {
            return false;
        }
        self.0.push(Stream {
            id,
            remote,
            answers: 0,
            asked: false,
            rtt: Duration::ZERO,
            open: Vec::new(),
            next_check: now,
            doubted: false,
        });
        true
    }

    /// A connection is gone; returns where it led.
    pub(crate) fn remove(&mut self, id: PeerStreamId) -> Option<SocketAddr> {
        let index = self.0.iter().position(|stream| stream.id == id)?;
        Some(self.0.remove(index).remote)
    }

    /// Reads a STUN message that came over a connection. The answer to a check of the other side's is
    /// returned.
    pub(crate) fn handle(
        &mut self,
        id: PeerStreamId,
        message: &[u8],
        keys: &Keys,
        now: Instant,
    ) -> Option<Bytes> {
        let stream = self.0.iter_mut().find(|stream| stream.id == id)?;
        match stun::peek(message)? {
            (Class::Request, _) => {
                let answer = keys.respond(message, stream.remote)?;
                stream.asked = true;
                Some(answer)
            }
            (Class::Response, transaction) => {
                let asked = stream.open.iter().find(|(open, _)| *open == transaction);
                let sent = asked.map(|(_, sent)| *sent)?;
                if keys.proves(message) {
                    stream.open.clear();
                    stream.answers += 1;
                    stream.rtt = now.saturating_duration_since(sent);
                }
                None
            }
            (Class::Indication, _) => None,
        }
    }

    /// The checks that are due: one at the start, then one in each `keep_alive`. TCP sees to what is
    /// lost; a new connection that does not answer at all is dead.
    pub(crate) fn due(
        &mut self,
        keys: &Keys,
        keep_alive: Duration,
        now: Instant,
        rng: &mut dyn RngCore,
    ) -> Due {
        let mut due = Due::default();
        for stream in self.0.iter_mut().filter(|stream| stream.next_check <= now) {
            let waits = !stream.open.is_empty();
            if waits && (stream.answers == 0 || stream.open.len() >= MAX_OPEN) {
                due.dead.push((stream.id, stream.remote));
                continue;
            }
            let mut id = [0; 12];
            rng.fill_bytes(&mut id);
            stream.next_check = now
                + match (stream.answers, waits || stream.doubted) {
                    (0, _) => ANSWER_WITHIN,
                    (_, true) => DOUBT,
                    (_, false) => keep_alive,
                };
            if let Some(check) = keys.request(id) {
                stream.open.push((id, now));
                due.frames.push((stream.id, check));
            }
        }
        self.0.retain(|stream| due.dead.iter().all(|(dead, _)| *dead != stream.id));
        due
    }

    /// Whether there is a doubt about the direct ways: they are asked at once, and again and again
    /// until it is over. A new connection has been asked already, and has its time to answer.
    pub(crate) fn doubt(&mut self, doubt: bool, now: Instant) {
        for stream in &mut self.0 {
            if doubt && !stream.doubted && stream.answers > 0 {
                stream.next_check = stream.next_check.min(now);
            }
            stream.doubted = doubt;
        }
    }

    /// When [`PeerStreams::due`] has something.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.0.iter().map(|stream| stream.next_check).min()
    }

    /// The ways that have proven to be the peer's.
    pub(crate) fn usable(&self) -> impl Iterator<Item = Usable> {
        let proven = self.0.iter().filter(|stream| stream.is_proven());
        proven.map(|stream| Usable { path: stream.path(), through: Through::Nothing })
    }

    /// Whether this connection has proven to be the peer's.
    pub(crate) fn is_proven(&self, id: PeerStreamId) -> bool {
        self.0.iter().any(|stream| stream.id == id && stream.is_proven())
    }

    /// How many checks a way has answered.
    pub(crate) fn answers(&self, way: &Path) -> u64 {
        let of = self.0.iter().find(|stream| way.via == Via::Stream(stream.id));
        of.map_or(0, |stream| stream.answers)
    }
}

/// Checks that a connection may leave unanswered: TCP has given it up by then.
const MAX_OPEN: usize = 8;

#[cfg(test)]
mod tests {
    use p2p_wire::IcePair;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::check::tests::pair;

    const ID: PeerStreamId = PeerStreamId(1);
    const KEEP_ALIVE: Duration = Duration::from_secs(25);

    fn keys() -> (Keys, Keys) {
        let ice = pair("a", "b");
        let other = IcePair { local: ice.remote.clone(), remote: ice.local.clone() };
        (Keys::new(&ice, true), Keys::new(&other, false))
    }

    fn remote() -> SocketAddr {
        "198.51.100.7:9".parse().unwrap()
    }

    #[test]
    fn a_connection_is_a_way_once_either_side_has_proven_itself() {
        let (here, there) = keys();
        let (now, mut rng) = (Instant::now(), StdRng::seed_from_u64(1));
        let (mut near, mut far) = (PeerStreams::default(), PeerStreams::default());
        assert!(near.add(ID, remote(), now) && far.add(ID, remote(), now));
        let check = near.due(&here, KEEP_ALIVE, now, &mut rng).frames.remove(0).1;
        assert_eq!(near.usable().count(), 0);
        let answer = far.handle(ID, &check, &there, now).unwrap();
        assert_eq!(far.usable().count(), 1, "the check proves who sent it");
        let later = now + Duration::from_millis(50);
        assert_eq!(near.handle(ID, &answer, &here, later), None);
        let way = near.usable().next().unwrap().path;
        assert_eq!((way.method, way.rtt), (Method::TcpHolePunch, Duration::from_millis(50)));
    }

    #[test]
    fn a_stranger_on_the_other_end_proves_nothing_and_is_closed() {
        let (here, _) = keys();
        let stranger = Keys::new(&pair("c", "a"), false);
        let (now, mut rng) = (Instant::now(), StdRng::seed_from_u64(1));
        let mut near = PeerStreams::default();
        near.add(ID, remote(), now);
        let check = near.due(&here, KEEP_ALIVE, now, &mut rng).frames.remove(0).1;
        let forged = stranger.request([9; 12]).unwrap();
        assert_eq!(near.handle(ID, &forged, &here, now), None);
        assert_eq!(stranger.respond(&check, remote()), None);
        assert_eq!(near.handle(ID, &check, &here, now), None, "its own check sent back");
        assert_eq!(near.usable().count(), 0);
        let due = near.due(&here, KEEP_ALIVE, now + ANSWER_WITHIN, &mut rng);
        assert_eq!(due.dead, [(ID, remote())]);
        assert_eq!(near.poll_timeout(), None);
    }

    #[test]
    fn a_way_in_doubt_is_asked_at_once_and_again_and_closed_in_the_end() {
        let (here, there) = keys();
        let (start, mut rng) = (Instant::now(), StdRng::seed_from_u64(1));
        let (mut near, mut far) = (PeerStreams::default(), PeerStreams::default());
        assert!(near.add(ID, remote(), start) && far.add(ID, remote(), start));
        let mut asked = |near: &mut PeerStreams, now| near.due(&here, KEEP_ALIVE, now, &mut rng);
        let check = asked(&mut near, start).frames.remove(0).1;
        let answer = far.handle(ID, &check, &there, start).unwrap();
        near.handle(ID, &answer, &keys().0, start);
        let mut now = start + Duration::from_secs(6);
        near.doubt(true, now);
        let mut checks = 0;
        let dead = loop {
            let due = asked(&mut near, now);
            checks += due.frames.len();
            if !due.dead.is_empty() {
                break now;
            }
            now = near.poll_timeout().unwrap();
        };
        assert_eq!(checks, MAX_OPEN);
        assert!(dead < start + Duration::from_secs(30));
    }

    #[test]
    fn a_doubt_does_not_hurry_a_new_connection() {
        let (here, _) = keys();
        let (now, mut rng) = (Instant::now(), StdRng::seed_from_u64(1));
        let mut near = PeerStreams::default();
        near.add(ID, remote(), now);
        assert_eq!(near.due(&here, KEEP_ALIVE, now, &mut rng).frames.len(), 1);
        let soon = now + Duration::from_millis(25);
        near.doubt(true, soon);
        let due = near.due(&here, KEEP_ALIVE, soon, &mut rng);
        assert_eq!((due.frames.len(), due.dead.len()), (0, 0), "its answer is on the way");
        let late = near.due(&here, KEEP_ALIVE, now + ANSWER_WITHIN, &mut rng);
        assert_eq!(late.dead, [(ID, remote())]);
    }

    #[test]
    fn connections_are_bounded() {
        let (mut streams, now) = (PeerStreams::default(), Instant::now());
        let taken = (0..100).filter(|id| streams.add(PeerStreamId(*id), remote(), now)).count();
        assert_eq!(taken, MAX_STREAMS);
    }
}
