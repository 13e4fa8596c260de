//! What a session has put into inboxes and has no final receipt for: to ask for receipts that a
//! broken subscription lost, and to keep a later message from overtaking.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use p2p_wire::{PeerId, RequestId};
use tokio::time::Instant;

/// Messages that a session may have without a final receipt. One that is forgotten here could wait for
/// its receipt for ever, so what is more is not taken.
pub(super) const MAX_UNANSWERED: usize = 4096;

/// What begins with a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// It is a new one.
    New,
    /// It is on its way already.
    Known,
    /// There are too many before it.
    Refused,
}

/// Messages of one session, oldest first.
#[derive(Debug, Default)]
pub(super) struct Awaiting {
    messages: VecDeque<Message>,
}

#[derive(Debug)]
struct Message {
    id: RequestId,
    /// The receiver, if it is one.
    to: Option<PeerId>,
    /// A session of this instance has it.
    seen: bool,
    /// The sender was told that it was not taken, which Redis may know better.
    refused: bool,
    /// Since when it is known that Redis, which took it, does not have it any more.
    forgotten: Option<Instant>,
}

impl Awaiting {
    /// A message is on its way to Redis.
    pub(super) fn begin(&mut self, id: &RequestId, to: Option<&PeerId>) -> Begun {
        if self.messages.iter().any(|message| message.id == *id) {
            return Begun::Known;
        }
        if self.messages.len() >= MAX_UNANSWERED {
            // Whoever sent one that was refused waits for nothing.
            let Some(at) = self.messages.iter().position(|message| message.refused) else {
                return Begun::Refused;
            };
            self.messages.remove(at);
        }
        self.messages.push_back(Message {
            id: id.clone(),
            to: to.cloned(),
            seen: false,
            refused: false,
            forgotten: None,
        });
        Begun::New
    }

    /// It has been given to its receiver, which is at this instance.
    pub(super) fn is_seen(&mut self, id: &RequestId) {
        if let Some(message) = self.messages.iter_mut().find(|message| message.id == *id) {
            message.seen = true;
        }
    }

    /// The sender is told that it was not taken. It may be in Redis all the same, before others.
    pub(super) fn refuse(&mut self, id: &RequestId) {
        if let Some(message) = self.messages.iter_mut().find(|message| message.id == *id) {
            message.refused = true;
        }
    }

    /// Redis has been heard: what it has of these is with their receivers, or being fetched.
    pub(super) fn forget_refused(&mut self) {
        self.messages.retain(|message| !message.refused);
    }

    /// Redis does not know these, if it ever did. Names those of which that has been so for this long:
    /// what was on its way has arrived by then, and who has got one has said so.
    pub(super) fn are_forgotten(&mut self, ids: &[RequestId], long: Duration) -> Vec<RequestId> {
        let (now, ids) = (Instant::now(), ids.iter().collect::<HashSet<_>>());
        let mut lost = Vec::new();
        for message in &mut self.messages {
            if !ids.contains(&message.id) {
                message.forgotten = None;
            } else if now - *message.forgotten.get_or_insert(now) >= long {
                lost.push(message.id.clone());
            }
        }
        lost
    }

    /// Whether one has been forgotten for so long that Redis is to be asked again.
    pub(super) fn has_lost(&self, long: Duration) -> bool {
        let lost = |since: Instant| since.elapsed() >= long;
        self.messages.iter().any(|message| message.forgotten.is_some_and(lost))
    }

    /// The sender knows what became of it. Says whether it was waiting.
    pub(super) fn end(&mut self, id: &RequestId) -> bool {
        let at = self.messages.iter().position(|message| message.id == *id);
        at.is_some_and(|at| self.messages.remove(at).is_some())
    }

    /// Whether something before this message may still be on its way to the same receiver: passed
    /// on past Redis, this one would overtake it.
    pub(super) fn is_behind_another(&self, id: &RequestId, to: &PeerId) -> bool {
        let before = self.messages.iter().take_while(|message| message.id != *id);
        before.filter(|message| !message.seen).any(|message| match &message.to {
            Some(receiver) => receiver == to,
            None => true,
        })
    }

