//! What a PeerJS client has sent to ids that nobody has yet: pages that call each other open in
//! whatever order. PeerServer keeps such messages for some seconds, and so does the connection that
//! they came over.
//!
//! The registry does not say when an id comes; it is asked, a few times in the first second and every
//! second after that, with the first message of each line.

use std::collections::VecDeque;
use std::time::Duration;

use p2p_wire::peerjs::Signal;
use p2p_wire::{Payload, PeerId, RequestId};
use tokio::time::Instant;

use super::places::Place;

/// Ids that one client may wait for.
const MAX_LINES: usize = 16;
/// Messages to one of them: an offer and its candidates.
const MAX_MESSAGES: usize = 65;
/// Bytes of all that one client has waiting.
const MAX_BYTES: usize = 256 * 1024;
/// Until the registry is asked a second time; the pause doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One message.
pub(super) struct Letter {
    pub(super) id: RequestId,
    pub(super) signal: Signal,
    pub(super) payload: Payload,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Due {
    /// Ask the registry with the line of this peer.
    Ask(PeerId),
    /// Ask a last time: who is not there now is not waited for any longer.
    AskLast(PeerId),
}

/// The lines, one for each receiver.
#[derive(Default)]
pub(super) struct Waiting {
    lines: Vec<Line>,
    bytes: usize,
}

struct Line {
    to: PeerId,
    letters: VecDeque<(Letter, Place)>,
    ends: Instant,
    next: Instant,
    pause: Duration,
}

impl Waiting {
    /// Whether something waits for this peer: what comes later must not overtake it.
    pub(super) fn has(&self, to: &PeerId) -> bool {
        self.lines.iter().any(|line| line.to == *to)
    }

    /// Puts a message at the end of its line, or says that there is no room. `place` takes one of the
    /// instance's, and `patience` is how long the first message of a line may wait.
    pub(super) fn push(
        &mut self,
        to: &PeerId,
        letter: Letter,
        patience: Duration,
        now: Instant,
        place: impl FnOnce(usize) -> Option<Place>,
    ) -> bool {
        let bytes = letter.payload.as_str().len();
        if self.bytes + bytes > MAX_BYTES {
            return false;
        }
        let at = self.lines.iter().position(|line| line.to == *to);
        let full = match at {
            Some(at) => self.lines[at].letters.len() >= MAX_MESSAGES,
            None => self.lines.len() >= MAX_LINES,
        };
        if full {
            return false;
        }
        let Some(place) = place(bytes) else { return false };
        self.bytes += bytes;
        let at = at.unwrap_or_else(|| {
            self.lines.push(Line {
                to: to.clone(),
                letters: VecDeque::new(),
                ends: now + patience,
                next: now + FIRST_PAUSE.min(patience),
                pause: FIRST_PAUSE,
            });
            self.lines.len() - 1
        });
        self.lines[at].letters.push_back((letter, place));
        true
    }

    /// When [`Self::due`] has something.
    pub(super) fn next(&self) -> Option<Instant> {
        self.lines.iter().map(|line| line.next).min()
    }

    /// What is to be done by now.
    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        let line = self.lines.iter_mut().find(|line| line.next <= now)?;
        if line.ends <= now {
            return Some(Due::AskLast(line.to.clone()));
        }
        line.pause = (line.pause * 2).min(LONGEST_PAUSE);
        line.next = (now + line.pause).min(line.ends);
        Some(Due::Ask(line.to.clone()))
    }

    /// The first message of a line.
    pub(super) fn first(&self, to: &PeerId) -> Option<&Letter> {
        let line = self.lines.iter().find(|line| line.to == *to)?;
        line.letters.front().map(|(letter, _)| letter)
    }

    /// The first message of a line is on its way.
    pub(super) fn pop(&mut self, to: &PeerId) {
        let Some(at) = self.lines.iter().position(|line| line.to == *to) else { return };
        if let Some((letter, _)) = self.lines[at].letters.pop_front() {
            self.bytes -= letter.payload.as_str().len();
        }
        if self.lines[at].letters.is_empty() {
            self.lines.remove(at);
        }
    }