    /// Those that the sender waits for.
    pub(super) fn ids(&self) -> impl Iterator<Item = &RequestId> {
        self.messages.iter().filter(|message| !message.refused).map(|message| &message.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> RequestId {
        text.parse().unwrap()
    }

    fn peer(text: &str) -> PeerId {
        text.parse().unwrap()
    }

    #[test]
    fn i2_a_message_stays_behind_those_before_it_until_their_receiver_has_them() {
        let mut awaiting = Awaiting::default();
        awaiting.begin(&id("m1"), Some(&peer("bob")));
        awaiting.begin(&id("m2"), Some(&peer("bob")));
        awaiting.begin(&id("m3"), Some(&peer("carol")));
        assert!(!awaiting.is_behind_another(&id("m1"), &peer("bob")));
        assert!(awaiting.is_behind_another(&id("m2"), &peer("bob")));
        assert!(!awaiting.is_behind_another(&id("m3"), &peer("carol")));
        awaiting.is_seen(&id("m1"));
        assert!(!awaiting.is_behind_another(&id("m2"), &peer("bob")));
    }

    #[test]
    fn a_message_to_a_room_may_be_for_anybody() {
        let mut awaiting = Awaiting::default();
        awaiting.begin(&id("m1"), None);
        awaiting.begin(&id("m2"), Some(&peer("bob")));
        assert!(awaiting.is_behind_another(&id("m2"), &peer("bob")));
        assert!(awaiting.end(&id("m1")));
        assert!(!awaiting.end(&id("m1")));
        assert!(!awaiting.is_behind_another(&id("m2"), &peer("bob")));
    }

    #[test]
    fn i2_a_message_that_was_refused_may_be_in_redis_all_the_same() {
        let mut awaiting = Awaiting::default();
        awaiting.begin(&id("m1"), Some(&peer("bob")));
        awaiting.refuse(&id("m1"));
        awaiting.begin(&id("m2"), Some(&peer("bob")));
        assert!(awaiting.is_behind_another(&id("m2"), &peer("bob")));
        assert!(awaiting.ids().eq([&id("m2")]));
        awaiting.forget_refused();
        assert!(!awaiting.is_behind_another(&id("m2"), &peer("bob")));
    }

    #[tokio::test(start_paused = true)]
    async fn i2_a_message_is_lost_when_redis_does_not_know_it_for_long() {
        let (long, mut awaiting) = (Duration::from_secs(8), Awaiting::default());
        awaiting.begin(&id("m1"), None);
        awaiting.begin(&id("m2"), None);
        let both = [id("m1"), id("m2")];
        assert!(awaiting.are_forgotten(&both, long).is_empty());
        tokio::time::advance(long / 2).await;
        assert!(!awaiting.has_lost(long));
        // One was on its way, and has arrived.
        assert!(awaiting.are_forgotten(&both[..1], long).is_empty());
        tokio::time::advance(long / 2).await;
        assert!(awaiting.has_lost(long));
        assert_eq!(awaiting.are_forgotten(&both, long), both[..1]);
    }

    #[test]
    fn i5_so_many_wait_and_no_more_and_none_is_forgotten() {
        let mut awaiting = Awaiting::default();
        for n in 0..MAX_UNANSWERED {
            assert_eq!(awaiting.begin(&id(&format!("m{n}")), None), Begun::New);
        }
        assert_eq!(awaiting.begin(&id("more"), None), Begun::Refused);
        assert_eq!(awaiting.begin(&id("m0"), None), Begun::Known);
        assert_eq!(awaiting.ids().count(), MAX_UNANSWERED);
        awaiting.refuse(&id("m7"));
        assert_eq!(awaiting.begin(&id("more"), None), Begun::New);
        assert_eq!(awaiting.begin(&id("another"), None), Begun::Refused);
        assert!(awaiting.end(&id("m0")));
        assert_eq!(awaiting.begin(&id("another"), None), Begun::New);
    }
}