    /// Gives up on a peer.
    pub(super) fn forget(&mut self, to: &PeerId) {
        while self.has(to) {
            self.pop(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use p2p_wire::AppId;

    use super::*;
    use crate::peerjs::places::Places;

    const PATIENCE: Duration = Duration::from_secs(5);

    struct Tester {
        waiting: Waiting,
        places: Arc<Places>,
        begin: Instant,
    }

    impl Tester {
        fn new() -> Self {
            let places = Arc::new(Places::default());
            Self { waiting: Waiting::default(), places, begin: Instant::now() }
        }

        fn push(&mut self, to: &str, id: &str, bytes: usize) -> bool {
            let payload = Payload::new(&"x".repeat(bytes)).unwrap();
            let letter = Letter { id: id.parse().unwrap(), signal: Signal::Offer, payload };
            let (places, app, to) = (&self.places, AppId::default(), peer(to));
            let place = |bytes| places.take(&app, &to, bytes);
            self.waiting.push(&to, letter, PATIENCE, self.begin, place)
        }

        fn at(&mut self, ms: u64) -> Option<Due> {
            self.waiting.due(self.begin + Duration::from_millis(ms))
        }
    }

    fn peer(name: &str) -> PeerId {
        name.parse().unwrap()
    }

    #[test]
    fn a_line_is_asked_for_ever_more_rarely_and_a_last_time_at_its_end() {
        let mut tester = Tester::new();
        assert!(tester.push("bob", "m1", 1));
        let (mut asked, mut now) = (Vec::new(), 0);
        loop {
            let next = tester.waiting.next().unwrap();
            now = u64::try_from((next - tester.begin).as_millis()).unwrap().max(now);
            asked.push(now);
            match tester.at(now) {
                Some(Due::Ask(bob)) => assert_eq!(bob, peer("bob")),
                Some(Due::AskLast(_)) => break,
                None => panic!("nothing is due at {now}"),
            }
            assert_eq!(tester.at(now), None, "once");
        }
        assert_eq!(asked, [100, 300, 700, 1500, 2500, 3500, 4500, 5000]);
    }

    #[test]
    fn messages_leave_in_their_order_and_a_later_one_does_not_prolong_the_wait() {
        let mut tester = Tester::new();
        for id in ["m1", "m2", "m3"] {
            assert!(tester.push("bob", id, 1));
        }
        let mut left = Vec::new();
        while let Some(letter) = tester.waiting.first(&peer("bob")) {
            left.push(letter.id.to_string());
            tester.waiting.pop(&peer("bob"));
        }
        assert_eq!(left, ["m1", "m2", "m3"]);
        assert!(!tester.waiting.has(&peer("bob")) && tester.waiting.next().is_none());
        assert!(tester.push("bob", "m4", 1));
        tester.begin += Duration::from_secs(3);
        assert!(tester.push("bob", "m5", 1));
        assert_eq!(tester.at(2000), Some(Due::AskLast(peer("bob"))));
    }

    #[test]
    fn i5_one_client_has_so_many_lines_so_many_messages_in_each_and_so_many_bytes() {
        let mut tester = Tester::new();
        for line in 0..MAX_LINES {
            assert!(tester.push(&format!("p{line}"), "m", 1));
        }
        assert!(!tester.push("one-more", "m", 1));
        for n in 1..MAX_MESSAGES {
            assert!(tester.push("p0", &format!("m{n}"), 1));
        }
        assert!(!tester.push("p0", "m", 1), "this line is full");
        assert!(!tester.push("p1", "m", MAX_BYTES));
        assert!(tester.push("p1", "m", MAX_BYTES / 2));
        for line in 0..MAX_LINES {
            tester.waiting.forget(&peer(&format!("p{line}")));
        }
        assert!(tester.waiting.bytes == 0 && tester.waiting.lines.is_empty());
        assert!(tester.push("one-more", "m", 1));
    }
}
